"""Asking for the next token after each token of a text, instead of after the last one only."""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from simulator.tasks.base import ContextLength, Examples, Index, Key, Task, TaskForm
from simulator.tasks.sampling import take_tokens
from theory.checks import instance_of
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class EveryPosition(Task):
    r"""The loss at all positions: the mean over the l + 1 tokens that follow 0, 1, ..., l visible ones.

    A language model is trained this way. The text must be stationary: then the token after j visible ones is predicted
    as well as the last one at context length j, and

        R(l) = (R_task(0) + R_task(1) + ... + R_task(l)) / (l + 1),

    never below R_task(l). Samples are those of the bare task, to the bit. A prediction has an axis of L + 1 positions
    before that of the outputs: (B, L+1, classes) or (B, L+1). Position i predicts token i of the text; the target is
    token L. The tokens of the first L - l positions are out of sight, and those positions are not counted.

    What was learned this way answers the bare task, too: ``dataclasses.replace(predictor, task=task.task)``.

    ``intrinsic_dimension`` and ``intrinsic_entropy`` are those of the bare task at the longest context.

    Worked example, a Markov chain of order 1 with R = ln 2 at l = 0 and 0.5 from l = 1 on::

        l      0      1      2      3
        R(l)   0.693  0.597  0.564  0.548

    Attributes:
        task: the bare task.
    """

    task: Annotated[Task, instance_of(Task, "a task")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.task.is_stationary_text:
            raise ValueError(
                f"task must be one stationary text, whose target is its next token; {type(self.task).__name__} is not, "
                f"as given: {self.task!r:.200}"
            )

    @property
    def form(self) -> TaskForm:
        return dataclasses.replace(self.task.form, is_stationary_text=False, every_position=True)

    def bayes_risk(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return math.fsum(map(self.task.bayes_risk, range(int(context_length) + 1))) / (int(context_length) + 1)

    def intrinsic_dimension(self, context_length: Integer) -> float:
        return self.task.intrinsic_dimension(context_length)

    def intrinsic_entropy(self, context_length: Integer) -> float | None:
        return self.task.intrinsic_entropy(context_length)

    def sample(self, key: Key, index: Index) -> Examples:
        return self.task.sample(key, index)

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B P *outputs"]:
        self.check_length(context_length)
        self.check_examples(examples)
        seen = self._seen(context_length)

        def predict(position: Array) -> Array:
            return self.task.bayes_prediction(_before(examples, position), seen[position])

        return jnp.moveaxis(jax.lax.map(predict, jnp.arange(self.max_context_length + 1)), 0, 1)

    def pointwise_loss(
        self, prediction: Float[Array, "B P *outputs"], examples: Examples, context_length: ContextLength
    ) -> Float[Array, "B"]:
        """The mean over positions of what the bare task gives."""
        return self._mean(self.task.pointwise_loss, examples, context_length, prediction)

    def pointwise_divergence(
        self,
        bayes: Float[Array, "B P *outputs"],
        prediction: Float[Array, "B P *outputs"],
        examples: Examples,
        context_length: ContextLength,
    ) -> Float[Array, "B"]:
        """The mean over positions of what the bare task gives."""
        return self._mean(self.task.pointwise_divergence, examples, context_length, bayes, prediction)

    def _seen(self, context_length: ContextLength) -> Int[Array, "P"]:
        """Visible tokens before each position; none also where the position itself is out of sight."""
        first = self.max_context_length - jnp.asarray(context_length, jnp.int32)
        return jnp.maximum(jnp.arange(self.max_context_length + 1) - first, 0)

    def _mean(
        self, measure, examples: Examples, context_length: ContextLength, *predictions: Array
    ) -> Float[Array, "B"]:
        positions = jnp.arange(self.max_context_length + 1)
        length = jnp.asarray(context_length, jnp.int32)

        def measure_one(position: Array, seen: Array, *parts: Array) -> Array:
            return measure(*parts, _before(examples, position), seen)

        measure_each = jax.vmap(measure_one, in_axes=(0, 0, *[1] * len(predictions)), out_axes=1)
        values = measure_each(positions, self._seen(length), *predictions)
        counted = positions >= self.max_context_length - length
        return jnp.sum(jnp.where(counted[None, :], values, 0), axis=1) / (length + 1).astype(jnp.float32)

    def token_name(self, token: int) -> str:
        return self.task.token_name(token)


def _before(examples: Examples, position: Int[Array, ""]) -> Examples:
    """The text up to a position as a context, what there is none of filled with its first token."""
    L = examples.context.shape[1]
    places = jnp.broadcast_to(jnp.maximum(position - L + jnp.arange(L), 0)[None, :], examples.context.shape[:2])
    target = jnp.asarray(examples.target, examples.context.dtype)
    text = jnp.concatenate([examples.context, target[:, None]], axis=1)
    return Examples(take_tokens(examples.context, jnp.minimum(places, L - 1)), examples.query, text[:, position])
