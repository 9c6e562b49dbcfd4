"""Recurrent networks. Their gates read only the token (MinGRU), or also the state (GRU, LSTM)."""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from simulator.models.layers import Dense
from simulator.models.precision import Precision
from simulator.models.scans import in_sight, linear_recurrence
from simulator.models.sequence import Mixer, SequenceModel


@dataclasses.dataclass(frozen=True)
class MinGRU(SequenceModel):
    """The recurrence h_t = (1 - z_t) h_{t-1} + z_t g(W_h x_t), with z_t = sigmoid(W_z x_t).

    g(a) is a + 1/2 for a >= 0, and sigmoid(a) otherwise (Feng et al. 2024, arXiv 2410.01201). Gates do not read the
    state, so all states come from one scan. A linear layer reads the state.
    """

    def mixer(self, gain: float) -> "MinGRUMixer":
        return MinGRUMixer(self.width, gain)

    def mixer_parameters(self) -> int:
        return 3 * self.width**2 + self.width

    def mixer_flops(self, n_tokens: int) -> int:
        return 6 * n_tokens * self.width**2

    def mixer_state_size(self, n_tokens: int) -> int:
        return self.width


class MinGRUMixer(Mixer):
    """The mixer of :class:`MinGRU`."""

    def __init__(self, width: int, gain: float):
        self.gate, self.candidate = Dense(width, width, bias=True), Dense(width, width)
        self.output = Dense(width, width, gain)

    def __call__(
        self,
        x: Float[Array, "B T E"],
        positions: Int[Array, "T"],
        state: Float[Array, "B E"] | None,
        precision: Precision,
        last: bool,
    ) -> tuple[Float[Array, "B t E"], Float[Array, "B E"]]:
        state = self.initial_state(x.shape[0], 0) if state is None else state
        opened, candidate = self._gates(x, precision)
        opened = in_sight(opened, positions >= 0)
        states, state = linear_recurrence(1 - opened, opened * candidate, state)
        return self.output(states[:, -1:] if last else states, precision), state

    def initial_state(self, batch: int, length: int) -> Float[Array, "B E"]:
        return jnp.zeros((batch, self.gate.kernel[...].shape[0]), jnp.float32)

    def step(
        self, x: Float[Array, "B E"], position: Int[Array, ""], state: Float[Array, "B E"], precision: Precision
    ) -> tuple[Float[Array, "B E"], Float[Array, "B E"]]:
        opened, candidate = self._gates(x, precision)
        state = (1 - opened) * state + opened * candidate
        return self.output(state, precision), state

    def _gates(
        self, x: Float[Array, "*batch E"], precision: Precision
    ) -> tuple[Float[Array, "*batch E"], Float[Array, "*batch E"]]:
        a = self.candidate(x, precision)
        return jax.nn.sigmoid(self.gate(x, precision)), jnp.where(a >= 0, a + jnp.float32(0.5), jax.nn.sigmoid(a))


@dataclasses.dataclass(frozen=True)
class _Recurrent(SequenceModel):
    """A network whose gates read the state. It takes one token after another, also in training."""

    n_gates: ClassVar[int]
    cell: ClassVar[type["_Cell"]]

    def mixer(self, gain: float) -> "_Cell":
        return self.cell(self.width, self.n_gates, gain)

    def mixer_parameters(self) -> int:
        return (2 * self.n_gates + 1) * self.width**2 + 2 * self.n_gates * self.width

    def mixer_flops(self, n_tokens: int) -> int:
        return 2 * n_tokens * (2 * self.n_gates + 1) * self.width**2

    def mixer_state_size(self, n_tokens: int) -> int:
        return self.cell.n_vectors * self.width


