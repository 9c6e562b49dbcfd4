"""Scores that tell which heads of a Transformer look back, measured on a repeated random text."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from simulator.learners.network_predictor import NetworkPredictor
from simulator.models.attention import Transformer
from simulator.tasks.base import Examples, Key
from theory.checks import check_integer


def transformer_of(predictor: NetworkPredictor) -> tuple[Transformer, Any]:
    """Return the description and the module of a trained Transformer. Another model is a TypeError."""
    if not isinstance(predictor.model, Transformer):
        raise TypeError(f"only a Transformer has heads; got {type(predictor.model).__name__}")
    return predictor.model, predictor.model.merged(predictor.task, predictor.parameters)


def attention_weights(predictor: NetworkPredictor, examples: Examples) -> list[Float[Array, "B H T T"]]:
    """Return the attention weights of all heads, one array for each layer. The whole context is visible."""
    _, network = transformer_of(predictor)
    x, positions = network.embedded(examples, predictor.task.max_context_length, "float32")
    layers = []
    for block in network.blocks:
        normed, attention = block.mixer_norm(x), block.mixer
        cache = attention.cache(normed, positions, "float32")
        layers.append(attention.weights(normed, positions, cache, "float32"))
        x, _ = block(x, positions, None, "float32", False)
    return layers


def echo_and_induction_scores(
    predictor: NetworkPredictor, key: Key, n_texts: int = 32, repeats: int = 4
) -> tuple[Float[np.ndarray, "layers H"], Float[np.ndarray, "layers H"]]:
    """Measure how much attention each head pays to earlier occurrences of a token.

    A text repeats P = L // repeats random tokens of the task's vocabulary. The echo score is the attention from token i
    to the earlier occurrences of the same token, j = i - mP. The induction score is the attention to the tokens that
    followed them, j = i - mP + 1. Both are means over texts and over tokens that have an earlier occurrence
    (RazorAttention, Tang et al. 2024, arXiv 2407.15891).

    Args:
        predictor: a trained Transformer.
        key: random key of the texts.
        n_texts: number of texts.
        repeats: number of times that a text contains its P tokens.

    Returns:
        Echo scores and induction scores in [0, 1], both of shape (layers, H).
    """
    task = predictor.task
    n_texts, repeats = check_integer("n_texts", n_texts, 1), check_integer("repeats", repeats, 2)
    period, L = task.max_context_length // repeats, task.max_context_length
    if task.vocabulary_size is None:
        raise ValueError(f"scores are measured on tokens of a vocabulary; {type(task).__name__} has real ones")
    if period < 2:
        raise ValueError(f"a text of {L} tokens is too short to repeat two tokens {repeats} times")
    text = jax.random.randint(key, (n_texts, period), 0, task.vocabulary_size, jnp.int32)
    length = period * repeats
    context = jnp.concatenate([jnp.zeros((n_texts, L - length), jnp.int32), jnp.tile(text, (1, repeats))], axis=1)
    target = jnp.zeros(n_texts, jnp.int32)
    layers = attention_weights(predictor, Examples(context, jnp.zeros(n_texts, jnp.int32), target))
    first = layers[0].shape[-1] - length - (1 if task.n_queries > 1 else 0)  # a question stands after the text
    behind = np.arange(length)[:, None] - np.arange(length)[None, :]
    echo, induction = ((behind + ahead) % period == 0 for ahead in (0, 1))
    echo, induction = echo & (behind > 0), induction & (behind > 0)
    asking = slice(period, length)

    def score(pairs: Bool[np.ndarray, "T T"], weights: Array) -> np.ndarray:
        seen = np.asarray(weights)[:, :, first : first + length, first : first + length]
        return (seen * pairs)[:, :, asking].sum(axis=-1).mean(axis=(0, 2))

    echoes, inductions = (np.stack([score(pairs, w) for w in layers]) for pairs in (echo, induction))
    return echoes, inductions


def retrieval_heads(
    predictor: NetworkPredictor, key: Key, induction_share: float = 0.14, echo_share: float = 0.01
) -> Bool[np.ndarray, "layers H"]:
    """Select the heads with the largest induction scores and those with the largest echo scores.

    If one head of a group that shares keys and values is selected, the whole group is.

    Args:
        predictor: a trained Transformer.
        key: random key of the texts on which the scores are measured.
        induction_share: share of all heads to select by induction score, rounded up. RazorAttention takes 14 %.
        echo_share: share of all heads to select by echo score, rounded up. RazorAttention takes 1 %.
    """
    spec, _ = transformer_of(predictor)
    shares = (echo_share, induction_share)
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares of heads must be in [0, 1]; got {echo_share} and {induction_share}")
    chosen = np.zeros((spec.depth, spec.heads), bool)
    for scores, share in zip(echo_and_induction_scores(predictor, key), shares, strict=True):
        largest = np.argsort(-scores, axis=None, kind="stable")[: math.ceil(share * scores.size)]
        chosen.reshape(-1)[largest] = True
    return whole_groups(spec, chosen)


def whole_groups(spec: Transformer, chosen: Bool[np.ndarray, "layers H"]) -> Bool[np.ndarray, "layers H"]:
    """Return all heads that share keys and values with a chosen one."""
    groups = chosen.reshape(spec.depth, spec.n_kv_heads, -1)
    return np.broadcast_to(groups.any(axis=-1, keepdims=True), groups.shape).reshape(chosen.shape)
