"""Many runs side by side: a fixed number of slots, each holding one run; a run that ends makes way for the next.

All runs of a sweep share one compiled program, because context length, dataset size and seed are inputs of it and not
shapes. On a CPU, runs of narrow networks are batched and those of wide ones taken one by one: batching pays only where
a single run cannot keep a core busy. Either way a run's result is the same to the bit in any slot and any company.
"""

import collections
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from simulator.learners.base import FittedRun, Run
from simulator.tasks.base import Task
from simulator.training.run import RunInputs, RunState, advance, start

if TYPE_CHECKING:
    from simulator.learners.gradient_descent import GradientDescent

_WIDE = 256
_SLOTS = 16


def n_slots(learner: "GradientDescent") -> int:
    """How many runs train side by side: the same number however few there are, for a run's bits depend on it."""
    wide_on_cpu = jax.default_backend() == "cpu" and learner.model.width >= _WIDE
    return 1 if wide_on_cpu else _SLOTS


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def train_chunk(
    task: Task,
    learner: "GradientDescent",
    states: RunState,
    inputs: RunInputs,
    fresh: jax.Array,
    steps: jax.Array,
) -> tuple[RunState, jax.Array, jax.Array]:
    """Advance every slot to its next evaluation; slots marked fresh begin their run first."""

    def begin(states: RunState) -> RunState:
        begun = jax.vmap(functools.partial(start, task, learner))(inputs)
        choose = jax.vmap(lambda is_fresh, new, old: jnp.where(is_fresh, new, old))
        return jax.tree.map(functools.partial(choose, fresh), begun, states)

    with jax.default_matmul_precision("highest"):
        states = jax.lax.cond(jnp.any(fresh), begin, lambda states: states, states)
        return jax.vmap(functools.partial(advance, task, learner), in_axes=(0, 0, None))(inputs, states, steps)


def empty_states(task: Task, learner: "GradientDescent", inputs: RunInputs) -> RunState:
    """States of the right shape for as many slots as there are inputs, to be begun by the first chunk."""
    shapes = jax.eval_shape(jax.vmap(functools.partial(start, task, learner)), inputs)
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def as_inputs(learner: "GradientDescent", runs: Sequence[Run]) -> RunInputs:
    """Runs as arrays, one entry per slot."""
    columns = zip(
        *((r.context_length, r.dataset_size, r.seed, learner.last_step(r.dataset_size)) for r in runs),
        strict=True,
    )
    return RunInputs(*(np.asarray(column, np.int32) for column in columns))  # pyright: ignore[reportArgumentType]


def sweep(task: Task, learner: "GradientDescent", runs: Sequence[Run]) -> Iterator[FittedRun]:
    """Train all runs, yielding each as it ends; the longest (largest dataset sizes) start first."""
    by_chunk: dict[int, collections.deque[Run]] = {}
    for run in sorted(runs, key=lambda r: (-r.dataset_size, r.seed, r.context_length)):
        by_chunk.setdefault(learner.chunk_steps(run.dataset_size), collections.deque()).append(run)
    for steps, waiting in by_chunk.items():
        yield from _sweep(task, learner, waiting, steps)


def _sweep(task: Task, learner: "GradientDescent", waiting: collections.deque[Run], steps: int) -> Iterator[FittedRun]:
    slots: list[Run | None] = [None] * n_slots(learner)
    histories: list[list[float]] = [[] for _ in slots]
    placeholder = waiting[0]
    states: Any = empty_states(task, learner, as_inputs(learner, [placeholder] * len(slots)))
    while waiting or any(slots):
        fresh = np.zeros(len(slots), bool)
        for i, occupant in enumerate(slots):
            if occupant is None and waiting:
                slots[i], histories[i], fresh[i] = waiting.popleft(), [], True
        inputs = as_inputs(learner, [run or placeholder for run in slots])
        states, losses, finished = train_chunk(task, learner, states, inputs, fresh, np.int32(steps))
        losses, finished = np.asarray(losses), np.asarray(finished)
        for i, run in enumerate(slots):
            if run is None:
                continue
            histories[i].append(float(losses[i]))
            if finished[i]:
                yield learner.fitted_run(task, run, jax.tree.map(lambda leaf, i=i: leaf[i], states), histories[i])
                slots[i] = None
