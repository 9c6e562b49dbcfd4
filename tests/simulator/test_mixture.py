"""Mixtures: convex combinations, of classifications and of regressions."""

import numpy as np
import pytest

from simulator.specification import canonical_json, from_json
from simulator.tasks import GaussianLookBack, LagCopy, Mixture, SparseParity
from tests.simulator.compiled import BATCH, assert_risk_is_measured, sample

LAGS, PARITY = LagCopy(3, 0.8, 0.2, 5), SparseParity(((2, 1), (3, 1), (9, 2)), 8)


def test_risk_dimension_and_entropy_are_weighted_means():
    task = Mixture((LAGS, PARITY), (1, 3))
    assert task.probabilities().tolist() == [0.25, 0.75]
    assert (task.max_context_length, task.n_classes, task.vocabulary_size, task.n_queries) == (8, 3, 3, 4)
    for length in range(9):
        for name in ("bayes_risk", "intrinsic_dimension", "intrinsic_entropy"):
            expected = 0.25 * getattr(LAGS, name)(min(length, 5)) + 0.75 * getattr(PARITY, name)(length)
            assert getattr(task, name)(length) == pytest.approx(expected, abs=1e-14)


def test_the_risk_falls_with_the_smallest_exponent_if_all_are_known():
    other = LagCopy(3, 0.7, 0.2, 5)
    assert Mixture((other, LAGS), (1, 1)).risk_exponent == pytest.approx(0.4)
    assert Mixture((LAGS, PARITY), (1, 1)).risk_exponent is None


def test_the_query_shows_the_task_and_what_it_asks():
    task = Mixture((LAGS, PARITY), (1.0, 1.0))
    assert [task.query_name(q) for q in range(4)] == ["LagCopy 0", *[f"SparseParity {k}" for k in range(3)]]


def test_a_mixture_of_regressions_charges_each_by_its_own_rule():
    slow = GaussianLookBack.designed(1.0, 3.0, 0.6, 1.0, 8, loss="log_loss")
    fast = GaussianLookBack.arfima(0.3, 4, loss="log_loss")
    task = Mixture((slow, fast), (0.3, 0.7))
    assert_risk_is_measured(task, sample(task, 10 * BATCH), (0, 3, 8))


@pytest.mark.parametrize(
    ("tasks", "weights", "message"),
    [
        ((), (), "at least one task; got none"),
        ((LAGS,), (0.5, 0.5), "1 tasks need as many weights; got 2"),
        ((LAGS, PARITY), (0.5, 0.0), "a weight must be .*above 0; got 0.0"),
        (
            (LAGS, GaussianLookBack.arfima(0.3, 4)),
            (1, 1),
            "got symbols .* and numbers .* 'squared_error'",
        ),
        (
            (LAGS, GaussianLookBack.arfima(0.3, 4, loss="log_loss")),
            (1, 1),
            "got symbols .* classes .* and numbers in 1 channels with values in 1 steps and loss 'log_loss'",
        ),
    ],
)
def test_what_cannot_be_mixed_is_refused(tasks, weights, message):
    with pytest.raises(ValueError, match=message):
        Mixture(tasks, weights)


def test_weights_are_kept_as_given():
    """Normalised ones would change, in the last digit, each time a spec is read back."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        task = Mixture((LAGS,) * 4, tuple(rng.random(4)))
        assert from_json(canonical_json(task)) == task
        assert task.probabilities().sum() == pytest.approx(1, abs=1e-15)
    assert Mixture((LAGS, LAGS), (1e308, 1e308)).bayes_risk(0) == pytest.approx(LAGS.bayes_risk(0))
