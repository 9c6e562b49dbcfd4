"""Small instances of every task on a finite alphabet, and the story of each."""

from tests.simulator.stories import combining, retrieving, sources

SMALL = {**retrieving.SMALL, **combining.SMALL, **sources.SMALL}
"""From a task's class to (strategy of small instances, story)."""
