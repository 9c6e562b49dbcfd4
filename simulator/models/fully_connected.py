"""Code that fully connected networks share: how tokens enter, and how weights start."""

import abc
import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from simulator.models.base import Model
from simulator.models.precision import Precision, linear
from simulator.random.threefry import fold_in, random_uniforms
from simulator.tasks.base import ContextLength, Examples, Key, Task
from theory.checks import check_number
from theory.types import Integer

_WIDE = 256
"""Width from which a single run keeps a core busy."""


@dataclasses.dataclass(frozen=True)
class FullyConnected(Model):
    """The description of a network of fully connected hidden layers."""

    @property
    @abc.abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Width of each hidden layer."""

    @property
    def keeps_a_core_busy(self) -> bool:
        return max(self.widths, default=1) >= _WIDE

    def check_task(self, task: Task) -> None:
        if task.every_position:
            raise ValueError(
                f"{type(self).__name__} answers once, at the end of a context: train it on the bare task of "
                f"{type(task).__name__}, or take a sequence model, as in Transformer()"
            )

    def activations(self, task: Task, context_length: Integer) -> int:
        return max(self.widths, default=1)

    def state_size(self, context_length: Integer) -> int:
        """The number of visible tokens, because the network keeps the tokens themselves."""
        return int(context_length)


class FullyConnectedNetwork(nnx.Module):
    """A first layer on the visible tokens, and weights for further layers. Features are numbered by layer.

    Weights and biases start uniform on +-1/sqrt(fan-in). The fan-in of the first layer counts visible inputs only.
    """

    def __init__(
        self,
        task: Task,
        key: Key,
        context_length: ContextLength,
        first: int,
        layers: Sequence[tuple[int, int]],
        bit_values: Sequence[float],
        n_others: int = 0,
    ):
        """Draw all weights.

        The first layer has width ``first`` and reads ``n_others`` inputs beside the tokens. The further ``layers``
        are pairs (inputs, outputs).
        """
        context_key, other_key = jax.random.split(key)
        L, token = task.max_context_length, token_width(task)
        visible = jnp.asarray(context_length, jnp.float32) * token + n_others
        scale = jax.lax.rsqrt(jnp.maximum(visible, jnp.float32(1)))
        # Each distance has a key of its own, so that a token's weights do not depend on how many others there are.
        rows = random_uniforms(fold_in(context_key, jnp.arange(L, 0, -1)), token * first)
        self.context_kernel = nnx.Param(scale * rows.reshape(L * token, first))
        # All other weights are cut from one draw: fewer draws, less to compile.
        shapes = [(n_others, first), (first,), *(shape for i, o in layers for shape in ((i, o), (o,)))]
        cuts = np.cumsum([math.prod(shape) for shape in shapes])
        pieces = jnp.split(random_uniforms(other_key[None], int(cuts[-1]))[0], cuts[:-1])
        others, bias, *rest = (piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True))
        self.query_kernel, self.first_bias = nnx.Param(scale * others), nnx.Param(scale * bias)
        self.kernels = nnx.List([nnx.Param(i**-0.5 * w) for (i, _), w in zip(layers, rest[::2], strict=True)])
        self.biases = nnx.List([nnx.Param(i**-0.5 * w) for (i, _), w in zip(layers, rest[1::2], strict=True)])
        self.vocabulary_size, self.bit_values = task.vocabulary_size, tuple(bit_values)

    def __call__(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> Float[Array, "B outputs"]:
        return self.layers(examples, context_length, precision)[0]

    def features(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> dict[str, Float[Array, "B F"]]:
        """Activations of each hidden layer, named ``"layer 0"`` and so on."""
        _, hidden = self.layers(examples, context_length, precision)
        return {f"layer {i}": values for i, values in enumerate(hidden)}

    @abc.abstractmethod
    def layers(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> tuple[Float[Array, "B outputs"], list[Float[Array, "B F"]]]:
        """The outputs, and the activations of each hidden layer."""

    def first_layer(
        self,
        examples: Examples,
        context_length: ContextLength,
        precision: Precision,
        others: Float[Array, "B n"] | None = None,
    ) -> Float[Array, "B F"]:
        """The first layer's output for the visible tokens and the other inputs.

        If the context length is known when compiling, tokens that are not visible are left out. Otherwise they are
        multiplied by zero.
        """
        batch, L = examples.context.shape[:2]
        hidden = min(L - context_length, L - 1) if isinstance(context_length, int) else 0
        seen = jnp.arange(hidden, L) >= L - jnp.asarray(context_length, jnp.int32)
        tokens = _encoded(examples.context[:, hidden:], self.vocabulary_size, self.bit_values)
        inputs = jnp.where(seen[None, :, None], tokens, jnp.float32(0)).reshape(batch, -1)
        kernel = self.context_kernel[...]
        kernel = kernel[hidden * (kernel.shape[0] // L) :]
        if others is not None:
            inputs = jnp.concatenate([inputs, others], axis=1)
            kernel = jnp.concatenate([kernel, self.query_kernel[...]])
        return linear(inputs, kernel, self.first_bias[...], precision)


def two_bit_values(name: str, values: Sequence[float]) -> tuple[float, ...]:
    """The two values as numbers.

    Raises:
        ValueError: there are not exactly two values, or they are equal.
    """
    bits = tuple(check_number("a bit value", value) for value in values)
    if len(bits) != 2 or bits[0] == bits[1]:
        raise ValueError(f"{name} must be two different numbers; got {values!r}")
    return bits


def token_width(task: Task) -> int:
    """How many numbers encode one token."""
    if task.vocabulary_size is None:
        return task.n_channels
    return 1 if task.vocabulary_size == 2 else task.vocabulary_size


def _encoded(context: Array, vocabulary_size: int | None, bit_values: Sequence[float]) -> Float[Array, "B L token"]:
    if vocabulary_size is None:
        return context.astype(jnp.float32).reshape(*context.shape[:2], -1)
    if vocabulary_size == 2:
        low, high = bit_values
        return jnp.where(context > 0, jnp.float32(high), jnp.float32(low))[:, :, None]
    return jax.nn.one_hot(context, vocabulary_size, dtype=jnp.float32)
