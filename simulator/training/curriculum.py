"""Curricula over context length: how much of its context a run sees while it learns, and under which positions."""

import dataclasses
import math
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from simulator.models.attention import Transformer
from simulator.models.base import Model
from simulator.models.positions import Positions
from simulator.random.draws import choose, thresholds, uniform_below
from simulator.random.threefry import random_words
from simulator.tasks.base import ContextLength, Key
from theory.checks import Checked, NonNegative, Positive, check_sequence, instance_of, integer, such_that


@dataclasses.dataclass(frozen=True)
class Stage(Checked):
    """A part of a run that sees all of the run's context; a curriculum is a sequence of stages.

    Attributes:
        share: fraction of the run's steps that belong to the stage.
        positions: rule of a Transformer's positions during the stage. ``None`` keeps the model's own rule. Parameters
            are selected and tested with the rule of the last stage.
    """

    share: Positive = 1.0
    positions: Annotated[Positions, instance_of(Positions, "a rule, as in RoPE(), or None")] | None = None

    def visible(
        self, context_length: ContextLength, progress: Float[Array, ""], key: Key, batch: int
    ) -> ContextLength | Int[Array, "B"]:
        """How many tokens are seen, by all samples of a batch or by each.

        Args:
            context_length: l of the run.
            progress: fraction of the stage's steps taken so far.
            key: random key of the step.
            batch: number of samples.
        """
        return context_length


@dataclasses.dataclass(frozen=True)
class ShortContext(Stage):
    """Only the last few tokens are seen, as in the first stage of short-then-long training (Grattafiori et al. 2024,
    arXiv 2407.21783; DeepSeek-AI 2024, arXiv 2412.19437).

    Attributes:
        context_length: number of tokens seen. A run with a shorter context sees all of its context.
    """

    context_length: Annotated[int, integer(0)] = 1

    def visible(
        self, context_length: ContextLength, progress: Float[Array, ""], key: Key, batch: int
    ) -> ContextLength | Int[Array, "B"]:
        if isinstance(context_length, int):
            return min(context_length, self.context_length)
        return jnp.minimum(context_length, self.context_length)


@dataclasses.dataclass(frozen=True)
class Ramp(Stage):
    """The number of tokens seen grows linearly to the run's.

    Attributes:
        shortest: number of tokens seen at first.
    """

    shortest: Annotated[int, integer(0)] = 1

    def visible(
        self, context_length: ContextLength, progress: Float[Array, ""], key: Key, batch: int
    ) -> ContextLength | Int[Array, "B"]:
        longest = jnp.asarray(context_length, jnp.int32)
        first = jnp.minimum(longest, self.shortest)
        grown = jnp.floor((longest - first + 1).astype(jnp.float32) * progress).astype(jnp.int32)
        return jnp.minimum(first + grown, longest)


@dataclasses.dataclass(frozen=True)
class RandomContext(Stage):
    """Each sample shows the whole context of the run or a random number of its tokens.

    A sample shows the whole context with probability ``whole``. Otherwise it shows a number of tokens that is drawn
    anew each time, uniformly from ``shortest`` to the run's context length. The network learns to serve all context
    lengths. The synthetic experiment of arXiv 2502.01481 v4 masks its 60 bits in this way, with shortest=10 and
    whole=0.5. It puts a mask token in place of a hidden bit. Here a hidden token is absent.

    Attributes:
        shortest: smallest number of tokens seen.
        whole: fraction of the samples that show the whole context.
    """

    shortest: Annotated[int, integer(0)] = 0
    whole: Annotated[NonNegative, such_that(lambda w: w <= 1, "is a share of the samples, at most 1")] = 0.5

    def visible(
        self, context_length: ContextLength, progress: Float[Array, ""], key: Key, batch: int
    ) -> ContextLength | Int[Array, "B"]:
        longest = jnp.asarray(context_length, jnp.int32)
        first = jnp.minimum(longest, self.shortest)
        words = random_words(key[None], 2 * batch)[0]
        some = first + uniform_below(words[:batch], jnp.broadcast_to(longest - first + 1, batch))
        shows_all = choose(words[batch:], thresholds(np.array([self.whole, 1 - self.whole]))) == 0
        return jnp.where(shows_all, longest, some)


def checked(curriculum: Any, model: Model) -> tuple[Stage, ...]:
    """The stages as a tuple, or an error that says why the model cannot be trained in them."""
    stages = check_sequence("curriculum", curriculum)
    if not stages or not all(isinstance(stage, Stage) for stage in stages):
        raise TypeError(
            f"curriculum must be stages, as in (ShortContext(0.8, context_length=32), Stage(0.2)); got {stages!r}"
        )
    total = math.fsum(stage.share for stage in stages)
    if abs(total - 1) > 1e-9:
        raise ValueError(f"the shares of a curriculum's stages must add up to 1; got {total:.6g}")
    for stage in stages:
        in_stage(model, stage)
    return stages


def in_stage(model: Model, stage: Stage) -> Model:
    """The model with the stage's positions; it has the same parameters."""
    if stage.positions is None:
        return model
    if not isinstance(model, Transformer):
        raise ValueError(f"{type(model).__name__} has no rule of positions to switch: leave positions None")
    other, own = (
        f"{rule.n_learned} vectors of positions and {rule.n_distances} of distances"
        for rule in (stage.positions, model.positions)
    )
    if other != own:
        raise ValueError(
            f"a run keeps its parameters from stage to stage, but {type(stage.positions).__name__} has {other}, and "
            f"{type(model.positions).__name__}, the model's, {own}"
        )
    return dataclasses.replace(model, positions=stage.positions)
