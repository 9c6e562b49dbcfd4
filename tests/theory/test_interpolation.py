"""Multilinear interpolation on a grid, against interpolation carried out and integrated, and its exponent 4/d."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from theory.learning_curves import interpolation_risk


def carried_out(modes, powers, n, offset, phases):
    """Mean squared error of the interpolant of sum sqrt(2 |f_k|^2) cos(2 pi k.x + phase), by Gauss-Legendre in cells.

    Two nodes in each coordinate are exact for the square of the interpolant, eight for its product with the function.
    """
    d = modes.shape[1]

    def f(x):
        return np.cos(2 * np.pi * x @ modes.T + phases) @ np.sqrt(2 * powers)

    edges = np.arange(n + 1) / n
    corners = np.stack(np.meshgrid(*[edges] * d, indexing="ij"), axis=-1)
    interpolant = RegularGridInterpolator([edges] * d, f(corners + offset))
    nodes, weights = np.polynomial.legendre.leggauss(8)
    side = ((edges[:-1, None] + (1 + nodes) / (2 * n)).ravel(), np.tile(weights, n) / (2 * n))
    points = np.stack(np.meshgrid(*[side[0]] * d, indexing="ij"), axis=-1)
    weight = math.prod(np.meshgrid(*[side[1]] * d, indexing="ij"))
    return float(np.sum(weight * (interpolant(points) - f(points + offset)) ** 2))


@pytest.mark.parametrize("n", [3, 4, 7, 20])
@pytest.mark.parametrize("modes", [[[1]], [[3]], [[1, 2]], [[0, 3]], [[1, -1, 2]]])
def test_the_error_of_a_cosine_is_that_of_its_interpolant(modes, n):
    """A mode and its opposite are told apart by n unless 2k = 0 mod n; the mean over two phases serves always."""
    k = np.array(modes)
    if k.shape[1] == 3 and n == 20:
        n = 6
    errors = [carried_out(k, np.array([0.7]), n, np.zeros(k.shape[1]), phase) for phase in (0.3, 0.3 + np.pi / 2)]
    assert interpolation_risk(k, np.array([0.7]), n) == pytest.approx(np.mean(errors), rel=1e-9)


def test_modes_that_the_grid_confuses_add_up_on_average_over_its_origin():
    """k = 1 and k = 5 agree at n = 4: over 16 origins, regular in a cell, their cross terms cancel exactly."""
    k, powers, n = np.array([[1], [5], [2]]), np.array([0.5, 0.2, 0.3]), 4
    phases = np.array([0.1, 2.0, 1.0])
    errors = [carried_out(k, powers, n, np.array([i / 16 / n]), phases) for i in range(16)]
    assert np.std(errors) > 0.1
    assert interpolation_risk(k, powers, n) == pytest.approx(np.mean(errors), rel=1e-6)


@given(st.sampled_from([1, 2, 3]), st.integers(-5, 5), st.integers(1, 5))
def test_the_exponent_in_the_number_of_points_is_4_over_d(d, first, last):
    """To leading order, from -(h^2/2) sum_i t_i (1 - t_i) f_ii with E t^2 (1-t)^2 = 1/30 and E t (1-t) = 1/6."""
    k = np.array([[first, *[1] * (d - 2), last][:d]])
    n = np.array([10**3, 10**4])
    errors = interpolation_risk(k, np.ones(1), n)
    curvature = (2 * np.pi * k[0]) ** 2
    leading = (np.sum(curvature) ** 2 / 36 + np.sum(curvature**2) * (1 / 30 - 1 / 36)) / 4
    assert errors == pytest.approx(leading * n**-4.0, rel=3e-3)
    if leading:
        assert np.log(errors[1] / errors[0]) / np.log(10.0**d) == pytest.approx(-4 / d, rel=1e-3)


def test_in_one_dimension_the_error_is_2_pi_4_u_4_over_15_however_fine_the_grid():
    assert interpolation_risk(np.array([[1]]), np.ones(1), 10**7) == pytest.approx(2 * np.pi**4 / 15 * 1e-28, rel=1e-11)


@given(st.sampled_from([1, 2, 3]), st.integers(1, 4))
def test_what_a_grid_too_coarse_returns(d, n):
    """A mode of the grid's own frequency looks constant: all of it is lost, and a constant of its power comes back."""
    k = np.array([[n] + [0] * (d - 1)])
    assert interpolation_risk(k, np.ones(1), n) == pytest.approx(2.0)
    assert interpolation_risk(0 * k, np.ones(1), n) == 0.0


def test_many_modes_and_grids_are_sums_of_single_ones():
    k, powers, n = np.array(list(itertools.product(range(3), repeat=2))), np.arange(9.0), np.array([[2, 5], [9, 30]])
    single = sum(interpolation_risk(k[i : i + 1], powers[i : i + 1], n) for i in range(9))
    np.testing.assert_allclose(interpolation_risk(k, powers, n), single, rtol=1e-13)
    assert np.all(np.diff(interpolation_risk(k, powers, np.arange(5, 60))) < 0)


@pytest.mark.parametrize(
    ("powers", "n", "message"),
    [
        ([1.0, -2.0], 4, "powers must not be negative; got -2"),
        ([1.0, 2.0], 0, "points_per_side must be at least 1; got 0"),
    ],
)
def test_impossible_arguments_are_refused_by_value(powers, n, message):
    with pytest.raises(ValueError, match=message):
        interpolation_risk(np.array([[1], [2]]), np.array(powers), n)
