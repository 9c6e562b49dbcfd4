"""One cell of a grid: what is trained, and what it is expected to cost."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

from simulator.tasks.base import Task
from theory.checks import check_integer
from theory.types import Integer

MAX_DATASET_SIZE = 2**31 - 2**24
"""Samples are numbered by 32-bit integers, with room for one batch."""


@dataclasses.dataclass(frozen=True, order=True)
class Run:
    """One training: a context length, a dataset size, and a seed."""

    context_length: int
    dataset_size: int
    seed: int

    @classmethod
    def checked(cls, task: Task, context_length: Integer, dataset_size: Integer, seed: Integer) -> "Run":
        """The run.

        Raises:
            ValueError: a number is out of range; the message names it.
        """
        return cls(
            check_integer("context_length", context_length, 0, task.max_context_length),
            check_integer("dataset_size", dataset_size, 1, MAX_DATASET_SIZE),
            check_integer("seed", seed, 0, 2**31 - 1),
        )


@dataclasses.dataclass(frozen=True)
class Trial(Run):
    """One of several trainings of a run, with settings of its own. A setting that is None is the recipe's.

    Attributes:
        configuration: number of the training.
        learning_rate: peak learning rate.
        weight_decay: weight decay.
        restart: number of the initialisation. 0 is that of the run.
    """

    configuration: int = 0
    learning_rate: float | None = None
    weight_decay: float | None = None
    restart: int | None = None


@dataclasses.dataclass(frozen=True)
class Cost:
    """The expected cost of several runs.

    Attributes:
        shape_groups: one line for each program that is compiled.
        seconds: expected time.
        seconds_range: shortest and longest time. They differ if the number of steps is not known beforehand.
        memory_bytes: expected peak memory of the runs, without that of the bare process.
    """

    shape_groups: tuple[str, ...]
    seconds: float
    seconds_range: tuple[float, float]
    memory_bytes: int


KnownSteps: TypeAlias = Callable[[Run], float | None]
"""Number of steps that finished runs like this one took, or None where there are none."""
