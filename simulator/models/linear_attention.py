"""Attention without softmax. Each head keeps the past in a matrix of fixed size."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from simulator.models.layers import Dense, under
from simulator.models.positions import RoPE, turned
from simulator.models.precision import Precision
from simulator.models.scans import decayed_attention, in_sight
from simulator.models.sequence import HeadedModel, Mixer


@dataclasses.dataclass(frozen=True)
class LinearAttention(HeadedModel):
    """Attention with phi(q) . phi(k) in place of exp(q . k), where phi(x) = elu(x) + 1.

    S_t = S_{t-1} + phi(k_t) v_t^T, z_t = z_{t-1} + phi(k_t), y_t = phi(q_t) S_t / phi(q_t) z_t (Katharopoulos et al.
    2020, arXiv 2006.16236). The state of a head is a matrix (K, K) and a vector (K).
    """

    def mixer(self, gain: float) -> "LinearAttentionMixer":
        return LinearAttentionMixer(self, gain)

    def mixer_parameters(self) -> int:
        return 4 * self.width**2

    def mixer_flops(self, n_tokens: int) -> int:
        """Cost of the projections, and of two products of the recurrence with the state per token."""
        return 8 * n_tokens * self.width**2 + 4 * n_tokens * self.width * (self.head_width + 1)

    def mixer_state_size(self, n_tokens: int) -> int:
        return self.width * (self.head_width + 1)


class LinearAttentionMixer(Mixer):
    """The mixer of :class:`LinearAttention`. Its state is [S, z], (B, H, K, K+1)."""

    def __init__(self, spec: LinearAttention, gain: float):
        E = spec.width
        self.heads = spec.heads
        self.query, self.key, self.value, self.output = Dense(E, E), Dense(E, E), Dense(E, E), Dense(E, E, gain)

    def __call__(
        self,
        x: Float[Array, "B T E"],
        positions: Int[Array, "T"],
        state: Float[Array, "B H K V"] | None,
        precision: Precision,
        last: bool,
    ) -> tuple[Float[Array, "B t E"], Float[Array, "B H K V"]]:
        state = self.initial_state(x.shape[0], 0) if state is None else state
        asking = x[:, -1:] if last else x
        queries, keys = self._features(self.query(asking, precision)), self._features(self.key(x, precision))
        values = _with_one(_heads(self.value(x, precision), self.heads))
        mixed, state = decayed_attention(
            queries, in_sight(keys, positions >= 0), values, jnp.ones(self.heads, jnp.float32), state, last
        )
        return self.output(_normalised(mixed).reshape(asking.shape), precision), state

    def initial_state(self, batch: int, length: int) -> Float[Array, "B H K V"]:
        K = self.query.kernel[...].shape[0] // self.heads
        return jnp.zeros((batch, self.heads, K, K + 1), jnp.float32)

    def step(
        self, x: Float[Array, "B E"], position: Int[Array, ""], state: Float[Array, "B H K V"], precision: Precision
    ) -> tuple[Float[Array, "B E"], Float[Array, "B H K V"]]:
        query, key = self._features(self.query(x, precision)), self._features(self.key(x, precision))
        value = _with_one(_heads(self.value(x, precision), self.heads))
        state = state + jnp.einsum("bhk,bhv->bhkv", key, value, precision="highest")
        mixed = jnp.einsum("bhk,bhkv->bhv", query, state, precision="highest")
        return self.output(_normalised(mixed).reshape(x.shape), precision), state

    def _features(self, x: Float[Array, "*batch E"]) -> Float[Array, "*batch H K"]:
        return jax.nn.elu(_heads(x, self.heads)) + 1


@dataclasses.dataclass(frozen=True)
class RetNet(HeadedModel):
    """Retention: S_t = gamma_h S_{t-1} + k_t v_t^T, y_t = q_t S_t / sqrt(K), gamma_h = 1 - 2^(-5-h), h = 0..H-1.

    RoPE turns queries and keys. Each head's output is normalised and gated by swish(x W_g) (Sun et al. 2023, arXiv
    2307.08621). Here keys and values have the same width, and there is no xPos scaling.
    """

    positions: ClassVar[RoPE] = RoPE()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.positions.check(self.head_width, self.heads)

    def mixer(self, gain: float) -> "RetNetMixer":
        return RetNetMixer(self, gain)

    def mixer_parameters(self) -> int:
        return 5 * self.width**2 + self.width

    def mixer_flops(self, n_tokens: int) -> int:
        """Cost of the projections, and of two products of the recurrence with the state per token."""
        return 10 * n_tokens * self.width**2 + 4 * n_tokens * self.width * self.head_width

    def mixer_state_size(self, n_tokens: int) -> int:
        return self.width * self.head_width


class RetNetMixer(Mixer):
    """The mixer of :class:`RetNet`. Its state is S, (B, H, K, K)."""

    def __init__(self, spec: RetNet, gain: float):
        E = spec.width
        self.spec = spec
        self.query, self.key, self.value, self.gate = (Dense(E, E) for _ in range(4))
        self.norm_gain, self.output = nnx.Param(jnp.ones(E, jnp.float32)), Dense(E, E, gain)

    def __call__(
        self,
        x: Float[Array, "B T E"],
        positions: Int[Array, "T"],
        state: Float[Array, "B H K K"] | None,
        precision: Precision,
        last: bool,
    ) -> tuple[Float[Array, "B t E"], Float[Array, "B H K K"]]:
        state = self.initial_state(x.shape[0], 0) if state is None else state
        asking, asked_at = (x[:, -1:], positions[-1:]) if last else (x, positions)
        queries = self._turned(self.query(asking, precision), asked_at)
        keys = in_sight(self._turned(self.key(x, precision), positions), positions >= 0)
        values = _heads(self.value(x, precision), self.spec.heads)
        mixed, state = decayed_attention(queries, keys, values, self._decay(), state, last)
        return self._out(mixed, asking, precision), state

    def initial_state(self, batch: int, length: int) -> Float[Array, "B H K K"]:
        K = self.spec.head_width
        return jnp.zeros((batch, self.spec.heads, K, K), jnp.float32)

    def step(
        self, x: Float[Array, "B E"], position: Int[Array, ""], state: Float[Array, "B H K K"], precision: Precision
    ) -> tuple[Float[Array, "B E"], Float[Array, "B H K K"]]:
        query, key = (
            self._turned(layer(x, precision)[:, None], position[None])[:, 0] for layer in (self.query, self.key)
        )
        value = _heads(self.value(x, precision), self.spec.heads)
        state = self._decay()[None, :, None, None] * state + jnp.einsum(
            "bhk,bhv->bhkv", key, value, precision="highest"
        )
        return self._out(jnp.einsum("bhk,bhkv->bhv", query, state, precision="highest"), x, precision), state

    def _decay(self) -> Float[Array, "H"]:
        return 1 - jnp.float32(2.0) ** (-5 - jnp.arange(self.spec.heads, dtype=jnp.float32))

    def _turned(self, x: Float[Array, "B T E"], positions: Int[Array, "T"]) -> Float[Array, "B T H K"]:
        rule = self.spec.positions
        frequencies = rule.frequencies(self.spec.head_width, positions[-1] + 1)
        return turned(_heads(x, self.spec.heads), positions, frequencies, rule.magnitude)

    def _out(
        self, mixed: Float[Array, "*batch H K"], x: Float[Array, "*batch E"], precision: Precision
    ) -> Float[Array, "*batch E"]:
        mixed = mixed * self.spec.head_width**-0.5
        deviations = mixed - mixed.mean(axis=-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.mean(deviations**2, axis=-1, keepdims=True) + jnp.float32(1e-6))
        normalised = (deviations * scale).reshape(x.shape)
        normalised = normalised * under(normalised, self.norm_gain[...])
        return self.output(jax.nn.silu(self.gate(x, precision)) * normalised, precision)


def _heads(x: Float[Array, "*batch E"], heads: int) -> Float[Array, "*batch H K"]:
    return x.reshape(*x.shape[:-1], heads, -1)


def _with_one(values: Float[Array, "*batch H K"]) -> Float[Array, "*batch H V"]:
    """Values with a one more: what sums the values sums the weights too."""
    return jnp.concatenate([values, jnp.ones_like(values[..., :1])], axis=-1)


def _normalised(sums: Float[Array, "*batch H V"]) -> Float[Array, "*batch H K"]:
    weights = sums[..., -1:]  # zero for a token that sees none
    return sums[..., :-1] / jnp.where(weights > 0, weights, jnp.float32(1))
