"""Ordinary least squares on the visible tokens, at every context length from one factorisation."""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from simulator.learners.base import Cost, FittedRun, KnownSteps, Learner, Run
from simulator.seeds import stream_key
from simulator.tasks.base import Examples, Key, Task
from simulator.tasks.gaussian_look_back import GaussianLookBack, IndependentTokens
from theory.learning_curves import least_squares_risk, minimum_norm_risk
from theory.types import Integer

_ROWS = 4096
"""Samples are taken in blocks of this many rows: memory does not grow with D, and neither do a run's bits depend on
which other dataset sizes share its factorisation."""

_RANK_TOLERANCE = 1e-10
"""Relative size below which a direction of the data is rounding: samples are float32, sums of them float64."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearPredictor:
    """Weights of all L tokens, oldest first; zero for those out of sight."""

    weights: Float[Array, "L"]
    context_length: Any

    def __call__(self, examples: Examples) -> Float[Array, "B"]:
        return jnp.matmul(examples.context, self.weights, precision="highest")


@dataclasses.dataclass(frozen=True)
class LeastSquares(Learner):
    """beta = argmin |X beta - y|^2 over the last l tokens, without intercept; of several solutions the shortest.

    With [X y] = Q R, columns nearest token first, the weights of all l <= D are
    beta_l = sum_{j<=l} z_j (R^-1)_{.j}, z the last column of R: one factorisation serves every context length. D is
    read in blocks, each appended to the triangle of those before it, so any D needs the memory of one block.
    Beyond l = D the minimum-norm solution of the same reduced system is taken. Arithmetic in float64.
    """

    def check_task(self, task: Task) -> None:
        if task.n_classes is not None or task.vocabulary_size is not None:
            raise ValueError(
                f"LeastSquares needs real-valued tokens and a real target; {type(task).__name__} has "
                f"{task.n_classes} classes. Use GradientDescent for classification"
            )

    def fit_runs(self, task: Task, runs: Sequence[Run]) -> Iterator[FittedRun]:
        for seed, of_seed in _grouped(runs, lambda run: run.seed):
            triangles = _Triangles(task, seed)
            for size, of_size in _grouped(of_seed, lambda run: run.dataset_size):
                weights = _nested_weights(triangles.at(size), sorted({run.context_length for run in of_size}))
                for run in of_size:
                    newest_first = weights[run.context_length]
                    oldest_first = np.zeros(task.max_context_length, np.float32)
                    oldest_first[task.max_context_length - run.context_length :] = newest_first[::-1]
                    yield FittedRun(run, LinearPredictor(jnp.asarray(oldest_first), run.context_length))

    def untrained(self, task: Task, context_length: Integer) -> LinearPredictor:
        return LinearPredictor(jnp.zeros(task.max_context_length, jnp.float32), context_length)

    def expected_risk(self, task: GaussianLookBack, context_length: Integer, dataset_size: Integer) -> float:
        """Exact expected loss over data sets; infinite at l = D-1, D, D+1; NaN where no closed form is known.

        See :mod:`theory.learning_curves.least_squares`.
        """
        error = task.prediction_error(context_length)
        if isinstance(task.process, IndependentTokens):
            risk = minimum_norm_risk(error, task.prediction_error(0) - error, context_length, dataset_size)
        else:
            risk = least_squares_risk(error, context_length, dataset_size)
        if task.loss == "log_loss":
            return task.bayes_risk(context_length) + float(risk - error) / (2 * error)
        return float(risk)

    def cost(self, task: Task, runs: Sequence[Run], known_steps: KnownSteps) -> Cost:
        L = task.max_context_length
        triangles = _Triangles(task, 0)
        triangles.at(_ROWS)  # compiles
        start = time.perf_counter()
        _Triangles(task, 0).at(_ROWS)
        per_row = (time.perf_counter() - start) / _ROWS
        triangle = triangles.at(L + 1)
        start = time.perf_counter()
        _nested_weights(triangle, [L])
        per_solve = time.perf_counter() - start
        seconds = 0.0
        for _, of_seed in _grouped(runs, lambda run: run.seed):
            sizes = sorted({run.dataset_size for run in of_seed})
            # Whole blocks are read once per seed, the remainder once per dataset size.
            seconds += per_row * (sizes[-1] // _ROWS * _ROWS + sum(size % _ROWS for size in sizes))
            for size in sizes:
                beyond = sum(run.dataset_size == size and run.context_length > size for run in of_seed)
                seconds += per_solve * (1 + beyond)
        group = f"least squares on {L} tokens: one factorisation per seed, {len({r.seed for r in runs})} seeds"
        return Cost((group,), seconds, (seconds, seconds), 16 * _ROWS * (L + 1) * 4)


def _grouped(runs: Sequence[Run], key: Callable[[Run], int]) -> list[tuple[int, list[Run]]]:
    return [(value, list(group)) for value, group in itertools.groupby(sorted(runs, key=key), key=key)]


class _Triangles:
    """Triangular factor of [X y], nearest token first, for the first D samples of a seed; ask for growing D."""

    def __init__(self, task: Task, seed: int):
        self.task, self.key = task, stream_key(seed, "train")
        self.whole_blocks = 0
        self.triangle = np.zeros((0, task.max_context_length + 1))
        self.block = (-1, self.triangle)

    def at(self, dataset_size: int) -> Float[np.ndarray, "rows columns"]:
        whole, rest = divmod(dataset_size, _ROWS)
        while self.whole_blocks < whole:
            self.triangle = self._with_more(_ROWS)
            self.whole_blocks += 1
        return self._with_more(rest) if rest else self.triangle

    def _with_more(self, rows: int) -> Float[np.ndarray, "rows columns"]:
        if self.block[0] != self.whole_blocks:
            # A whole block even for a small D: one program is compiled, whatever the dataset sizes.
            examples = _sample_block(self.task, self.key, jnp.int32(self.whole_blocks * _ROWS))
            columns = (np.asarray(examples.context)[:, ::-1], np.asarray(examples.target)[:, None])
            self.block = (self.whole_blocks, np.concatenate(columns, axis=1).astype(np.float64))
        stacked = np.concatenate([self.triangle, self.block[1][:rows]])
        triangle = scipy.linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0]
        return np.asarray(triangle)[: self.task.max_context_length + 1]


@functools.partial(jax.jit, static_argnums=0)
def _sample_block(task: Task, key: Key, start: Array) -> Examples:
    return task.sample(key, start + jnp.arange(_ROWS, dtype=jnp.int32))


def _nested_weights(
    triangle: Float[np.ndarray, "rows columns"], context_lengths: Sequence[int]
) -> dict[int, Float[np.ndarray, "l"]]:
    """Minimum-norm least-squares weights, nearest token first, for each of the context lengths."""
    R, z = triangle[:, :-1], triangle[:, -1]
    diagonal = np.abs(np.diag(R))
    # A vanishing diagonal means dependent columns; from there on the general solver decides.
    vanishing = diagonal <= diagonal.max(initial=0.0) * _RANK_TOLERANCE
    regular = int(np.argmax(vanishing)) if vanishing.any() else len(diagonal)
    inverse = scipy.linalg.solve_triangular(R[:regular, :regular], np.eye(regular), check_finite=False)
    nested = np.cumsum(inverse * z[None, :regular], axis=1)

    def weights(length: int) -> np.ndarray:
        if length == 0:
            return np.zeros(0)
        if length <= regular:
            return nested[:length, length - 1]
        solution = scipy.linalg.lstsq(R[:, :length], z, cond=_RANK_TOLERANCE, lapack_driver="gelsy", check_finite=False)
        return solution[0]  # pyright: ignore[reportOptionalSubscript]

    return {length: weights(length) for length in context_lengths}
