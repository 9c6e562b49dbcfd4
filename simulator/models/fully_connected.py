"""What fully connected networks share: how tokens enter, and how weights start."""

import abc
import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from simulator.models.base import Model, Parameters
from simulator.models.precision import Precision
from simulator.tasks.base import ContextLength, Examples, Key, Task
from simulator.tasks.threefry import fold_in, random_words
from theory.checks import check_number
from theory.types import Integer

_WIDE = 256
"""Width from which a single run keeps a core busy."""


@dataclasses.dataclass(frozen=True)
class FullyConnected(Model):
    """What :class:`MLP` and :class:`TwoBranchMLP` share: hidden layers, whatever stands between them."""

    @property
    @abc.abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Of all hidden layers."""

    @property
    def keeps_a_core_busy(self) -> bool:
        return max(self.widths) >= _WIDE

    def check_task(self, task: Task) -> None:
        pass  # every task

    def activations(self, task: Task) -> int:
        return max(self.widths)

    def state_size(self, context_length: Integer) -> int:
        """The tokens themselves: nothing is summed up."""
        return int(context_length)

    def features(
        self,
        task: Task,
        parameters: Parameters,
        examples: Examples,
        context_length: ContextLength,
        precision: Precision = "float32",
    ) -> dict[str, Float[Array, "B F"]]:
        """``"layer 0"`` and so on: what leaves each hidden layer, its activation included."""
        _, hidden = self.merged(task, parameters).layers(examples, context_length, precision)
        return {f"layer {i}": values for i, values in enumerate(hidden)}


def visible_inputs(
    examples: Examples,
    context_length: ContextLength,
    kernel: Float[Array, "rows o"],
    vocabulary_size: int | None,
    bit_values: Sequence[float],
) -> tuple[Float[Array, "B i"], Float[Array, "i o"]]:
    """Tokens as numbers, and the rows of a kernel that they meet.

    A length known when compiling leaves out what is out of sight; one that is not multiplies it by zero.
    """
    batch, L = examples.context.shape[:2]
    hidden = min(L - context_length, L - 1) if isinstance(context_length, int) else 0
    seen = jnp.arange(hidden, L) >= L - jnp.asarray(context_length, jnp.int32)
    tokens = _encoded(examples.context[:, hidden:], vocabulary_size, bit_values)
    inputs = jnp.where(seen[None, :, None], tokens, jnp.float32(0)).reshape(batch, -1)
    return inputs, kernel[hidden * (kernel.shape[0] // L) :]


def _encoded(context: Array, vocabulary_size: int | None, bit_values: Sequence[float]) -> Float[Array, "B L token"]:
    if vocabulary_size is None:
        return context.astype(jnp.float32).reshape(*context.shape[:2], -1)
    if vocabulary_size == 2:
        low, high = bit_values
        return jnp.where(context > 0, jnp.float32(high), jnp.float32(low))[:, :, None]
    return jax.nn.one_hot(context, vocabulary_size, dtype=jnp.float32)


def input_scale(task: Task, context_length: ContextLength, n_others: int) -> Float[Array, ""]:
    """1/sqrt(inputs in sight)."""
    visible = jnp.asarray(context_length, jnp.float32) * token_width(task) + n_others
    return jax.lax.rsqrt(jnp.maximum(visible, jnp.float32(1)))


def rows_by_distance(task: Task, key: Key, n_out: int) -> Float[Array, "i o"]:
    """Each distance has a key of its own, so that a token's weights do not depend on how many others there are."""
    L, token = task.max_context_length, token_width(task)
    return _uniform(fold_in(key, jnp.arange(L, 0, -1)), token * n_out).reshape(L * token, n_out)


def cut_from_one_draw(key: Key, shapes: Sequence[tuple[int, ...]]) -> list[Float[Array, "..."]]:
    """Arrays uniform on [-1, 1), cut from one draw: fewer draws, less to compile."""
    cuts = np.cumsum([math.prod(shape) for shape in shapes])
    pieces = jnp.split(_uniform(key[None], int(cuts[-1]))[0], cuts[:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def two_bit_values(values: Sequence[float]) -> tuple[float, ...]:
    """Two different numbers, or an error."""
    bits = tuple(check_number("a bit value", value) for value in values)
    if len(bits) != 2 or bits[0] == bits[1]:
        raise ValueError(f"bit_values must be two different numbers; got {values!r}")
    return bits


def token_width(task: Task) -> int:
    """Numbers that a token enters as."""
    if task.vocabulary_size is None:
        return task.n_channels
    return 1 if task.vocabulary_size == 2 else task.vocabulary_size


def _uniform(keys: Key, number: int) -> Float[Array, "keys number"]:
    """Uniform on [-1, 1), a multiple of 2^-22 each."""
    return (random_words(keys, number) >> jnp.uint32(9)).astype(jnp.float32) * jnp.float32(2.0**-22) - 1
