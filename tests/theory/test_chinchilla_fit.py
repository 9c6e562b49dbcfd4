"""The law of Hoffmann et al. fitted: constants come back, and intervals hold them."""

import contextlib
import functools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import huber, logsumexp
from scipy.stats import t as student_t

from tests.benchmarks.chinchilla import CONSTANTS, held
from theory import LossTableError, fit_chinchilla
from theory.laws import ChinchillaLaw
from theory.measured.chinchilla_fit import _scale_of_errors


def runs(law, noise=0.0, seed=0):
    """Losses at 81 sizes, as wide as those of Hoffmann et al., with multiplicative noise."""
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(4e7, 1.6e10, 9), np.geomspace(1e9, 5e11, 9)))
    return N, D, law.loss(N, D) * np.exp(noise * np.random.default_rng(seed).normal(size=N.size))


@functools.cache
def fitted(law, noise=0.0, seed=0):
    return fit_chinchilla(*runs(law, noise, seed))


def constants(law):
    return np.array([getattr(law, name) for name in CONSTANTS])


def objective(x, N, D, L):
    """The summed Huber loss and its gradient, written anew: sum_i f'(r_i) times the softmax of the three terms."""
    terms = np.stack([np.full_like(N, x[0]), x[1] - x[3] * np.log(N), x[2] - x[4] * np.log(D)])
    total = logsumexp(terms, axis=0)
    slope = np.clip(total - np.log(L), -1e-3, 1e-3) * np.exp(terms - total)
    gradient = np.append(slope.sum(axis=1), [-slope[1] @ np.log(N), -slope[2] @ np.log(D)])
    return huber(1e-3, total - np.log(L)).sum(), gradient


@pytest.mark.parametrize("law", [ChinchillaLaw.besiroglu(), ChinchillaLaw(0.5, 9.0, 80.0, 0.2, 0.6)])
def test_the_constants_of_a_table_without_noise_come_back(law):
    """Every loss is met exactly, so the minimum is at the constants themselves. In the second table the term of the
    data is below 1/1800 of the loss: starts that are alike all end beside it."""
    fit = fit_chinchilla(*runs(law))
    np.testing.assert_allclose(constants(fit.law), constants(law), rtol=1e-6)
    assert fit.objective < 1e-20
    assert fit.n_runs == 81


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "kind"), [(6, "random"), *((n, kind) for n in (9, 12, 24) for kind in ("random", "crossed"))]
)
def test_nine_of_ten_intervals_hold_their_constant(n, kind):
    """Of 100 tables, three standard errors are 9 %."""
    found = held(ChinchillaLaw.besiroglu(), kind, n, 0.005, 100)
    assert len(found) > 90, "few tables are refused"
    share = found.mean(axis=0)
    assert np.all((share > 0.9 - 0.09) & (share < 0.9 + 0.09)), share


def test_intervals_of_nine_runs_hold_their_constants():
    """Of 40 tables, three standard errors are 14 %."""
    found = held(ChinchillaLaw.besiroglu(), "crossed", 9, 0.005, 40)
    assert len(found) == 40
    assert np.all(found.mean(axis=0) > 0.9 - 0.14)


@pytest.mark.slow
def test_intervals_are_as_wide_as_fits_scatter():
    """At 81 sizes ln A and the rates are nearly normal. From 100 tables their scatter is known to 7 %."""
    fits = [fit_chinchilla(*runs(ChinchillaLaw.besiroglu(), 0.01, seed)) for seed in range(100)]
    scatter = np.std([[np.log(getattr(fit.law, name)) for name in CONSTANTS] for fit in fits], axis=0)
    ends = np.log([[fit.intervals[name] for name in CONSTANTS] for fit in fits])
    errors = (ends[..., 1] - ends[..., 0]).mean(axis=0) / (2 * student_t.ppf(0.95, 76))
    np.testing.assert_allclose(errors / scatter, 1.05, atol=0.2)


