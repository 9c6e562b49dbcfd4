"""Recurrences over tokens: all states at once by an associative operation, or by chunks with matrix products."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_Element = TypeVar("_Element")


def prefixes(
    combine: Callable[[_Element, _Element], _Element], elements: _Element, initial: _Element
) -> tuple[_Element, _Element]:
    """The prefix initial * e_1 * ... * e_t for every t, where * is an associative operation. Arrays are (B, T, ...).

    An accelerator takes a parallel scan of logarithmic depth. A CPU takes one token after another, because there each
    level of the scan costs time.

    Returns:
        The prefixes (B, T, ...) and the last of them (B, ...).
    """

    def token_by_token(elements: Any, initial: Any) -> tuple[Any, Any]:
        def one_more(carry: Any, element: Any) -> tuple[Any, Any]:
            carry = combine(carry, element)
            return carry, carry

        last, states = jax.lax.scan(one_more, initial, jax.tree.map(lambda e: jnp.swapaxes(e, 0, 1), elements))
        return jax.tree.map(lambda e: jnp.swapaxes(e, 0, 1), states), last

    def in_parallel(elements: Any, initial: Any) -> tuple[Any, Any]:
        products = jax.lax.associative_scan(combine, elements, axis=1)
        states = combine(jax.tree.map(lambda e: jnp.expand_dims(e, 1), initial), products)
        return states, jax.tree.map(lambda e: e[:, -1], states)

    return jax.lax.platform_dependent(elements, initial, cpu=token_by_token, default=in_parallel)


def linear_recurrence(
    decay: Float[Array, "B T *F"], update: Float[Array, "B T *F"], initial: Float[Array, "B *F"]
) -> tuple[Float[Array, "B T *F"], Float[Array, "B *F"]]:
    """Every state of h_t = a_t h_{t-1} + b_t, and the last one. (a', b') after (a, b) is (a a', a' b + b')."""

    def combine(
        first: tuple[Float[Array, "..."], Float[Array, "..."]], second: tuple[Float[Array, "..."], Float[Array, "..."]]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    (_, states), (_, last) = prefixes(combine, (decay, update), (jnp.ones_like(initial), initial))
    return states, last


_CHUNK = 64
"""Number of tokens whose pairs are all computed at once."""


def decayed_attention(
    queries: Float[Array, "B t H K"],
    keys: Float[Array, "B T H K"],
    values: Float[Array, "B T H V"],
    decay: Float[Array, "H"],
    state: Float[Array, "B H K V"],
    last: bool,
) -> tuple[Float[Array, "B t H V"], Float[Array, "B H K V"]]:
    """The outputs q_t S_t of the recurrence S_t = gamma S_{t-1} + k_t v_t^T, and its last state.

    Within a chunk all pairs of tokens are computed. The state carries the rest from chunk to chunk. The keys of
    invisible tokens must be zero.
    """
    T = keys.shape[1]
    if last:
        ages = jnp.arange(T - 1, -1, -1, dtype=jnp.float32)
        weighted = keys * (decay[None, :] ** ages[:, None])[None, :, :, None]
        state = state * (decay**T)[None, :, None, None] + _product("bshk,bshv->bhkv", weighted, values)
        return _product("bhk,bhkv->bhv", queries[:, -1], state)[:, None], state
    size = min(_CHUNK, T)
    missing = -T % size

    def chunks(array: Float[Array, "B T H F"]) -> Float[Array, "chunks B size H F"]:
        padded = jnp.pad(array, ((0, 0), (0, missing), (0, 0), (0, 0)))
        return jnp.moveaxis(padded.reshape(padded.shape[0], -1, size, *padded.shape[2:]), 1, 0)

    steps = jnp.arange(size, dtype=jnp.float32)
    ages = steps[:, None] - steps[None, :]
    pairs = jnp.where(ages[None] >= 0, decay[:, None, None] ** jnp.maximum(ages, 0)[None], 0)[None]
    since_start = (decay[None, :] ** (steps[:, None] + 1))[None, :, :, None]
    until_end = (decay[None, :] ** (size - 1 - steps[:, None]))[None, :, :, None]

    def one_more(state: Array, chunk: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        q, k, v = chunk
        within = _product("bhqs,bshv->bqhv", _product("bqhk,bshk->bhqs", q, k) * pairs, v)
        before = _product("bqhk,bhkv->bqhv", q * since_start, state)
        state = state * (decay**size)[None, :, None, None] + _product("bshk,bshv->bhkv", k * until_end, v)
        return state, within + before

    state, outputs = jax.lax.scan(one_more, state, (chunks(queries), chunks(keys), chunks(values)))
    if missing:  # tokens that are not there let the state decay
        state = state / (decay**missing)[None, :, None, None]
    outputs = jnp.moveaxis(outputs, 0, 1)
    return outputs.reshape(outputs.shape[0], -1, *outputs.shape[3:])[:, :T], state


def in_sight(array: Float[Array, "B T *F"], seen: Bool[Array, "T"]) -> Float[Array, "B T *F"]:
    """The array with zeros in place of the tokens that are not seen."""
    return jnp.where(seen.reshape(1, -1, *(1,) * (array.ndim - 2)), array, jnp.zeros_like(array))


def _product(subscripts: str, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.einsum(subscripts, a, b, precision="highest")
