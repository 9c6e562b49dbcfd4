"""A fully connected network that makes features of the context before it reads the query."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Shaped

from simulator.models.base import Parameters, as_prediction, n_outputs
from simulator.models.fully_connected import FullyConnected, FullyConnectedNetwork, token_width, two_bit_values
from simulator.models.precision import Precision, linear
from simulator.tasks.base import ContextLength, Examples, Key, Task
from theory.checks import Count, NonNegative
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class TwoBranchMLP(FullyConnected):
    """A branch that turns the context into a linear feature vector, and a head that reads these features and the query.

    visible tokens -> hidden layer, leaky ReLU -> features; [features, one-hot query] -> hidden layer, leaky ReLU ->
    outputs. The branch does not know the query, so its features must hold the answer to every query. This is the
    network of arXiv 2502.01481 v1-v3, which measures the intrinsic dimension of these features. Tokens enter and
    weights start as in :class:`MLP`.

    Attributes:
        context_width: width of the branch's hidden layer.
        n_features: F, width of the bottleneck.
        head_width: width of the head's hidden layer.
        negative_slope: slope of both activations below zero.
        bit_values: numbers that encode the bits 0 and 1.
    """

    context_width: Count = 400
    n_features: Count = 80
    head_width: Count = 200
    negative_slope: NonNegative = 0.001
    bit_values: Annotated[Sequence[float], two_bit_values] = (0.0, 1.0)

    @property
    def widths(self) -> tuple[int, ...]:
        return self.context_width, self.n_features, self.head_width

    def flops(self, task: Task, context_length: Integer) -> int:
        """Invisible tokens do not count."""
        branch = (int(context_length) * token_width(task), self.context_width, self.n_features)
        head = (self.n_features + task.n_queries, self.head_width, n_outputs(task))
        return 2 * sum(i * o for sizes in (branch, head) for i, o in itertools.pairwise(sizes))

    def network(self, task: Task, key: Key, context_length: ContextLength) -> nnx.Module:
        return TwoBranchNetwork(self, task, key, context_length)

    def apply_to_queries(
        self,
        task: Task,
        parameters: Parameters,
        context: Shaped[Array, "B L *channels"],
        context_length: ContextLength,
        queries: Int[Array, "n"],
        shown: Bool[Array, "B *n L"] | None = None,
        precision: Precision = "float32",
    ) -> Float[Array, "B n *outputs"]:
        """The branch reads each context once."""
        if shown is not None:
            return super().apply_to_queries(task, parameters, context, context_length, queries, shown, precision)
        network = self.merged(task, parameters)
        return as_prediction(task, network.answers(context, context_length, queries, precision))


class TwoBranchNetwork(FullyConnectedNetwork):
    """The module behind :class:`TwoBranchMLP`; layer 1 is the feature vector."""

    def __init__(self, spec: TwoBranchMLP, task: Task, key: Key, context_length: ContextLength):
        head = (spec.n_features + task.n_queries, spec.head_width, n_outputs(task))
        layers = [(spec.context_width, spec.n_features), *itertools.pairwise(head)]
        super().__init__(task, key, context_length, spec.context_width, layers, spec.bit_values)
        self.n_queries, self.slope = task.n_queries, spec.negative_slope

    def layers(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> tuple[Float[Array, "B outputs"], list[Float[Array, "B F"]]]:
        def layer(number: int, inputs: Float[Array, "B i"]) -> Float[Array, "B o"]:
            return linear(inputs, self.kernels[number][...], self.biases[number][...], precision)

        context = self._activated(self.first_layer(examples, context_length, precision))
        features = layer(0, context)
        query = jax.nn.one_hot(examples.query, self.n_queries, dtype=jnp.float32)
        head = self._activated(layer(1, jnp.concatenate([features, query], axis=1)))
        return layer(2, head), [context, features, head]

    def answers(
        self,
        context: Shaped[Array, "B L *channels"],
        context_length: ContextLength,
        queries: Int[Array, "n"],
        precision: Precision,
    ) -> Float[Array, "B n outputs"]:
        """The outputs for each query. The head's first layer adds a term of the context and a term of the query."""
        anything = jnp.zeros(context.shape[0], jnp.int32)
        _, (_, features, _) = self.layers(Examples(context, anything, anything), context_length, precision)
        kernel, bias = self.kernels[1][...], self.biases[1][...]
        of_context = linear(features, kernel[: features.shape[1]], bias, precision)
        query = jax.nn.one_hot(queries, self.n_queries, dtype=jnp.float32)
        of_query = linear(query, kernel[features.shape[1] :], jnp.zeros_like(bias), precision)
        head = self._activated(of_context[:, None] + of_query[None])
        outputs = linear(head.reshape(-1, kernel.shape[1]), self.kernels[2][...], self.biases[2][...], precision)
        return outputs.reshape(*head.shape[:2], -1)

    def _activated(self, x: Float[Array, "*batch F"]) -> Float[Array, "*batch F"]:
        return jnp.where(x > 0, x, self.slope * x)
