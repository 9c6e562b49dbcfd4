"""The contract of a learner: runs in, predictors out."""

import abc
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Array, Float

from simulator.grid import Cost, KnownSteps, Run
from simulator.tasks.base import Examples, Task
from theory.checks import Checked
from theory.types import Integer

StoppedBy: TypeAlias = Literal["solved", "patience", "last step", "diverged"]
"""Why a run ended: it was solved in closed form, its validation loss stopped falling, or as the words say."""


@runtime_checkable
class Predictor(Protocol):
    """What a learner learned: a pytree, called on whole examples, of which it sees its own context length."""

    @property
    def context_length(self) -> Any: ...

    def __call__(self, examples: Examples) -> Float[Array, "B *outputs"]: ...


@dataclasses.dataclass(frozen=True)
class FittedRun:
    """The outcome of one run.

    Attributes:
        run: which one.
        predictor: what was learned.
        steps: optimiser steps taken; 0 for closed forms.
        stopped_by: why the run ended.
        validation_losses: validation loss at each evaluation.
        evaluation_steps: steps taken before each evaluation.
        best_step: steps taken before what was learned was selected; 0 where the untrained predictor was.
        reported_loss: a loss the learner's protocol reports in place of the test loss, or None.
        configuration_losses: smallest validation loss of each of the learner's configurations; infinite where it
            diverged. Empty where the learner does not choose.
        chosen: number of the configuration that was chosen, or None.
    """

    run: Run
    predictor: Predictor
    steps: int = 0
    stopped_by: StoppedBy = "solved"
    validation_losses: tuple[float, ...] = ()
    evaluation_steps: tuple[int, ...] = ()
    best_step: int = 0
    reported_loss: float | None = None
    configuration_losses: tuple[float, ...] = ()
    chosen: int | None = None


class Learner(Checked, abc.ABC):
    """A rule that turns samples of a task into a predictor: a frozen dataclass of plain values."""

    @abc.abstractmethod
    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """The runs in groups that are best made together, in the order in which they are best begun."""

    @abc.abstractmethod
    def fit_groups(self, task: Task, groups: Iterable[Sequence[Run]]) -> Iterator[FittedRun]:
        """Make the runs of all groups, yielding each as it is done; a group is drawn when there is room for it.

        The result of a run depends on (task, learner, run) alone, to the bit, and never on the other runs.
        """

    def fit_runs(self, task: Task, runs: Sequence[Run]) -> Iterator[FittedRun]:
        """Make the runs in whatever order and grouping is fastest, yielding each as it is done."""
        return self.fit_groups(task, self.groups(runs))

    @property
    def configurations(self) -> tuple[dict[str, Any], ...]:
        """The settings among which the learner chooses in each run; none if it does not choose."""
        return ()

    @abc.abstractmethod
    def check_task(self, task: Task) -> None:
        """Raise ValueError unless the learner can learn tasks of this kind."""

    @abc.abstractmethod
    def cost(self, task: Task, runs: Sequence[Run], known_steps: KnownSteps) -> Cost:
        """Expected time and memory of the runs; nothing is trained."""

    @abc.abstractmethod
    def untrained(self, task: Task, context_length: Integer) -> Predictor:
        """A predictor of the kind this learner returns, before it has seen any data."""

    def fit(self, task: Task, context_length: Integer, dataset_size: Integer, seed: Integer) -> Predictor:
        """Learn from the first D samples of the seed's training stream, seeing the last l tokens of each.

        Raises:
            ValueError: l outside 0..L, D < 1, a negative seed, or a task this learner cannot learn.
        """
        run = Run.checked(task, context_length, dataset_size, seed)
        self.check_task(task)
        (fitted,) = self.fit_runs(task, [run])
        return fitted.predictor
