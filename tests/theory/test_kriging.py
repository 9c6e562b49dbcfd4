"""Kriging: what is inferred of a surface at and between noisy values."""

import numpy as np
import pytest
from scipy.special import gamma, kv
from scipy.stats import multivariate_normal

from theory.measured.kriging import _PRIORS, Kriging

X, Y = (axis.ravel() for axis in np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 5), indexing="ij"))
POINTS = np.stack([X, Y], axis=1)
BETWEEN = POINTS[:-1] + 0.4 * (np.array([X[5] - X[0], Y[1] - Y[0]]))
BETWEEN = BETWEEN[np.abs(BETWEEN).max(axis=1) < 1]
QUADRATIC = 1 + 2 * X - Y + 0.5 * X**2 - X * Y + 0.3 * Y**2


def wave(points):
    return np.sin(2 * points[:, 0]) * np.cos(points[:, 1])


def test_without_noise_the_surface_passes_through_the_values_and_close_between_them(rng):
    surface = Kriging(POINTS, wave(POINTS), np.zeros((35, 35)))
    np.testing.assert_allclose(surface.posterior(POINTS, 300, rng)[0], wave(POINTS), atol=1e-4)
    mean, draws = surface.posterior(BETWEEN, 300, rng)
    np.testing.assert_allclose(mean, wave(BETWEEN), atol=0.02)
    assert np.abs(draws - mean).max() < 0.2


def test_evidence_and_mean_are_those_of_the_normal_distribution_of_the_values(rng):
    """Covariances written anew, point by point; Matern's correlation by its Bessel function."""
    points, new = POINTS[::4], np.array([[0.1, -0.3]])
    values, noise = rng.normal(size=len(points)), 0.1 * np.eye(len(points)) + 0.02

    def covariance(p, q, amplitude, along_x, along_y):
        found = amplitude**2
        for apart, reach in zip(np.abs(p - q), (along_x, along_y), strict=True):
            z = np.sqrt(5) * max(apart, 1e-9) / reach
            found *= 2**-1.5 / gamma(2.5) * z**2.5 * kv(2.5, z)
        powers = [x[0] ** i * x[1] ** j for x in (p, q) for i in range(3) for j in range(3 - i)]
        return found + 100 * np.dot(powers[:6], powers[6:])

    logs, means = [], []
    for prior in _PRIORS:
        K = np.array([[covariance(p, q, *prior) for q in points] for p in points]) + noise
        across = np.array([covariance(new[0], q, *prior) for q in points])
        logs.append(multivariate_normal.logpdf(values, cov=K))
        means.append(across @ np.linalg.solve(K, values))
    surface = Kriging(points, values, noise)
    np.testing.assert_allclose(np.diff(surface.log_evidence()), np.diff(logs), atol=1e-3)
    weights = np.exp(np.array(logs) - max(logs))
    assert surface.posterior(new, 40_000, rng)[0][0] == pytest.approx(weights @ means / weights.sum(), abs=0.01)


def test_under_much_noise_the_surface_is_the_quadratic_of_least_squares(rng):
    values = QUADRATIC + 3.0 * rng.normal(size=35)
    columns = np.stack([np.ones(35), X, Y, X**2, X * Y, Y**2], axis=1)
    least_squares = columns @ np.linalg.lstsq(columns, values)[0]
    found, _ = Kriging(POINTS, values, 9.0 * np.eye(35)).posterior(POINTS, 300, rng)
    assert np.abs(found - least_squares).max() < 0.3 * np.abs(values - least_squares).max()


def test_draws_spread_as_the_noise_of_least_squares_demands(rng):
    """Where the quadratic is right, the posterior deviates at least as least squares does, and not twice as much."""
    columns = np.stack([np.ones(35), X, Y, X**2, X * Y, Y**2], axis=1)
    deviation = 0.5 * np.sqrt(np.diag(columns @ np.linalg.inv(columns.T @ columns) @ columns.T))
    values = QUADRATIC + 0.5 * rng.normal(size=35)
    _, draws = Kriging(POINTS, values, 0.25 * np.eye(35)).posterior(POINTS, 2000, rng)
    ratio = draws.std(axis=0) / deviation
    assert ratio.min() > 0.95
    assert np.median(ratio) < 2


def test_noise_that_all_values_share_moves_the_surface_as_a_whole(rng):
    shared = Kriging(POINTS, QUADRATIC, 0.01 * np.ones((35, 35)) + 1e-6 * np.eye(35))
    mean, draws = shared.posterior(POINTS, 2000, rng)
    np.testing.assert_allclose(mean, QUADRATIC, atol=0.02)
    moved = draws - mean
    assert moved.mean(axis=1).std() == pytest.approx(0.1, rel=0.1)
    assert (moved - moved.mean(axis=1, keepdims=True)).std() < 0.01
