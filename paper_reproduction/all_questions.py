"""Networks on multitask parities, trained and tested with every question asked of each context.

What a network makes of the context does not depend on the question: context tokens of a Transformer come before it, and
the two branches of a :class:`simulator.models.TwoBranchMLP` meet late. So a hundred labels cost little more than one.
The networks are the package's own, and used like any other once trained.
"""

import abc
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from tqdm.auto import tqdm

from simulator.models import Transformer
from simulator.models.attention import Attention, Cache
from simulator.models.base import Model, Parameters
from simulator.models.dense import Dense
from simulator.models.positions import turned
from simulator.models.sequence import SequenceNetwork
from simulator.models.two_branch_mlp import TwoBranchNetwork
from simulator.seeds import stream_key
from simulator.tasks import Examples, SparseParity
from simulator.tasks.base import Key
from simulator.tasks.threefry import fold_in

_HIDDEN = -1e30


@dataclasses.dataclass(frozen=True)
class Training(abc.ABC):
    """Adam on endless contexts, the learning rate falling to zero linearly, gradients clipped at a norm of 1.

    Attributes:
        task: what is asked.
        model: the network.
        steps: optimiser steps.
        learning_rate: at its peak.
        contexts: of a batch.
        warmup: steps over which the learning rate rises from zero.
        weight_decay: decoupled, as AdamW's.
    """

    task: SparseParity
    model: Model
    steps: int
    learning_rate: float
    contexts: int
    warmup: int = 200
    weight_decay: float = 0.0

    @abc.abstractmethod
    def loss(self, parameters: Parameters, key: Key, progress: Float[Array, ""]) -> Float[Array, ""]:
        """Mean loss on a step's batch, which is drawn from the key; progress is the share of steps taken."""

    def optimizer(self) -> optax.GradientTransformation:
        """On all parameters as one vector."""
        rising = optax.linear_schedule(0.0, self.learning_rate, self.warmup)
        falling = optax.linear_schedule(1.0, 0.0, self.steps)
        adam = optax.adamw(lambda n: rising(n) * falling(n), b1=0.9, b2=0.99, weight_decay=self.weight_decay)
        return optax.flatten(optax.chain(optax.clip_by_global_norm(1.0), adam))

    def run(self, parameters: Parameters, seed: int, what: str = "") -> Parameters:
        """The parameters after all steps; a bar shows the loss."""
        state, loss = self.optimizer().init(parameters), float("nan")
        parameters = jax.tree.map(jnp.copy, parameters)
        with tqdm(total=self.steps, desc=what, unit="step", leave=False) as bar:
            while bar.n < self.steps:
                n = min(self.steps - bar.n, max(1, self.steps // 100))
                parameters, state, loss = _advance(self, parameters, state, seed, np.int32(bar.n), np.int32(n))
                bar.set_postfix_str(f"loss {float(loss):.4f}", refresh=False)
                bar.update(n)
        return parameters


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def _advance(
    training: Training, parameters: Parameters, state: Any, seed: Any, first: Any, steps: Any
) -> tuple[Parameters, Any, Float[Array, ""]]:
    """So many steps, and the mean of their losses."""
    key, optimizer = stream_key(seed, "train"), training.optimizer()

    def step(i: Array, carry: tuple) -> tuple:
        parameters, state, total = carry
        progress = (i.astype(jnp.float32) + 0.5) / training.steps
        value, gradient = jax.value_and_grad(training.loss)(parameters, fold_in(key, i), progress)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
            updates, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, total + value

    parameters, state, total = jax.lax.fori_loop(first, first + steps, step, (parameters, state, jnp.float32(0)))
    return parameters, state, total / steps.astype(jnp.float32)


def draw(task: SparseParity, key: Key, contexts: int) -> tuple[Int[Array, "B L"], Int[Array, "B n"]]:
    """Contexts, and the answers to all questions, a fair coin where a bit lies beyond L."""
    L, index = task.max_context_length, jnp.arange(contexts, dtype=jnp.int32)
    context = task.sample(key, index).context
    far, near = np.asarray(task.pairs).T
    coins = jax.random.bernoulli(fold_in(key, 2**32 - 1), shape=(contexts, len(far))).astype(jnp.int32)
    columns = [np.maximum(L - bits, 0) for bits in (far, near)]
    return context, jnp.where(far[None] <= L, (context[:, columns[0]] + context[:, columns[1]]) % 2, coins)


def losses(log_odds: Float[Array, "B n"], answers: Int[Array, "B n"]) -> Float[Array, "B n"]:
    """-ln Q(answer), nats."""
    return jax.nn.softplus(jnp.where(answers == 1, -log_odds, log_odds))


def divergences(
    task: SparseParity, log_odds: Float[Array, "B n"], answers: Int[Array, "B n"], context_length: int
) -> Float[Array, "B n"]:
    """KL(P_l || Q) of each question, nats: P_l is sure where the far bit is in sight, and a fair coin elsewhere."""
    known = jnp.asarray(task.pairs, jnp.int32)[:, 0] <= context_length
    of_coin = (jax.nn.softplus(log_odds) + jax.nn.softplus(-log_odds)) / 2 - jnp.log(jnp.float32(2))
    return jnp.where(known[None], losses(log_odds, answers), of_coin)


def transformer_log_odds(
    network: SequenceNetwork,
    context: Int[Array, "B L"],
    shown: Bool[Array, "B L"] | Bool[Array, "B n L"],
    questions: Int[Array, "n"] | None = None,
) -> Float[Array, "B n"]:
    """Log-odds of the answer 1 to each question, or to some. What is not shown takes no part in attention.

    Of networks with rotary positions or none, and as many heads of keys as of queries; others are refused.
    """
    assert not isinstance(network.tokens, Dense)
    places = jnp.arange(context.shape[1], dtype=jnp.int32)
    x = jnp.take(network.tokens[...], context, axis=0)
    y = network.queries[...] if questions is None else jnp.take(network.queries[...], questions, axis=0)
    for i, block in enumerate(network.blocks):
        attention, seen = block.mixer, block.mixer_norm(x)
        assert isinstance(attention, Attention)
        _check(attention.spec)
        cache = attention.cache(seen, places, "float32")
        mixed = _asked(attention, block.mixer_norm(y), cache, shown)
        y = (y if y.ndim == 3 else y[None]) + attention.output(mixed, "float32")
        y = y + block.feed_forward(block.feed_forward_norm(y), "float32")
        if i < len(network.blocks) - 1:
            queries = attention.query(seen, "float32").reshape(*x.shape[:2], attention.spec.heads, -1)
            raw = jnp.where(shown[:, None, None], attention.logits(queries, places, cache), _HIDDEN)
            x = x + attention.mixed(seen, jax.nn.softmax(raw, axis=-1), cache.values, "float32")
            x = x + block.feed_forward(block.feed_forward_norm(x), "float32")
    return network.readout(network.norm(y), "float32")[..., 0]


def _check(spec: Transformer) -> None:
    """Refuse what :func:`_asked` does not know of."""
    others = spec.positions.n_learned or spec.positions.slopes(spec.heads) is not None
    if others or spec.window is not None or spec.log_length or spec.n_kv_heads != spec.heads:
        raise ValueError(
            "every question is asked of Transformers with rotary positions or none, all heads of keys, no window and "
            f"log_length=False; got {spec!r}"
        )


def _asked(
    attention: Attention, y: Float[Array, "... n E"], cache: Cache, shown: Bool[Array, "B ... L"]
) -> Float[Array, "B n E"]:
    """What questions, all at the last place, gather from the context and from themselves."""
    spec, L = attention.spec, cache.keys.shape[1]
    rule, n = spec.positions, "nhk" if y.ndim == 2 else "bnhk"
    heads = (*y.shape[:-1], spec.heads, spec.head_width)
    query, key, value = (
        layer(y, "float32").reshape(heads) for layer in (attention.query, attention.key, attention.value)
    )
    frequencies = rule.frequencies(spec.head_width, jnp.int32(L + 1))
    flat = query.reshape(-1, 1, *heads[-2:])
    at_end = (
        query
        if frequencies is None
        else turned(flat, jnp.full(1, L, jnp.int32), frequencies, rule.magnitude).reshape(heads)
    )
    of_context = jnp.einsum(f"{n},bshk->bhns", at_end, cache.keys)
    own = jnp.einsum(f"{n},{n}->{n[:-1]}", query, key)
    if attention.distances is not None:
        vectors = attention.distances[...]
        of_distance = jnp.einsum(f"{n},shk->{n[:-3]}hns", query, vectors[L:0:-1])
        of_context = of_context + (of_distance if y.ndim == 3 else of_distance[None])
        own = own + jnp.einsum(f"{n},hk->{n[:-1]}", query, vectors[0])
    visible = shown[:, None] if shown.ndim == 3 else shown[:, None, None]
    of_context = jnp.where(visible, of_context, _HIDDEN)
    own = jnp.swapaxes(own if y.ndim == 3 else own[None], 1, 2)[..., None]
    own = jnp.broadcast_to(own, (*of_context.shape[:-1], 1))
    weights = jax.nn.softmax(jnp.concatenate([of_context, own], axis=-1) * spec.head_width**-0.5, axis=-1)
    mixed = jnp.einsum("bhns,bshk->bnhk", weights[..., :-1], cache.values)
    mixed = mixed + jnp.swapaxes(weights[..., -1], 1, 2)[..., None] * (value if y.ndim == 3 else value[None])
    return mixed.reshape(*mixed.shape[:2], -1)


def two_branch_log_odds(
    network: TwoBranchNetwork, context: Int[Array, "B L"], context_length: int
) -> Float[Array, "B n"]:
    """Log-odds of the answer 1 to each question, of so many tokens of the contexts."""
    anything = jnp.zeros(context.shape[0], jnp.int32)
    _, (_, features, _) = network.layers(Examples(context, anything, anything), context_length, "float32")
    n, F = network.n_queries, features.shape[1]
    kernel = network.kernels[1][...]
    of_context = features @ kernel[:F]
    of_question = kernel[F:] + network.biases[1][...][None]
    x = of_context[:, None] + of_question[None]
    x = jnp.where(x > 0, x, network.slope * x).reshape(-1, kernel.shape[1])
    return (x @ network.kernels[2][...] + network.biases[2][...][None]).reshape(-1, n)


@dataclasses.dataclass(frozen=True)
class TwoBranchTraining(Training):
    """Of a :class:`simulator.models.TwoBranchMLP` on contexts of one length.

    Attributes:
        context_length: l.
    """

    context_length: int = 1

    def loss(self, parameters: Parameters, key: Key, progress: Float[Array, ""]) -> Float[Array, ""]:
        context, answers = draw(self.task, key, self.contexts)
        log_odds = two_branch_log_odds(self.model.merged(self.task, parameters), context, self.context_length)
        return jnp.sum(losses(log_odds, answers).mean(axis=0) * self.task.task_frequencies().astype(np.float32))


@dataclasses.dataclass(frozen=True)
class TransformerTraining(Training):
    """Of a :class:`simulator.models.Transformer` on all context lengths, with a curriculum.

    Half of the contexts show all their bits, the others a number of bits uniform from ``shortest`` on: the recipe of
    arXiv 2502.01481 v4. Before ``easy_until`` most questions show their own two bits and few others, each with
    probability u^2, u uniform. Networks of one block only can have such questions, for there what is shown of a context
    can differ from question to question; then it does throughout, and each draws a number of bits of its own.

    Attributes:
        shortest: fewest bits shown.
        easy_until: share of the steps with such questions.
        easy_share: of the questions, while there are such.
        frequencies_from: share of the steps after which questions count by their frequency; before, ever less equally.
        questions: asked of each context of a batch, others in each batch; all, if there are no more.
    """

    shortest: int = 10
    easy_until: float = 0.0
    easy_share: float = 0.7
    frequencies_from: float = 0.0
    questions: int = 25

    def __post_init__(self) -> None:
        if self.easy_until and isinstance(self.model, Transformer) and self.model.depth > 1:
            raise ValueError(f"easy_until must be 0 where there are several blocks; got {self.easy_until}")

    def loss(self, parameters: Parameters, key: Key, progress: Float[Array, ""]) -> Float[Array, ""]:
        n = self.task.n_queries
        context, answers = draw(self.task, key, self.contexts)
        asked = jax.random.permutation(fold_in(key, 1), n)[: self.questions]
        shown = self.shown(fold_in(key, 0), progress, asked)
        network = self.model.merged(self.task, parameters)
        log_odds = transformer_log_odds(network, context, shown, asked)
        frequencies = self.task.task_frequencies().astype(np.float32)
        mix = jnp.minimum(progress / self.frequencies_from, 1.0) if self.frequencies_from else jnp.float32(1)
        weights = jnp.take(mix * frequencies + (1 - mix) / n, asked) * (n / asked.shape[0])
        return jnp.sum(losses(log_odds, jnp.take(answers, asked, axis=1)).mean(axis=0) * weights)

    def shown(
        self, key: Key, progress: Float[Array, ""], asked: Int[Array, "n"]
    ) -> Bool[Array, "B L"] | Bool[Array, "B n L"]:
        """The bits that a step's batch shows, to each question its own where there are easy ones."""
        B, n, L = self.contexts, asked.shape[0], self.task.max_context_length
        each = self.easy_until > 0
        keys, of = jax.random.split(key, 5), (B, n if each else 1, 1)
        some = jax.random.randint(keys[0], of, self.shortest, L + 1)
        length = jnp.where(jax.random.bernoulli(keys[1], shape=of), L, some)
        newest = jnp.arange(L)[None, None] >= L - length
        if not each:
            return newest[:, 0]
        share = jax.random.uniform(keys[2], of) ** 2
        bits = L - jnp.take(jnp.asarray(self.task.pairs, jnp.int32), asked, axis=0)
        own = (jnp.arange(L)[None, None] == bits[..., None]).any(axis=1)
        few = (jax.random.uniform(keys[3], (B, n, L)) < share) | own[None]
        easy = jax.random.bernoulli(keys[4], self.easy_share, of) & (progress < self.easy_until)
        return jnp.where(easy, few, newest)


def with_blocks_underneath(
    task: SparseParity, model: Transformer, parameters: Parameters, depth: int, key: Key
) -> tuple[Transformer, Parameters]:
    """The same function by more blocks: new ones come first, and add nothing to the stream as yet."""
    deeper = dataclasses.replace(model, depth=depth)
    old = model.merged(task, parameters)
    new = deeper.merged(task, deeper.init(task, key, task.max_context_length))
    for block in new.blocks[: depth - model.depth]:
        for layer in (block.mixer.output, block.feed_forward.second):
            layer.kernel[...] = jnp.zeros_like(layer.kernel[...])
    for i, block in enumerate(old.blocks, depth - model.depth):
        new.blocks[i] = block
    new.tokens, new.queries, new.norm, new.readout = old.tokens, old.queries, old.norm, old.readout
    return deeper, nnx.split(new)[1]
