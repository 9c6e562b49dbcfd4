"""The ridge learning curves, against exact finite-size laws, simulations that share no code with them, and limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from theory.learning_curves import (
    best_isotropic_penalty,
    isotropic_ridge_risk,
    least_squares_risk,
    minimum_norm_risk,
    ridge_risk,
)
from theory.learning_curves.wishart import expected_linear_statistic

penalties = st.floats(1e-3, 10)
sizes = st.sampled_from([1, 5, 20, 21, 400])


def textbook_isotropic(p, penalty, D):
    """Bias per signal and variance per noise from m(penalty), its derivative from the equation that m solves."""
    g = p / D
    m = (-(1 - g + penalty) + np.sqrt((1 - g + penalty) ** 2 + 4 * g * penalty)) / (2 * g * penalty)
    slope = -m * (1 + g * m) / (1 - g + penalty + 2 * g * penalty * m)
    return -(penalty**2) * slope, g * (m + penalty * slope)


@given(st.sampled_from([1, 7, 20, 300]), sizes, penalties)
def test_equal_eigenvalues_have_the_closed_form_of_marchenko_and_pastur(p, D, penalty):
    bias, variance = textbook_isotropic(p, penalty, D)
    isotropic = isotropic_ridge_risk(3.0, 0.7, p, penalty, D)
    general = ridge_risk(np.ones(p), np.sqrt(np.full(p, 3.0 / p)), 0.7, penalty, D)
    for risk in (isotropic, general):
        assert risk.bias == pytest.approx(3.0 * bias, rel=1e-7)
        assert risk.variance == pytest.approx(0.7 * variance, rel=1e-7)
        assert risk.total == pytest.approx(risk.bias + risk.variance + 0.7, rel=1e-14)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("penalty", [0.1, 1.0])
def test_the_error_of_the_equivalent_falls_as_one_over_the_dataset_size(ratio, penalty):
    """Exact at finite size, D S a Wishart matrix: E tr (penalty / (S + penalty))^2 / p, E tr S (S + penalty)^-2 / D."""
    errors = []
    for D in (16, 64):
        p = int(ratio * D)

        def mean(f, D=D, p=p):
            return expected_linear_statistic(D, p, lambda x: f(x / D), scale=D * penalty)

        bias = (mean(lambda x: (penalty / (x + penalty)) ** 2) + max(p - D, 0)) / p
        variance = mean(lambda x: x / (x + penalty) ** 2) / D
        risk = isotropic_ridge_risk(1.0, 1.0, p, penalty, D)
        errors.append([abs(risk.bias - bias) * D, abs(risk.variance - variance) * D])
    assert np.max(errors) < 1.0
    np.testing.assert_allclose(errors[1], errors[0], rtol=0.3, atol=0.02)


@pytest.mark.parametrize(("p", "D"), [(3000, 10_000), (9000, 10_000), (11_000, 10_000), (30_000, 10_000)])
def test_without_penalty_it_is_least_squares_below_and_minimum_norm_above_the_dataset_size(p, D):
    exact = float(minimum_norm_risk(0.7, 2.0, p, D))
    assert isotropic_ridge_risk(2.0, 0.7, p, 0.0, D).total == pytest.approx(exact, rel=2 / abs(p - D))
    assert ridge_risk(np.ones(p), np.sqrt(np.full(p, 2 / p)), 0.7, 0.0, D).total == pytest.approx(
        exact, rel=2 / abs(p - D)
    )


def test_least_squares_does_not_see_the_covariance(rng):
    spectrum, w, D = rng.random(30) + 1e-4, rng.normal(size=30), 10**5
    risk = ridge_risk(np.append(spectrum, np.zeros(9)), np.append(w, np.ones(9)), 0.7, 0.0, D)
    assert risk.total == pytest.approx(float(least_squares_risk(0.7, 30, D)), rel=1e-7)
    assert risk.bias == 0


@pytest.mark.parametrize("p", [1, 12, 200])
def test_double_descent_peaks_where_features_are_as_many_as_samples(p):
    D = np.arange(max(p - 5, 1), p + 6)
    for penalty, peak in ((0.0, np.inf), (1e-8, 1e3), (1e-24, 1e11)):
        for total in (
            isotropic_ridge_risk(1.0, 0.5, p, penalty, D).total,
            ridge_risk(np.ones(p), np.full(p, p**-0.5), 0.5, penalty, D).total,
        ):
            assert D[np.argmax(total)] == p
            assert total.max() >= peak
    noiseless = ridge_risk(np.ones(p), np.full(p, p**-0.5), 0.0, 0.0, np.append(D, 10 * p))
    assert np.all(np.isfinite(noiseless.total))
    assert np.all(noiseless.total[D.tolist().index(p) :] == 0)


@given(st.integers(0, 5), sizes, penalties, st.sampled_from([0.01, 30.0]))
def test_the_unit_of_the_features_cancels_with_that_of_the_penalty(seed, D, penalty, unit):
    rng = np.random.default_rng(seed)
    spectrum, w = rng.random(20) ** 3, rng.normal(size=20)
    here, there = (ridge_risk(c * spectrum, w / np.sqrt(c), 0.3, c * penalty, D) for c in (1.0, unit))
    assert there.total == pytest.approx(here.total, rel=1e-9)
    assert there.bias == pytest.approx(here.bias, rel=1e-9)


@given(st.integers(0, 5), sizes)
def test_a_vast_penalty_learns_nothing_and_endless_data_leave_the_shrinkage_alone(seed, D):
    rng = np.random.default_rng(seed)
    spectrum, w = rng.random(20), rng.normal(size=20)
    assert ridge_risk(spectrum, w, 0.3, 1e9, D).total == pytest.approx(0.3 + spectrum @ w**2, rel=1e-6)
    shrunken = 0.3 + np.sum(spectrum * w**2 * (0.2 / (spectrum + 0.2)) ** 2)
    assert ridge_risk(spectrum, w, 0.3, 0.2, 1e9).total == pytest.approx(shrunken, rel=1e-6)


def test_penalties_noises_and_dataset_sizes_broadcast(rng):
    spectrum, w = rng.random(8), rng.normal(size=8)
    D, penalty, noise = np.array([4, 8, 50]), np.array([[0.0], [0.1]]), np.full((5, 1, 1), 0.4)
    together = ridge_risk(spectrum, w, noise, penalty, D)
    assert together.total.shape == together.bias.shape == together.variance.shape == (5, 2, 3)
    for i, j in np.ndindex(2, 3):
        alone = ridge_risk(spectrum, w, 0.4, penalty[i, 0], D[j])
        np.testing.assert_array_equal(together.bias[:, i, j], alone.bias)
        np.testing.assert_array_equal(together.total[:, i, j], alone.total)


@given(st.floats(0.1, 5), st.floats(0.1, 5), st.sampled_from([3, 40, 200]), st.sampled_from([20, 40, 300]))
def test_the_best_penalty_is_the_best(signal, noise, p, D):
    def total(log_penalty):
        return float(isotropic_ridge_risk(signal, noise, p, np.exp(log_penalty), D).total)

    best = best_isotropic_penalty(signal, noise, p, D)
    found = minimize_scalar(total, bounds=(np.log(best) - 3, np.log(best) + 3), method="bounded")
    assert total(np.log(best)) <= found.fun * (1 + 1e-12)
    assert np.log(best) == pytest.approx(found.x, abs=1e-3)


def test_the_risk_is_that_of_ridge_on_gaussian_features_of_any_covariance(rng):
    """36 cells of 16 designs, the risk of each solution taken exactly: z-scores have a root mean square near one."""
    z, n = [], 16
    for p, D in [(40, 120), (90, 100), (120, 100), (160, 80)]:
        for decay in (0.0, 0.7, 1.5):
            for penalty in (0.01, 0.1, 1.0):
                spectrum, w = np.arange(1, p + 1.0) ** -decay, rng.normal(size=p)
                X = rng.normal(size=(n, D, p)) * np.sqrt(spectrum)
                y = X @ w + np.sqrt(0.5) * rng.normal(size=(n, D))
                inverse = np.linalg.inv(X @ X.transpose(0, 2, 1) / D + penalty * np.eye(D))
                beta = np.einsum("ndp,nde,ne->np", X, inverse, y, optimize=True) / D
                risk = 0.5 + (beta - w) ** 2 @ spectrum
                exact = float(ridge_risk(spectrum, w, 0.5, penalty, D).total)
                z.append((risk.mean() - exact) / (risk.std(ddof=1) / np.sqrt(n)))
    assert 0.75 < np.sqrt(np.mean(np.square(z))) < 1.3


def test_a_power_law_spectrum_learns_with_the_exponent_of_its_kernel():
    """lambda_i = i^-(1+a) and weights of equal size: L(D) ~ D^-a (Bahri et al., arXiv 2102.06701, section 4.2)."""
    i = np.arange(1, 200_001.0)
    for a in (0.5, 1.0, 2.0):
        few, many = ridge_risk(i ** -(1 + a), np.ones(i.size), 0.0, 0.0, np.array([100, 400])).total
        # What the cut leaves out of the sum at a = 0.5 is 2 / sqrt(200 000).
        assert np.log(many / few) / np.log(4) == pytest.approx(-a, rel=0.05)


@pytest.mark.parametrize(
    ("eigenvalues", "weights", "noise", "penalty", "size", "message"),
    [
        ([1.0, -1.0], [1.0, 1.0], 1.0, 0.1, 10, "-1 as smallest eigenvalue"),
        ([1.0, 1.0], [1.0], 1.0, 0.1, 10, r"shapes \(2,\) and \(1,\)"),
        ([1.0], [1.0], -1.0, 0.1, 10, "must be finite, 0 or above, .*; got -1.0, 0.1, 10"),
        ([1.0], [1.0], 1.0, -0.1, 10, "must be finite, 0 or above, .*; got 1.0, -0.1, 10"),
        ([1.0], [1.0], 1.0, 0.1, 0, "the dataset size above 0; got 1.0, 0.1, 0"),
    ],
)
def test_impossible_arguments_are_refused_by_value(eigenvalues, weights, noise, penalty, size, message):
    with pytest.raises(ValueError, match=message):
        ridge_risk(np.array(eigenvalues), np.array(weights), noise, penalty, size)


def test_an_impossible_signal_or_number_of_features_is_refused():
    with pytest.raises(ValueError, match=r"must not be negative; got -1\.0, 3"):
        isotropic_ridge_risk(-1.0, 1.0, 3, 0.1, 10)
    with pytest.raises(ValueError, match=r"must be above 0 .* got 0\.0, 3"):
        best_isotropic_penalty(0.0, 1.0, 3, 10)
