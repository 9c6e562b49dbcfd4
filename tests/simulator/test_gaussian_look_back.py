"""Gaussian tasks against the covariance of their samples and against linear algebra on it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.tasks import EXAMPLES, GaussianLookBack

TASKS = [task for task in EXAMPLES if isinstance(task, GaussianLookBack)]
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{type(task.process).__name__}-{task.loss}")


@each_task
def test_bayes_risk_and_weights_follow_from_the_joint_covariance(task):
    """Schur complements of the covariance of (tokens, target), each length solved on its own."""
    L = task.max_context_length
    covariance = task.process.joint_covariance(L)
    coefficients = task.process.coefficients(L)
    for length in range(L + 1):
        tokens, cross = covariance[L - length : L, L - length : L], covariance[L - length : L, L]
        weights = np.linalg.solve(tokens, cross) if length else np.zeros(0)
        assert task.prediction_error(length) == pytest.approx(covariance[L, L] - cross @ weights, rel=1e-10)
        np.testing.assert_allclose(coefficients[length, :length][::-1], weights, atol=1e-10)


@each_task
def test_samples_have_the_covariance_they_should(task):
    n, L = 60_000, task.max_context_length
    examples = jax.jit(task.sample)(jax.random.key(3), jnp.arange(n))
    values = np.concatenate([examples.context, examples.target[:, None]], axis=1).astype(float)
    covariance = task.process.joint_covariance(L)
    error = np.sqrt((covariance**2 + np.outer(np.diag(covariance), np.diag(covariance))) / n)
    assert np.abs((values.T @ values / n - covariance) / error).max() < 5


@given(st.floats(0.0, 5), st.floats(0.1, 5), st.floats(0.2, 2.5), st.floats(0.2, 4), st.sampled_from([1, 16, 256]))
def test_designed_and_independent_tasks_have_the_risk_asked_for(C0, C, gamma, b, L):
    for make in (GaussianLookBack.designed, GaussianLookBack.independent):
        task = make(C0, C, gamma, b, L)
        for length in {0, 1, L // 2, L}:
            assert task.bayes_risk(length) == pytest.approx(C0 + C / (length + b) ** gamma, rel=1e-12)
        pivots = np.diag(np.linalg.cholesky(task.process.joint_covariance(L))) ** 2
        assert pivots[-1] == pytest.approx(task.bayes_risk(L), rel=1e-9)


def test_arfima_has_its_closed_form():
    task = GaussianLookBack.arfima(0.4, 2)
    assert task.bayes_risk(0) == pytest.approx(math.gamma(1 - 0.8) / math.gamma(0.6) ** 2)
    np.testing.assert_allclose(task.process.coefficients(2), [[0, 0], [2 / 3, 0], [1 / 2, 1 / 4]], rtol=1e-12)


def test_log_loss_is_the_gaussian_s_with_the_exact_variance():
    squared = GaussianLookBack.designed(1.0, 3.0, 0.6, 1.0, 8)
    logarithmic = GaussianLookBack.designed(1.0, 3.0, 0.6, 1.0, 8, loss="log_loss")
    assert squared.unit == "squared error"
    assert logarithmic.unit == "nats"
    for length in range(9):
        variance = squared.bayes_risk(length)
        assert logarithmic.bayes_risk(length) == pytest.approx(0.5 * math.log(2 * math.pi * math.e * variance))
        examples = squared.sample(jax.random.key(0), range(50))
        m, wrong = squared.bayes_prediction(examples, length), jnp.zeros(50)
        np.testing.assert_allclose(
            logarithmic.pointwise_divergence(m, wrong, examples, length),
            squared.pointwise_divergence(m, wrong, examples, length) / (2 * variance),
            rtol=1e-5,
        )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: GaussianLookBack.designed(-1.0, 1.0, 1.0, 1.0, 8), ValueError, "C0 must be .*0 or above; got -1.0"),
        (lambda: GaussianLookBack.designed(1.0, 0.0, 1.0, 1.0, 8), ValueError, "C must be .*above 0; got 0.0"),
        (lambda: GaussianLookBack.designed(1.0, 1.0, float("nan"), 1.0, 8), ValueError, "gamma must be .*got nan"),
        (lambda: GaussianLookBack.independent(1.0, 1.0, 1.0, 0.0, 8), ValueError, "b must be .*above 0; got 0.0"),
        (lambda: GaussianLookBack.arfima(0.5, 8), ValueError, r"d must lie in \(-0.5, 0.5\).*got 0.5"),
        (
            lambda: GaussianLookBack.designed(1e-9, 1.0, 6.0, 0.05, 64).sample(jax.random.key(0), 1),
            ValueError,
            "larger C0",
        ),
        (lambda: GaussianLookBack.arfima(0.3, 16.9), TypeError, "16.9"),
        (lambda: GaussianLookBack.arfima("0.3", 16), TypeError, "0.3"),
        (lambda: GaussianLookBack.arfima(0.3, 0), ValueError, "max_context_length must be at least 1; got 0"),
    ],
)
def test_an_impossible_process_is_refused_by_value(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_unknown_loss_is_refused_by_name():
    with pytest.raises(Exception, match="absolute"):
        GaussianLookBack.arfima(0.3, 4, loss="absolute")
