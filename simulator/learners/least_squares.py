"""Ordinary least squares on the visible tokens, at every context length from one factorisation."""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from simulator.grid import Cost, KnownSteps, Run
from simulator.learners.base import FittedRun, Learner
from simulator.machine.stopping import stop_if_asked
from simulator.random.streams import stream_key
from simulator.tasks.base import Examples, Key, Task
from simulator.tasks.gaussian_look_back import GaussianLookBack
from simulator.tasks.gaussian_processes import IndependentTokens
from simulator.tasks.gaussian_task import GaussianTask
from simulator.tasks.wrappers.irrelevant_tokens import IrrelevantTokens
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
    """Weights of all L tokens, oldest first, and of the channels of each; zero for those out of sight."""

    weights: Float[Array, "inputs *steps"]
    context_length: Any

    def __call__(self, examples: Examples) -> Float[Array, "B *steps"]:
        inputs = examples.context.reshape(examples.context.shape[0], -1)
        return jnp.matmul(inputs, self.weights, precision="highest")


@dataclasses.dataclass(frozen=True)
class LeastSquares(Learner):
    """beta = argmin |X beta - y|^2 over the last l tokens, without intercept; of several solutions the shortest.

    A token of C channels has C columns, p = l C in all; S targets are S problems with one X. With [X y] = Q R, columns
    nearest token first, the weights of every p <= D solve R_{1..p,1..p} beta = z_{1..p}, z the last S columns of R, and
    the inverse of a triangle begins with the inverses of all smaller ones: one factorisation serves every length. D is
    read in blocks, each appended to the triangle of those before it, so any D needs the memory of one block. Beyond
    p = D the minimum-norm solution of the same reduced system is taken.
    Arithmetic in float64.
    """

    def check_task(self, task: Task) -> None:
        if task.n_classes is not None or task.vocabulary_size is not None:
            raise ValueError(
                f"{type(self).__name__} needs real-valued tokens and a real target; {type(task).__name__} has "
                f"{task.n_classes} classes. Use GradientDescent for classification"
            )
        if task.every_position:
            raise ValueError(
                f"{type(self).__name__} answers once, at the end of a context: give the bare task of {task!r:.100}"
            )

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        return [of_seed for _, of_seed in _grouped(runs, lambda run: run.seed)]

    def fit_groups(self, task: Task, groups: Iterable[Sequence[Run]]) -> Iterator[FittedRun]:
        for group in groups:
            for seed, of_seed in _grouped(group, lambda run: run.seed):
                triangles = _Triangles(task, seed)
                for size, of_size in _grouped(of_seed, lambda run: run.dataset_size):
                    lengths = sorted({run.context_length for run in of_size})
                    columns = [length * task.n_channels for length in lengths]
                    triangle = self.penalised(triangles.at(size), size, task.n_steps)
                    weights = _nested_weights(triangle, columns, task.n_steps)
                    for run in of_size:
                        nearest_first = weights[run.context_length * task.n_channels]
                        yield FittedRun(run, _predictor(task, run.context_length, nearest_first))
                    stop_if_asked()

    def penalised(
        self, triangle: Float[np.ndarray, "rows columns"], dataset_size: int, n_steps: int
    ) -> Float[np.ndarray, "rows2 columns"]:
        """The triangular factor whose nested solutions are the weights: of the bare data, here."""
        return triangle

    def untrained(self, task: Task, context_length: Integer) -> LinearPredictor:
        return _predictor(task, context_length, np.zeros((context_length * task.n_channels, task.n_steps)))

    def expected_risk(self, task: Task, context_length: Integer, dataset_size: Integer) -> float:
        """Exact expected loss over data sets, p = l C regressors: infinite at p = D-1, D, D+1; NaN if not known.

        See :mod:`theory.learning_curves.least_squares`; the mean over the steps. Irrelevant tokens at hidden, fixed
        places count as regressors and change nothing else: with k relevant ones among the last l,
        V(k) (D-1)/(D-p-1).

        Raises:
            ValueError: a task that is not Gaussian, or padded with marks or repeats, which are not.
        """
        bare, length = _gaussian(task, context_length)
        errors, regressors = bare.prediction_errors(length), context_length * task.n_channels
        if isinstance(bare, GaussianLookBack) and isinstance(bare.process, IndependentTokens):
            signal = bare.prediction_errors(0) - errors
            risks = minimum_norm_risk(errors, signal, regressors, dataset_size)
        else:
            risks = least_squares_risk(errors, regressors, dataset_size)
        return mean_loss(task, context_length, errors, risks)

    def cost(self, task: Task, runs: Sequence[Run], known_steps: KnownSteps) -> Cost:
        L, n_columns = task.max_context_length, _n_columns(task)
        triangles = _Triangles(task, 0)
        triangles.at(_ROWS)  # compiles
        start = time.perf_counter()
        _Triangles(task, 0).at(_ROWS)
        per_row = (time.perf_counter() - start) / _ROWS
        triangle = triangles.at(n_columns)
        start = time.perf_counter()
        _nested_weights(self.penalised(triangle, n_columns, task.n_steps), [n_columns - task.n_steps], task.n_steps)
        per_solve = time.perf_counter() - start
        seconds = 0.0
        for _, of_seed in _grouped(runs, lambda run: run.seed):
            sizes = sorted({run.dataset_size for run in of_seed})
            # Whole blocks are read once per seed, the remainder once per dataset size.
            seconds += per_row * (sizes[-1] // _ROWS * _ROWS + sum(size % _ROWS for size in sizes))
            for size in sizes:
                beyond = sum(
                    run.dataset_size == size and run.context_length * task.n_channels > size for run in of_seed
                )
                seconds += per_solve * (1 + beyond)
        group = f"{type(self).__name__} on {L} tokens: one factorisation per seed, {len({r.seed for r in runs})} seeds"
        return Cost((group,), seconds, (seconds, seconds), 16 * _ROWS * n_columns * 4)


def mean_loss(
    task: Task, context_length: Integer, errors: Float[np.ndarray, "steps"], risks: Float[np.ndarray, "steps"]
) -> float:
    """The loss of a Gaussian task whose steps have expected squared errors ``risks``, V_s(l) ``errors`` at best."""
    if task.loss == "log_loss":
        return task.bayes_risk(context_length) + float(np.mean((risks - errors) / (2 * errors)))
    return float(np.mean(risks))


def _gaussian(task: Task, context_length: Integer) -> tuple[GaussianTask, int]:
    """The Gaussian task, and how many of its own tokens are among the last l."""
    if isinstance(task, GaussianTask):
        return task, int(context_length)
    if (
        isinstance(task, IrrelevantTokens)
        and isinstance(task.task, GaussianTask)
        and task.relevance == "hidden"
        and task.kind != "repeat"
    ):
        (length,) = task.relevant_in_sight(context_length)
        return task.task, length
    raise ValueError(
        "the expected risk of least squares is known for Gaussian tasks, and for these with hidden irrelevant tokens "
        f"that are no repeats; got {task}"
    )


def _grouped(runs: Sequence[Run], key: Callable[[Run], int]) -> list[tuple[int, list[Run]]]:
    return [(value, list(group)) for value, group in itertools.groupby(sorted(runs, key=key), key=key)]


def _n_columns(task: Task) -> int:
    return task.max_context_length * task.n_channels + task.n_steps


def _predictor(task: Task, context_length: Integer, nearest_first: Float[np.ndarray, "p S"]) -> LinearPredictor:
    L, C, S = task.max_context_length, task.n_channels, task.n_steps
    weights = np.zeros((L, C, S), np.float32)
    weights[L - context_length :] = nearest_first.reshape(-1, C, S)[::-1]
    weights = weights.reshape(L * C, S)
    return LinearPredictor(jnp.asarray(weights[:, 0] if S == 1 else weights), context_length)


class _Triangles:
    """Triangular factor of [X y], nearest token first, for the first D samples of a seed; ask for growing D."""

    def __init__(self, task: Task, seed: int):
        self.task, self.key = task, stream_key(seed, "train")
        self.whole_blocks = 0
        self.triangle = np.zeros((0, _n_columns(task)))
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
            columns = (np.asarray(examples.context)[:, ::-1].reshape(_ROWS, -1), examples.target.reshape(_ROWS, -1))
            self.block = (self.whole_blocks, np.concatenate(columns, axis=1).astype(np.float64))
        stacked = np.concatenate([self.triangle, self.block[1][:rows]])
        triangle = scipy.linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0]
        return np.asarray(triangle)[: _n_columns(self.task)]


