"""Fully connected networks on the visible tokens and the query."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from simulator.models.base import Model, n_outputs
from simulator.models.precision import Precision, linear
from simulator.tasks.base import ContextLength, Examples, Key, Task
from simulator.tasks.threefry import fold_in, random_words
from theory.checks import check_integer, check_non_negative, check_number, set_fields

_LEAK_OF_IDENTITY = 1.0


@dataclasses.dataclass(frozen=True)
class MLP(Model):
    """Linear layers with leaky ReLU between them: [visible tokens, one-hot query] -> hidden layers -> outputs.

    Binary tokens enter as ``bit_values``, tokens of larger vocabularies as one-hot vectors, real-valued ones as they
    are; invisible tokens enter as zeros. Weights and biases start uniform on +-1/sqrt(fan-in), the fan-in of the first
    layer being that of the visible inputs.

    Attributes:
        hidden_sizes: width of every hidden layer.
        negative_slopes: slope of each hidden layer's activation below zero: 0 is ReLU, 1 no activation at all.
            Empty for ReLU everywhere.
        bit_values: what the bits 0 and 1 enter as.
    """

    hidden_sizes: Sequence[int] = (64, 64)
    negative_slopes: Sequence[float] = ()
    bit_values: Sequence[float] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        if not isinstance(self.hidden_sizes, Sequence):
            raise TypeError(f"hidden_sizes must be a sequence, as in (64, 64); got {self.hidden_sizes!r}")
        sizes = tuple(check_integer("a hidden size", size, 1) for size in self.hidden_sizes)
        slopes = tuple(check_non_negative("a negative slope", slope) for slope in self.negative_slopes)
        if not sizes:
            raise ValueError("hidden_sizes must name at least one hidden layer; got ()")
        if slopes and len(slopes) != len(sizes):
            raise ValueError(f"{len(sizes)} hidden layers need as many negative_slopes (or none); got {len(slopes)}")
        bits = tuple(check_number("a bit value", value) for value in self.bit_values)
        if len(bits) != 2 or bits[0] == bits[1]:
            raise ValueError(f"bit_values must be two different numbers; got {self.bit_values!r}")
        set_fields(self, hidden_sizes=sizes, negative_slopes=slopes, bit_values=bits)

    @classmethod
    def paper_v1(cls) -> "MLP":
        """The network of the paper's synthetic experiment: 400-200-400, the 200 a linear bottleneck, slopes 0.0015.

        Public code of arXiv 2502.01481 v1-v3; bits enter as 0 and 1.
        """
        return cls((400, 200, 400), (0.0015, _LEAK_OF_IDENTITY, 0.0015), (0.0, 1.0))

    @property
    def width(self) -> int:
        return max(self.hidden_sizes)

    def network(self, task: Task, key: Key, context_length: ContextLength) -> nnx.Module:
        return MLPNetwork(self, task, key, context_length)


class MLPNetwork(nnx.Module):
    """The module behind :class:`MLP`."""

    def __init__(self, spec: MLP, task: Task, key: Key, context_length: ContextLength):
        context_key, other_key = jax.random.split(key)
        L, token = task.max_context_length, _token_width(task)
        n_queries = task.n_queries if task.n_queries > 1 else 0
        first = spec.hidden_sizes[0]
        visible = jnp.asarray(context_length, jnp.float32) * token + n_queries
        scale = jax.lax.rsqrt(jnp.maximum(visible, jnp.float32(1)))
        # Each distance has a key of its own, so that a token's weights do not depend on how many others there are.
        rows = _uniform(fold_in(context_key, jnp.arange(L, 0, -1)), token * first)
        self.context_kernel = nnx.Param(scale * rows.reshape(L * token, first))
        # All other weights are cut from one draw: fewer draws, less to compile.
        layers = list(itertools.pairwise((*spec.hidden_sizes, n_outputs(task))))
        shapes = [(n_queries, first), (first,), *(shape for i, o in layers for shape in ((i, o), (o,)))]
        cuts = np.cumsum([math.prod(shape) for shape in shapes])
        pieces = jnp.split(_uniform(other_key[None], int(cuts[-1]))[0], cuts[:-1])
        query, bias, *rest = (piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True))
        self.query_kernel, self.first_bias = nnx.Param(scale * query), nnx.Param(scale * bias)
        self.kernels = nnx.List([nnx.Param(i**-0.5 * w) for (i, _), w in zip(layers, rest[::2], strict=True)])
        self.biases = nnx.List([nnx.Param(i**-0.5 * w) for (i, _), w in zip(layers, rest[1::2], strict=True)])
        self.slopes = spec.negative_slopes or (0.0,) * len(spec.hidden_sizes)
        self.bit_values = spec.bit_values
        self.vocabulary_size = task.vocabulary_size
        self.n_queries = n_queries

    def __call__(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> Float[Array, "B outputs"]:
        batch, L = examples.context.shape[:2]
        # A length known when compiling leaves out what is out of sight; one that is not multiplies it by zero.
        hidden = min(L - context_length, L - 1) if isinstance(context_length, int) else 0
        seen = jnp.arange(hidden, L) >= L - jnp.asarray(context_length, jnp.int32)
        tokens = self._encode(examples.context[:, hidden:])
        inputs = jnp.where(seen[None, :, None], tokens, jnp.float32(0)).reshape(batch, -1)
        kernel = self.context_kernel[...]
        kernel = kernel[hidden * (kernel.shape[0] // L) :]
        if self.n_queries:
            query = jax.nn.one_hot(examples.query, self.n_queries, dtype=jnp.float32)
            inputs = jnp.concatenate([inputs, query], axis=1)
            kernel = jnp.concatenate([kernel, self.query_kernel[...]])
        outputs = linear(inputs, kernel, self.first_bias[...], precision)
        for slope, kernel, bias in zip(self.slopes, self.kernels, self.biases, strict=True):
            active = jnp.where(outputs > 0, outputs, slope * outputs)
            outputs = linear(active, kernel[...], bias[...], precision)
        return outputs

    def _encode(self, context: Array) -> Float[Array, "B L token"]:
        if self.vocabulary_size is None:
            return context.astype(jnp.float32).reshape(*context.shape[:2], -1)
        if self.vocabulary_size == 2:
            low, high = self.bit_values
            return jnp.where(context > 0, jnp.float32(high), jnp.float32(low))[:, :, None]
        return jax.nn.one_hot(context, self.vocabulary_size, dtype=jnp.float32)


def _token_width(task: Task) -> int:
    if task.vocabulary_size is None:
        return task.n_channels
    return 1 if task.vocabulary_size == 2 else task.vocabulary_size


def _uniform(keys: Key, number: int) -> Float[Array, "keys number"]:
    """Uniform on [-1, 1), a multiple of 2^-22 each."""
    return (random_words(keys, number) >> jnp.uint32(9)).astype(jnp.float32) * jnp.float32(2.0**-22) - 1
