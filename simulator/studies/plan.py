"""What running a study would take; nothing is trained."""

import dataclasses
import os
import pathlib
import tempfile
import time

import numpy as np

from simulator.grid import Cost, Run
from simulator.learners.evaluation import evaluate
from simulator.specification import canonical_json
from simulator.studies.run import finished_runs
from simulator.studies.store import Store
from simulator.studies.study import Study, check_study


@dataclasses.dataclass(frozen=True)
class Plan:
    """What running a study would take.

    Attributes:
        n_runs: number of runs of the grid.
        n_finished: number of runs already in the store.
        cost: cost of the remaining runs.
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
    check_study(study)
    runs = study.runs()
    pending, known = list(runs), {}
    kept = None if store is None else Store(pathlib.Path(store))
    if kept is not None and kept.check():
        results = dict(finished_runs(study, kept, runs, put_aside=False))
        pending = [run for run in runs if run not in results]
        known = {run: result.steps for run, result in results.items()}
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
        for number in range(4):
            store.write(f"{canonical_json(study)} {number}", {}, {})
        writing = (time.perf_counter() - begin) / 4
    return compiling, evaluating + writing


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
