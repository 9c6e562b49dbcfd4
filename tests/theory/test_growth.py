"""The growth of l*(D) that a law states, against the argmin of its loss and against stationarity conditions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from theory.laws import (
    CorrelationHorizonLaw,
    IntrinsicDimensionLaw,
    LogThresholdLaw,
    NearestNeighbourLaw,
    PolynomialThresholdLaw,
    PowerLawRisk,
    TableLaw,
    VarianceLimitedLaw,
)

FINE = 0.01
"""Dimension of a token where whole lengths must be a fine grid in the dimension."""
PLAIN, FINELY = PowerLawRisk(), PowerLawRisk(dimension_per_token=FINE)
GROWING = (
    (IntrinsicDimensionLaw(rate=4.0), FINELY, (1e4, 1e12)),
    (NearestNeighbourLaw(), FINELY, (1e4, 1e12)),
    (VarianceLimitedLaw(2.0), PowerLawRisk(3.0, 0.6, 1.0), (1e4, 1e6)),
    (CorrelationHorizonLaw(scale=10.0), PLAIN, (1e4, 1e7)),
    (PolynomialThresholdLaw(degree=3, n_tasks=5), PLAIN, (1e4, 1e9)),
    (LogThresholdLaw(2.0, degree=3, n_tasks=5, noise_prior=0.4), PowerLawRisk(2.0, 0.7, offset=1.5), (100.0, 300.0)),
    (TableLaw(vocabulary=1.2, classes=3), PLAIN, (1e4, 1e12)),
)


def law_optimum(law, D, risk, last=5000):
    return int(law.optimal_context_length(D, risk.truth(last)))


@pytest.mark.parametrize(("law", "risk", "sizes"), GROWING, ids=[law.name for law, _, _ in GROWING])
def test_the_optimum_grows_with_data_and_approaches_its_leading_order(law, risk, sizes):
    """The ratio to the leading order comes nearer one, though with ln ln D only slowly."""
    sizes = np.array(sizes)
    found = law.optimal_context_length(sizes, risk.truth(6000))
    ratio = found / law.leading_order(sizes, risk)
    assert found[0] < found[1] < 6000
    assert abs(np.log(ratio[1])) <= abs(np.log(ratio[0])) + 0.01
    slow = isinstance(law, NearestNeighbourLaw | TableLaw)
    assert 0.4 < ratio[1] < 2.2 if slow else abs(ratio[1] - 1) < 0.03


@pytest.mark.parametrize("u", [-0.5, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_a_falling_exponent_makes_the_optimum_grow_as_one_over_gamma_plus_u(gamma, u):
    """C gamma l^(-gamma-1) = A l^u exp(-kappa/l) (u/l + kappa/l^2) at kappa near 1e60, solved by bisection in ln l."""
    law, risk, D = IntrinsicDimensionLaw(0.7, u, 1e57), PowerLawRisk(3.0, gamma), 1e300
    log_kappa = math.log(1e57 * math.log(D))

    def excess(x):
        rise = math.log(0.7) + (u + gamma) * x - math.exp(log_kappa - x) + math.log(u + math.exp(log_kappa - x))
        return rise - math.log(3.0 * gamma)

    found = math.exp(brentq(excess, log_kappa - 8, log_kappa - 1))
    assert law.leading_order(D, risk) == pytest.approx(found, rel=0.06)


def test_nearest_neighbours_grow_as_a_rate_of_two_with_an_amplitude_in_proportion_to_length():
    risk = PowerLawRisk(exponent=1.5, dimension_per_token=0.3)
    same = IntrinsicDimensionLaw(1.0, 1.0, 2.0).leading_order(1e9, risk)
    assert NearestNeighbourLaw().leading_order(1e9, risk) == pytest.approx(same)


@given(st.floats(1e2, 1e12), st.sampled_from([1.2, 2.0, 50.0]), st.sampled_from([0.3, 1.0, 2.0]))
def test_a_table_s_optimum_solves_its_stationarity_condition(D, v, gamma):
    """C gamma / (l+b)^(gamma+1) = (K-1) ln v v^l / (2 D), within half a token."""
    law, risk = TableLaw(v, 3), PowerLawRisk(2.0, gamma, 0.5, 0.5)

    def excess(l):
        return math.log(np.log(v) / D) + l * np.log(v) - math.log(2.0 * gamma) + (gamma + 1) * math.log(l + 0.5)

    found = int(law.optimal_context_length(D, risk.truth(400)))
    assert excess(max(found - 1, 0)) < 0 or found == 0
    assert excess(found + 1) > 0
    assert law.leading_order(D, risk) == pytest.approx(math.log(D) / math.log(v))


@pytest.mark.parametrize(("D", "published"), [(1e4, 6.97), (1e6, 8.60), (1e9, 10.9), (1e15, 15.0), (1e30, 24.1)])
def test_the_time_series_optimum_is_the_published_one(D, published):
    """R = 1/d and G = d/(4 pi) D^(-2/d): 4 pi/d^2 = D^(-2/d) (1 + 2 ln D/d)."""
    risk = PowerLawRisk(1 / FINE, offset=1e-9, dimension_per_token=FINE)
    d = FINE * law_optimum(NearestNeighbourLaw(constant="published"), D, risk)
    assert d == pytest.approx(published, abs=0.05)
    assert D ** (-2 / d) * (1 + 2 * math.log(D) / d) == pytest.approx(4 * math.pi / d**2, rel=0.02)
    assert 1.4 < d / (math.log(D) / math.log(math.log(D))) < 1.7


@pytest.mark.parametrize(("D", "best", "leading"), [(10**3, 90, 108), (10**4, 423, 457), (10**5, 1864, 1926)])
def test_least_squares_on_a_designed_process_has_the_known_optimum(D, best, leading):
    """C0 = 1, C = 3, gamma = 0.6, b = 1."""
    risk = PowerLawRisk(3.0, 0.6, 1.0)
    assert law_optimum(VarianceLimitedLaw(), D, risk) == best
    assert VarianceLimitedLaw().leading_order(D, risk) == pytest.approx(leading, abs=0.6)


def test_without_a_floor_least_squares_uses_a_fixed_share_of_the_samples():
    """l* = gamma (D-1)/(gamma+1), and twice the parameters of a token leave half the tokens."""
    risk = PowerLawRisk(2.0, 0.5, offset=1e-9)
    assert abs(law_optimum(VarianceLimitedLaw(), 1001, risk) - 0.5 * 1000 / 1.5) < 1
    assert VarianceLimitedLaw().leading_order(1e6, risk) == pytest.approx(1e6 / 3)
    assert VarianceLimitedLaw(2.0).leading_order(1e6, risk) == pytest.approx(1e6 / 6)


def test_a_falling_exponent_may_leave_no_optimum_or_one_that_is_not_the_smallest_loss():
    """C = A = kappa = 1, in hundredths of a token, and a slow gamma: the loss tends to A from above."""
    law = IntrinsicDimensionLaw(amplitude=1.0, rate=1.0)
    without = PowerLawRisk(50.0, 0.5, offset=1e-9, dimension_per_token=FINE)
    assert all(law_optimum(law, math.e, without, last) == last for last in (64, 700, 5000))
    local = PowerLawRisk(100**0.1, 0.1, offset=1e-9, dimension_per_token=FINE)
    best = law_optimum(law, 6.0, local)
    assert 0 < best < 5000
    assert law.loss(np.array([best]), 6.0, local.truth(5000)) > law.amplitude


@pytest.mark.parametrize("degree", [2, 3])
def test_parity_learners_use_the_longest_context_their_data_can_pay(degree):
    """The largest l with C(l, k) <= D/(cT), counted one by one, if the risk falls slowly; one more may pay, too."""
    law, risk = PolynomialThresholdLaw(2.0, degree, n_tasks=4), PowerLawRisk(exponent=0.01)
    for D in (2000.0, 1e5):
        most = max(l for l in range(degree, 1000) if math.comb(l, degree) <= D / 8)
        assert law_optimum(law, D, risk) in (most, most + 1)
        assert law.leading_order(D, risk) == pytest.approx((math.factorial(degree) * D / 8) ** (1 / degree))


def test_the_bayes_learner_of_parities_uses_any_window_at_once():
    bayes = LogThresholdLaw(degree=2)
    assert law_optimum(bayes, 40.0, PLAIN, last=64) == 64
    leading = bayes.leading_order(np.array([20.0, 23.0, 1e5]), PLAIN)
    assert leading[1:] == pytest.approx([2 * leading[0], np.inf])
