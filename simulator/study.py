"""A study: one task, one learner, a grid of context lengths, dataset sizes and seeds."""

import dataclasses
import itertools
import os
import pathlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from simulator.evaluation import evaluate
from simulator.learners.base import MAX_DATASET_SIZE, Cost, FittedRun, Learner, Run
from simulator.results import as_table
from simulator.specification import canonical_json, digest, from_json
from simulator.store import FORMAT, Store
from simulator.tasks.base import Task
from theory.checks import check_integer, set_fields


@dataclasses.dataclass(frozen=True)
class Study:
    """What is to be measured. A frozen value: equal studies give equal numbers.

    A run is named by its spec, not by code: after changing what a task or learner of your own computes, change its spec
    too (a version field will do), or use another store.

    Attributes:
        task: generates the data and knows the truth.
        learner: learns from D samples at each context length.
        context_lengths: increasing, each in 0..L.
        dataset_sizes: increasing, each at least 1. Data sets are nested: a smaller one begins a larger one.
        seeds: number of seeds; each draws its own data, initial weights, order and test set, which all context lengths
            and dataset sizes of that seed share.
        test_size: samples of the test set.
    """

    task: Task
    learner: Learner
    context_lengths: Sequence[int] | np.ndarray
    dataset_sizes: Sequence[int] | np.ndarray
    seeds: int = 4
    test_size: int = 16384

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise TypeError(f"task must be a Task, as in SparseParity.paper_v1(); got {self.task!r}")
        if not isinstance(self.learner, Learner):
            raise TypeError(f"learner must be a Learner, as in LeastSquares(); got {self.learner!r}")
        lengths = _grid("context_lengths", self.context_lengths, 0, self.task.max_context_length)
        sizes = _grid("dataset_sizes", self.dataset_sizes, 1, MAX_DATASET_SIZE)
        seeds = check_integer("seeds", self.seeds, 1, 2**31 - 1)
        test_size = check_integer("test_size", self.test_size, 2, 2**31 - 1)
        set_fields(self, context_lengths=lengths, dataset_sizes=sizes, seeds=seeds, test_size=test_size)
        self.learner.check_task(self.task)

    def runs(self) -> list[Run]:
        """Every run of the grid."""
        return [
            Run(length, size, seed)
            for seed in range(self.seeds)
            for size in self.dataset_sizes
            for length in self.context_lengths
        ]

    def run_spec(self, run: Run) -> str:
        """Everything a run's numbers depend on, as canonical JSON; its hash names the run."""
        return canonical_json(_RunSpec(self.task, self.learner, run, self.test_size, FORMAT))

    def to_json(self) -> str:
        """The study as canonical JSON."""
        return canonical_json(self)

    @staticmethod
    def from_json(text: str) -> "Study":
        """The study that :meth:`to_json` wrote."""
        study = from_json(text)
        if not isinstance(study, Study):
            raise ValueError(f"the JSON describes a {type(study).__name__}, not a Study")
        return study


def _grid(name: str, values: Iterable[Any], minimum: int, maximum: int) -> tuple[int, ...]:
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise TypeError(f"{name} must be a sequence of integers, as in (1, 2, 4); got {values!r}")
    grid = tuple(check_integer(f"an entry of {name}", value, minimum, maximum) for value in values)
    if not grid:
        raise ValueError(f"{name} is empty: give at least one value")
    if any(a >= b for a, b in itertools.pairwise(grid)):
        raise ValueError(f"{name} must increase without repeats; got {grid}. sorted(set(...)) makes it so")
    return grid


