"""The nearest neighbour: what can be learned when nothing is assumed of the target but that it is smooth."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from simulator.learners.closed_form import ClosedForm
from simulator.tasks.base import Examples, Task
from theory.types import Integer

_BLOCK = 4096
"""Bayes predictions made at once: one program is compiled, whatever the dataset sizes and lengths."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeighbourPredictor:
    """The answer of the nearest training context.

    Attributes:
        contexts: visible tokens of the training samples, zero out of sight; shape (D, L C).
        answers: their targets; shape (D,) or (D, S).
        context_length: l.
    """

    contexts: Float[Array, "D inputs"]
    answers: Float[Array, "D *steps"]
    context_length: Any

    def __call__(self, examples: Examples) -> Float[Array, "B *steps"]:
        tokens = examples.context
        age = jnp.arange(tokens.shape[1], 0, -1)
        visible = (age <= self.context_length).reshape(1, -1, *(1 for _ in tokens.shape[2:]))
        asked = jnp.where(visible, tokens, jnp.float32(0)).reshape(len(tokens), -1)

        def nearest(context: Array) -> Array:
            return self.answers[jnp.argmin(jnp.sum((self.contexts - context[None, :]) ** 2, axis=1))]

        return jax.lax.map(nearest, asked)


@dataclasses.dataclass(frozen=True)
class NearestNeighbour(ClosedForm):
    """Q_l(x) = y_j, j = argmin_i |x_i - x|^2 over the visible parts of the D training contexts; no constant is tuned.

    With noise of variance R(l), which holds the unseen tokens' part, and D points of density f on a manifold of
    dimension d,

        E (Q_l - P_l)^2 = R(l) + E (P_l(x_j) - P_l(x))^2,       the last ~ E|grad P_l|^2/d E|x_j - x|^2 ~ D^(-2/d)

    (:func:`theory.learning_curves.nearest_neighbour_distance`): the resolution-limited regime in which the exponent of
    learning is 2/dim(l). The noise comes twice, once in the answer and once in the target: the loss tends to 2 R(l).

    With ``labels="bayes"`` every training context is answered by P_l itself, without noise, as by a perfect teacher:
    the first term is gone, and what is left is resolution alone.

    Attributes:
        labels: ``"answers"``, the targets of the samples, or ``"bayes"``.
    """

    labels: Literal["answers", "bayes"] = "answers"

    def check_task(self, task: Task) -> None:
        if task.n_classes is not None or task.vocabulary_size is not None or task.every_position:
            raise ValueError(
                f"NearestNeighbour needs real-valued tokens and one real answer; got {task!r:.100}. Use "
                "GradientDescent for it"
            )

    def learn(self, task: Task, samples: Examples, context_length: int) -> NeighbourPredictor:
        answers = samples.target if self.labels == "answers" else _bayes_answers(task, samples, context_length)
        contexts = np.array(samples.context)
        contexts[:, : task.max_context_length - context_length] = 0
        return NeighbourPredictor(
            jnp.asarray(contexts.reshape(len(contexts), -1)), jnp.asarray(answers), context_length
        )

    def untrained(self, task: Task, context_length: Integer) -> NeighbourPredictor:
        steps = () if task.n_steps == 1 else (task.n_steps,)
        n_inputs = task.max_context_length * task.n_channels
        return NeighbourPredictor(jnp.zeros((1, n_inputs)), jnp.zeros((1, *steps)), int(context_length))


def _bayes_answers(task: Task, samples: Examples, context_length: int) -> np.ndarray:
    """P_l of each sample's context."""
    n = len(samples.query)
    starts = range(0, n, _BLOCK)
    # Past the last sample the first ones fill the block.
    blocks = [
        Examples(*(field.take(np.arange(i, i + _BLOCK), axis=0, mode="wrap") for field in samples)) for i in starts
    ]
    return np.concatenate([np.asarray(_bayes_block(task, block, context_length)) for block in blocks])[:n]


@functools.partial(jax.jit, static_argnums=0)
def _bayes_block(task: Task, block: Examples, context_length: Any) -> Array:
    return task.bayes_prediction(block, context_length)
