"""Gaussian tasks against the covariance of their samples and against linear algebra on it."""

import math

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from simulator.tasks import EXAMPLES, GaussianLookBack
from tests.simulator.compiled import BATCH, predict, sample

TASKS = [
    *(task for task in EXAMPLES if isinstance(task, GaussianLookBack) and task.n_steps == task.n_channels == 1),
    GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=12, n_steps=3),
    GaussianLookBack.arfima(d=0.3, max_context_length=9, loss="log_loss", n_steps=4, n_irrelevant_channels=1),
    GaussianLookBack.independent(0.5, 1.0, 0.6, 1.0, 10, n_irrelevant_channels=2),
]


def name(task):
    return f"{type(task.process).__name__}-{task.loss}-{task.n_steps}-{task.n_channels}"


each_task = pytest.mark.parametrize("task", TASKS, ids=name)


def values_of(examples):
    """The sequence of each sample and its targets, as one array."""
    series = examples.context if examples.context.ndim == 2 else examples.context[:, :, 0]
    return np.concatenate([series, examples.target.reshape(len(series), -1)], axis=1).astype(float)


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


@pytest.mark.parametrize("task", TASKS[-3:], ids=name)
def test_samples_have_the_covariance_they_should(task):
    n = 15 * BATCH
    examples = sample(task, n)
    values = values_of(examples)
    covariance = task.joint_covariance()
    if task.n_channels > 1:
        noise = examples.context[:, :, 1:].astype(float).reshape(n, -1)
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


def test_irrelevant_channels_change_nothing_but_the_tokens():
    wide = TASKS[-2]
    plain = GaussianLookBack.arfima(d=0.3, max_context_length=9, loss="log_loss", n_steps=4)
    a, b = sample(plain), sample(wide)
    np.testing.assert_array_equal(values_of(a), values_of(b))
    assert [plain.bayes_risk(length) for length in range(10)] == [wide.bayes_risk(length) for length in range(10)]
    np.testing.assert_array_equal(predict(plain, a, 4), predict(wide, b, 4))
    assert wide.n_channels == 2
    assert plain.risk_exponent == wide.risk_exponent == 1


@pytest.mark.parametrize("S", [1, 2])
def test_designed_tasks_know_their_exponent_for_one_step(S):
    task = GaussianLookBack.designed(1.0, 3.0, 0.6, 1.0, 8, n_steps=S)
    assert task.risk_exponent == (0.6 if S == 1 else None)
    assert task.unit == "squared error"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianLookBack.arfima(0.5, 8), r"d must lie in \(-0.5, 0.5\).*got 0.5"),
        (
            lambda: GaussianLookBack.designed(1e-9, 1.0, 6.0, 0.05, 64),
            "C0=1e-09.*max_context_length = 64 tokens and n_steps = 1.*larger C0",
        ),
        (
            lambda: GaussianLookBack.independent(1.0, 1.0, 1.0, 1.0, 8, n_steps=2),
            "n_steps must be 1 for IndependentTokens.*got 2",
        ),
        (lambda: GaussianLookBack.arfima(0.3, 0), "max_context_length must be between 1 and 8192; got 0"),
    ],
)
def test_an_impossible_process_is_refused_by_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
