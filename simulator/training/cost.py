"""What training is expected to cost: measured on a few steps."""

import math
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from simulator.grid import Cost, KnownSteps, Run
from simulator.tasks.base import Task
from simulator.training.batching import runs_per_device, shared_by_slots
from simulator.training.recipe import Recipe
from simulator.training.sweep import as_inputs, device_mesh, empty_states, platform_of, train_chunk


def training_cost(recipe: Recipe, task: Task, runs: Sequence[Run], known_steps: KnownSteps) -> Cost:
    """Expected cost of the runs. Compiles the program of the sweep and times a few steps of it on an empty state."""
    mesh = device_mesh()
    platform = platform_of(mesh)
    slots = mesh.size * runs_per_device(recipe, platform)
    lengths = sorted({shared_by_slots(recipe, platform, run)[0] for run in runs}, key=lambda length: length or 0)
    program = (mesh, task, recipe, lengths[-1])
    inputs = as_inputs(recipe, [runs[0]] * slots)
    states = empty_states(mesh, task, recipe, inputs)
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states))
    fresh = np.ones(slots, bool)
    begin = time.perf_counter()

    def timed(steps: int) -> float:
        nonlocal states
        start = time.perf_counter()
        states, losses, _ = train_chunk(*program, states, inputs, fresh, np.int32(steps))
        losses.block_until_ready()
        return time.perf_counter() - start

    timed(1)
    compiling = len(lengths) * (time.perf_counter() - begin)

    def typical(steps: int) -> float:
        once = timed(steps)
        return once if once > 1 else float(np.median([once, timed(steps), timed(steps)]))

    few, many = 1, 41
    at_few = typical(few)
    per_step = max(typical(many) - at_few, 1e-9) / (many - few)  # of all slots together

    def seconds(steps_of: Callable[[Run], float]) -> float:
        """All slots busy, or the longest run alone, whichever takes longer."""
        each = []
        for run in runs:
            steps = steps_of(run)
            each.append(steps * per_step + math.ceil(steps / recipe.chunk_steps(run.dataset_size)) * at_few)
        return compiling + max(sum(each) / slots, max(each))

    def least(run: Run) -> float:
        last = recipe.last_step(run.dataset_size)
        evaluations = recipe.stopping.least + (not recipe.looks_at_untrained)
        return min(last, recipe.last_stage_begins * last + evaluations * recipe.chunk_steps(run.dataset_size))

    def most(run: Run) -> float:
        return recipe.last_step(run.dataset_size)

    def expected(run: Run) -> float:
        return known_steps(run) or math.sqrt(least(run) * most(run))

    memory = train_chunk.lower(*program, states, inputs, fresh, np.int32(1)).compile().memory_analysis()
    temporary = 0 if memory is None else memory.temp_size_in_bytes
    groups = tuple(
        f"{type(recipe.model).__name__} with {recipe.model.parameter_count(task):,} parameters on "
        f"{f'{task.max_context_length} masked' if length is None else length} tokens, {slots} runs side by side"
        for length in lengths
    )
    return Cost(groups, seconds(expected), (seconds(least), seconds(most)), 2 * state_bytes + temporary)
