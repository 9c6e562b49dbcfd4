"""The frame that all sequence models share: token embedding, blocks of a mixer and a feed-forward layer, readout.

Models of the family differ only in their mixer, the layer that lets a token see earlier ones.
"""

import abc
import dataclasses
from typing import Annotated, Any, TypeAlias

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from simulator.models.base import Model, n_outputs
from simulator.models.layers import Dense, FeedForward, RMSNorm, initialised, uniform
from simulator.models.precision import Precision
from simulator.tasks.base import ContextLength, Examples, Key, Task
from theory.checks import Count, integer
from theory.types import Integer

State: TypeAlias = Any
"""The state that a mixer carries from token to token: a pytree of arrays with samples on the first axis."""


class Mixer(nnx.Module):
    """The layer of a block that lets a token see the tokens before it."""

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "B T E"], positions: Int[Array, "T"], state: State, precision: Precision, last: bool
    ) -> tuple[Float[Array, "B t E"], State]:
        """All tokens of a chunk at once, as in training.

        Args:
            x: normalised inputs of the block.
            positions: positions of the tokens. A token with a position below zero is invisible and must change nothing.
            state: the state after the chunk before, or :meth:`initial_state`.
            precision: precision of the layers.
            last: whether only the last token's output is returned, t = 1, or all outputs, t = T.
        """

    @abc.abstractmethod
    def initial_state(self, batch: int, length: int) -> State:
        """The state before the first token, with room for ``length`` tokens."""

    @abc.abstractmethod
    def step(
        self, x: Float[Array, "B E"], position: Int[Array, ""], state: State, precision: Precision
    ) -> tuple[Float[Array, "B E"], State]:
        """The recurrence for one more token, as in inference."""


@dataclasses.dataclass(frozen=True)
class SequenceModel(Model):
    """Token embedding, blocks x + mixer(norm(x)), x + feed_forward(norm(x)), a last norm, and a linear readout.

    Norms are RMSNorm, and feed-forward layers use GELU. Tokens of a vocabulary have a learned vector, and real-valued
    tokens enter through a linear layer. If the task has several queries, the query is a token after the context.
    Otherwise a start token stands before the context. The last token gives the prediction, or each token gives one if
    the task asks at every position.

    Attributes:
        depth: number of blocks.
        width: E, width of the residual stream.
        feed_forward: width of the feed-forward layers. None gives 4 E.
    """

    depth: Annotated[int, integer(1, 1000)] = 2
    width: Count = 64
    feed_forward: Count | None = None

    @property
    def hidden_width(self) -> int:
        """Width of the feed-forward layers."""
        return 4 * self.width if self.feed_forward is None else self.feed_forward

    @property
    def keeps_a_core_busy(self) -> bool:
        """True, because every token of a batch is a row of the matrix products."""
        return True

    def activations(self, task: Task, context_length: Integer) -> int:
        return (int(context_length) + 1) * max(self.hidden_width, self.width)

    @property
    def n_learned_positions(self) -> int:
        """Number of positions with a learned vector."""
        return 0

    @property
    def max_positions(self) -> int | None:
        """Number of positions that the model can tell apart. None stands for any number."""
        return self.n_learned_positions or None

    @abc.abstractmethod
    def mixer(self, gain: float) -> Mixer:
        """A block's mixer. ``gain`` scales the layer whose output joins the residual stream."""

    @abc.abstractmethod
    def mixer_parameters(self) -> int:
        """Number of trained parameters of one mixer."""

    @abc.abstractmethod
    def mixer_flops(self, n_tokens: int) -> int:
        """Number of multiplications and additions in one mixer's matrix products over these tokens."""

    @abc.abstractmethod
    def mixer_state_size(self, n_tokens: int) -> int:
        """Number of values that one mixer carries after these tokens."""

    def check_task(self, task: Task) -> None:
        if self.max_positions is not None and self.max_positions < task.max_context_length + 1:
            raise ValueError(
                f"{type(self).__name__} has {self.max_positions} learned positions; {type(task).__name__} needs "
                f"{task.max_context_length + 1}, its {task.max_context_length} tokens and a question or start: raise "
                "max_length, or take RoPE()"
            )

    def network(self, task: Task, key: Key, context_length: ContextLength) -> nnx.Module:
        self.check_task(task)
        return initialised(SequenceNetwork(self, task), key)

    def parameter_count(self, task: Task) -> int:
        """Parameters of embedding, blocks (mixer, feed-forward layer, two norms), last norm, and readout with bias."""
        E, F = self.width, self.hidden_width
        tokens = task.n_channels if task.vocabulary_size is None else task.vocabulary_size
        inputs = (tokens + task.n_queries + self.n_learned_positions) * E
        return inputs + self.depth * (self.mixer_parameters() + 2 * E * F + 2 * E) + E + (E + 1) * n_outputs(task)

    def flops(self, task: Task, context_length: Integer) -> int:
        """Number of multiplications and additions in the matrix products of one prediction over l + 1 tokens.

        All tokens are counted in all blocks.
        """
        T, E = int(context_length) + 1, self.width
        inputs = 0 if task.vocabulary_size is not None else 2 * int(context_length) * task.n_channels * E
        blocks = self.depth * (self.mixer_flops(T) + 4 * T * E * self.hidden_width)
        return inputs + blocks + 2 * (T if task.every_position else 1) * E * n_outputs(task)

    def state_size(self, context_length: Integer) -> int:
        """Number of values carried from token to token after l + 1 tokens."""
        return self.depth * self.mixer_state_size(int(context_length) + 1)


