"""Log-odds of the answer to every question at once, and how far they are from the truth.

What a network makes of the context does not depend on the question: context tokens of a Transformer come before it, and
the two branches of a :class:`simulator.models.TwoBranchMLP` meet late. So a hundred answers cost little more than one.
The networks are the package's own, and used like any other.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from simulator.models import Transformer
from simulator.models.attention import Attention, Cache
from simulator.models.layers import Dense
from simulator.models.positions import turned
from simulator.models.sequence import SequenceNetwork
from simulator.models.two_branch_mlp import TwoBranchNetwork
from simulator.tasks import Examples, SparseParity

_HIDDEN = -1e30


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
