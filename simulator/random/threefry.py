"""Random words and keys that equal those of JAX to the bit and are drawn faster.

JAX's default generator is Threefry-2x32 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). On a CPU
the library runs its rounds in a loop. Each round is a pass over memory, and every call takes a third of a second to
compile. Here the rounds are written out and become one pass. Keys of other generators are left to the library.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, UInt32

Key: TypeAlias = Any
"""A JAX random key, new style or old; or several."""


def fold_in(key: Key, number: int | Integer[Array, "*B"]) -> Key:
    """The key of a number, ``jax.random.fold_in(key, number)``; one for each of several numbers."""
    numbers = jnp.asarray(number, None if isinstance(number, jax.Array | np.ndarray) else jnp.uint32)
    if not _is_threefry(key):
        return jnp.vectorize(lambda n: jax.random.fold_in(key, n))(numbers)
    data, counter = jax.random.key_data(key), numbers.astype(jnp.uint32)
    words = jnp.stack(_threefry(data[0], data[1], jnp.zeros_like(counter), counter), axis=-1)
    return jax.random.wrap_key_data(words) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else words


def random_words(keys: Key, number: int) -> UInt32[Array, "B number"]:
    """``number`` fair 32-bit words for each sample's key: those of ``jax.random.bits(key, (number,), jnp.uint32)``.

    Word j is Threefry of the counter (0, j), its two halves combined by XOR.
    """
    if not _is_threefry(keys):
        return jax.vmap(lambda key: jax.random.bits(key, (number,), jnp.uint32))(keys)
    data = jax.random.key_data(keys)
    half = -(-number // 2)

    def words(_: None, start: Array) -> tuple[None, Array]:
        counter = start + jnp.arange(half, dtype=jnp.uint32)[None, :]
        first, second = _threefry(data[:, :1], data[:, 1:], jnp.zeros_like(counter), counter)
        return None, first ^ second

    # In two halves by a loop, which the compiler does not fuse with what reads the words, to draw them anew there.
    _, halves = jax.lax.scan(words, None, jnp.arange(2, dtype=jnp.uint32) * jnp.uint32(half))
    return jnp.moveaxis(halves, 0, 1).reshape(data.shape[0], 2 * half)[:, :number]


def random_uniforms(keys: Key, number: int) -> Float[Array, "B number"]:
    """``number`` numbers uniform on [-1, 1) for each key, multiples of 2^-22."""
    return (random_words(keys, number) >> jnp.uint32(9)).astype(jnp.float32) * jnp.float32(2.0**-22) - 1


def random_normals(keys: Key, shape: tuple[int, ...]) -> Float[Array, "B *shape"]:
    """Standard normal numbers for each sample's key: those of ``jax.random.normal(key, shape, jnp.float32)``."""
    # Computed once and for all behind a barrier: a copy fused into what reads it may be rounded otherwise.
    return jax.lax.optimization_barrier(jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(keys))


def _is_threefry(key: Key) -> bool:
    return jax.random.key_impl(key) == "threefry2x32" and jax.config.jax_threefry_partitionable  # pyright: ignore


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def _threefry(key_0: Array, key_1: Array, x_0: Array, x_1: Array) -> tuple[Array, Array]:
    """Twenty rounds, with a word of the key's schedule added after every four."""
    schedule = (key_0, key_1, key_0 ^ key_1 ^ jnp.uint32(0x1BD11BDA))
    x_0, x_1 = x_0 + schedule[0], x_1 + schedule[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x_0 = x_0 + x_1
            x_1 = x_0 ^ ((x_1 << jnp.uint32(rotation)) | (x_1 >> jnp.uint32(32 - rotation)))
        x_0, x_1 = x_0 + schedule[(group + 1) % 3], x_1 + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return x_0, x_1