@dataclasses.dataclass(frozen=True)
class HeadedModel(SequenceModel):
    """A sequence model whose mixer has heads.

    Attributes:
        heads: H, number of heads. Each has width K = E/H.
    """

    heads: Count = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads; got width {self.width} and {self.heads} heads")

    @property
    def head_width(self) -> int:
        """K, the width of a head."""
        return self.width // self.heads


class _Block(nnx.Module):
    def __init__(self, spec: SequenceModel):
        gain = (2 * spec.depth) ** -0.5
        self.mixer_norm, self.mixer = RMSNorm(spec.width), spec.mixer(gain)
        self.feed_forward_norm = RMSNorm(spec.width)
        self.feed_forward = FeedForward(spec.width, spec.hidden_width, gain)

    def __call__(
        self, x: Float[Array, "B T E"], positions: Int[Array, "T"], state: State, precision: Precision, last: bool
    ) -> tuple[Float[Array, "B t E"], State]:
        mixed, state = self.mixer(self.mixer_norm(x), positions, state, precision, last)
        x = (x[:, -1:] if last else x) + mixed
        return x + self.feed_forward(self.feed_forward_norm(x), precision), state

    def step(
        self, x: Float[Array, "B E"], position: Int[Array, ""], state: State, precision: Precision
    ) -> tuple[Float[Array, "B E"], State]:
        mixed, state = self.mixer.step(self.mixer_norm(x), position, state, precision)
        x = x + mixed
        return x + self.feed_forward(self.feed_forward_norm(x), precision), state