@dataclasses.dataclass(frozen=True)
class _RunSpec:
    task: Task
    learner: Learner
    run: Run
    test_size: int
    format: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What running a study would take.

    Attributes:
        n_runs: runs of the grid.
        n_finished: those already in the store.
        cost: of the others.
    """

    n_runs: int
    n_finished: int
    cost: Cost

    def __str__(self) -> str:
        low, high = self.cost.seconds_range
        spread = "" if high <= 1.2 * low else f" (between {_duration(low)} and {_duration(high)}, by early stopping)"
        return "\n".join(
            [
                f"runs:    {self.n_runs}, {self.n_finished} finished and {self.n_runs - self.n_finished} to do",
                *(f"shape:   {group}" for group in self.cost.shape_groups),
                f"time:    about {_duration(self.cost.seconds)}{spread}",
                f"memory:  about {self.cost.memory_bytes / 2**20:.0f} MiB beyond the bare process",
            ]
        )


def plan(study: Study, store: str | os.PathLike[str] | None = None) -> Plan:
    """What is to do, in how many compiled shapes, and about how long it will take. Nothing is trained.

    The cost of a step and of an evaluation is timed on an untrained model. Where early stopping makes the number of
    steps unknown, finished runs of nearby dataset size in the store tell it; without any, the geometric mean of the
    least and the most possible is taken.
    """
    _check_study(study)
    runs = study.runs()
    pending, known = list(runs), {}
    if store is not None and _open(store).check():
        results = dict(_finished(study, _open(store), runs, put_aside=False))
        pending = [run for run in runs if run not in results]
        known = {run: result["steps"] for run, result in results.items()}
    if not pending:
        return Plan(len(runs), len(runs), Cost((), 0.0, (0.0, 0.0), 0))

    def known_steps(run: Run) -> float | None:
        if not known:
            return None
        nearest = min(known, key=lambda k: abs(np.log(k.dataset_size / run.dataset_size)))
        return float(np.mean([s for k, s in known.items() if k.dataset_size == nearest.dataset_size]))

    cost = study.learner.cost(study.task, pending, known_steps)
    compiling, each = _evaluation_cost(study)
    extra = compiling + each * len(pending)
    low, high = cost.seconds_range
    cost = dataclasses.replace(cost, seconds=cost.seconds + extra, seconds_range=(low + extra, high + extra))
    return Plan(len(runs), len(runs) - len(pending), cost)


def run(study: Study, store: str | os.PathLike[str] | None = None, *, progress: bool = True) -> xr.Dataset:
    """Make every run of a study that is not in the store yet, and return the table of all.

    Runs are kept as they finish: stop the process at any moment, call again, and it continues; the table is the same
    to the bit.

    Args:
        study: what to run.
        store: folder of finished runs; None to keep nothing.
        progress: show a bar with the time left.

    Returns:
        A Dataset over (context_length, dataset_size, seed); see :func:`simulator.results.as_table`.

    Raises:
        StoreError: the store is of another format, not writable, or its disk is full.
    """
    _check_study(study)
    runs = study.runs()
    kept = None if store is None else _open(store)
    if kept is not None:
        kept.open()
    results = {} if kept is None else dict(_finished(study, kept, runs))
    pending = [run for run in runs if run not in results]
    # Seconds are no part of a result: they differ from one time to the next.
    bar = tqdm(total=len(runs), initial=len(results), desc="runs", unit="run", disable=not progress, mininterval=0.5)
    with bar:
        before = time.perf_counter()
        for fitted in study.learner.fit_runs(study.task, pending) if pending else ():
            result = _measure(study, fitted)
            results[fitted.run] = result
            if kept is not None:
                spec, now = study.run_spec(fitted.run), time.perf_counter()
                kept.write(digest(spec), spec, result, {"seconds_since_previous": now - before})
                before = now
            bar.update()
    names = {run: digest(study.run_spec(run)) for run in runs}
    return as_table(study, results, names)


def _check_study(study: Any) -> None:
    if not isinstance(study, Study):
        raise TypeError(f"a study is a Study(task=..., learner=..., ...); got {study!r}")


def _open(path: str | os.PathLike[str]) -> Store:
    return Store(pathlib.Path(path))


def _finished(
    study: Study, store: Store, runs: Iterable[Run], *, put_aside: bool = True
) -> Iterator[tuple[Run, dict[str, Any]]]:
    for run in runs:
        spec = study.run_spec(run)
        result = store.read(digest(spec), spec, put_aside=put_aside)
        if result is not None:
            yield run, result


def _measure(study: Study, fitted: FittedRun) -> dict[str, Any]:
    """The stored result of a run: plain values, with None for what is not finite."""
    measured = dataclasses.asdict(evaluate(study.task, fitted.predictor, fitted.run.seed, study.test_size))
    loss = fitted.reported_loss
    if loss is None:
        loss = study.task.bayes_risk(fitted.run.context_length) + measured["approximation_loss"]
    measured["loss"] = loss
    diverged = fitted.diverged or not all(np.isfinite(value) for value in measured.values())
    return {
        **{name: None if diverged else value for name, value in measured.items()},
        "diverged": diverged,
        "steps": fitted.steps,
        "validation_losses": [value if np.isfinite(value) else None for value in fitted.validation_losses],
    }


def _evaluation_cost(study: Study) -> tuple[float, float]:
    """Seconds of compiling the evaluation, and of evaluating and keeping one run."""
    predictor = study.learner.untrained(study.task, study.context_lengths[0])

    def timed() -> float:
        begin = time.perf_counter()
        evaluate(study.task, predictor, 0, study.test_size)
        return time.perf_counter() - begin

    compiling = timed()
    evaluating = min(timed() for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(pathlib.Path(folder) / "store")
        store.open()
        begin = time.perf_counter()
        for name in ("aa", "bb", "cc", "dd"):
            store.write(name, canonical_json(study), {}, {})
        writing = (time.perf_counter() - begin) / 4
    return compiling, evaluating + writing


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
