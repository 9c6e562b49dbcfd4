"""What learners without training steps have in common: they read a seed's samples once and answer."""

import abc
import functools
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from simulator.grid import Cost, KnownSteps, Run
from simulator.learners.base import FittedRun, Learner, Predictor
from simulator.machine.stopping import stop_if_asked
from simulator.random.streams import stream_key
from simulator.tasks.base import Examples, Key, Task

_BLOCK = 4096
"""Samples drawn at once: one program is compiled, whatever the dataset sizes."""


class ClosedForm(Learner):
    """A learner whose predictor is a formula of the first D samples; a subclass gives the formula, :meth:`learn`."""

    @abc.abstractmethod
    def learn(self, task: Task, samples: Examples, context_length: int) -> Predictor:
        """The predictor of the last l tokens, from samples as NumPy arrays of which nothing else may be used."""

    def work(self, task: Task, run: Run) -> float:
        """What the time of a run is proportional to."""
        return float(run.dataset_size)

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        by_seed = sorted(runs, key=lambda run: (run.seed, run.dataset_size, run.context_length))
        return [list(group) for _, group in itertools.groupby(by_seed, key=lambda run: run.seed)]

    def fit_groups(self, task: Task, groups: Iterable[Sequence[Run]]) -> Iterator[FittedRun]:
        for group in groups:
            for of_seed in self.groups(group):
                samples = training_samples(task, of_seed[0].seed, max(run.dataset_size for run in of_seed))
                for run in of_seed:
                    seen = Examples(*(field[: run.dataset_size] for field in samples))
                    yield FittedRun(run, self.learn(task, seen, run.context_length))
                    stop_if_asked()

    def cost(self, task: Task, runs: Sequence[Run], known_steps: KnownSteps) -> Cost:
        largest = max((run.dataset_size for run in runs), default=1)
        tried = Run(task.max_context_length, min(largest, _BLOCK), 0)
        list(self.fit_runs(task, [tried]))  # compiles
        start = time.perf_counter()
        list(self.fit_runs(task, [tried]))
        taken = time.perf_counter() - start
        seconds = taken / self.work(task, tried) * sum(self.work(task, run) for run in runs)
        sample_bytes = sum(field[:1].nbytes for field in training_samples(task, 0, 1))
        group = f"{type(self).__name__} in closed form: {len({run.seed for run in runs})} seeds"
        return Cost((group,), seconds, (seconds, seconds), 2 * largest * sample_bytes)


def training_samples(task: Task, seed: int, dataset_size: int) -> Examples:
    """The first D samples of a seed's training stream, as NumPy arrays."""
    key = stream_key(seed, "train")
    blocks = [_sample_block(task, key, jnp.int32(start)) for start in range(0, dataset_size, _BLOCK)]
    return jax.tree.map(lambda *parts: np.concatenate(list(map(np.asarray, parts)))[:dataset_size], *blocks)


@functools.partial(jax.jit, static_argnums=0)
def _sample_block(task: Task, key: Key, start: Array) -> Examples:
    return task.sample(key, start + jnp.arange(_BLOCK, dtype=jnp.int32))
