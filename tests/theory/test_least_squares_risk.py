"""The closed forms of least squares: limits, and a simulation that shares no code with the learner."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.learning_curves import least_squares_risk, minimum_norm_risk


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.1, 10))
def test_infinite_exactly_at_the_three_dataset_sizes_around_l(length, D, R):
    risk = float(minimum_norm_risk(R, 1.0, length, D))
    assert np.isinf(risk) == (abs(length - D) <= 1)
    assert risk >= 0


@given(st.integers(0, 50), st.integers(60, 10**6), st.floats(0.1, 10))
def test_risk_is_above_the_bayes_risk_by_R_l_over_D_minus_l_minus_1(length, D, R):
    assert float(least_squares_risk(R, length, D)) == pytest.approx(R * (1 + length / (D - length - 1)), rel=1e-12)


def test_beyond_D_plus_one_there_is_no_general_closed_form():
    assert np.isnan(least_squares_risk(1.0, 12, 10))
    assert np.isfinite(minimum_norm_risk(1.0, 1.0, 12, 10))


@pytest.mark.parametrize("D", [30, 200])
def test_minimum_norm_least_squares_descends_twice(D):
    """R(l) = 1 + 3/(l+1)^0.6: one minimum on each side of l = D."""
    l = np.arange(1, 40 * D)
    R = 1 + 3 * (l + 1.0) ** -0.6
    risk = np.nan_to_num(minimum_norm_risk(R, 4.0 - R, l, D), posinf=1e9)
    minima = l[1:-1][(risk[1:-1] < risk[:-2]) & (risk[1:-1] < risk[2:])]
    assert len(minima) == 2
    assert minima[0] < D < minima[1]


@pytest.mark.parametrize(("R", "length", "D"), [(-1.0, 2, 10), (1.0, -1, 10), (1.0, 2, 0)])
def test_impossible_cells_are_refused(R, length, D):
    with pytest.raises(ValueError, match="must not be negative and the dataset size at least 1"):
        minimum_norm_risk(R, 1.0, length, D)


def test_nothing_is_fitted_at_length_zero():
    np.testing.assert_array_equal(least_squares_risk(2.0, 0, np.array([1, 2, 50])), 2.0)


@given(st.integers(1, 20), st.floats(0.1, 3), st.floats(0.1, 3))
def test_endless_data_reach_the_bayes_risk_and_endless_length_forgets_the_signal(length, R, a2):
    assert float(least_squares_risk(R, length, 10**9)) == pytest.approx(R, rel=1e-6)
    assert float(minimum_norm_risk(R, a2, 10**9, 5)) == pytest.approx(R + a2, rel=1e-6)


@pytest.mark.parametrize(("length", "D"), [(1, 12), (6, 12), (3, 30), (24, 12), (40, 12)])
def test_minimum_norm_risk_equals_a_simulation_on_independent_tokens(length, D, rng):
    """pinv on fresh Gaussian designs, the risk of each solution taken exactly: sigma^2 + |a - beta|^2."""
    a, sigma2, n = rng.normal(size=length), 0.7, 4000
    X = rng.normal(size=(n, D, length))
    y = X @ a + np.sqrt(sigma2) * rng.normal(size=(n, D))
    beta = (np.linalg.pinv(X) @ y[..., None])[..., 0]
    risk = sigma2 + ((beta - a) ** 2).sum(axis=1)
    z = (risk.mean() - float(minimum_norm_risk(sigma2, a @ a, length, D))) / (risk.std(ddof=1) / np.sqrt(n))
    assert abs(z) < 4
