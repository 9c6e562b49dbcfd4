"""Copying from a lag, against enumeration and its limits."""

import math

import numpy as np
import pytest

from simulator.tasks import EXAMPLES, LagCopy
from tests.simulator.compiled import MANY, sample
from tests.simulator.enumeration import assert_risks, outcomes
from tests.simulator.stories.retrieving import tell_lag_copy


@pytest.mark.parametrize("dials", [(5, 1.0, 0.4, 3), (3, 0.8, 1 / sum(n**-0.8 for n in range(1, 5)), 4)])
def test_the_integral_is_the_sum_over_all_contexts(dials):
    """Also where a lag is copied with certainty."""
    task = LagCopy(*dials)
    assert_risks(task, outcomes(tell_lag_copy, task))


@pytest.mark.parametrize("dials", [(2, 2.0, 1e-7, 60), (65535, 1.0, 1.0, 1), (2, 500.0, 1.0, 3), (2, 1.0, 1e-20, 3)])
def test_rounding_neither_raises_the_risk_nor_takes_it_out_of_its_range(dials):
    task = LagCopy(*dials)
    risks = [task.bayes_risk(length) for length in range(task.max_context_length + 1)]
    assert risks[0] == math.log(task.vocabulary_size)
    assert np.all(np.diff(risks) <= 0)
    assert risks[-1] >= 0


def test_to_second_order_the_risk_falls_with_the_squares_of_the_probabilities():
    """R(l) = ln v - (v-1)/2 sum p_n^2, off by terms of third order: at sum p = 0.32 by about 1e-4."""
    v, L, beta = 2, 200, 1.0
    first = 0.32 / sum(n**-beta for n in range(1, L + 1))
    task = LagCopy(v, beta, first, L)
    for length in (1, 10, 50, 200):
        second_order = math.log(v) - (v - 1) / 2 * np.sum(task.copy_probabilities()[:length] ** 2)
        assert task.bayes_risk(length) == pytest.approx(second_order, abs=1e-4)


@pytest.mark.parametrize("beta", [0.8, 1.0, 1.5])
def test_the_exponent_of_the_risk_is_twice_beta_less_one(beta):
    """Risk drops by about p_l^2 at l, so R(l) - R(2l) has slope -(2 beta - 1); lags end far beyond."""
    task = LagCopy(2, beta, 0.02, 4096)
    drops = [task.bayes_risk(length) - task.bayes_risk(2 * length) for length in (256, 512)]
    assert math.log2(drops[0] / drops[1]) == pytest.approx(task.risk_exponent, abs=0.01)
    assert task.correlation_exponent == beta


def test_the_covariance_of_a_lag_has_norm_p_n_over_v():
    task, number = EXAMPLES[16], 2 * MANY
    examples = sample(task, number)
    for n, p in enumerate(task.copy_probabilities(), start=1):
        joint = np.bincount(3 * examples.context[:, -n] + examples.target, minlength=9).reshape(3, 3) / number
        expected = p / 3 * (np.eye(3) - 1 / 3)
        assert np.abs(joint - np.outer(joint.sum(1), joint.sum(0)) - expected).max() < 5 * math.sqrt(0.1 / number)


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        (
            (2, 1.0, 0.9, 4),
            r"first_probability = 0.9 makes .* 4 lags sum to 1.875; at beta = 1.0 it may be at most 0.48",
        ),
        ((2, 1000.0, 0.5, 3), "beta must be at most 546.1 and first_probability at least 1e-20"),
        ((2, 1.0, 1e-300, 3), "beta must be at most 546.1 and first_probability at least 1e-20"),
    ],
)
def test_impossible_dials_are_refused_by_value(dials, message):
    with pytest.raises(ValueError, match=message):
        LagCopy(*dials)
