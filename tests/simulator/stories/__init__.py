"""Small instances of every task on a finite alphabet, and the story of each."""

from tests.simulator.stories import combining, retrieving

SMALL = {**retrieving.SMALL, **combining.SMALL}
"""From a task's class to (strategy of small instances, story)."""
