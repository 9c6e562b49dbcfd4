"""The expected risk of counting, against enumeration of every data set and against its limits."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from theory.learning_curves import expected_log_count, table_risk


def entropy_of_answers(joint):
    return float(-np.sum(joint * np.log(joint / joint.sum(axis=1, keepdims=True))))


@given(st.sampled_from([1, 7, 300]), st.floats(0, 1), st.sampled_from([0.01, 0.5, 1.0, 40.0]))
def test_the_mean_logarithm_of_a_count_is_the_sum_over_the_binomial_law(n_draws, probability, offset):
    k = np.arange(n_draws + 1)
    direct = float(np.sum(binom.pmf(k, n_draws, probability) * np.log(k + offset)))
    assert expected_log_count(n_draws, np.array(probability), offset) == pytest.approx(direct, abs=1e-11)


@given(st.integers(0, 10), st.sampled_from([(1, 2), (2, 2), (2, 3)]), st.sampled_from([1, 2, 3]))
def test_the_risk_is_the_mean_over_every_data_set(seed, shape, dataset_size):
    """Every sequence of D pairs (context, answer), with its probability: no binomial law is used."""
    joint = np.random.default_rng(seed).dirichlet(np.ones(shape[0] * shape[1])).reshape(shape)
    pairs, total, c = list(np.ndindex(*shape)), 0.0, 0.7
    for data in itertools.product(pairs, repeat=dataset_size):
        counts = np.full(shape, c)
        for pair in data:
            counts[pair] += 1
        loss = -np.sum(joint * np.log(counts / counts.sum(axis=1, keepdims=True)))
        total += math.prod(joint[pair] for pair in data) * loss
    assert table_risk(joint, dataset_size, c) == pytest.approx(total, abs=1e-11)


def test_with_plenty_of_data_the_excess_is_half_a_parameter_a_sample(rng):
    """(K - 1) C / (2 D): the universal excess of a regular model of (K - 1) C parameters, whatever the prior."""
    joint = rng.dirichlet(np.full(12, 4.0)).reshape(4, 3)
    for c in (0.5, 1.0):
        excess = table_risk(joint, 10**6, c) - entropy_of_answers(joint)
        assert excess == pytest.approx((3 - 1) * 4 / (2 * 10**6), rel=1e-3)


def test_a_context_that_never_occurs_costs_nothing():
    joint = np.array([[0.3, 0.7], [0.0, 0.0]])
    assert table_risk(joint, 20) == pytest.approx(table_risk(joint[:1], 20), abs=1e-13)


@pytest.mark.parametrize(
    ("joint", "size", "concentration", "message"),
    [
        ([[0.5, 0.4]], 10, 0.5, "sum to one"),
        ([[1.5, -0.5]], 10, 0.5, "sum to one"),
        ([[0.5, 0.5]], 0, 0.5, "dataset_size must be at least 1; got 0"),
        ([[0.5, 0.5]], 10, 0.0, "concentration must be a finite number above 0; got 0"),
    ],
)
def test_what_is_no_law_is_refused_by_value(joint, size, concentration, message):
    with pytest.raises(ValueError, match=message):
        table_risk(np.array(joint), size, concentration)
