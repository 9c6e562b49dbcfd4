"""How many runs and samples go through a network at once, on each kind of device."""

from typing import Any

from simulator.grid import Run
from simulator.tasks.base import Task
from simulator.training.recipe import Recipe

_NARROW_RUNS = 16

_CACHED_ACTIVATIONS = 2**18
"""Activations of one layer, over all runs of a batch, that stay in the cache of a core: one MiB."""

_ACCELERATOR_ROWS = 16384
"""Samples at once on an accelerator: bounds its memory."""


def runs_per_device(recipe: Recipe, platform: str) -> int:
    """Runs trained in one batch on each device.

    On a CPU this is 16 for a narrow network and 1 for a wide one. A batch of runs pays where the products of a single
    run are too small to keep a core busy (``python -m tests.benchmarks.scaling`` measures it).
    """
    if recipe.side_by_side is not None:
        return recipe.side_by_side
    return 1 if platform == "cpu" and recipe.model.keeps_a_core_busy else _NARROW_RUNS


def pieces(recipe: Recipe, platform: str, task: Task, samples: int, context_length: Any) -> int:
    """Number of pieces in which the samples go through the network. On a CPU a piece's activations fit the cache."""
    if platform != "cpu":
        return -(-samples // _ACCELERATOR_ROWS)
    length = context_length if isinstance(context_length, int) else task.max_context_length
    activations = samples * recipe.model.activations(task, length) * runs_per_device(recipe, platform)
    return max(1, min(samples, activations // _CACHED_ACTIVATIONS))


def shared_by_slots(recipe: Recipe, platform: str, run: Run) -> tuple[int | None, int]:
    """What runs trained at the same time have in common: a context length, or None; and the steps of a chunk."""
    length = run.context_length if runs_per_device(recipe, platform) == 1 else None
    return length, recipe.chunk_steps(run.dataset_size)
