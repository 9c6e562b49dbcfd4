"""A fully connected network whose features of the context do not know the question."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from simulator.models.base import n_outputs
from simulator.models.fully_connected import (
    FullyConnected,
    cut_from_one_draw,
    input_scale,
    rows_by_distance,
    token_width,
    two_bit_values,
    visible_inputs,
)
from simulator.models.precision import Precision, linear
from simulator.tasks.base import ContextLength, Examples, Key, Task
from theory.checks import check_integer, check_non_negative, set_fields
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class TwoBranchMLP(FullyConnected):
    """A branch that reads the context alone and ends in a linear feature vector; a head that reads it and the query.

    visible tokens -> hidden layer, leaky ReLU -> features; [features, one-hot query] -> hidden layer, leaky ReLU ->
    outputs. The features are made before the question is known, so they must hold the answer to every question: the
    network of arXiv 2502.01481 v1-v3 whose features the intrinsic dimension is measured in. Tokens enter and weights
    start as in :class:`MLP`.

    Attributes:
        context_width: of the branch's hidden layer.
        n_features: F, the bottleneck.
        head_width: of the head's hidden layer.
        negative_slope: of both activations below zero.
        bit_values: what the bits 0 and 1 enter as.
    """

    context_width: int = 400
    n_features: int = 80
    head_width: int = 200
    negative_slope: float = 0.001
    bit_values: Sequence[float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        sizes = {n: check_integer(n, getattr(self, n), 1) for n in ("context_width", "n_features", "head_width")}
        slope = check_non_negative("negative_slope", self.negative_slope)
        set_fields(self, **sizes, negative_slope=slope, bit_values=two_bit_values(self.bit_values))

    @property
    def widths(self) -> tuple[int, ...]:
        return self.context_width, self.n_features, self.head_width

    def flops(self, task: Task, context_length: Integer) -> int:
        """Tokens that are not seen have no part in it."""
        branch = (int(context_length) * token_width(task), self.context_width, self.n_features)
        head = (self.n_features + task.n_queries, self.head_width, n_outputs(task))
        return 2 * sum(i * o for sizes in (branch, head) for i, o in itertools.pairwise(sizes))

    def network(self, task: Task, key: Key, context_length: ContextLength) -> nnx.Module:
        return TwoBranchNetwork(self, task, key, context_length)


class TwoBranchNetwork(nnx.Module):
    """The module behind :class:`TwoBranchMLP`; layer 1 is the feature vector."""

    def __init__(self, spec: TwoBranchMLP, task: Task, key: Key, context_length: ContextLength):
        context_key, other_key = jax.random.split(key)
        self.n_queries, self.vocabulary_size = task.n_queries, task.vocabulary_size
        self.slope, self.bit_values = spec.negative_slope, spec.bit_values
        scale = input_scale(task, context_length, 0)
        self.context_kernel = nnx.Param(scale * rows_by_distance(task, context_key, spec.context_width))
        inner = (spec.context_width, spec.n_features)
        head = (spec.n_features + task.n_queries, spec.head_width, n_outputs(task))
        layers = [inner, *itertools.pairwise(head)]
        shapes = [(spec.context_width,), *(shape for i, o in layers for shape in ((i, o), (o,)))]
        bias, *rest = cut_from_one_draw(other_key, shapes)
        self.first_bias = nnx.Param(scale * bias)
        self.kernels = nnx.List([nnx.Param(i**-0.5 * w) for (i, _), w in zip(layers, rest[::2], strict=True)])
        self.biases = nnx.List([nnx.Param(i**-0.5 * w) for (i, _), w in zip(layers, rest[1::2], strict=True)])

    def __call__(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> Float[Array, "B outputs"]:
        return self.layers(examples, context_length, precision)[0]

    def layers(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> tuple[Float[Array, "B outputs"], list[Float[Array, "B F"]]]:
        """The outputs, and what leaves each hidden layer."""
        inputs, kernel = visible_inputs(
            examples, context_length, self.context_kernel[...], self.vocabulary_size, self.bit_values
        )
        (inner, of_head, last) = (
            functools.partial(linear, kernel=k[...], bias=b[...], precision=precision)
            for k, b in zip(self.kernels, self.biases, strict=True)
        )
        context = self._activated(linear(inputs, kernel, self.first_bias[...], precision))
        features = inner(context)
        query = jax.nn.one_hot(examples.query, self.n_queries, dtype=jnp.float32)
        head = self._activated(of_head(jnp.concatenate([features, query], axis=1)))
        return last(head), [context, features, head]

    def _activated(self, x: Float[Array, "B F"]) -> Float[Array, "B F"]:
        return jnp.where(x > 0, x, self.slope * x)
