"""A study: one task, one learner, a grid of context lengths, dataset sizes and seeds."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np

from simulator.grid import MAX_DATASET_SIZE, Run
from simulator.learners.base import Learner
from simulator.specification import SpecificationError, canonical_json, from_json
from simulator.studies.store import FORMAT
from simulator.tasks.base import Task
from theory.checks import Checked, check_integer, instance_of, integer, set_fields


@dataclasses.dataclass(frozen=True)
class Study(Checked):
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

    task: Annotated[Task, instance_of(Task, "a Task, as in SparseParity.paper_v1()")]
    learner: Annotated[Learner, instance_of(Learner, "a Learner, as in LeastSquares()")]
    context_lengths: Sequence[int] | np.ndarray
    dataset_sizes: Sequence[int] | np.ndarray
    seeds: Annotated[int, integer(1, 2**31 - 1)] = 4
    test_size: Annotated[int, integer(2, 2**31 - 1)] = 16384

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = _grid("context_lengths", self.context_lengths, 0, self.task.max_context_length)
        sizes = _grid("dataset_sizes", self.dataset_sizes, 1, MAX_DATASET_SIZE)
        set_fields(self, context_lengths=lengths, dataset_sizes=sizes)
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


def check_study(study: Any) -> None:
    """Raise TypeError for anything but a study."""
    if not isinstance(study, Study):
        raise TypeError(f"a study is a Study(task=..., learner=..., ...); got {study!r}")


def check_importable(study: Study, remedy: str) -> None:
    """Raise SpecificationError if another process cannot import the classes of a study."""
    if '"__main__.' in study.to_json():
        raise SpecificationError(
            "another process cannot import a task or learner defined in the script that is run; move it to a module of "
            f"its own, or {remedy}"
        )
