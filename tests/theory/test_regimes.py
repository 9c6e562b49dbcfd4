"""The growth of l*(D): closed forms against brute force, and the kinds of optimum there are."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.learning_curves import least_squares_risk, minimum_norm_risk
from theory.regimes import (
    BayesLearner,
    CorrelationHorizon,
    DoubleDescent,
    NearestNeighbourLimited,
    PolynomialLearner,
    ResolutionLimited,
    TableLearner,
    VarianceLimited,
    minimise,
)

REGIMES = (
    ResolutionLimited(rate=4.0),
    NearestNeighbourLimited(),
    VarianceLimited(3.0, 0.6, 1.0, 1.0),
    CorrelationHorizon(scale=10.0),
    PolynomialLearner(degree=3, n_tasks=5),
    BayesLearner(degree=3, n_tasks=5),
    TableLearner(vocabulary=3.0),
)
each_regime = pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: type(regime).__name__)
gammas, sizes = st.sampled_from([0.3, 0.6, 1.0, 2.0]), st.sampled_from([3.0, 1e2, 1e5, 1e12])


@each_regime
def test_the_optimum_is_the_smallest_loss_of_a_dense_grid(regime):
    for D in (50.0, 80.0):
        found = regime.optimum(D, window=200.0)
        lengths = np.linspace(0.05, 200.0, 40_001)
        losses = regime.loss(lengths, D)
        assert found.kind == "interior"
        assert found.context_length == pytest.approx(lengths[losses.argmin()], rel=0.02, abs=0.02)
        assert float(regime.loss(np.array([found.context_length]), D)[0]) <= losses.min() + 1e-12


@each_regime
def test_the_optimum_grows_with_data_and_approaches_its_leading_order(regime):
    """The ratio to the leading order comes nearer one, though with ln ln D only slowly."""
    few, many = (20.0, 80.0) if isinstance(regime, BayesLearner) else (1e4, 1e8)
    found = [regime.optimum(D).context_length for D in (few, many)]
    ratio = np.array(found) / regime.leading_order(np.array([few, many]))
    assert found[1] > found[0]
    assert abs(ratio[1] - 1) <= abs(ratio[0] - 1) + 0.01
    assert 0.4 < ratio[1] < 2.2


@given(gammas, sizes, st.sampled_from([0.05, 1.0, 20.0]))
def test_newton_s_solution_is_the_stationary_point_and_the_minimum_of_the_resolution_limited_loss(gamma, D, A):
    """C gamma l^(1-gamma) = A kappa exp(-kappa/l) holds at it, or it is NaN and the loss falls everywhere."""
    regime = ResolutionLimited(2.0, gamma, 0.5, amplitude=A, rate=1.5)
    l, kappa = regime.stationary_point(D), 1.5 * np.log(D)
    found = minimise(lambda x: regime.loss(x, D), 1e8)
    if np.isnan(l):
        assert found.kind == "edge"
        assert np.all(np.diff(regime.loss(np.geomspace(1e-2, 1e6, 4000), D)) < 0)
    else:
        assert 2.0 * gamma * l ** (1 - gamma) == pytest.approx(A * kappa * np.exp(-kappa / l), rel=1e-10)
        assert found.minima[0] == pytest.approx(l, rel=1e-5)


def test_a_resolution_limited_loss_may_have_no_optimum_or_one_that_is_not_the_smallest_loss():
    """C = A = kappa = 1 and gamma near 1/2: the loss tends to A from above, past a maximum or without one."""
    weak = ResolutionLimited(5.0, 0.5, 0.0, amplitude=1.0, rate=1.0)
    assert weak.optimum(math.e).kind == "none"
    assert weak.optimum(math.e).context_length == np.inf
    assert weak.optimum(math.e, window=64.0).kind == "edge"
    assert weak.optimum(math.e, window=64.0).context_length == 64.0
    few = ResolutionLimited(1.0, 0.1, 0.0, amplitude=1.0, rate=1.0)
    found = few.optimum(6.0)
    assert found.kind == "local"
    assert found.context_length == np.inf
    assert found.minima[0] == pytest.approx(few.stationary_point(6.0), rel=1e-5)
    assert few.loss(np.array([found.minima[0]]), 6.0)[0] > few.amplitude


def test_context_that_only_costs_has_no_optimum_inside():
    assert minimise(lambda l: 1.0 + l).kind == "none"
    assert minimise(lambda l: 1.0 + l, 50.0).context_length == 0.0


@pytest.mark.parametrize(("D", "published"), [(1e4, 6.97), (1e6, 8.60), (1e9, 10.9), (1e15, 15.0), (1e30, 24.1)])
def test_the_time_series_optimum_solves_its_stationarity_condition(D, published):
    """4 pi lambda_0/d^alpha_Z = D^(-2/d) (1 + 2 ln D/d) with lambda_0 = 1, alpha_Z = 2, by bisection."""
    d = NearestNeighbourLimited(1.0, 1.0, constant="published").optimum(D).context_length
    assert d == pytest.approx(published, abs=0.05)

    def excess(x):
        return math.log(1 + 2 * math.log(D) / x) - 2 * math.log(D) / x + math.log(x**2 / (4 * math.pi))

    low, high = 1.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    assert d == pytest.approx(low, rel=1e-6)
    assert 1.4 < d / (math.log(D) / math.log(math.log(D))) < 1.7


@pytest.mark.parametrize(("D", "best"), [(10**3, 90), (10**4, 423), (10**5, 1864)])
def test_least_squares_on_a_designed_process_has_its_optimum_where_the_risk_curve_says(D, best):
    """C0 = 1, C = 3, gamma = 0.6, b = 1: the argmin over whole lengths of the exact expected risk."""
    l = np.arange(1, D - 2)
    risk = least_squares_risk(1 + 3 * (l + 1.0) ** -0.6, l, D)
    assert l[risk.argmin()] == best
    regime = VarianceLimited(3.0, 0.6, 1.0, 1.0)
    np.testing.assert_allclose(regime.loss(l[:90], float(D)), risk[:90], rtol=1e-13)
    assert regime.optimum(D).context_length == pytest.approx(best, abs=0.51)
    asymptote = {10**3: 108, 10**4: 457, 10**5: 1926}[D]
    assert regime.leading_order(D) == pytest.approx(asymptote, abs=0.6)


def test_without_a_floor_least_squares_uses_a_fixed_share_of_the_samples():
    regime = VarianceLimited(2.0, 0.5)
    assert regime.optimum(1001).context_length == pytest.approx(0.5 * 1000 / 1.5, rel=1e-5)
    assert regime.leading_order(1e6) == pytest.approx(1e6 / 3)


@pytest.mark.parametrize("D", [30, 200])
def test_minimum_norm_least_squares_descends_twice(D):
    """Each minimum is the argmin over whole lengths on its side of l = D."""
    regime = DoubleDescent(3.0, 0.6, 1.0, 1.0)
    found = regime.optimum(D)
    l = np.arange(1, 40 * D)
    R = regime.bayes_risk(l)
    risk = minimum_norm_risk(R, 4.0 - R, l, D)
    below, above = l[: D - 2][risk[: D - 2].argmin()], l[D + 2 :][risk[D + 2 :].argmin()]
    assert found.kind == "interior"
    assert len(found.minima) == 2
    assert found.minima == pytest.approx((below, above), abs=0.51)


def test_a_horizon_is_flat_beyond_and_saturates_at_the_window():
    regime = CorrelationHorizon(scale=10.0, correlation_exponent=1.0)
    assert regime.optimum(1e5).context_length == pytest.approx(100.0, rel=1e-3)
    assert regime.optimum(1e5, window=50.0).kind == "edge"
    losses = regime.loss(np.array([100.0, 150.0, 1e4]), 1e5)
    assert losses[0] == losses[1] == losses[2] == pytest.approx(0.01)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_parity_learners_use_the_longest_context_their_data_can_pay(offset):
    """The largest whole l with C(l, k) <= D/(cT), or log2 C(l, k) <= D/(cT), counted one by one."""
    kernel = PolynomialLearner(offset=offset, degree=3, n_tasks=4, samples=2.0)
    bayes = BayesLearner(offset=offset, degree=3, n_tasks=4, samples=2.0)
    for D in (2000.0, 1e5):
        most = max(l for l in range(3, 1000) if math.comb(l, 3) <= D / 8)
        assert math.floor(kernel.optimum(D).context_length + 1e-6) == most
    for D in (40.0, 100.0):
        most = max(l for l in range(3, 1000) if math.log2(math.comb(l, 3)) <= D / 8)
        assert math.floor(bayes.optimum(D).context_length + 1e-6) == most


def test_the_bayes_learner_of_parities_uses_any_window_at_once():
    bayes = BayesLearner(degree=2)
    assert bayes.optimum(30.0, window=64.0).kind == "edge"
    assert bayes.leading_order(np.array([20.0, 22.0])) == pytest.approx(math.sqrt(2) * np.array([2.0**10, 2.0**11]))


@given(gammas, sizes, st.sampled_from([1.2, 2.0, 50.0]))
def test_a_table_s_optimum_solves_lambert_s_equation(gamma, D, v):
    regime = TableLearner(1.0, gamma, 0.5, vocabulary=v)
    assert regime.optimum(D).context_length == pytest.approx(regime.stationary_point(D), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResolutionLimited(exponent=0.0), "exponent must be a finite number above 0; got 0"),
        (lambda: ResolutionLimited(offset=1.0).stationary_point(10.0), "no offset; got D = 10.0, offset = 1.0"),
        (lambda: ResolutionLimited().stationary_point(1.0), "needs D > 1"),
        (lambda: TableLearner(vocabulary=1.0), "vocabulary must be above 1; got 1.0"),
        (lambda: PolynomialLearner(degree=0), "degree must be at least 1; got 0"),
        (lambda: minimise(lambda l: l, 0.0), "window must be above 0.001; got 0.0"),
        (lambda: minimise(lambda l: np.where(l > 2, np.nan, 1.0)), "must not be NaN; it is at l = 2"),
    ],
)
def test_arguments_outside_their_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
