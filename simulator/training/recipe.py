"""A training recipe: a network, its optimiser, and when a run is evaluated and ends."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from simulator.models.base import Model
from simulator.models.mlp import MLP
from simulator.models.precision import Precision
from simulator.training.curriculum import Stage, checked, in_stage
from simulator.training.patience import GrowingPatience, check_patience
from theory.checks import Checked, NonNegative, Positive, check_integer, instance_of, integer, set_fields, such_that

_Count: TypeAlias = Annotated[int, integer(1, 2**31 - 1)]


@dataclasses.dataclass(frozen=True)
class Recipe(Checked):
    """AdamW with gradient clipping and early stopping on a validation set.

    Every epoch visits each of the D samples once, in an order of its own. The selected parameters are those with the
    smallest validation loss.

    Attributes:
        model: the network.
        steps: maximum number of optimiser steps. Set exactly one of ``steps`` and ``epochs``.
        epochs: maximum number of passes over the D samples.
        batch_size: samples per step. A batch never holds a sample twice, so it holds D samples if D < batch_size.
        learning_rate: peak learning rate of AdamW.
        schedule: learning rate after the warm-up: ``"constant"``, or ``"cosine"`` or ``"linear"`` decay to zero at the
            last step.
        warmup: fraction of the steps over which the learning rate rises linearly from zero.
        weight_decay: decoupled weight decay of AdamW.
        gradient_clip: largest global norm of a gradient; ``None`` does not clip.
        evaluation_every: steps between two evaluations, or epochs if ``epochs`` is set. The default is 100 steps or 1
            epoch.
        patience: a run stops after this many evaluations without improvement; ``None`` never stops early. A
            :class:`simulator.training.patience.GrowingPatience` waits longer in a longer run. Counting starts with the
            last stage of the curriculum.
        validation_size: samples of the validation set.
        selection: ``"validation"`` reports the selected parameters on a fresh test set. ``"paper"`` reports the minimum
            over validation, as the public code of arXiv 2502.01481 does. That number is biased, most at small D.
        precision: precision of training and validation, ``"float32"`` or ``"mixed"`` (see
            :func:`simulator.models.precision.linear`). The test is in float32.
        side_by_side: runs trained in one batch on each device. ``None`` takes the number that was fastest where it was
            measured (:func:`simulator.training.batching.runs_per_device`). The last digits of a run depend on it.
        curriculum: stages of a run (see :mod:`simulator.training.curriculum`). By default a run sees all of its context
            from the first step on.
    """

    model: Annotated[Model, instance_of(Model, "a Model, as in MLP(hidden_sizes=(64, 64))")] = MLP()
    steps: _Count | None = None
    epochs: _Count | None = None
    batch_size: Annotated[int, integer(1, 2**24)] = 64
    learning_rate: Positive = 5e-3
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: Annotated[NonNegative, such_that(lambda w: w < 1, "is a share of the steps, below 1")] = 0.0
    weight_decay: NonNegative = 0.1
    gradient_clip: Positive | None = 1.0
    evaluation_every: _Count | None = None
    patience: Annotated[int | GrowingPatience, check_patience] | None = 5
    validation_size: _Count = 2048
    selection: Literal["validation", "paper"] = "validation"
    precision: Precision = "float32"
    side_by_side: _Count | None = None
    curriculum: Sequence[Stage] = (Stage(),)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(
                "give exactly one of steps and epochs, as in steps=6000; "
                f"got steps={self.steps!r}, epochs={self.epochs!r}"
            )
        set_fields(self, curriculum=checked(self.curriculum, self.model))

    def optimizer(
        self,
        last_step: int | Int[Array, ""],
        learning_rate: Float[Array, ""] | None = None,
        weight_decay: Float[Array, ""] | None = None,
    ) -> optax.GradientTransformation:
        """Clipping, then AdamW. Both see all parameters as one vector, which compiles faster.

        A learning rate or a weight decay that is given takes the place of the recipe's.
        """
        clip = optax.identity() if self.gradient_clip is None else optax.clip_by_global_norm(self.gradient_clip)
        rate = self.learning_rate_at(last_step, learning_rate)
        decay: Any = self.weight_decay if weight_decay is None else weight_decay
        return optax.flatten(optax.chain(clip, optax.adamw(rate, weight_decay=decay)))

    def learning_rate_at(
        self, last_step: int | Int[Array, ""], peak: Any = None
    ) -> float | Float[Array, ""] | Callable[[Any], Any]:
        """The learning rate, or a function from the number of steps taken to the learning rate.

        A peak that is given takes the place of the recipe's.
        """
        peak, rest = self.learning_rate if peak is None else peak, 1 - self.warmup
        along = {
            "constant": optax.constant_schedule(peak),
            "cosine": optax.cosine_decay_schedule(peak, rest),  # pyright: ignore[reportArgumentType]
            "linear": optax.linear_schedule(peak, 0.0, rest),  # pyright: ignore[reportArgumentType]
        }[self.schedule]
        if self.warmup:
            rising = optax.linear_schedule(0.0, peak, self.warmup)  # pyright: ignore[reportArgumentType]
            along = optax.join_schedules([rising, along], [self.warmup])  # pyright: ignore[reportArgumentType]
        elif self.schedule == "constant":
            return peak
        return lambda count: along((jnp.asarray(count, jnp.float32) + 0.5) / last_step)

    @property
    def looks_at_untrained(self) -> bool:
        """Whether the initial parameters can be selected. The paper evaluates after each epoch only."""
        return self.selection == "validation"

    def last_step(self, dataset_size: int) -> int:
        """Maximum number of steps of a run."""
        if self.steps is not None:
            return self.steps
        steps = (self.epochs or 0) * self._steps_per_epoch(dataset_size)
        return check_integer(
            f"the number of steps of {self.epochs} epochs over {dataset_size} samples", steps, 1, 2**31 - 1
        )

    def chunk_steps(self, dataset_size: int) -> int:
        """Steps from one evaluation to the next."""
        if self.steps is not None:
            return min(self.evaluation_every or 100, self.steps)
        return min((self.evaluation_every or 1) * self._steps_per_epoch(dataset_size), self.last_step(dataset_size))

    def _steps_per_epoch(self, dataset_size: int) -> int:
        return -(-dataset_size // self.batch_size)

    @property
    def stopping(self) -> GrowingPatience:
        """The patience as a rule."""
        return self.patience if isinstance(self.patience, GrowingPatience) else GrowingPatience.fixed(self.patience)

    @property
    def tested_model(self) -> Model:
        """The model in the last stage of the curriculum."""
        return in_stage(self.model, self.curriculum[-1])

    @property
    def last_stage_begins(self) -> float:
        """Fraction of the steps before the last stage of the curriculum."""
        return math.fsum(stage.share for stage in self.curriculum[:-1])
