"""The order of an epoch is a permutation of [0, D), different for each key."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.training.order import _divided, shuffled

WORDS = st.tuples(*[st.integers(0, 2**32 - 1)] * 2)
LONGEST = 3000
each = jax.jit(shuffled)


def permutation(words, size):
    positions = np.minimum(np.arange(LONGEST, dtype=np.int32), size - 1)
    return np.asarray(each(np.array(words, np.uint32), positions, np.int32(size)))[:size]


@given(WORDS, st.integers(1, LONGEST))
def test_every_sample_is_visited_exactly_once(words, size):
    np.testing.assert_array_equal(np.sort(permutation(words, size)), np.arange(size))


@pytest.mark.parametrize("size", [2**31 - 2**24, 10**9, 2**30, 999_999_937])
def test_huge_sets_stay_in_range_without_collisions(size):
    """40,000 positions spread over [0, D) go to different places in [0, D)."""
    positions = np.linspace(0, size - 1, 40_000).astype(np.int64)
    found = np.asarray(each(np.array([1, 2], np.uint32), positions.astype(np.int32), np.int32(size)))
    assert found.max() < size
    assert len(np.unique(found)) == len(positions)
    # Uniform over [0, D): mean and a 10-bin chi-square with 9 degrees of freedom (p = 1e-5).
    counts = np.histogram(found, bins=10, range=(0, size))[0]
    assert np.sum((counts - 4000) ** 2 / 4000) < 40


def test_different_keys_give_unrelated_orders():
    size = 2000
    a, b = permutation((1, 2), size), permutation((1, 3), size)
    for left, right in ((a, b), (a, np.arange(size)), (b, np.arange(size))):
        assert np.sum(left == right) < 12  # expected 1
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / np.sqrt(size)


def test_neighbours_do_not_stay_neighbours():
    order = permutation((5, 6), LONGEST).astype(int)
    assert np.mean(np.abs(np.diff(order)) <= 2) < 0.01


def test_division_in_floats_is_exact_at_every_multiple():
    b = 46_341
    x = np.arange(1, b - 1, dtype=np.uint32) * b
    for numbers in (x - 1, x):
        np.testing.assert_array_equal(jax.jit(_divided)(numbers, np.uint32(b)), numbers // b)
