"""Kriging: what is inferred of a surface at and between noisy values."""

import numpy as np
import pytest

from theory.measured.kriging import Kriging

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
