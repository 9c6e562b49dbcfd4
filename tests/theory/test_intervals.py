"""Intervals of what is computed from a mean over seeds cover the truth as often as they say."""

import numpy as np
import pytest
from scipy.stats import f as fisher
from scipy.stats import t as student_t

from tests.tables import LENGTHS, SIZES, table, table_of_law, truth
from theory import fit, profile_interval
from theory.laws import PowerLaw, SaturatingLaw
from theory.measured.fitting import fit_gap
from theory.measured.intervals import jackknife_interval

N_STUDIES, N_SEEDS = 200, 4


def test_for_the_mean_itself_the_jackknife_is_student_s_interval(rng):
    samples = rng.normal(size=(3, 7))
    mean, lower, upper = jackknife_interval(lambda mean: mean, samples, 0.8)
    margin = student_t.ppf(0.9, 6) * samples.std(axis=1, ddof=1) / np.sqrt(7)
    np.testing.assert_allclose([mean, lower, upper], samples.mean(1) + np.array([[0], [-1], [1]]) * margin, rtol=1e-12)


def test_a_single_seed_has_no_interval():
    mean, lower, upper = jackknife_interval(np.exp, np.zeros((2, 1)))
    assert mean.tolist() == [1.0, 1.0]
    assert np.isnan([lower, upper]).all()


@pytest.mark.slow
@pytest.mark.parametrize("law", [PowerLaw(2.0, 1.0, 0.8), SaturatingLaw(100.0, 0.8, 2.0)], ids=lambda law: law.name)
def test_ninety_per_cent_intervals_of_fitted_constants_cover_85_to_95_of_100(law):
    """200 simulated studies of four seeds; half of a cell's noise is shared by all cells of its seed."""
    exact = law.approximation_loss(np.array(LENGTHS)[:, None], np.array(SIZES, float)[None, :], truth())
    rng, names = np.random.default_rng(0), law.fitted

    def constants(mean_gap):
        fitted = fit_gap(law, np.array(LENGTHS), np.array(SIZES), mean_gap, truth(), polish_only=True).law
        return np.array([fitted.constants()[name] for name in names])

    covered = []
    for _ in range(N_STUDIES):
        shared, own = rng.normal(size=(1, 1, N_SEEDS)), rng.normal(size=(*exact.shape, N_SEEDS))
        noise = np.exp(0.1 * shared + 0.1 * own - 0.01)  # of mean 1
        _, lower, upper = jackknife_interval(constants, exact[:, :, None] * noise, 0.9)
        true = np.array([law.constants()[name] for name in names])
        covered.append((lower <= true) & (true <= upper))
    share = np.mean(covered, axis=0)
    assert np.all((share >= 0.85) & (share <= 0.95))


def test_a_fit_brings_its_intervals():
    law = PowerLaw(2.0, 1.0, 0.8)
    found = fit(law, table_of_law(law, noise=0.1))
    for name, (lower, upper) in found.intervals.items():
        assert lower < getattr(found.law, name) < upper
    wider = fit(law, table_of_law(law, noise=0.1), level=0.99)
    assert wider.intervals["rate"][1] > found.intervals["rate"][1]
    assert np.isnan(fit(law, table_of_law(law, n_seeds=1)).intervals["rate"]).all()


class GivenRate(PowerLaw):
    """The rate is not fitted."""

    fitted = ("amplitude", "length_exponent")
    separable = fitted


def test_a_profile_ends_where_the_squares_have_grown_by_fisher_s_quantile():
    """The best fit at the end, made by itself: S = S_min (1 + F/(n - p)), no residual being beyond Huber's limit."""
    law = PowerLaw(2.0, 1.0, 0.8)
    noisy = table_of_law(law, noise=0.01, n_seeds=1)
    smallest = fit(law, noisy)
    n = smallest.n_cells
    for end in profile_interval(law, noisy, "rate", level=0.8):
        there = fit(GivenRate(rate=end), noisy)
        ratio = (there.rms_residual / smallest.rms_residual) ** 2
        assert ratio == pytest.approx(1 + fisher.ppf(0.8, 1, n - 3) / (n - 3), rel=1e-4)


def test_a_profile_is_open_where_the_table_says_nothing():
    """A single dataset size: more amplitude and a higher rate are the same."""
    law = PowerLaw(2.0, 1.0, 0.8)
    one_size = table_of_law(law, noise=0.01).isel(dataset_size=[3])
    assert profile_interval(law, one_size, "amplitude") == (0.0, np.inf)
    (direction,) = fit(law, one_size).flat_directions
    assert "ln amplitude" in direction
    assert "rate" in direction
    assert "length_exponent" not in direction
    assert fit(law, table_of_law(law, noise=0.01)).flat_directions == ()


def test_what_noise_hides_is_named_too():
    """Dataset sizes a hair apart fix the rate without noise; with a tenth of noise it is uncertain by more than one."""
    law = PowerLaw(2.0, 1.0, 0.8)
    exact = law.approximation_loss(np.array(LENGTHS)[:, None], np.array([64.0, 65.0]), truth())
    noise = np.exp(0.1 * np.random.default_rng(0).normal(size=exact.shape))
    assert fit(law, table(exact[:, :, None], sizes=(64, 65))).flat_directions == ()
    (direction,) = fit(law, table((exact * noise)[:, :, None], sizes=(64, 65))).flat_directions
    assert "rate" in direction


def test_only_a_fitted_constant_has_a_profile():
    with pytest.raises(ValueError, match="name must be one of 'amplitude', 'length_exponent', 'rate'; got 'k'"):
        profile_interval(PowerLaw(), table_of_law(PowerLaw()), "k")
