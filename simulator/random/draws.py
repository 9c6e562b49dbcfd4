"""Discrete draws from random words, in integer arithmetic. They are the same bits on any device and in any batch."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

_FEW = 64
"""Up to this many outcomes, a word is compared with every edge; for more, the edges are bisected."""


_FEW_RANKS = 256
"""Up to this many words are ranked by comparing them all. More are sorted, which has a high fixed cost on a CPU."""


def thresholds(probabilities: Float[np.ndarray, "... K"]) -> UInt32[np.ndarray, "... edges"]:
    """Edges in [0, 2^31] between the K outcomes of a law, for :func:`choose`.

    Probabilities are rounded to multiples of 2^-31. Those of 0 and 1 are exact, because no word reaches 2^31.
    """
    probabilities = np.asarray(probabilities, np.float64)
    edges = np.cumsum(probabilities, axis=-1)[..., :-1] / probabilities.sum(axis=-1, keepdims=True)
    return np.rint(np.minimum(edges, 1.0) * 2.0**31).astype(np.uint32)


def choose(words: UInt32[Array, "*B"], edges: UInt32[Array | np.ndarray, "..."]) -> Int[Array, "*B"]:
    """Outcome that each word draws. Edges (K-1,) are one law for all words; edges (*B, K-1) are a law for each."""
    edges, words = jnp.asarray(edges), words >> jnp.uint32(1)
    if edges.ndim == 1 and edges.shape[0] > _FEW:
        return jnp.searchsorted(edges, words, side="right").astype(jnp.int32)
    if edges.ndim == 1:
        edges = edges.reshape((1,) * words.ndim + (-1,))
    return jnp.sum(words[..., None] >= edges, axis=-1, dtype=jnp.int32)


def uniform_below(words: UInt32[Array, "*B"], number: int | Int[Array, "*B"]) -> Int[Array, "*B"]:
    """floor(number * word / 2^32): uniform on 0..number-1, up to number/2^32. 1 <= number < 2^31."""
    number = jnp.asarray(number).astype(jnp.uint32)
    sixteen, low = jnp.uint32(16), jnp.uint32(0xFFFF)
    # The upper half of a 64-bit product, from products of 16-bit halves.
    word_high, word_low, high_number, low_number = words >> sixteen, words & low, number >> sixteen, number & low
    middle, other = word_high * low_number, word_low * high_number
    carry = ((word_low * low_number >> sixteen) + (middle & low) + (other & low)) >> sixteen
    return (word_high * high_number + (middle >> sixteen) + (other >> sixteen) + carry).astype(jnp.int32)


def permutation(words: UInt32[Array, "B n"]) -> Int[Array, "B n"]:
    """A uniform permutation of 0..n-1 for each sample: the ranks of n random words, equal ones in their order."""
    n = words.shape[1]
    if n > _FEW_RANKS:
        order = jnp.argsort(words, axis=1, stable=True)
        return jnp.argsort(order, axis=1, stable=True).astype(jnp.int32)
    place = jnp.arange(n)[None, :]

    def compare(i: Array, ranks: Array) -> Array:
        word = jax.lax.dynamic_slice_in_dim(words, i, 1, axis=1)
        before = (word < words) | ((word == words) & (i < place))
        return ranks + before.astype(jnp.int32)

    return jax.lax.fori_loop(0, n, compare, jnp.zeros(words.shape, jnp.int32))
