"""The project's own random words and keys equal the library's to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator.random.threefry import fold_in, random_normals, random_words

each_kind_of_key = pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])


def keys_of(make):
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(make(11), jnp.arange(9))


@pytest.mark.parametrize("number", [1, 2, 7])
@each_kind_of_key
def test_words_are_those_of_the_library(make, number):
    keys = keys_of(make)
    expected = jax.vmap(lambda key: jax.random.bits(key, (number,), jnp.uint32))(keys)
    np.testing.assert_array_equal(random_words(keys, number), expected)
    np.testing.assert_array_equal(jax.jit(random_words, static_argnums=1)(keys, number), expected)


@pytest.mark.parametrize("number", [0, 5, 2**31 - 1, 2**31 + 3])
@each_kind_of_key
def test_keys_are_those_of_the_library(make, number):
    expected = jax.random.key_data(jax.random.fold_in(make(11), number))
    for folded in (fold_in(make(11), number), fold_in(make(11), jnp.asarray([7, number], jnp.uint32))[1]):
        np.testing.assert_array_equal(jax.random.key_data(folded), expected)


def test_keys_of_another_generator_are_left_to_the_library():
    key = jax.random.key(3, impl="rbg")
    for number in (2, jnp.arange(3)):
        folded = jax.random.key_data(fold_in(key, number))
        last = jax.random.key_data(jax.random.fold_in(key, 2))
        np.testing.assert_array_equal(folded.reshape(-1, 4)[-1], last)
    assert random_words(fold_in(key, jnp.arange(3)), 5).shape == (3, 5)


@each_kind_of_key
def test_normal_numbers_are_those_of_the_library(make):
    expected = jax.vmap(lambda key: jax.random.normal(key, (3, 2), jnp.float32))(keys_of(make))
    np.testing.assert_allclose(random_normals(keys_of(make), (3, 2)), expected, rtol=1e-6)