@pytest.mark.parametrize("sigma", [1e-6, 3e-4, 1e-3, 5e-3, 0.1])
def test_the_scale_of_errors_is_that_of_the_means_over_normal_errors(sigma):
    """psi is r within delta and delta beyond; psi' is 1 within. Midpoints over 8 standard deviations give the means."""
    edges = np.linspace(0, 8, 400_001)
    r = sigma * (edges[1:] + edges[:-1]) / 2
    weights = np.exp(-((r / sigma) ** 2) / 2)
    mean_square = np.average(np.minimum(r, 1e-3) ** 2, weights=weights)
    within = np.average(r < 1e-3, weights=weights)
    assert _scale_of_errors(sigma) == pytest.approx(np.sqrt(mean_square) / within, rel=2e-3)


def test_an_end_that_the_runs_do_not_fix_is_zero_or_infinite():
    """At 1e14 tokens and more B/D^beta is below 1e-5 of the loss, and noise of 1 % hides it."""
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e8, 1e10, 4), np.geomspace(1e14, 1e16, 3)))
    noise = 0.01 * np.random.default_rng(1).normal(size=12)
    fit = fit_chinchilla(N, D, ChinchillaLaw.besiroglu().loss(N, D) * np.exp(noise))
    assert fit.intervals["data_rate"][0] == 0
    assert fit.intervals["data_amplitude"] == (0, np.inf)
    assert "[0, inf]" in str(fit)


@settings(max_examples=40)
@given(
    n=st.integers(6, 24),
    power=st.floats(0.5, 2.0),
    factor=st.floats(-2, 2),
    away=st.floats(0, 0.03),
    seed=st.integers(0, 99),
)
def test_runs_along_a_line_are_refused_with_the_line(n, power, factor, away, seed):
    """On D = k N^p the loss is E + A/N^alpha + B'/N^(p beta), and the terms can change places. Three per cent beside
    the line move a loss by less than noise of half a per cent does."""
    rng = np.random.default_rng(seed)
    N = np.geomspace(1e7, 7e9, n)
    D = 10 ** (9.5 + factor) * (N / 3e8) ** power * np.exp(away * rng.uniform(-1, 1, n))
    loss = ChinchillaLaw.besiroglu().loss(N, D) * np.exp(0.005 * rng.normal(size=n))
    with pytest.raises(
        LossTableError, match=r"N and D hardly vary apart: D = \S+ N\^\S+ up to .* other ratios D/N"
    ) as error:
        fit_chinchilla(N, D, loss)
    found = re.search(r"D = (\S+) N\^(\S+) up", str(error.value))
    assert float(found[2]) == pytest.approx(power, abs=0.03)
    assert np.log(float(found[1])) == pytest.approx((np.log(D) - power * np.log(N)).mean(), abs=0.7)


def test_the_losses_decide_how_near_to_a_line_is_too_near():
    """Ratios D/N by a factor of 1.3 apart: 240 runs tell N from D, and 12 do not."""
    rng, law = np.random.default_rng(0), ChinchillaLaw.besiroglu()
    N = 10 ** rng.uniform(7, 10, 240)
    D = 20 * N * np.exp(0.3 * rng.normal(size=240))
    L = law.loss(N, D) * np.exp(0.005 * rng.normal(size=240))
    low, high = fit_chinchilla(N, D, L).intervals["model_rate"]
    assert 0.2 < low < high < 0.5
    with pytest.raises(LossTableError, match=r"up to [234]\d\.\d %"):
        fit_chinchilla(N[:12], D[:12], L[:12])


def test_one_budget_is_a_line_that_may_be_fitted():
    """At N D = C one term falls along the line and the other grows, so none can stand for the other."""
    N, law = np.geomspace(1e7, 1e10, 24), ChinchillaLaw.besiroglu()
    D = 1e20 / 6 / N
    np.testing.assert_allclose(constants(fit_chinchilla(N, D, law.loss(N, D)).law), constants(law), rtol=1e-4)


