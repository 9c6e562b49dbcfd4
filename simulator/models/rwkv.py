"""RWKV-4, a decaying average in each channel with a bonus for the present token."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from simulator.models.layers import Dense, started, under
from simulator.models.precision import Precision
from simulator.models.scans import in_sight, prefixes
from simulator.models.sequence import Mixer, SequenceModel

_NOTHING = -1e30
"""Logarithm of a weight of zero. It is finite so that differences of logarithms are finite."""


class _Average(NamedTuple):
    """Sums of weighted values and of weights, both divided by e^peak, and the total decay of what came before."""

    fading: Float[Array, "..."]
    peak: Float[Array, "..."]
    values: Float[Array, "..."]
    weights: Float[Array, "..."]


class RWKVState(NamedTuple):
    """The state: the token before, and the two sums of the average so far, both divided by e^peak."""

    previous: Float[Array, "B E"]
    peak: Float[Array, "B E"]
    values: Float[Array, "B E"]
    weights: Float[Array, "B E"]


@dataclasses.dataclass(frozen=True)
class RWKV4(SequenceModel):
    """The average wkv_t = [sum_{i<t} e^{-(t-1-i) w + k_i} v_i + e^{u + k_t} v_t] / [the same without v] per channel.

    This is the time mixing of Peng et al. 2023 (arXiv 2305.13048), with w > 0. Each of r, k and v is a layer of a blend
    of the token and the one before. The output is a layer of sigmoid(r) wkv. The feed-forward layer is that of the
    other models here, and not RWKV's channel mixing.
    """

    def mixer(self, gain: float) -> "RWKVMixer":
        return RWKVMixer(self.width, gain)

    def mixer_parameters(self) -> int:
        return 4 * self.width**2 + 5 * self.width

    def mixer_flops(self, n_tokens: int) -> int:
        """Cost of the layers. Everything else acts element by element."""
        return 8 * n_tokens * self.width**2

    def mixer_state_size(self, n_tokens: int) -> int:
        """Size of the token before, of two sums, and of their common logarithmic scale."""
        return 4 * self.width


class RWKVMixer(Mixer):
    """The mixer of :class:`RWKV4`."""

    def __init__(self, width: int, gain: float):
        self.receptance, self.key, self.value = Dense(width, width), Dense(width, width), Dense(width, width)
        self.output = Dense(width, width, gain)
        self.blend = nnx.Param(jnp.full((3, width), 0.5, jnp.float32))
        # Decay rates from e^-5 to e^3, the range of the paper's code.
        self.log_rate = nnx.Param(jnp.asarray(-5 + 8 * np.linspace(0, 1, width), jnp.float32))
        self.bonus = started((width,), lambda u: jnp.log(jnp.float32(0.3)) + u / 2)

    def __call__(
        self,
        x: Float[Array, "B T E"],
        positions: Int[Array, "T"],
        state: RWKVState | None,
        precision: Precision,
        last: bool,
    ) -> tuple[Float[Array, "B t E"], RWKVState]:
        state = self.initial_state(x.shape[0], 0) if state is None else state
        x = in_sight(x, positions >= 0)
        before = jnp.concatenate([state.previous[:, None], x[:, :-1]], axis=1)
        r, k, v = self._projected(x, before, precision)
        k = jnp.where((positions >= 0)[None, :, None], k, jnp.float32(_NOTHING))
        rate = jnp.broadcast_to(under(k, jnp.exp(self.log_rate[...])), k.shape)
        start = _Average(jnp.zeros_like(state.peak), *state[1:])
        averages, total = prefixes(_after, _Average(-rate, k, v, jnp.ones_like(k)), start)
        earlier = jax.tree.map(lambda s, a: jnp.concatenate([s[:, None], a[:, :-1]], 1), start, averages)
        if last:
            r, k, v, earlier = jax.tree.map(lambda a: a[:, -1:], (r, k, v, earlier))
        return self._read(r, k, v, earlier[1:], precision), RWKVState(x[:, -1], *total[1:])

    def initial_state(self, batch: int, length: int) -> RWKVState:
        zero = jnp.zeros((batch, self.bonus[...].shape[0]), jnp.float32)
        return RWKVState(zero, jnp.full_like(zero, _NOTHING), zero, zero)

    def step(
        self, x: Float[Array, "B E"], position: Int[Array, ""], state: RWKVState, precision: Precision
    ) -> tuple[Float[Array, "B E"], RWKVState]:
        r, k, v = self._projected(x, state.previous, precision)
        faded = state.peak - jnp.exp(self.log_rate[...])[None]
        peak = jnp.maximum(faded, k)
        old, new = jnp.exp(faded - peak), jnp.exp(k - peak)
        after = RWKVState(x, peak, old * state.values + new * v, old * state.weights + new)
        return self._read(r, k, v, (state.peak, state.values, state.weights), precision), after

    def _projected(
        self, x: Float[Array, "*batch E"], before: Float[Array, "*batch E"], precision: Precision
    ) -> list[Float[Array, "*batch E"]]:
        layers = (self.receptance, self.key, self.value)
        return [
            layer(before + under(x, share) * (x - before), precision)
            for layer, share in zip(layers, self.blend[...], strict=True)
        ]

    def _read(
        self,
        r: Float[Array, "*batch E"],
        k: Float[Array, "*batch E"],
        v: Float[Array, "*batch E"],
        earlier: tuple[Float[Array, "*batch E"], Float[Array, "*batch E"], Float[Array, "*batch E"]],
        precision: Precision,
    ) -> Float[Array, "*batch E"]:
        """The output for the average of the present token and the earlier ones (their peak, values and weights)."""
        earlier_peak, values, weights = earlier
        present = under(k, self.bonus[...]) + k
        peak = jnp.maximum(earlier_peak, present)
        old, new = jnp.exp(earlier_peak - peak), jnp.exp(present - peak)
        wkv = (old * values + new * v) / (old * weights + new)
        return self.output(jax.nn.sigmoid(r) * wkv, precision)


def _after(first: _Average, second: _Average) -> _Average:
    """The average over two successive stretches of tokens. The first decays during the second."""
    faded = first.peak + second.fading
    peak = jnp.maximum(faded, second.peak)
    old, new = jnp.exp(faded - peak), jnp.exp(second.peak - peak)
    return _Average(
        first.fading + second.fading,
        peak,
        old * first.values + new * second.values,
        old * first.weights + new * second.weights,
    )
