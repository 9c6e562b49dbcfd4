"""The covariance of means over seeds, pooled over cells, against simulated tables whose covariance is known."""

import dataclasses

import numpy as np
import pytest
from scipy.special import polygamma

from theory.measured.scatter import Grid, Scatter, SeedNoise, _inverse_trigamma, estimate_scatter

L, D = (a.ravel() for a in np.meshgrid([2, 4, 8, 16, 32, 64], 128.0 * 2 ** np.arange(6), indexing="ij"))
LEVEL = np.log(0.3 * L**0.8 / D**0.5)
TRUE = Scatter((0.2 * np.exp(LEVEL))[None] ** 2, np.array([0.8]), np.array([0.4]))


def grid(n_seeds, missing=()):
    present = np.ones((len(L), n_seeds), bool)
    for cell, seed in missing:
        present[cell, seed] = False
    return Grid(L, D, present)


def estimated(where, n_tables, rng, level=LEVEL):
    samples = TRUE.draw(where, rng, n_tables)
    return samples, estimate_scatter(where.deviations(samples), where, level)


@pytest.mark.parametrize("n_seeds", [2, 4, 8])
def test_variances_and_correlations_are_those_of_the_tables(n_seeds, rng):
    """Medians over 400 tables. With two seeds, correlations come out a tenth too small."""
    _, found = estimated(grid(n_seeds), 400, rng)
    np.testing.assert_allclose(np.median(found.variance / TRUE.variance, axis=0), 1, atol=0.2)
    np.testing.assert_allclose(found.along_length.mean(), 0.8, atol=0.1)
    np.testing.assert_allclose(found.along_size.mean(), 0.4, atol=0.12)


def test_pooling_halves_the_error_of_a_variance(rng):
    """Two seeds: the logarithm of a cell's own variance has the standard deviation of that of chi^2_1, pi/sqrt(2)."""
    samples, found = estimated(grid(2), 400, rng)
    pooled, own = (np.std(np.log(v / TRUE.variance)) for v in (found.variance, samples.var(axis=2, ddof=1)))
    assert own == pytest.approx(np.pi / np.sqrt(2), rel=0.1)
    assert pooled < own / 2


def test_without_a_known_level_the_trend_is_one_in_both_axes(rng):
    """Here ln G is linear in ln l and ln D, so both trends are right."""
    _, found = estimated(grid(8), 200, rng, level=None)
    np.testing.assert_allclose(np.median(found.variance / TRUE.variance, axis=0), 1, atol=0.15)


@pytest.mark.parametrize(("correlation", "independent"), [(0.0, 3 * 36), (1.0, 3)])
def test_freedom_counts_independent_deviations(correlation, independent):
    """Four seeds: three deviations of each of 36 cells, or three if all cells of a seed move together."""
    alike = np.array([correlation])
    assert Scatter(TRUE.variance, alike, alike).freedom(grid(4)) == pytest.approx(independent)


def test_cells_depart_from_the_trend_as_inverse_chi_squares_do(rng):
    """The mean of n / chi^2_n is n / (n - 2)."""
    noise = SeedNoise.proportional(0.2)
    varied = dataclasses.replace(noise, freedom=10.0)
    gap = np.exp(LEVEL)
    squares = [np.mean(varied.draw(grid(50), gap, rng) ** 2, axis=1) / noise.variance(grid(50), gap) for _ in range(40)]
    assert np.mean(squares) == pytest.approx(10 / 8, rel=0.05)


def test_the_covariance_of_means_is_that_of_simulated_means_also_where_seeds_are_missing(rng):
    where = grid(3, missing=[(0, 0), (1, 2), (1, 1), (7, 0)])
    means = where.mean(TRUE.draw(where, rng, 20_000))
    expected = TRUE.covariance_of_means(where)[0]
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(np.cov(means.T) / scale, expected / scale, atol=0.05)


def test_a_cell_with_a_single_seed_takes_the_variance_of_the_others(rng):
    where = grid(2, missing=[(3, 1)])
    _, found = estimated(where, 5, rng)
    np.testing.assert_allclose(found.variance[:, 3], np.median(np.delete(found.variance, 3, axis=1), axis=1))


def test_missing_samples_count_neither_in_means_nor_in_deviations():
    where = grid(3, missing=[(0, 1)])
    samples = np.ones((len(L), 3)) * np.array([1.0, 2.0, 6.0])
    samples[0, 1] = np.nan
    assert where.mean(samples)[:2].tolist() == [3.5, 3.0]
    assert where.deviations(samples)[:2].tolist() == [[-2.5, 0.0, 2.5], [-2.0, -1.0, 3.0]]


def test_the_inverse_of_the_trigamma_function_inverts_it():
    x = np.array([1e-2, 0.3, 1.0, 7.0, 50.0])
    np.testing.assert_allclose(_inverse_trigamma(polygamma(1, x)), x, rtol=1e-8)


def test_equal_samples_have_a_covariance_that_is_tiny_and_regular():
    where = grid(3)
    found = estimate_scatter(np.zeros((1, len(L), 3)), where, LEVEL)
    assert np.all(found.variance == 1e-10)
    np.linalg.cholesky(found.covariance_of_means(where)[0])
