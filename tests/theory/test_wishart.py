"""Exact expectations over real Wishart eigenvalues, by routes that share nothing with the Pfaffian."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from theory.learning_curves.wishart import (
    expected_linear_statistic,
    expected_resolvent_trace,
    marchenko_pastur_resolvent_trace,
)

sizes, ridges = st.integers(1, 40), st.floats(1e-4, 100)


@given(sizes, sizes)
def test_moments_of_the_trace(n, p):
    """E tr 1 = min(n, p), E tr W = n p, E tr W^2 = n p (n + p + 1)."""
    for f, expected in ((np.ones_like, min(n, p)), (lambda x: x, n * p), (lambda x: x**2, n * p * (n + p + 1))):
        assert expected_linear_statistic(n, p, f) == pytest.approx(expected, rel=1e-11)


@given(st.integers(4, 40), st.integers(1, 20))
def test_mean_of_the_inverse(spare, p):
    """E tr W^-1 = p/(n-p-1): the inverse Wishart's mean; the resolvent at a tiny ridge reaches it."""
    n = p + spare
    assert expected_linear_statistic(n, p, lambda x: 1 / x) == pytest.approx(p / (n - p - 1), rel=1e-9)
    assert expected_resolvent_trace(n, p, 1e-7) / 1e-7 == pytest.approx(p / (n - p - 1), rel=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("ridge", [1e-4, 0.25, 10.0])
def test_one_feature_is_an_integral_over_chi_square(n, ridge):
    def integrand(t):
        return ridge / (ridge + t * t) * scipy.stats.chi2.pdf(t * t, n) * 2 * t

    points = [0, 1e-3, 1e-2, 0.1, 1, 5, 10, 20, 40]
    exact = sum(
        scipy.integrate.quad(integrand, a, b, epsabs=1e-15, epsrel=1e-12)[0] for a, b in itertools.pairwise(points)
    )
    assert expected_resolvent_trace(n, 1, ridge) == pytest.approx(exact, rel=1e-9)
    # The trace of the p x p matrix has p - n ones more than that of the n x n one.
    assert expected_resolvent_trace(1, n, ridge) == pytest.approx(exact + n - 1, rel=1e-9)


@pytest.mark.parametrize(("n", "p", "ridge"), [(4, 6, 0.1), (7, 5, 0.01), (8, 8, 0.25), (9, 9, 0.001), (30, 3, 1.0)])
def test_larger_sizes_equal_a_simulation(n, p, ridge, rng):
    X = rng.normal(size=(40_000, n, p))
    eigenvalues = np.maximum(np.linalg.eigvalsh(np.swapaxes(X, 1, 2) @ X), 0)
    traces = (ridge / (ridge + eigenvalues)).sum(axis=1)
    z = (traces.mean() - expected_resolvent_trace(n, p, ridge)) / (traces.std(ddof=1) / np.sqrt(len(traces)))
    assert abs(z) < 4


@given(sizes, sizes, ridges)
def test_rows_and_columns_change_places(n, p, ridge):
    """X^T X and X X^T share their nonzero eigenvalues, each zero adds one to the trace."""
    difference = expected_resolvent_trace(n, p, ridge) - expected_resolvent_trace(p, n, ridge)
    assert difference == pytest.approx(p - n, abs=1e-10)


@given(st.integers(0, 40), st.integers(1, 20), ridges)
def test_a_row_more_never_raises_the_trace(n, p, ridge):
    now, then = expected_resolvent_trace(n, p, ridge), expected_resolvent_trace(n + 1, p, ridge)
    assert 0 < then < now <= p


def test_published_values_of_in_context_regression():
    """p = 20, s2 = 0.25, n examples, s2 included; the asymptotic formula, and simulated risks to their two digits."""
    table = {5: (15.34, 15.33), 10: (10.51, 10.49), 20: (2.54, 2.36), 40: (0.509, 0.494), 80: (0.334, 0.333)}
    for n, (simulated, asymptotic) in table.items():
        assert 0.25 + expected_resolvent_trace(n, 20, 0.25) == pytest.approx(simulated, rel=0.007)
        assert 0.25 + marchenko_pastur_resolvent_trace(n, 20, 0.25) == pytest.approx(asymptotic, rel=0.0025)
    exact = [0.25 + expected_resolvent_trace(n, 20, 0.25) for n in table]
    np.testing.assert_allclose(exact, [15.3370137, 10.5109853, 2.5535599, 0.5059443, 0.3342599], rtol=1e-6)


@given(st.integers(0, 200), st.integers(1, 200), ridges)
def test_asymptotic_trace_solves_its_quadratic(n, p, ridge):
    """g lam m^2 + (1 - g + lam) m - 1 = 0 for t = p lam m, multiplied out so that n = 0 is no exception."""
    t = marchenko_pastur_resolvent_trace(n, p, ridge)
    assert 0 < t <= p
    assert t * t + (n - p + ridge) * t == pytest.approx(p * ridge, rel=1e-9, abs=1e-9 * p * (p + n + ridge))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 2, 1.0), "n_rows must be at least 0; got -1"),
        ((3, 0, 1.0), "n_columns must be at least 1; got 0"),
        ((3, 2, 0.0), "ridge must be a finite number above 0; got 0.0"),
    ],
)
def test_impossible_sizes_are_refused_by_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        expected_resolvent_trace(*arguments)
