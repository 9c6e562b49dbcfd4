"""Each law of the literature against a route of its own: simulation, enumeration, an exact curve or a limit."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import poisson

from theory.laws import (
    LLAMA_2_LONG,
    ChinchillaContextLaw,
    ChinchillaLaw,
    ContextPowerLaw,
    CorrelationHorizonLaw,
    DataManifoldLaw,
    FineTuningDimensionLaw,
    HavrillaLiaoLaw,
    IntrinsicDimensionLaw,
    KaplanLaw,
    LogThresholdLaw,
    MontgomeryLaw,
    NearestNeighbourLaw,
    OffsetDimensionLaw,
    PiecewiseLinearLaw,
    PolynomialThresholdLaw,
    PowerLaw,
    PowerLawRisk,
    QuantaLaw,
    ResourceLaw,
    SaturatingLaw,
    StateLimitedLaw,
    TableLaw,
    Truth,
    VarianceLimitedLaw,
    distance_constant,
    unlearned_share,
)
from theory.learning_curves import (
    least_squares_risk,
    nearest_neighbour_distance,
    parity_posterior_risk,
    table_risk,
)
from theory.learning_curves.wishart import expected_resolvent_trace


def power_truth(last=400, C0=1.0, C=2.0, gamma=0.8):
    """R = C0 + C/l^gamma for l >= 1, its value at one half for l = 0; dim(l) = l."""
    l = np.arange(last + 1.0)
    return Truth(C0 + C * np.maximum(l, 0.5) ** -gamma, l)


TRUTH = power_truth()


def gap(law, length, size, truth=TRUTH):
    return law.approximation_loss(np.asarray(length), np.asarray(size, np.float64), truth)


def holds(law, condition, length, size, truth=TRUTH):
    return law.conditions(np.asarray(length), np.asarray(size, np.float64), truth)[condition].tolist()


# The main paper's law


def test_the_exponent_of_data_of_a_power_is_the_power():
    l, D = np.array([[3], [40]]), np.array([10.0, 1e5])
    np.testing.assert_allclose(PowerLaw(2.0, 1.0, 0.7).data_exponent(l, D, TRUTH), 0.7, rtol=1e-9)
    found = IntrinsicDimensionLaw(1.0, 0.5, 3.0).data_exponent(l, D, TRUTH)
    np.testing.assert_allclose(found, np.broadcast_to(3.0 / l, (2, 2)), rtol=1e-8)
    saturating = SaturatingLaw(50.0, 1.0, 2.0)
    x = (D / (50 * l)) ** 2
    np.testing.assert_allclose(saturating.data_exponent(l, D, TRUTH), 2 * x / (1 + x), rtol=1e-7)


def test_there_is_no_exponent_where_there_is_no_gap_or_an_infinite_one():
    exponent = VarianceLimitedLaw().data_exponent(np.array([0, 5, 30]), 20.0, TRUTH)
    assert np.isnan(exponent).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "law",
    [
        IntrinsicDimensionLaw(1.0, 0.4, 2.0),
        IntrinsicDimensionLaw(1.0, 0.0, 2.0),
        OffsetDimensionLaw(1.0, 0.2, 2.0, 6.0),
    ],
)
def test_the_optimum_grows_with_data_where_longer_contexts_lose_more_of_their_cost(law):
    """l* grows with D where d2G/dl dD < 0: the sign of a mixed difference of G itself, away from its zero."""
    l, D = np.arange(2, 60)[:, None], np.geomspace(2, 1e12, 60)[None, :]
    more, less = (gap(law, l + 1, D * f) - gap(law, l - 1, D * f) for f in (1.01, 1 / 1.01))
    mixed = (more - less) / np.abs(more)
    clear = np.abs(mixed) > 2e-3
    grows = law.conditions(l, D, TRUTH)["l* grows with D"]
    assert np.array_equal(grows[clear], (mixed < 0)[clear])
    assert 0.1 < grows.mean() < 0.9


def test_the_paper_s_law_makes_the_optimum_shrink_with_data_where_its_condition_fails():
    """u = 0, dim = l: -R' = G' = ln D D^(-1/l)/l^2 rises with D until ln D = l. R is such that l* = 30 at D = e^5."""
    law, l = IntrinsicDimensionLaw(1.0, 0.0, 1.0), np.arange(61.0)
    cost = np.exp(-5.0 / np.maximum(l, 1e-9))
    truth = Truth(3.0 - cost + 1e-4 * (l - 30) ** 2, l)
    sizes = np.exp([5.0, 8.0])
    assert law.optimal_context_length(sizes[0], truth) == 30
    assert law.optimal_context_length(sizes[1], truth) < 30
    assert holds(law, "l* grows with D", [30], sizes, truth) == [False, False]
    assert holds(law, "l* grows with D", 30, np.exp(40.0), truth)


# What is solved behind the saturating law


def test_ridge_with_the_right_prior_saturates_with_p_and_q_of_one():
    """E tr(X'X/ridge + I)^-1 of exact Wishart matrices: R/Gmax = 4, so k = 4; the error is of order l/D."""
    for l, D in itertools.product((2, 6), (400, 800)):
        exact = expected_resolvent_trace(D, l, 4.0 * l) / l
        law = float(1 / (1 + D / (4.0 * l)))
        assert exact == pytest.approx(law, rel=2 * l / D)
        assert exact > law


# Variance-limited, nearest neighbour, piecewise linear


@pytest.mark.parametrize("channels", [1, 3])
def test_the_variance_limited_law_is_the_exact_risk_of_least_squares(channels):
    l, D = np.arange(40)[:, None], np.array([20.0, 45.0, 300.0])
    R = TRUTH.bayes_risk[:40, None]
    # Past its singularity least squares is another estimator; the law says infinite.
    exact = np.nan_to_num(least_squares_risk(R, channels * l, D), nan=np.inf, posinf=np.inf)
    law = VarianceLimitedLaw(parameters_per_token=channels)
    np.testing.assert_allclose(law.loss(l, D, TRUTH), exact, rtol=1e-14)
    np.testing.assert_array_equal(
        law.conditions(l, D, TRUTH)["more samples than parameters"] | (l == 0), np.isfinite(exact)
    )


def test_in_nats_a_parameter_of_least_squares_costs_half_a_sample(rng):
    """The excess of the Gaussian log-loss of known variance, over 4,000 data sets; R may be negative."""
    D, p, draws = 40, 5, 4000
    X, noise = rng.normal(size=(draws, D, p)), rng.normal(size=(draws, D, 1))
    error = np.linalg.solve(X.transpose(0, 2, 1) @ X, X.transpose(0, 2, 1) @ noise)[..., 0]
    excess = np.sum(error**2, axis=1) / 2
    truth = Truth(np.linspace(0.0, -3.0, 6), np.arange(6.0), "nats")
    exact = VarianceLimitedLaw().approximation_loss(np.array(p), np.array(D), truth)
    assert abs(excess.mean() - exact) < 4 * excess.std() / np.sqrt(draws)
    in_pieces = PiecewiseLinearLaw(squared_curvature=1e-12, pieces=2.0)
    assert in_pieces.approximation_loss(np.array(p), np.array(1e6), truth) == pytest.approx(2 * p / 2e6, rel=1e-3)


def test_the_distance_constant_is_that_of_the_exact_distances_and_the_published_one_is_not():
    d = np.array([2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    np.testing.assert_allclose(distance_constant(d), [0.3183, 0.3989, 0.6386, 1.1284, 2.0945, 4.0017], atol=6e-5)
    np.testing.assert_allclose(nearest_neighbour_distance(d, 1e9) * 1e9 ** (2 / d), distance_constant(d), rtol=1e-8)
    published = gap(NearestNeighbourLaw(constant="published"), d.astype(int), 1e4)
    ratio = published / gap(NearestNeighbourLaw(), d.astype(int), 1e4)
    np.testing.assert_allclose(ratio, [0.50, 0.80, 1.00, 1.13, 1.22, 1.27], atol=6e-3)
    far = distance_constant(1e7) * 2 * np.pi * np.e / 1e7
    assert far == pytest.approx(1.0, rel=1e-5)


def test_the_nearest_neighbour_law_asks_for_a_sample_within_reach():
    assert holds(NearestNeighbourLaw(), "nearest sample within the torus", [2, 64], 1e4) == [True, False]


def test_many_pieces_are_many_least_squares_of_few_samples_each():
    """N pieces of D/N samples and d weights; the coarse term falls as N^(-4/d)."""
    law = PiecewiseLinearLaw(squared_curvature=1e-12, pieces=50.0)
    exact = least_squares_risk(TRUTH.bayes_risk[6], 6, 1e7 / 50) - TRUTH.bayes_risk[6]
    assert gap(law, 6, 1e7) == pytest.approx(exact, rel=1e-4)
    coarse = [gap(PiecewiseLinearLaw(3.0, pieces), 6, 1e300) for pieces in (8.0, 64.0)]
    assert coarse[0] == pytest.approx(3 * 36 * 8 ** (-4 / 6) / (4 * np.pi**2))
    assert coarse[1] / coarse[0] == pytest.approx(8 ** (-4 / 6))
    assert holds(law, "sufficient data", [6], [299.0, 301.0]) == [False, True]


# Horizons


@given(st.sampled_from([0.6, 0.94, 1.5]), st.sampled_from([0.3, 0.8]))
def test_the_horizon_makes_the_loss_of_a_long_context_fall_as_gamma_over_two_beta(beta, gamma):
    truth, law = power_truth(4000, 0.0, 1.0, gamma), CorrelationHorizonLaw(2.0, beta)
    D = 2.0 * np.array([20.0, 40.0]) ** (2 * beta)
    losses = law.loss(4000, D, truth)
    assert -np.log(losses[1] / losses[0]) / np.log(D[1] / D[0]) == pytest.approx(gamma / (2 * beta), rel=1e-3)
    assert law.optimal_context_length(D * 1.0001, truth).tolist() == [21, 41]
    assert law.optimal_context_length(1e30, truth) == 4000
    assert holds(law, "within the horizon", [20, 21], D[0] * 1.0001, truth) == [True, False]


def test_a_risk_is_interpolated_through_its_values_without_rising():
    truth = Truth(np.array([1.0, 0.7, 0.7, 0.1]), np.arange(4.0))
    fine = truth.bayes_risk_between(np.linspace(0, 3, 301))
    np.testing.assert_allclose(fine[::100], truth.bayes_risk)
    assert np.all(np.diff(fine) <= 1e-15)


def test_a_state_is_full_where_the_information_passes_what_it_holds():
    """I(l) = 2 sqrt(l) against 0.5 * 16 + 2 = 10 nats: l_s = 25, at any D."""
    law = StateLimitedLaw(0.5, 16.0, log_tokens=2.0, information=2.0, information_exponent=0.5)
    held = holds(law, "state holds the information", [[25], [26]], np.array([10.0, 1e9]))
    assert held == [[True, True], [False, False]]
    assert law.optimal_context_length(np.array([10.0, 1e9]), TRUTH).tolist() == [25, 25]
    np.testing.assert_allclose(law.loss(np.array([10, 25, 300]), 1e3, TRUTH), TRUTH.bayes_risk[[10, 25, 25]])


# Tables, thresholds and quanta


def test_the_table_law_is_the_large_data_excess_of_a_table(rng):
    """27 contexts of 3 symbols each, 4 answers; the exact expected risk at finite D."""
    joint = rng.dirichlet(np.full(4, 3.0), size=27) / 27
    entropy = -np.sum(joint * np.log(joint * 27))
    law = TableLaw(vocabulary=3.0, classes=4)
    excess = table_risk(joint, 10**5) - entropy
    assert gap(law, 3, 1e5) == pytest.approx(excess, rel=0.02)
    assert holds(law, "as many samples as contexts", [3], [26.0, 27.1]) == [False, True]


def test_a_table_without_samples_is_as_good_as_no_context():
    assert gap(TableLaw(vocabulary=2.0), 300, 10.0) == TRUTH.bayes_risk[0] - TRUTH.bayes_risk[300]


def test_thresholds_sit_where_the_candidates_are_outnumbered():
    ceiling = TRUTH.largest_gap(np.array(20))
    kernel = PolynomialThresholdLaw(2.0, degree=3, n_tasks=4)
    assert gap(kernel, 20, 4 * math.comb(20, 3)) == pytest.approx(ceiling / 2)
    assert gap(kernel, 20, 4 * 2 * math.comb(20, 3)) == 0
    bayes = LogThresholdLaw(2.0, degree=3, n_tasks=4)
    assert gap(bayes, 20, 4 * 2 * math.log2((math.comb(20, 3) - 1) / math.sqrt(2))) == pytest.approx(ceiling / 2)
    for law in (kernel, bayes):
        assert gap(law, 2, 1.0) == 0
        enough = holds(law, "enough samples for every task", [20], np.array([10.0, 1e5]))
        assert enough == [False, True]


@pytest.mark.parametrize(("noise_prior", "error"), [(1e-9, 0.072), (0.5, 0.022), (0.9, 0.003)])
def test_the_logarithmic_threshold_is_near_the_exact_risk_of_the_posterior(noise_prior, error):
    truth = Truth(np.where(np.arange(129) < 3, np.log(2), 0.0), np.arange(129.0))
    law = LogThresholdLaw(n_tasks=5, noise_prior=noise_prior)
    for l in (3, 10, 24, 128):
        n = np.arange(0, 40)
        exact = parity_posterior_risk(math.comb(l, 2), n, True, noise_prior)
        assert np.max(np.abs(gap(law, l, 5 * n.astype(float), truth) - exact)) < error


@pytest.mark.parametrize(("alpha", "D", "m"), [(0.4, 1e4, 1), (0.4, 1e4, 5), (1.0, 300.0, 3), (1.5, 2e4, 40)])
def test_the_unlearned_share_is_the_sum_over_quanta(alpha, D, m):
    """A million terms of Poisson probabilities, and the integral of what is left, where none is learned."""
    k = np.arange(1, 1_000_001)
    frequency = k ** -(1 + alpha)
    rest = (k[-1] + 0.5) ** -alpha / alpha
    total = frequency.sum() + rest
    brute = (np.sum(frequency * poisson.cdf(m - 1, D * frequency / total)) + rest) / total
    assert unlearned_share(D, alpha, m) == pytest.approx(brute, rel=1e-6 if alpha >= 1 else 2e-4)


def test_quanta_fall_with_the_exponent_of_their_tail():
    """D^(-alpha/(1+alpha)) at large D, l^(p alpha/(1+alpha)) in the context, the ceiling at small D."""
    law = QuantaLaw(exponent=0.5, observations=20.0, length_exponent=1.5)
    assert law.data_exponent(10, 1e9, TRUTH) == pytest.approx(1 / 3, rel=1e-5)
    ratio = gap(law, 20, 1e9) / gap(law, 10, 1e9) * TRUTH.largest_gap(np.array(10)) / TRUTH.largest_gap(np.array(20))
    assert ratio == pytest.approx(2 ** (1.5 / 3), rel=1e-3)
    assert gap(law, 10, 1e-3) == pytest.approx(TRUTH.largest_gap(np.array(10)))
    assert holds(law, "commonest quantum learned", [4], [100.0, 1e4]) == [False, True]


# Model size and data


@pytest.mark.parametrize(
    ("law", "a"),
    [(ChinchillaLaw.hoffmann(), 0.4565), (ChinchillaLaw.besiroglu(), 0.5126)],
    ids=["hoffmann", "besiroglu"],
)
def test_the_allocation_is_the_best_of_all_under_the_budget(law, a):
    for C in (1e18, 5.76e23):
        N, D = law.best_allocation(C)
        assert pytest.approx(C) == 6 * N * D
        found = minimize_scalar(lambda x, C=C: float(law.loss(np.exp(x), C / 6 / np.exp(x))), bounds=(5, 40))
        assert np.exp(found.x) == pytest.approx(N, rel=1e-3)
    assert law.allocation_exponents == pytest.approx((a, 1 - a), abs=5e-5)
    assert law.loss(np.inf, np.inf) == law.irreducible_loss


def test_kaplan_s_law_has_its_one_variable_laws_as_limits():
    law = KaplanLaw()
    assert law.loss(1e9, np.inf) == pytest.approx((8.8e13 / 1e9) ** 0.076)
    assert law.loss(np.inf, 1e10) == pytest.approx((5.4e13 / 1e10) ** 0.095)
    assert law.loss(1e9, 1e10) > max(law.loss(1e9, np.inf), law.loss(np.inf, 1e10))


def test_chinchilla_with_context_has_a_closed_form_and_is_stopped_by_the_model():
    law = ChinchillaContextLaw(2.0, 1.0, 0.9, model_size=1e3, model_amplitude=3.0, model_rate=0.8)
    D = np.array([100.0, 1000.0, 1e5, 1e9])
    found = law.optimal_context_length(D, TRUTH)
    np.testing.assert_allclose(law.power_law_optimum(D, 2.0, 0.8), found, atol=0.6)
    assert law.power_law_optimum(1e9, 2.0, 0.8) == pytest.approx(law.power_law_optimum(1e12, 2.0, 0.8), rel=1e-3)
    free = ChinchillaContextLaw(2.0, 1.3, 0.9)
    l = np.arange(30)[:, None]
    np.testing.assert_allclose(gap(free, l, D), gap(PowerLaw(2.0, 1.3, 0.9), l, D))
    with pytest.raises(ValueError, match=r"data_length_exponent = model_length_exponent > 0; got 1.3 and 1.0"):
        free.power_law_optimum(10.0, 1.0, 1.0)


def test_the_manifold_law_has_four_regimes():
    """Slopes in D and in N on either side of D = N; each exponent is where conditions() says."""
    law, D, d = DataManifoldLaw(amplitude=2.0, model_size=1e6, variance=1e-3), np.array([1e3, 1e9]), 8
    assert DataManifoldLaw().data_exponent(2, 1e4, TRUTH) == pytest.approx(4 / 2)
    names = {name: found.tolist() for name, found in law.conditions(np.array([d]), D, TRUTH).items()}
    assert names == {
        "data resolution-limited": [True, False],
        "model variance-limited": [True, False],
        "data variance-limited": [False, True],
        "model resolution-limited": [False, True],
    }

    def slope(size, model_size, of_data):
        at = [(size * f, model_size) if of_data else (size, model_size * f) for f in (1.0, 2.0, 1e9)]
        near, far, limit = (gap(DataManifoldLaw(2.0, model_size=N, variance=1e-3), d, s) for s, N in at)
        return -np.log2((far - limit) / (near - limit))

    assert law.data_exponent(d, 1e3, TRUTH) == pytest.approx(4 / d, rel=1e-4)
    assert slope(1e9, 1e6, of_data=True) == pytest.approx(1.0, rel=1e-6)
    assert slope(1e3, 1e6, of_data=False) == pytest.approx(1.0, rel=1e-6)
    near, far = (gap(DataManifoldLaw(2.0, model_size=N, variance=0.0), d, 1e12) for N in (1e3, 1e4))
    assert -np.log10(far / near) == pytest.approx(4 / d)
    unlimited = DataManifoldLaw(2.0)
    l = np.arange(1, 30)
    np.testing.assert_allclose(gap(unlimited, l, 1e5), gap(IntrinsicDimensionLaw(2.0, 0.0, 4.0), l, 1e5))


@given(st.sampled_from([0.3, 0.7, 1.0]), st.sampled_from([1, 3, 8]))
def test_the_hoelder_rate_is_the_best_balance_of_bias_and_variance(b, d):
    """min over h of h^(2b) + 1/(D h^d), the error of a local average over cells of size h."""
    law = HavrillaLiaoLaw(smoothness=b)

    def best(D):
        found = minimize_scalar(lambda x: np.exp(2 * b * x) + np.exp(-d * x) / D, bounds=(-60, 0), method="bounded")
        return found.fun

    assert law.data_exponent(d, 1e6, TRUTH) == pytest.approx(-np.log10(best(1e9) / best(1e8)), rel=1e-4)
    near, far = (gap(HavrillaLiaoLaw(smoothness=b, model_size=N), d, 1e300) for N in (1e3, 1e4))
    if d == 8:  # so slow that what is left of the data's term stays far below
        of_model = -np.log10(far / near)
        assert 1 / law.data_exponent(d, 1e6, TRUTH) == pytest.approx(1 + 1 / of_model, rel=1e-6)


def test_the_fine_tuning_bound_makes_the_optimum_grow_as_a_power():
    """2 C gamma sqrt(D)/A = l^(gamma+1/2) for dim(l) = l."""
    law, D = FineTuningDimensionLaw(1.0), np.array([100.0, 1e4, 1e5])
    closed = (2 * 2.0 * 0.8 * np.sqrt(D)) ** (1 / 1.3)
    np.testing.assert_allclose(law.optimal_context_length(D, TRUTH), closed, atol=0.6)
    assert law.data_exponent(7, 100.0, TRUTH) == pytest.approx(0.5)


# Laws on other axes


def test_the_published_context_laws_always_want_the_largest_window():
    l = np.array([1024, 2048, 32768])
    for law in LLAMA_2_LONG.values():
        losses = law.loss(l)
        assert losses.argmin() == 2
        assert (losses[1] - law.floor) / (losses[0] - law.floor) == pytest.approx(2**-law.exponent)
        np.testing.assert_allclose(losses, law.floor + law.reducible / l**law.exponent)
    assert sorted(law.exponent for law in LLAMA_2_LONG.values()) == [0.45, 0.48, 0.50, 0.51]


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.sampled_from([0.5, 1.0, 2.0]), st.integers(0, 5))
def test_no_other_share_of_the_neurons_does_better(difficulties, p, seed):
    law = ResourceLaw(tuple(difficulties), p)
    c, shares = np.array(difficulties), law.shares()
    assert np.sum(c * (50 * shares) ** -p) == pytest.approx(law.loss(50.0))
    others = np.random.default_rng(seed).dirichlet(np.full(len(c), 2.0), size=50)
    near = 0.95 * shares + 0.05 * others
    assert law.parameter_exponent == p / 3
    assert np.all(np.sum(c * (50 * np.concatenate([others, near])) ** -p, axis=1) >= law.loss(50.0) * (1 - 1e-12))


def test_performance_saturates_in_compute_and_context_and_breaks_at_the_window():
    law = MontgomeryLaw(1.0, 1e20, 0.5, 1.0, 2000.0, 0.7, window=4096.0, width=50.0)
    assert MontgomeryLaw().performance(2.0, 2.0) == pytest.approx((1 - np.exp(-2)) ** 2)
    n = np.arange(1, 8000)
    found = law.performance(1e20, n)
    assert 3500 < n[found.argmax()] < 4096
    assert np.all(np.diff(law.performance(np.geomspace(1e15, 1e21, 20), 100.0)) > 0)
    assert law.performance(1e40, 2000) == pytest.approx(1 - np.exp(-1), abs=1e-6)
    assert law.performance(0.0, 3000) == law.performance(1e40, 0.0) == 0
    assert law.performance(1e20, 4096) == pytest.approx((1 - np.exp(-1)) * (1 - np.exp(-(2.048**0.7))) / 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PowerLawRisk(exponent=0.0), "exponent must be a finite number above 0; got 0"),
        (lambda: PowerLawRisk(floor=-1.0), "floor must be a finite number, 0 or above; got -1"),
        (lambda: VarianceLimitedLaw(0.0), "parameters_per_token must be a finite number above 0; got 0"),
        (lambda: distance_constant(0.0), "dimension must be above 0; got 0"),
        (lambda: PiecewiseLinearLaw(pieces=-1.0), "pieces must be a finite number above 0; got -1"),
        (lambda: TableLaw(classes=1), "classes must be at least 2; got 1"),
        (lambda: PolynomialThresholdLaw(degree=0), "degree must be at least 1; got 0"),
        (lambda: LogThresholdLaw(n_tasks=0), "n_tasks must be at least 1; got 0"),
        (lambda: unlearned_share(0.0, 1.0), "must be above 0; got 0.0"),
        (lambda: unlearned_share(1.0, -1.0), "exponent must be a finite number above 0; got -1"),
        (lambda: ChinchillaLaw(1.0, 1.0, 1.0, 0.0, 1.0), "model_rate must be a finite number above 0; got 0"),
        (lambda: ChinchillaLaw.hoffmann().loss(0.0, 1.0), "model and dataset sizes must be above 0; got 0.0, 1.0"),
        (lambda: ChinchillaLaw.hoffmann().best_allocation(-1.0), "compute must be above 0; got -1.0"),
        (lambda: ChinchillaContextLaw(model_size=0.0), "model_size must be a finite number above 0; got 0"),
        (lambda: DataManifoldLaw(variance=-1.0), "variance must be a finite number, 0 or above; got -1"),
        (lambda: HavrillaLiaoLaw(smoothness=1.5), r"smoothness must lie in \(0, 1\]; got 1.5"),
        (lambda: StateLimitedLaw(state_size=0.0), "state_size must be a finite number above 0; got 0"),
        (lambda: ContextPowerLaw(1.0, 1.0, 0.0).loss(0), "context length must be above 0; got 0"),
        (lambda: ResourceLaw(()), r"at least one subtask; got \(\)"),
        (lambda: ResourceLaw((1.0,)).loss(0.0), "number of neurons must be above 0; got 0.0"),
        (lambda: MontgomeryLaw().performance(-1.0, 1.0), "must not be negative; got -1.0, 1.0"),
    ],
)
def test_constants_outside_their_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
