"""Prediction of stationary Gaussian processes, against linear algebra that knows nothing of the recursion."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory import gaussian_process as gp

correlations = arrays(np.float64, st.sampled_from([1, 2, 5, 12]), elements=st.floats(-0.9, 0.9))
orders = st.floats(-0.45, 0.45)


def errors_by_linear_solve(autocovariance):
    """V(l) = gamma(0) - c' Sigma^-1 c, each l solved on its own."""
    errors = [autocovariance[0]]
    for l in range(1, len(autocovariance)):
        c = autocovariance[1 : l + 1]
        errors.append(autocovariance[0] - c @ np.linalg.solve(scipy.linalg.toeplitz(autocovariance[:l]), c))
    return np.array(errors)


@given(correlations, st.floats(0.1, 10))
def test_durbin_levinson_both_ways_are_inverse(phis, variance):
    _, covariances = gp.from_partial_autocorrelations(variance, phis)
    prediction = gp.durbin_levinson(covariances)
    np.testing.assert_allclose(prediction.partial_autocorrelations, phis, atol=1e-9)
    assert prediction.prediction_errors[0] == variance


@given(correlations, st.floats(0.1, 10))
def test_prediction_errors_equal_those_of_separate_linear_solves(phis, variance):
    _, covariances = gp.from_partial_autocorrelations(variance, phis)
    found = gp.durbin_levinson(covariances)
    np.testing.assert_allclose(
        found.prediction_errors, errors_by_linear_solve(covariances), rtol=1e-7, atol=1e-9 * variance
    )
    np.testing.assert_allclose(found.prediction_errors, variance * np.cumprod([1.0, *(1 - phis**2)]), rtol=1e-9)


@given(correlations)
def test_coefficients_solve_the_normal_equations(phis):
    _, covariances = gp.from_partial_autocorrelations(1.0, phis)
    coefficients = gp.durbin_levinson(covariances).coefficients
    for l in range(1, len(covariances)):
        gram = scipy.linalg.toeplitz(covariances[:l])
        np.testing.assert_allclose(gram @ coefficients[l, :l], covariances[1 : l + 1], atol=1e-9)
        assert not coefficients[l, l:].any()


@given(orders, st.sampled_from([1, 7, 64, 500]))
def test_arfima_closed_form_equals_durbin_levinson(d, length):
    covariances = gp.arfima_autocovariance(d, length)
    found = gp.durbin_levinson(covariances)
    np.testing.assert_allclose(
        found.prediction_errors, gp.arfima_prediction_error(d, np.arange(length + 1)), rtol=1e-10
    )
    k = np.arange(1, length + 1)
    np.testing.assert_allclose(found.partial_autocorrelations, d / (k - d), rtol=1e-8, atol=1e-12)


@given(
    st.floats(0.01, 5),
    st.floats(0.1, 5),
    st.floats(0.1, 2.5),
    st.floats(0.1, 5),
    st.sampled_from([1, 16, 128, 512]),
)
def test_a_designed_process_has_the_prediction_errors_it_was_designed_to_have(C0, C, gamma, b, length):
    """The pivots of a Cholesky factorisation of the Toeplitz matrix are the prediction errors: no recursion."""
    design = gp.power_law_risk(np.arange(length + 1), C0, C, gamma, b)
    phis = gp.partial_autocorrelations_from_risk(design)
    _, covariances = gp.from_partial_autocorrelations(design[0], phis)
    pivots = np.diag(np.linalg.cholesky(scipy.linalg.toeplitz(covariances))) ** 2
    np.testing.assert_allclose(pivots, design, rtol=1e-10)
    np.testing.assert_allclose(gp.durbin_levinson(covariances).prediction_errors, design, rtol=1e-10)


def test_an_order_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="order d must be a finite number; got nan"):
        gp.arfima_prediction_error(float("nan"), 3)


@pytest.mark.parametrize("d", [0.5, -0.5, 0.7])
def test_a_non_stationary_order_is_refused_by_name_and_value(d):
    with pytest.raises(ValueError, match=rf"order d must lie in \(-0.5, 0.5\).*{d!r}"):
        gp.arfima_prediction_error(d, 3)


def test_an_impossible_autocovariance_is_refused_with_its_lag():
    with pytest.raises(ValueError, match=r"partial autocorrelation -4\.26316 at lag 2"):
        gp.durbin_levinson(np.array([1.0, 0.9, 0.0]))


def test_a_rising_design_is_refused_with_the_place_where_it_rises():
    with pytest.raises(ValueError, match=r"V\(2\) = 0.9 > V\(1\) = 0.8"):
        gp.partial_autocorrelations_from_risk(np.array([1.0, 0.8, 0.9]))


@pytest.mark.parametrize("phi", [1.0, -1.2, float("nan")])
def test_a_partial_autocorrelation_outside_its_range_is_refused(phi):
    with pytest.raises(ValueError, match="at lag 2 is outside"):
        gp.from_partial_autocorrelations(1.0, np.array([0.5, phi]))
