"""Discrete draws from words, against the same arithmetic in Python's integers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.random import draws
from simulator.random.draws import choose, permutation, thresholds, uniform_below

WORDS = (
    jax.random.bits(jax.random.key(0), (64,), jnp.uint32)
    .at[:4]
    .set(jnp.asarray([0, 2**32 - 1, 2**31, 2**31 - 1], jnp.uint32))
)


@given(st.integers(1, 2**31 - 1))
def test_uniform_below_is_the_upper_half_of_a_product(number):
    expected = [number * int(word) >> 32 for word in WORDS]
    assert uniform_below(WORDS, number).tolist() == expected


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda p: sum(p) > 0.1))
def test_choose_takes_outcomes_by_their_share_of_the_words(weights):
    edges = np.cumsum(weights) / sum(weights)
    for word, outcome in zip(WORDS.tolist(), choose(WORDS, thresholds(np.array(weights))).tolist(), strict=True):
        assert (edges[outcome - 1] if outcome else 0) - 1e-9 <= word / 2**32 <= edges[outcome] + 1e-9


def test_the_impossible_is_never_chosen_and_the_certain_always():
    assert not np.any(choose(WORDS, thresholds(np.array([1.0, 0.0]))))
    assert np.all(choose(WORDS, thresholds(np.array([0.0, 1.0, 0.0]))) == 1)


def test_many_outcomes_are_chosen_as_few_are(monkeypatch):
    edges = thresholds(np.random.default_rng(0).random(60))
    few = choose(WORDS, edges)
    monkeypatch.setattr(draws, "_FEW", 10)
    np.testing.assert_array_equal(choose(WORDS, edges), few)
    own = choose(WORDS[:3], jnp.stack([jnp.asarray(edges)] * 3))
    np.testing.assert_array_equal(own, few[:3])


@pytest.mark.parametrize("few", [0, 256])
def test_a_permutation_is_the_ranks_of_its_words(few, monkeypatch):
    monkeypatch.setattr(draws, "_FEW_RANKS", few)
    words = np.array(jax.random.bits(jax.random.key(1), (200, 9), jnp.uint32))
    words[0, 3:6] = words[0, 1]
    expected = np.argsort(np.argsort(words, axis=1, kind="stable"), axis=1, kind="stable")
    np.testing.assert_array_equal(permutation(jnp.asarray(words)), expected)
