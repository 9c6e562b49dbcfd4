"""Parameters and layers that the sequence models share."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from simulator.models.precision import Precision, linear
from simulator.random.threefry import random_uniforms
from simulator.tasks.base import Key

_Module = TypeVar("_Module", bound=nnx.Module)


def started(shape: tuple[int, ...], start: Callable[[Float[Array, "..."]], Float[Array, "..."]]) -> nnx.Param:
    """A parameter that starts as a function of numbers uniform on [-1, 1). :func:`initialised` draws them."""
    return nnx.Param(jnp.zeros(shape, jnp.float32), start=start)


def uniform(shape: tuple[int, ...], scale: float) -> nnx.Param:
    """A parameter that starts uniform on [-scale, scale)."""
    return started(shape, lambda u: scale * u)


def initialised(module: _Module, key: Key) -> _Module:
    """The module with all parameters drawn. They come from one draw, because each draw takes time to compile."""
    drawn = [p for _, p in nnx.iter_graph(module) if isinstance(p, nnx.Param) and p.get_metadata("start", None)]
    numbers = random_uniforms(key[None], sum(p[...].size for p in drawn))[0]
    begin = 0
    for parameter in drawn:
        shape, size = parameter[...].shape, parameter[...].size
        parameter[...] = parameter.get_metadata("start")(numbers[begin : begin + size].reshape(shape))
        parameter.set_metadata("start", None)  # a function here would make every network a type of its own
        begin += size
    return module


def under(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """y with leading axes of length one, so that it has as many axes as x."""
    return y.reshape((1,) * (x.ndim - y.ndim) + y.shape)


class Dense(nnx.Module):
    """The layer x W, or x W + b with ``bias``. W starts uniform with variance gain^2 / fan-in."""

    def __init__(self, n_in: int, n_out: int, gain: float = 1.0, bias: bool = False):
        self.kernel = uniform((n_in, n_out), gain * (3 / n_in) ** 0.5)
        self.bias = nnx.Param(jnp.zeros(n_out, jnp.float32)) if bias else None

    def __call__(self, x: Float[Array, "*batch i"], precision: Precision) -> Float[Array, "*batch o"]:
        kernel = self.kernel[...]
        bias = jnp.zeros(kernel.shape[1], jnp.float32) if self.bias is None else self.bias[...]
        return linear(x.reshape(-1, x.shape[-1]), kernel, bias, precision).reshape(*x.shape[:-1], kernel.shape[1])


class RMSNorm(nnx.Module):
    """The vector x / sqrt(mean(x^2) + 1e-6), times a learned gain."""

    def __init__(self, width: int):
        self.gain = nnx.Param(jnp.ones(width, jnp.float32))

    def __call__(self, x: Float[Array, "*batch E"]) -> Float[Array, "*batch E"]:
        scale = jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + jnp.float32(1e-6))
        return x * scale * under(x, self.gain[...])


class FeedForward(nnx.Module):
    """The two layers W_2 gelu(W_1 x)."""

    def __init__(self, width: int, hidden: int, gain: float):
        self.first, self.second = Dense(width, hidden), Dense(hidden, width, gain)

    def __call__(self, x: Float[Array, "*batch E"], precision: Precision) -> Float[Array, "*batch E"]:
        return self.second(jax.nn.gelu(self.first(x, precision)), precision)
