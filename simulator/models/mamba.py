"""Mamba, a selective state space for each channel."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from simulator.models.layers import Dense, started, under, uniform
from simulator.models.precision import Precision
from simulator.models.scans import in_sight, linear_recurrence
from simulator.models.sequence import Mixer, SequenceModel
from theory.checks import Count


class MambaState(NamedTuple):
    """The state: the last inputs of the convolution, and the hidden state of every channel."""

    inputs: Float[Array, "B taps I"]
    hidden: Float[Array, "B I N"]


@dataclasses.dataclass(frozen=True)
class Mamba(SequenceModel):
    """The recurrence h_t = exp(Delta_t A) h_{t-1} + Delta_t B_t x_t, y_t = C_t h_t + D x_t in each of I channels.

    First x passes a causal convolution and silu. Delta is softplus of a layer of low rank. B and C have N components
    and are linear in x. A is diagonal and negative. silu(z) gates y (S6, Gu and Dao 2023, arXiv 2312.00752).

    Attributes:
        state_numbers: N, size of the state of one channel.
        expand: ratio I / E.
        convolution: number of tokens that the convolution spans.
    """

    state_numbers: Count = 16
    expand: Count = 2
    convolution: Count = 4

    @property
    def inner_width(self) -> int:
        """I, the number of channels."""
        return self.expand * self.width

    @property
    def rank(self) -> int:
        """Rank of the layer that gives Delta."""
        return math.ceil(self.width / 16)

    def mixer(self, gain: float) -> "MambaMixer":
        return MambaMixer(self, gain)

    def mixer_parameters(self) -> int:
        E, I, N, r = self.width, self.inner_width, self.state_numbers, self.rank
        return 2 * E * I + (self.convolution + 1) * I + I * (r + 2 * N) + (r + 1) * I + I * N + I + I * E

    def mixer_flops(self, n_tokens: int) -> int:
        """Cost of the layers, and of reading the state."""
        E, I, N, r = self.width, self.inner_width, self.state_numbers, self.rank
        return 2 * n_tokens * (3 * E * I + I * (r + 2 * N) + r * I + I * N)

    def mixer_state_size(self, n_tokens: int) -> int:
        return self.inner_width * (self.state_numbers + self.convolution - 1)


class MambaMixer(Mixer):
    """The mixer of :class:`Mamba`."""

    def __init__(self, spec: Mamba, gain: float):
        E, I, N = spec.width, spec.inner_width, spec.state_numbers
        self.spec = spec
        self.inputs, self.output = Dense(E, 2 * I), Dense(I, E, gain)
        self.taps, self.tap_bias = uniform((spec.convolution, I), spec.convolution**-0.5), nnx.Param(jnp.zeros(I))
        self.selection, self.delta = Dense(I, spec.rank + 2 * N), Dense(spec.rank, I)
        # Delta starts log-uniform on [0.001, 0.1]: its bias is what softplus takes there.
        low, high = math.log(0.001), math.log(0.1)
        self.delta_bias = started((I,), lambda u: jnp.log(jnp.expm1(jnp.exp(low + (u + 1) / 2 * (high - low)))))
        rates = np.tile(np.log(np.arange(1, N + 1)), (I, 1))
        self.log_rates, self.skip = nnx.Param(jnp.asarray(rates, jnp.float32)), nnx.Param(jnp.ones(I))

    def __call__(
        self,
        x: Float[Array, "B T E"],
        positions: Int[Array, "T"],
        state: MambaState | None,
        precision: Precision,
        last: bool,
    ) -> tuple[Float[Array, "B t E"], MambaState]:
        state = self.initial_state(x.shape[0], 0) if state is None else state
        seen, taps = positions >= 0, self.spec.convolution - 1
        u, gate = jnp.split(self.inputs(x, precision), 2, axis=-1)
        before = jnp.concatenate([state.inputs, in_sight(u, seen)], axis=1)
        windows = [before[:, i : i + x.shape[1]] for i in range(taps + 1)]
        u = self._convolved(windows)
        delta, B, C = self._selected(u, precision)
        decay, update = self._discrete(u, delta, B)
        decay = jnp.where(seen[None, :, None, None], decay, jnp.float32(1))
        states, hidden = linear_recurrence(decay, in_sight(update, seen), state.hidden)
        if last:
            states, u, C, gate = states[:, -1:], u[:, -1:], C[:, -1:], gate[:, -1:]
        return self._read(states, u, C, gate, precision), MambaState(before[:, x.shape[1] :], hidden)

    def initial_state(self, batch: int, length: int) -> MambaState:
        spec = self.spec
        return MambaState(
            jnp.zeros((batch, spec.convolution - 1, spec.inner_width), jnp.float32),
            jnp.zeros((batch, spec.inner_width, spec.state_numbers), jnp.float32),
        )

    def step(
        self, x: Float[Array, "B E"], position: Int[Array, ""], state: MambaState, precision: Precision
    ) -> tuple[Float[Array, "B E"], MambaState]:
        u, gate = jnp.split(self.inputs(x, precision), 2, axis=-1)
        window = jnp.concatenate([state.inputs, u[:, None]], axis=1)
        u = self._convolved([window[:, i] for i in range(window.shape[1])])
        delta, B, C = self._selected(u, precision)
        decay, update = self._discrete(u, delta, B)
        hidden = decay * state.hidden + update
        return self._read(hidden, u, C, gate, precision), MambaState(window[:, 1:], hidden)

    def _convolved(self, windows: list[Float[Array, "*batch I"]]) -> Float[Array, "*batch I"]:
        taps = self.taps[...]
        start = under(windows[0], self.tap_bias[...])
        return jax.nn.silu(sum((w * under(w, tap) for w, tap in zip(windows, taps, strict=True)), start))

    def _selected(
        self, u: Float[Array, "*batch I"], precision: Precision
    ) -> tuple[Float[Array, "*batch I"], Float[Array, "*batch N"], Float[Array, "*batch N"]]:
        N = self.spec.state_numbers
        low_rank, B, C = jnp.split(self.selection(u, precision), [self.spec.rank, self.spec.rank + N], axis=-1)
        delta = self.delta(low_rank, precision)
        return jax.nn.softplus(delta + under(delta, self.delta_bias[...])), B, C

    def _discrete(
        self, u: Float[Array, "*batch I"], delta: Float[Array, "*batch I"], B: Float[Array, "*batch N"]
    ) -> tuple[Float[Array, "*batch I N"], Float[Array, "*batch I N"]]:
        """The decay exp(Delta A), and the update Delta B x."""
        rates = jnp.exp(self.log_rates[...])
        decay = jnp.exp(-delta[..., None] * under(delta[..., None], rates))
        return decay, (delta * u)[..., None] * B[..., None, :]

    def _read(
        self,
        hidden: Float[Array, "*batch I N"],
        u: Float[Array, "*batch I"],
        C: Float[Array, "*batch N"],
        gate: Float[Array, "*batch I"],
        precision: Precision,
    ) -> Float[Array, "*batch E"]:
        y = jnp.einsum("...in,...n->...i", hidden, C, precision="highest") + under(u, self.skip[...]) * u
        return self.output(y * jax.nn.silu(gate), precision)