def test_no_optimiser_finds_a_lower_sum():
    """Nelder and Mead's simplex uses no gradient; it starts at the truth and beside the fit."""
    N, D, L = runs(ChinchillaLaw.besiroglu(), 0.01)
    fit = fitted(ChinchillaLaw.besiroglu(), 0.01)
    there = constants(fit.law)
    x = np.append(np.log(there[:3]), there[3:])
    assert fit.objective == pytest.approx(objective(x, N, D, L)[0], rel=1e-9)
    truth = constants(ChinchillaLaw.besiroglu())
    for start in (np.append(np.log(truth[:3]), truth[3:]), x * 1.02):
        options = {"maxiter": 1500, "maxfev": 1500, "xatol": 1e-10, "fatol": 1e-15}
        other = minimize(lambda y: objective(y, N, D, L)[0], start, method="Nelder-Mead", options=options)
        assert fit.objective <= other.fun * (1 + 1e-9)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_no_table_makes_the_optimiser_overflow(seed):
    """Every warning is an error here. Terms vanish, sizes or losses span many decades, or losses do not fall at all."""
    rng = np.random.default_rng(seed)
    N, D = (x.ravel() for x in np.meshgrid(10.0 ** np.arange(0, 12, 4), 10.0 ** np.arange(0, 15, 5)))
    law = ChinchillaLaw(rng.choice([0.0, 50.0]), *10 ** rng.uniform(-3, 6, 2), *rng.uniform(0.02, 2, 2))
    for L in (law.loss(N, D), 1e-150 * law.loss(N, D), np.ones(9), np.exp(5 * rng.normal(size=9))):
        with contextlib.suppress(LossTableError):
            assert np.isfinite(fit_chinchilla(N, D, L).objective)


def test_one_wild_run_moves_nothing_much():
    """Huber's loss grows linearly beyond one part in a thousand: a loss twice too high pulls as one of 1 % does."""
    N, D, L = runs(ChinchillaLaw.besiroglu())
    L[40] *= 2
    np.testing.assert_allclose(constants(fit_chinchilla(N, D, L).law), constants(ChinchillaLaw.besiroglu()), rtol=0.02)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda *all_runs: tuple(x.reshape(9, 9) for x in all_runs),
            ValueError,
            r"one value for each run; got the shapes \(9, 9\)",
        ),
        (lambda N, D, L: (-N, D, L), ValueError, "model and dataset sizes must be above 0"),
        (lambda N, D, L: (N, D, L * np.nan), ValueError, "losses finite and above 0"),
        (
            lambda N, D, L: (N, D, np.where(np.arange(81) == 7, np.nan, L)),
            ValueError,
            r"1 of 81 runs have others, the first at index 7: N = .*loss = nan\.",
        ),
        (lambda N, D, L: (N, D, -L), ValueError, "Leave out diverged runs"),
        (lambda N, D, L: (N * np.inf, D, L), ValueError, "sizes must be finite"),
        (lambda N, D, L: (N[:5], D[:5], L[:5]), LossTableError, "5 runs with 5 model sizes and 1 dataset sizes"),
        (lambda N, D, L: (0 * N + 1e8, D, L), LossTableError, "81 runs with 1 model sizes and 9 dataset sizes"),
        (lambda N, D, L: (1e8 + 1e-6 * np.arange(81), D, L), LossTableError, "N and D hardly vary apart"),
        (lambda N, D, L: (N[:18], D[:18], L[:18]), LossTableError, "18 runs with 9 model sizes and 2 dataset sizes"),
        (lambda N, D, L: (N, D, 2 + 1e-2 * np.log(N)), LossTableError, "do not fall by a power of both sizes"),
    ],
)
def test_runs_that_fix_no_law_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        fit_chinchilla(*change(*runs(ChinchillaLaw.besiroglu())))