class _Cell(Mixer):
    n_vectors: ClassVar[int]

    def __init__(self, width: int, n_gates: int, gain: float):
        self.of_token, self.of_state = (
            Dense(width, n_gates * width, bias=True),
            Dense(width, n_gates * width, bias=True),
        )
        self.output = Dense(width, width, gain)

    @abc.abstractmethod
    def next(self, of_token: Float[Array, "B gates"], state: Any, precision: Precision) -> Any:
        """The next state, given the layer's output for the token and the state before."""

    @abc.abstractmethod
    def shown(self, state: Any) -> Float[Array, "*batch E"]:
        """The part of a state that the output layer reads."""

    def __call__(
        self, x: Float[Array, "B T E"], positions: Int[Array, "T"], state: Any, precision: Precision, last: bool
    ) -> tuple[Float[Array, "B t E"], Any]:
        state = self.initial_state(x.shape[0], 0) if state is None else state

        def one_more(state: Any, token: tuple[Array, Array]) -> tuple[Any, Array | None]:
            of_token, seen = token
            new = self.next(of_token, state, precision)
            state = jax.tree.map(lambda new, old: jnp.where(seen, new, old), new, state)
            return state, None if last else self.shown(state)

        tokens = (jnp.swapaxes(self.of_token(x, precision), 0, 1), positions >= 0)
        state, shown = jax.lax.scan(one_more, state, tokens)
        shown = self.shown(state)[:, None] if shown is None else jnp.swapaxes(shown, 0, 1)
        return self.output(shown, precision), state

    def step(
        self, x: Float[Array, "B E"], position: Int[Array, ""], state: Any, precision: Precision
    ) -> tuple[Float[Array, "B E"], Any]:
        state = self.next(self.of_token(x, precision), state, precision)
        return self.output(self.shown(state), precision), state

    def zeros(self, batch: int) -> Float[Array, "B E"]:
        """A vector of zeros for every sample."""
        return jnp.zeros((batch, self.output.kernel[...].shape[0]), jnp.float32)


class GRUCell(_Cell):
    """The mixer of :class:`GRU`: r, z = sigmoid(W x + U h); n = tanh(W_n x + r (U_n h)); h' = (1 - z) n + z h."""

    n_vectors: ClassVar[int] = 1

    def next(
        self, of_token: Float[Array, "B gates"], state: Float[Array, "B E"], precision: Precision
    ) -> Float[Array, "B E"]:
        r, z, n = jnp.split(of_token, 3, axis=-1)
        r_state, z_state, n_state = jnp.split(self.of_state(state, precision), 3, axis=-1)
        kept = jax.nn.sigmoid(z + z_state)
        return (1 - kept) * jnp.tanh(n + jax.nn.sigmoid(r + r_state) * n_state) + kept * state

    def shown(self, state: Float[Array, "*batch E"]) -> Float[Array, "*batch E"]:
        return state

    def initial_state(self, batch: int, length: int) -> Float[Array, "B E"]:
        return self.zeros(batch)


class LSTMState(NamedTuple):
    """The state of an LSTM: h and c."""

    hidden: Float[Array, "*batch E"]
    cell: Float[Array, "*batch E"]


class LSTMCell(_Cell):
    """The mixer of :class:`LSTM`.

    i, f, o = sigmoid(W x + U h); g = tanh(W_g x + U_g h); c' = f c + i g; h' = o tanh(c').
    """

    n_vectors: ClassVar[int] = 2

    def next(self, of_token: Float[Array, "B gates"], state: LSTMState, precision: Precision) -> LSTMState:
        i, f, o, g = jnp.split(of_token + self.of_state(state.hidden, precision), 4, axis=-1)
        # One is added to what opens the forget gate: a network that forgets at first does not learn to remember.
        cell = jax.nn.sigmoid(f + 1) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        return LSTMState(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)

    def shown(self, state: LSTMState) -> Float[Array, "*batch E"]:
        return state.hidden

    def initial_state(self, batch: int, length: int) -> LSTMState:
        return LSTMState(self.zeros(batch), self.zeros(batch))


@dataclasses.dataclass(frozen=True)
class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014, arXiv 1406.1078, in the form whose reset gate acts after the product)."""

    n_gates: ClassVar[int] = 3
    cell: ClassVar[type[_Cell]] = GRUCell


@dataclasses.dataclass(frozen=True)
class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with a forget gate)."""

    n_gates: ClassVar[int] = 4
    cell: ClassVar[type[_Cell]] = LSTMCell
