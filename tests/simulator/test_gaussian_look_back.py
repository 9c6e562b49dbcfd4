"""Gaussian tasks against the covariance of their samples and against linear algebra on it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.tasks import EXAMPLES, GaussianLookBack

TASKS = [
    *(task for task in EXAMPLES if isinstance(task, GaussianLookBack) and task.n_steps == task.n_channels == 1),
    GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=12, n_steps=3),
    GaussianLookBack.arfima(d=0.3, max_context_length=9, loss="log_loss", n_steps=4, n_irrelevant_channels=1),
    GaussianLookBack.independent(0.5, 1.0, 0.6, 1.0, 10, n_irrelevant_channels=2),
]
each_task = pytest.mark.parametrize(
    "task", TASKS, ids=lambda task: f"{type(task.process).__name__}-{task.loss}-{task.n_steps}-{task.n_channels}"
)


def values_of(examples):
    """The sequence of each sample and its targets, as one array."""
    series = examples.context if examples.context.ndim == 2 else examples.context[:, :, 0]
    target = examples.target if examples.target.ndim == 2 else examples.target[:, None]
    return np.concatenate([series, target], axis=1).astype(float)


@each_task
def test_bayes_risk_and_weights_follow_from_the_joint_covariance(task):
    """Schur complements of the covariance of (tokens, targets), each length solved on its own."""
    L = task.max_context_length
    covariance = task.joint_covariance()
    for length in range(L + 1):
        tokens, cross = covariance[L - length : L, L - length : L], covariance[L - length : L, L:]
        weights = np.linalg.solve(tokens, cross) if length else cross
        errors = np.diag(covariance[L:, L:] - cross.T @ weights)
        np.testing.assert_allclose(task.prediction_errors(length), errors, rtol=1e-10)
        np.testing.assert_allclose(task.prediction_weights(length)[::-1], weights, atol=1e-10)
        in_nats = np.mean(0.5 * np.log(2 * math.pi * math.e * errors))
        expected = errors.mean() if task.loss == "squared_error" else in_nats
        assert task.bayes_risk(length) == pytest.approx(expected, rel=1e-10)


@each_task
def test_samples_have_the_covariance_they_should(task):
    n = 60_000
    examples = jax.jit(task.sample)(jax.random.key(3), jnp.arange(n))
    values = values_of(examples)
    covariance = task.joint_covariance()
    if task.n_channels > 1:
        noise = np.asarray(examples.context[:, :, 1:], float).reshape(n, -1)
        values = np.concatenate([values, noise], axis=1)
        covariance = scipy.linalg.block_diag(covariance, np.eye(noise.shape[1]))
    error = np.sqrt((covariance**2 + np.outer(np.diag(covariance), np.diag(covariance))) / n)
    assert np.abs((values.T @ values / n - covariance) / error).max() < 5


@given(st.floats(0.0, 5), st.floats(0.1, 5), st.floats(0.2, 2.5), st.floats(0.2, 4), st.sampled_from([1, 16, 256]))
def test_designed_and_independent_tasks_have_the_risk_asked_for(C0, C, gamma, b, L):
    for make in (GaussianLookBack.designed, GaussianLookBack.independent):
        task = make(C0, C, gamma, b, L)
        for length in {0, 1, L // 2, L}:
            assert task.bayes_risk(length) == pytest.approx(C0 + C / (length + b) ** gamma, rel=1e-12)
        pivots = np.diag(np.linalg.cholesky(task.joint_covariance())) ** 2
        assert pivots[-1] == pytest.approx(task.bayes_risk(L), rel=1e-9)


def test_arfima_has_its_closed_form():
    task = GaussianLookBack.arfima(0.4, 2)
    assert (task.n_steps, task.n_channels, task.risk_exponent) == (1, 1, 1.0)
    assert task.bayes_risk(0) == pytest.approx(math.gamma(1 - 0.8) / math.gamma(0.6) ** 2)
    np.testing.assert_allclose(task.prediction_weights(1), [[2 / 3]], rtol=1e-12)
    np.testing.assert_allclose(task.prediction_weights(2), [[1 / 2], [1 / 4]], rtol=1e-12)


@given(st.floats(-0.45, 0.45), st.sampled_from([1, 5, 40]), st.integers(1, 6))
def test_several_steps_of_arfima_follow_from_its_moving_average(d, L, S):
    """With an endless past the s-step error is sum_{j<s} psi_j^2, psi_j = psi_{j-1} (j-1+d)/j; a finite past has more.

    At l = 0 every step has the variance of the process, and the first step is the one-step task.
    """
    task, one_step = GaussianLookBack.arfima(d, L, n_steps=S), GaussianLookBack.arfima(d, L)
    psi = np.cumprod([1.0, *((j - 1 + d) / j for j in range(1, S))])
    errors = np.array([task.prediction_errors(length) for length in range(L + 1)])
    assert np.all(errors[-1] >= np.cumsum(psi**2) - 1e-12)
    assert np.all(np.diff(errors, axis=0) <= 0)
    np.testing.assert_allclose(errors[0], one_step.bayes_risk(0), rtol=1e-12)
    np.testing.assert_allclose(errors[:, 0], [one_step.bayes_risk(length) for length in range(L + 1)], rtol=1e-10)


def test_several_steps_of_arfima_keep_its_exponent():
    """l (V_s(l) - V_s(infinity)) tends to the constant d^2 (psi_0 + ... + psi_{s-1})^2: gamma = 1 for every step."""
    d, L = 0.3, 1000
    task = GaussianLookBack.arfima(d, L, n_steps=3)
    psi = np.cumprod([1.0, d, (1 + d) / 2])
    excess = L * (task.prediction_errors(L) - np.cumsum(psi**2))
    np.testing.assert_allclose(excess, d**2 * np.cumsum(psi) ** 2, rtol=0.01)
    assert task.risk_exponent == 1.0


@given(st.floats(0.1, 3), st.floats(0.2, 2), st.integers(1, 5), st.integers(0, 3))
@settings(max_examples=8)
def test_irrelevant_channels_change_nothing_but_the_tokens(C, gamma, S, m):
    plain = GaussianLookBack.designed(1.0, C, gamma, 1.0, 6, n_steps=S)
    wide = GaussianLookBack.designed(1.0, C, gamma, 1.0, 6, n_steps=S, n_irrelevant_channels=m)
    a, b = plain.sample(jax.random.key(1), range(4)), wide.sample(jax.random.key(1), range(4))
    np.testing.assert_array_equal(values_of(a), values_of(b))
    assert [plain.bayes_risk(length) for length in range(7)] == [wide.bayes_risk(length) for length in range(7)]
    np.testing.assert_array_equal(plain.bayes_prediction(a, 4), wide.bayes_prediction(b, 4))
    assert wide.n_channels == 1 + m
    assert plain.risk_exponent == wide.risk_exponent == (gamma if S == 1 else None)


def test_sample_5_is_what_it_always_was():
    """Finished runs are read back from a store, so the stream of a key may not change."""
    assert GaussianLookBack.arfima(0.4, 4).sample(jax.random.key(0), 5).target[0] == pytest.approx(2.7014198, rel=1e-6)


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
            lambda: GaussianLookBack.designed(1e-9, 1.0, 6.0, 0.05, 64),
            ValueError,
            "C0=1e-09.*max_context_length = 64 tokens and n_steps = 1.*larger C0",
        ),
        (lambda: GaussianLookBack.arfima(0.3, 8, n_steps=0), ValueError, "n_steps must be at least 1; got 0"),
        (lambda: GaussianLookBack.arfima(0.3, 8, n_steps=2.5), TypeError, "2.5"),
        (
            lambda: GaussianLookBack.arfima(0.3, 8, n_irrelevant_channels=-1),
            ValueError,
            "n_irrelevant_channels must be at least 0; got -1",
        ),
        (
            lambda: GaussianLookBack.independent(1.0, 1.0, 1.0, 1.0, 8, n_steps=2),
            ValueError,
            "n_steps must be 1 for IndependentTokens.*got 2",
        ),
        (lambda: GaussianLookBack.arfima(0.3, 16.9), TypeError, "16.9"),
        (lambda: GaussianLookBack.arfima("0.3", 16), TypeError, "0.3"),
        (lambda: GaussianLookBack.arfima(0.3, 0), ValueError, "max_context_length must be between 1 and 8192; got 0"),
    ],
)
def test_an_impossible_process_is_refused_by_value(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_unknown_loss_is_refused_by_name():
    with pytest.raises(Exception, match="absolute"):
        GaussianLookBack.arfima(0.3, 4, loss="absolute")