class SequenceNetwork(nnx.Module):
    """The module behind a :class:`SequenceModel`."""

    def __init__(self, spec: SequenceModel, task: Task):
        E = spec.width
        n_tokens = task.vocabulary_size
        self.tokens = Dense(task.n_channels, E) if n_tokens is None else uniform((n_tokens, E), 3**0.5)
        self.queries = uniform((task.n_queries, E), 3**0.5)
        self.asks_last, self.answers_everywhere = task.n_queries > 1, task.every_position
        self.blocks = nnx.List([_Block(spec) for _ in range(spec.depth)])
        self.norm = RMSNorm(E)
        self.readout = Dense(E, n_outputs(task), gain=1 / E, bias=True)
        self.positions = uniform((spec.n_learned_positions, E), 3**0.5) if spec.n_learned_positions else None

    def __call__(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> Float[Array, "B *outputs"]:
        x, positions = self.embedded(examples, context_length, precision)
        if not self.answers_everywhere:
            return self.readout(self.norm(self._through(x, positions, precision, True)[-1][:, 0]), precision)
        outputs = self.readout(self.norm(self._through(x, positions, precision, False)[-1]), precision)
        left_out = examples.context.shape[1] + 1 - outputs.shape[1]
        return jnp.pad(outputs, ((0, 0), (left_out, 0), (0, 0)))

    def features(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> dict[str, Float[Array, "B E"]]:
        """The last token's hidden state after the embedding, after each block, and at the readout's input."""
        x, positions = self.embedded(examples, context_length, precision)
        after = self._through(x, positions, precision, True)
        named = {"embedding": x, **{f"block {i}": y for i, y in enumerate(after)}, "readout": self.norm(after[-1])}
        return {name: y[:, -1] for name, y in named.items()}

    def embedded(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> tuple[Float[Array, "B T E"], Int[Array, "T"]]:
        """Vectors of the tokens and of the query or start token, and their positions.

        Positions of invisible tokens are below zero. If the context length is known when compiling, invisible tokens
        are left out.
        """
        batch, L = examples.context.shape[:2]
        hidden = L - context_length if isinstance(context_length, int) else 0
        context = examples.context[:, hidden:]
        if isinstance(self.tokens, Dense):
            x = self.tokens(context.astype(jnp.float32).reshape(batch, L - hidden, -1), precision)
        else:
            x = jnp.take(self.tokens[...], context, axis=0)
        asked = jnp.take(self.queries[...], examples.query, axis=0)[:, None]
        first = L - hidden - jnp.asarray(context_length, jnp.int32)
        if self.asks_last:
            x = jnp.concatenate([x, asked], axis=1)
        else:
            x = jnp.concatenate([jnp.zeros_like(asked), x], axis=1)
            x = jnp.where((jnp.arange(x.shape[1]) == first)[None, :, None], asked, x)
        positions = jnp.arange(x.shape[1], dtype=jnp.int32) - first
        if self.positions is not None:
            x = x + jnp.take(self.positions[...], jnp.maximum(positions, 0), axis=0)[None]
        return x, positions

    def initial_state(self, batch: int, length: int) -> list[State]:
        """States of all blocks before the first token, with room for ``length`` tokens."""
        return [block.mixer.initial_state(batch, length) for block in self.blocks]

    def advance(
        self, x: Float[Array, "B T E"], positions: Int[Array, "T"], states: State, precision: Precision
    ) -> tuple[Float[Array, "B T outputs"], State]:
        """Outputs of each token of one more chunk, as if it were the last token, and the states after the chunk."""
        carried = []
        for block, state in zip(self.blocks, states, strict=True):
            x, state = block(x, positions, state, precision, False)
            carried.append(state)
        return self.readout(self.norm(x), precision), carried

    def step(
        self, x: Float[Array, "B E"], position: Int[Array, ""], states: State, precision: Precision
    ) -> tuple[Float[Array, "B outputs"], State]:
        """Outputs after one more token, by the recurrence, and the states."""
        carried = []
        for block, state in zip(self.blocks, states, strict=True):
            x, state = block.step(x, position, state, precision)
            carried.append(state)
        return self.readout(self.norm(x), precision), carried

    def _through(
        self, x: Float[Array, "B T E"], positions: Int[Array, "T"], precision: Precision, last: bool
    ) -> list[Float[Array, "B t E"]]:
        """The stream after each block. With ``last`` only the last token leaves the last block."""
        after = []
        for i, block in enumerate(self.blocks):
            x, _ = block(x, positions, None, precision, last and i == len(self.blocks) - 1)
            after.append(x)
        return after
