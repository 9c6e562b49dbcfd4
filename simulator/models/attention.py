"""Transformers with causal softmax attention and any rule of positions."""

import dataclasses
from typing import Annotated, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Shaped

from simulator.models.base import Parameters, as_prediction
from simulator.models.layers import Dense, initialised, uniform
from simulator.models.positions import Positions, RoPE, turned
from simulator.models.precision import Precision
from simulator.models.sequence import HeadedModel, Mixer, SequenceNetwork
from simulator.tasks.base import ContextLength, Examples, Key, Task
from theory.checks import Count, instance_of

_HIDDEN = -1e30
"""Logit of a hidden token. It is finite, because the softmax of a token that sees nothing must not be NaN."""


class Cache(NamedTuple):
    """Keys and values of the tokens so far. Empty slots have position -1."""

    keys: Float[Array, "B S G K"]
    values: Float[Array, "B S G K"]
    positions: Int[Array, "S"]


def joined(first: Cache, second: Cache) -> Cache:
    """The entries of both caches."""
    return Cache(
        jnp.concatenate([first.keys, second.keys], axis=1),
        jnp.concatenate([first.values, second.values], axis=1),
        jnp.concatenate([first.positions, second.positions]),
    )


@dataclasses.dataclass(frozen=True)
class Transformer(HeadedModel):
    """Pre-norm causal Transformer.

    Attention of head h: softmax over j <= i of q_i . k_j / sqrt(K) - m_h (i - j), heads of width K = E/H. Queries and
    keys may be turned, and logits changed, by the rule of ``positions``.

    Attributes:
        kv_heads: G, number of heads of keys and values. H/G query heads share each of them (grouped-query attention).
            None gives H.
        positions: a rule of :mod:`simulator.models.positions`.
        window: number of tokens that a token sees, including itself. None shows all.
        log_length: whether logits are multiplied by max(1, ln n), where n is the number of visible tokens. This keeps
            attention sharp while the context grows.
    """

    kv_heads: Count | None = None
    positions: Annotated[Positions, instance_of(Positions, "a rule, as in RoPE()")] = dataclasses.field(
        default_factory=RoPE
    )
    window: Count | None = None
    log_length: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads % self.n_kv_heads:
            raise ValueError(f"heads must be a multiple of kv_heads; got {self.heads} and {self.kv_heads}")
        self.positions.check(self.head_width, self.heads)

    @classmethod
    def paper_v4(cls) -> "Transformer":
        """The network of the synthetic experiment of arXiv 2502.01481 v4: 3 layers, width 208, RoPE base 4000.

        The number of heads is not published; 8 is one that divides the width.
        """
        return cls(depth=3, width=208, feed_forward=832, heads=8, positions=RoPE(base=4000.0))

    @property
    def n_kv_heads(self) -> int:
        """G, the number of heads of keys and values."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def n_learned_positions(self) -> int:
        return self.positions.n_learned

    @property
    def max_positions(self) -> int | None:
        return max(self.positions.n_learned, self.positions.n_distances) or None

    def network(self, task: Task, key: Key, context_length: ContextLength) -> nnx.Module:
        self.check_task(task)
        return initialised(TransformerNetwork(self, task), key)

    def apply_to_queries(
        self,
        task: Task,
        parameters: Parameters,
        context: Shaped[Array, "B L *channels"],
        context_length: ContextLength,
        queries: Int[Array, "n"],
        shown: Bool[Array, "B *n L"] | None = None,
        precision: Precision = "float32",
    ) -> Float[Array, "B n *outputs"]:
        """Tokens of the context come before the query, so they pass the network once for all queries.

        Raises:
            ValueError: ``shown`` differs between the queries of a context, but there are several blocks; or it is
                given, but the task does not ask one of several queries after the context.
        """
        network = self.merged(task, parameters)
        if not network.asks_last or network.answers_everywhere:
            return super().apply_to_queries(task, parameters, context, context_length, queries, shown, precision)
        if shown is not None and shown.ndim == 3 and self.depth > 1:
            raise ValueError(
                f"each query can be shown tokens of its own by one block only; got depth {self.depth}: take depth=1, "
                "or show all queries of a context the same tokens"
            )
        return as_prediction(task, network.answers(context, context_length, queries, shown, precision))

    def mixer(self, gain: float) -> "Attention":
        return Attention(self, gain)

    def mixer_parameters(self) -> int:
        of_keys = self.n_kv_heads * self.head_width
        return 2 * self.width**2 + (2 * self.width + self.positions.n_distances) * of_keys

    def mixer_flops(self, n_tokens: int) -> int:
        """Cost of the projections, and of all logits and weighted values, masked or not."""
        projections = 4 * n_tokens * self.width * (self.width + self.n_kv_heads * self.head_width)
        return projections + (4 + 2 * bool(self.positions.n_distances)) * n_tokens**2 * self.width

    def mixer_state_size(self, n_tokens: int) -> int:
        """Size of the keys and values of all tokens, or of the tokens in the window."""
        kept = n_tokens if self.window is None else min(n_tokens, self.window)
        return 2 * kept * self.n_kv_heads * self.head_width


class Attention(Mixer):
    """The mixer of a :class:`Transformer`. Its state is a :class:`Cache`.

    Causality: output i depends on x_i, and on keys and values at positions up to its own. The weight of all others is
    exp(-1e30 - max), which is exactly zero, and so is their gradient.
    """

    def __init__(self, spec: Transformer, gain: float):
        self.spec = spec
        E, inner = spec.width, spec.n_kv_heads * spec.head_width
        self.query, self.key, self.value = Dense(E, E), Dense(E, inner), Dense(E, inner)
        self.output = Dense(E, E, gain)
        n = spec.positions.n_distances
        self.distances = uniform((n, spec.n_kv_heads, spec.head_width), 3**0.5) if n else None

    def __call__(
        self,
        x: Float[Array, "B T E"],
        positions: Int[Array, "T"],
        state: Cache | None,
        precision: Precision,
        last: bool,
    ) -> tuple[Float[Array, "B t E"], Cache | None]:
        asking, asked_at = (x[:, -1:], positions[-1:]) if last else (x, positions)
        new = self.cache(x, positions, precision)
        if state is None:
            return self._attend(asking, asked_at, new, precision), None
        seen = joined(state, new)
        # A token takes the slot of its position; where a window is full, that of the token that leaves it.
        size = state.positions.shape[0]
        kept = (positions >= 0) & (positions > positions[-1] - size)
        slots = jnp.where(kept, positions % size, size)
        state = Cache(
            state.keys.at[:, slots].set(new.keys, mode="drop"),
            state.values.at[:, slots].set(new.values, mode="drop"),
            state.positions.at[slots].set(positions, mode="drop"),
        )
        return self._attend(asking, asked_at, seen, precision), state

    def initial_state(self, batch: int, length: int) -> Cache:
        size = length if self.spec.window is None else min(length, self.spec.window)
        empty = jnp.zeros((batch, size, self.spec.n_kv_heads, self.spec.head_width), jnp.float32)
        return Cache(empty, empty, jnp.full(size, -1, jnp.int32))

    def step(
        self, x: Float[Array, "B E"], position: Int[Array, ""], state: Cache, precision: Precision
    ) -> tuple[Float[Array, "B E"], Cache]:
        y, state = self(x[:, None], position[None], state, precision, True)  # pyright: ignore[reportAssignmentType]
        return y[:, 0], state

    def logits(
        self, queries: Float[Array, "B n H K"], asked_at: Int[Array, "t"], seen: Cache
    ) -> Float[Array, "B H n S"]:
        """The logits over the tokens of the cache. The queries are not turned yet.

        Each query has a position of its own, or all have the same, t = 1.
        """
        spec = self.spec

        def in_groups(queries: Float[Array, "B n H K"]) -> Float[Array, "B t G R K"]:
            groups = queries.reshape(*queries.shape[:2], spec.n_kv_heads, -1, spec.head_width)
            if groups.shape[1] == asked_at.shape[0]:
                return groups
            # Queries at one position differ from one another as heads do that share a key.
            return jnp.moveaxis(groups, 1, 3).reshape(groups.shape[0], 1, spec.n_kv_heads, -1, spec.head_width)

        groups = in_groups(self._turned(queries, asked_at))
        products = jnp.einsum("btgrk,bsgk->bgrts", groups, seen.keys, precision="highest") * spec.head_width**-0.5
        distances = asked_at[:, None] - seen.positions[None, :]
        if self.distances is not None:
            vectors = jnp.take(self.distances[...], jnp.clip(distances, 0, spec.positions.n_distances - 1), axis=0)
            added = jnp.einsum("btgrk,tsgk->bgrts", in_groups(queries), vectors, precision="highest")
            products = products + added * spec.head_width**-0.5
        products = products.reshape(products.shape[0], spec.heads, -1, products.shape[-1])
        slopes = spec.positions.slopes(spec.heads)
        if slopes is not None:
            products = (
                products
                - jnp.asarray(slopes, jnp.float32)[None, :, None, None] * distances.astype(jnp.float32)[None, None]
            )
        if spec.log_length:
            in_sight = asked_at + 1 if spec.window is None else jnp.minimum(asked_at + 1, spec.window)
            factors = jnp.log(jnp.maximum(in_sight.astype(jnp.float32), jnp.float32(jnp.e)))
            products = products * factors[None, None, :, None]
        return jnp.where(self._may_see(distances, seen.positions)[None, None], products, jnp.float32(_HIDDEN))

    def _may_see(self, distances: Int[Array, "t S"], positions: Int[Array, "S"]) -> Bool[Array, "t S"]:
        may = (distances >= 0) & (positions >= 0)[None, :]
        return may if self.spec.window is None else may & (distances < self.spec.window)

    def weights(
        self,
        x: Float[Array, "B t E"],
        asked_at: Int[Array, "t"],
        seen: Cache,
        precision: Precision,
        log_counts: Float[Array, "b G S"] | None = None,
    ) -> Float[Array, "B H t S"]:
        """Weights that each head of the tokens x, at these positions, gives to the entries of the cache.

        The weights of a token sum to one. An entry may stand for several tokens. Its weight is then multiplied by their
        number.
        """
        queries = self.query(x, precision).reshape(*x.shape[:2], self.spec.heads, -1)
        logits = self.logits(queries, asked_at, seen)
        if log_counts is not None:
            logits = logits + jnp.repeat(log_counts, self.spec.heads // self.spec.n_kv_heads, axis=1)[:, :, None]
        return jax.nn.softmax(logits, axis=-1)

    def mixed(
        self,
        x: Float[Array, "B t E"],
        weights: Float[Array, "B H t S"],
        values: Float[Array, "B S G K"],
        precision: Precision,
    ) -> Float[Array, "B t E"]:
        """The layer's output for given weights of the tokens."""
        return self.output(self._gathered(weights, values).reshape(x.shape), precision)

    def asked(
        self,
        y: Float[Array, "b n E"],
        position: Int[Array, "1"],
        seen: Cache,
        log_counts: Float[Array, "B m S"],
        precision: Precision,
    ) -> Float[Array, "B n E"]:
        """The layer's output for queries y that all stand at one position. None of them sees another.

        Args:
            y: normalised inputs of the block, those of each sample or the same for all, b = 1.
            position: of the queries, after all tokens of the cache.
            seen: the tokens.
            log_counts: what is added to the logits of each sample, m = 1, or of each of its queries, m = n.
            precision: of the layers.
        """
        b, n, _ = y.shape
        B, G = seen.keys.shape[0], self.spec.n_kv_heads
        queries = self.query(y, precision).reshape(b, n, self.spec.heads, -1)
        own = self.cache(y.reshape(b * n, 1, -1), position, precision)
        of_own = self.logits(queries.reshape(b * n, 1, *queries.shape[2:]), position, own)
        of_own = jnp.swapaxes(of_own.reshape(b, n, -1, 1), 1, 2)
        of_tokens = self.logits(jnp.broadcast_to(queries, (B, *queries.shape[1:])), position, seen)
        of_tokens = of_tokens + log_counts[:, None]
        of_own = jnp.broadcast_to(of_own, (*of_tokens.shape[:-1], 1))
        weights = jax.nn.softmax(jnp.concatenate([of_tokens, of_own], axis=-1), axis=-1)
        of_own = jnp.swapaxes(weights[..., -1], 1, 2).reshape(B, n, G, -1, 1) * own.values.reshape(b, n, G, 1, -1)
        mixed = self._gathered(weights[..., :-1], seen.values) + of_own
        return self.output(mixed.reshape(B, n, -1), precision)

    def _gathered(self, weights: Float[Array, "B H t S"], values: Float[Array, "B S G K"]) -> Float[Array, "B t G R K"]:
        weights = weights.reshape(weights.shape[0], self.spec.n_kv_heads, -1, *weights.shape[2:])
        return jnp.einsum("bgrts,bsgk->btgrk", weights, values, precision="highest")

    def _attend(
        self, x: Float[Array, "B t E"], asked_at: Int[Array, "t"], seen: Cache, precision: Precision
    ) -> Float[Array, "B t E"]:
        return self.mixed(x, self.weights(x, asked_at, seen, precision), seen.values, precision)

    def cache(self, x: Float[Array, "B T E"], positions: Int[Array, "T"], precision: Precision) -> Cache:
        """The turned keys and the values of these tokens."""
        heads = (*x.shape[:2], self.spec.n_kv_heads, self.spec.head_width)
        keys, values = self.key(x, precision).reshape(heads), self.value(x, precision).reshape(heads)
        return Cache(self._turned(keys, positions), values, positions)

    def _turned(self, vectors: Float[Array, "B n H K"], positions: Int[Array, "t"]) -> Float[Array, "B n H K"]:
        rule = self.spec.positions
        frequencies = rule.frequencies(self.spec.head_width, positions[-1] + 1)
        return vectors if frequencies is None else turned(vectors, positions, frequencies, rule.magnitude)


