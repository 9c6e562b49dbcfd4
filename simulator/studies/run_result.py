"""What is kept of a run: described once, for the store, the table and the figures."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from simulator.learners.base import FittedRun, StoppedBy
from simulator.learners.evaluation import Evaluation, evaluate
from simulator.tasks.base import Task

_MEANINGS = {
    "loss": "expected loss: Bayes risk + approximation loss (selection='paper': minimum over validation)",
    "approximation_loss": "KL(P_l || Q_l), or excess squared error, against the Bayes predictor on the test contexts",
    "approximation_loss_standard_error": "standard error of approximation_loss over test contexts",
    "test_loss": "mean loss on the sampled targets of the test set",
    "test_loss_standard_error": "standard error of test_loss over test samples",
}


@dataclasses.dataclass(frozen=True)
class RunResult(Evaluation):
    """The numbers of a finished run, in the unit of the task's loss. The losses are NaN if the run diverged.

    Attributes:
        loss: Bayes risk plus approximation loss, or the loss that the learner's protocol reports in its place.
        diverged: whether a loss became infinite or NaN.
        steps: optimiser steps taken; 0 for closed forms.
        stopped_by: why the run ended (:data:`simulator.learners.base.StoppedBy`). ``"unknown"`` where a store was
            written before this was kept.
        best_step: steps taken before what was learned was selected; -1 where unknown.
        evaluation_steps: steps taken before each evaluation; empty where unknown.
        validation_losses: validation loss at each evaluation; NaN where it was not finite.
        configuration_losses: smallest validation loss of each of the learner's configurations; NaN where it diverged.
            Empty where the learner does not choose.
        chosen: number of the configuration that was chosen, or None.
    """

    loss: float
    diverged: bool
    steps: int
    stopped_by: StoppedBy | Literal["unknown"]
    best_step: int
    evaluation_steps: tuple[int, ...]
    validation_losses: tuple[float, ...]
    configuration_losses: tuple[float, ...] = ()
    chosen: int | None = None

    @classmethod
    def losses(cls) -> dict[str, str]:
        """The name of each loss and standard error, and what it means."""
        return dict(_MEANINGS)

    @classmethod
    def measured(cls, task: Task, fitted: FittedRun, test_size: int) -> "RunResult":
        """Evaluate a fitted run on the test set of its seed."""
        run = fitted.run
        found = dataclasses.asdict(evaluate(task, fitted.predictor, run.seed, test_size))
        reported = fitted.reported_loss
        expected = task.bayes_risk(run.context_length) + found["approximation_loss"]
        found["loss"] = expected if reported is None else reported
        diverged = fitted.stopped_by == "diverged" or not all(map(math.isfinite, found.values()))
        return cls(
            **{name: math.nan if diverged else value for name, value in found.items()},
            diverged=diverged,
            steps=fitted.steps,
            stopped_by="diverged" if diverged else fitted.stopped_by,
            best_step=fitted.best_step,
            evaluation_steps=fitted.evaluation_steps,
            validation_losses=_finite(fitted.validation_losses),
            configuration_losses=_finite(fitted.configuration_losses),
            chosen=fitted.chosen,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, which has no NaN: None stands for it."""
        plain = dataclasses.asdict(self)
        plain["validation_losses"] = [_or_none(value) for value in self.validation_losses]
        plain["configuration_losses"] = [_or_none(value) for value in self.configuration_losses]
        if self.chosen is None:  # a file is the same as before learners could choose
            del plain["configuration_losses"], plain["chosen"]
        return plain | {name: _or_none(plain[name]) for name in _MEANINGS}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "RunResult":
        """The result that :meth:`to_json` wrote."""
        losses = {name: _or_nan(plain[name]) for name in _MEANINGS}
        return cls(
            **losses,
            diverged=plain["diverged"],
            steps=plain["steps"],
            stopped_by=plain.get("stopped_by", "diverged" if plain["diverged"] else "unknown"),
            best_step=plain.get("best_step", -1),
            evaluation_steps=tuple(plain.get("evaluation_steps", ())),
            validation_losses=tuple(map(_or_nan, plain["validation_losses"])),
            configuration_losses=tuple(map(_or_nan, plain.get("configuration_losses", ()))),
            chosen=plain.get("chosen"),
        )


def _finite(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(value if math.isfinite(value) else math.nan for value in values)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
