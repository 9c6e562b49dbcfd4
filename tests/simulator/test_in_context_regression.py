"""In-context regression against the posterior written out, and its risk against simulation."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.tasks import Examples, InContextRegression
from tests.simulator.compiled import BATCH, predict, sample

TASK = InContextRegression(n_features=3, noise_variance=0.25, max_context_length=10)


def told(task, examples, length):
    """x*^T (X^T X + s2 I)^-1 X^T y in float64, sample by sample."""
    p, means = task.n_features, []
    for tokens in np.asarray(examples.context, float)[:, task.max_context_length - length :]:
        X, y = tokens[:-1, :p], tokens[:-1, p]
        w = np.linalg.solve(X.T @ X + task.noise_variance * np.eye(p), X.T @ y)
        means.append(tokens[-1, :p] @ w if length else 0.0)
    return np.array(means)


@pytest.mark.parametrize(("p", "s2", "L"), [(8, 1e-4, 20), (5, 1e-6, 8), (20, 2.0, 12)])
def test_prediction_is_the_posterior_mean_at_every_length(p, s2, L):
    """Where examples nearly suffice and noise is small, float32 loses digits in proportion to 1/s2."""
    task = InContextRegression(p, s2, L)
    examples = jax.tree.map(lambda field: field[:64], sample(task))
    for length in range(L + 1):
        error = np.abs(predict(task, examples, length) - told(task, examples, length))
        assert np.quantile(error, 0.9) < 1e-3, length
        assert np.sqrt(np.mean(error**2)) < 0.02 * np.sqrt(task.bayes_risk(length)) + 1e-5, length


def test_samples_are_linear_with_the_noise_they_should_have():
    """The residual of y on x given w: w recovered from the sample's own stream by its covariances E[x y | w] = w."""
    n, p, L = 10 * BATCH, 3, 10
    context, _, target = (field.astype(float) for field in sample(TASK, n))
    assert not context[:, -1, p].any()
    y = np.concatenate([context[:, :-1, p], target[:, None]], axis=1)
    assert y.var() == pytest.approx(p + 0.25, rel=0.03)
    x = context[:, :, :p]
    flat = x.reshape(n, -1)
    assert np.abs(flat.T @ flat / n - np.eye(p * L)).max() < 5 * np.sqrt(2 / n)
    # Each y_i x_i has conditional mean w, the same at all tokens: E[(y_1 x_1).(y_2 x_2)] = E|w|^2 = p.
    products = (y[:, 0, None] * x[:, 0] * y[:, -1, None] * x[:, -1]).sum(axis=1)
    assert abs(products.mean() - p) < 4 * products.std() / np.sqrt(n)
    # Four examples in three dimensions leave one residual of pure noise.
    design = x[:, :4]
    hat = design @ np.linalg.pinv(design)
    residual = np.einsum("bi,bij,bj->b", y[:, :4], np.eye(4) - hat, y[:, :4])
    assert abs(residual.mean() - 0.25) < 4 * residual.std() / np.sqrt(n)


@given(st.integers(1, 12), st.floats(0.01, 4), st.integers(1, 30))
def test_risk_without_examples_with_endless_ones_and_between(p, s2, L):
    task = InContextRegression(p, s2, L)
    risks = [task.bayes_risk(length) for length in range(L + 1)]
    assert risks[0] == risks[1] == pytest.approx(p + s2, rel=1e-12)
    assert np.all(np.diff(risks) <= 1e-15)
    assert min(risks) > s2
    dimensions = [task.intrinsic_dimension(length) for length in range(L + 1)]
    assert dimensions == [min(max(length - 1, 0), p) for length in range(L + 1)]


def test_the_tail_is_p_s2_over_l():
    """risk_exponent 1: l (R(l) - s2) tends to p s2."""
    task = InContextRegression(4, 0.5, 20_001)
    assert 20_000 * (task.bayes_risk(20_001) - 0.5) == pytest.approx(4 * 0.5, rel=1e-3)
    assert task.risk_exponent == 1.0


def test_published_values_and_their_asymptote():
    """p = 20, s2 = 0.25: l examples are l + 1 tokens."""
    task = InContextRegression(20, 0.25, 81)
    exact = [task.bayes_risk(n + 1) for n in (5, 10, 20, 40, 80)]
    np.testing.assert_allclose(exact, [15.337, 10.511, 2.5536, 0.50594, 0.33426], rtol=2e-5)
    asymptotic = [task.asymptotic_risk(n + 1) for n in (5, 10, 20, 40, 80)]
    np.testing.assert_allclose(asymptotic, [15.33, 10.49, 2.36, 0.494, 0.333], rtol=2.5e-3)


@given(st.integers(1, 6), st.floats(0.05, 2), st.integers(0, 12))
@settings(max_examples=8)
def test_risk_equals_a_simulation_of_the_posterior_variance(p, s2, n):
    rng = np.random.default_rng(p)
    X = rng.normal(size=(20_000, n, p))
    precision = np.swapaxes(X, 1, 2) @ X / s2 + np.eye(p)
    variances = s2 + np.trace(np.linalg.inv(precision), axis1=1, axis2=2)
    error = variances.std(ddof=1) / np.sqrt(len(variances))
    assert abs(variances.mean() - InContextRegression(p, s2, n + 1).bayes_risk(n + 1)) < 4 * error + 1e-9


def test_impossible_dials_are_refused_by_value():
    with pytest.raises(ValueError, match=r"noise_variance must be a finite number above 0; got 0\.0"):
        InContextRegression(2, 0.0, 4)


def test_examples_without_their_values_are_refused():
    examples = Examples(np.zeros((2, 10, 3), np.float32), np.zeros(2, int), np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=r"needs \(B, 10, 4\)"):
        TASK.bayes_prediction(examples, 2)
