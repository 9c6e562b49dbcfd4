"""The order in which an epoch visits its samples: a keyed bijection on [0, D) that needs no memory."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer, UInt32

_ROUNDS = 4


def shuffled(
    key_words: UInt32[Array, "2"], position: Integer[Array, "B"], size: Integer[Array, ""]
) -> UInt32[Array, "B"]:
    """Where ``position`` in [0, size) lands in the permutation named by the key.

    A generalised Feistel network on [0, a) x [0, b), a b >= size, with cycle walking (Black & Rogaway 2002): both
    halves are shifted in turn by a hash of the other, which is invertible whatever the hash; positions thrown beyond
    ``size`` are thrown again until they land inside. a b exceeds size by less than one row, so few are.

    Args:
        key_words: two random words.
        position: positions, each below size.
        size: D, at most 2^31.
    """
    size = size.astype(jnp.uint32)
    b = jnp.ceil(jnp.sqrt(size.astype(jnp.float32))).astype(jnp.uint32)
    a = (size + b - jnp.uint32(1)) // b

    def throw(x: Array) -> Array:
        high = _divided(x, b)
        low = x - high * b
        for r in range(_ROUNDS):
            low = _shift(low, _hash(high, key_words[0], 2 * r), b)
            high = _shift(high, _hash(low, key_words[1], 2 * r + 1), a)
        return high * b + low

    def again(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        x, landed = carry
        x = jnp.where(landed, x, throw(x))
        return x, x < size

    start = position.astype(jnp.uint32)
    return jax.lax.while_loop(lambda carry: ~jnp.all(carry[1]), again, (start, jnp.zeros_like(start, bool)))[0]


def _divided(x: Array, b: Array) -> Array:
    """floor(x / b), x < 2^31, b <= 2^16, by way of float32, which errs by one: integers are not divided in vectors."""
    quotient = (x.astype(jnp.float32) / b.astype(jnp.float32)).astype(jnp.uint32)
    quotient = jnp.where(quotient * b > x, quotient - jnp.uint32(1), quotient)
    return jnp.where(x - quotient * b >= b, quotient + jnp.uint32(1), quotient)


def _shift(value: Array, hashed: Array, modulus: Array) -> Array:
    """(value + h) mod modulus, h in [0, modulus) from the upper 16 bits of the hash; modulus is at most 2^16."""
    moved = value + ((hashed >> jnp.uint32(16)) * modulus >> jnp.uint32(16))
    return jnp.where(moved >= modulus, moved - modulus, moved)


def _hash(value: Array, word: Array, number: int) -> Array:
    """A 32-bit finaliser with full avalanche (constants of C. Wellons' hash prospector, lowbias32)."""
    x = value * jnp.uint32(0x9E3779B9) + word + jnp.uint32(number * 0x85EBCA6B & 0xFFFFFFFF)
    x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> jnp.uint32(15))) * jnp.uint32(0x846CA68B)
    return x ^ (x >> jnp.uint32(16))