class TransformerNetwork(SequenceNetwork):
    """The module behind a :class:`Transformer`."""

    def answers(
        self,
        context: Shaped[Array, "B L *channels"],
        context_length: ContextLength,
        queries: Int[Array, "n"],
        shown: Bool[Array, "B *n L"] | None,
        precision: Precision,
    ) -> Float[Array, "B n outputs"]:
        """The outputs for each query, as if it alone stood after the context."""
        anything = jnp.zeros(context.shape[0], jnp.int32)
        x, positions = self.embedded(Examples(context, anything, anything), context_length, precision)
        x, positions, position = x[:, :-1], positions[:-1], positions[-1:]
        y = jnp.take(self.queries[...], queries, axis=0)[None]
        if self.positions is not None:
            y = y + jnp.take(self.positions[...], position, axis=0)[None]
        shown = jnp.ones(context.shape[:2], bool) if shown is None else shown
        # A token that is not shown counts for none.
        log_counts = jnp.where(shown[..., shown.shape[-1] - x.shape[1] :], jnp.float32(0), jnp.float32(_HIDDEN))
        of_queries = log_counts if log_counts.ndim == 3 else log_counts[:, None]
        for i, block in enumerate(self.blocks):
            attention, inputs = cast(Attention, block.mixer), block.mixer_norm(x)
            seen = attention.cache(inputs, positions, precision)
            y = y + attention.asked(block.mixer_norm(y), position, seen, of_queries, precision)
            y = y + block.feed_forward(block.feed_forward_norm(y), precision)
            if i < len(self.blocks) - 1:
                of_tokens = jnp.repeat(log_counts[:, None], attention.spec.n_kv_heads, axis=1)
                weights = attention.weights(inputs, positions, seen, precision, of_tokens)
                x = x + attention.mixed(inputs, weights, seen.values, precision)
                x = x + block.feed_forward(block.feed_forward_norm(x), precision)
        return self.readout(self.norm(y), precision)