@functools.partial(jax.jit, static_argnums=0)
def _sample_block(task: Task, key: Key, start: Array) -> Examples:
    return task.sample(key, start + jnp.arange(_ROWS, dtype=jnp.int32))


def _nested_weights(
    triangle: Float[np.ndarray, "rows columns"], numbers: Sequence[int], n_steps: int
) -> dict[int, Float[np.ndarray, "p S"]]:
    """Minimum-norm least-squares weights of the first p columns, for each of the numbers p."""
    R, z = triangle[:, :-n_steps], triangle[:, -n_steps:]
    diagonal = np.abs(np.diag(R))
    # A vanishing diagonal means dependent columns; from there on the general solver decides.
    vanishing = diagonal <= diagonal.max(initial=0.0) * _RANK_TOLERANCE
    regular = int(np.argmax(vanishing)) if vanishing.any() else len(diagonal)

    inverse = scipy.linalg.solve_triangular(R[:regular, :regular], np.eye(regular), check_finite=False)

    def weights(p: int) -> np.ndarray:
        if p <= regular:
            return np.einsum("ij,js->is", inverse[:p, :p], z[:p])  # in this thread: the order of its sums is one
        solution = scipy.linalg.lstsq(R[:, :p], z, cond=_RANK_TOLERANCE, lapack_driver="gelsy", check_finite=False)
        return solution[0]  # pyright: ignore[reportOptionalSubscript]

    return {p: weights(p) for p in numbers}
