"""What is left of a quadratic loss in a random subspace: closed forms against subspaces drawn at random."""

import numpy as np
import pytest

from theory.learning_curves.random_subspace import (
    remaining_loss,
    remaining_loss_of_spectrum,
    remaining_loss_within,
    sufficient_dimension,
)


def simulated(rng, d, eigenvalues, displacements, n):
    size = (len(eigenvalues), d)
    return np.array([remaining_loss_within(rng.normal(size=size), eigenvalues, displacements) for _ in range(n)])


def test_equal_eigenvalues_leave_one_minus_d_over_k_whatever_else_there_is(rng):
    """72 cells of (D, k, d), each the mean of 60 subspaces: deviations are as large as chance makes them.

    The displacement is all in one coordinate, or spread, or with most of its length in directions that do not count.
    """
    scores, spreads = [], []
    for D in (12, 30):
        for k in (3, 5, 8, 12):
            for d in (1, 2, k // 2 + 1):
                eigenvalues = np.where(np.arange(D) < k, 2.5, 0.0)
                for displacements in (np.eye(D)[0], np.linspace(1, 2, D), 1 + 50.0 * (np.arange(D) >= k)):
                    left = simulated(rng, d, eigenvalues, displacements, 60)
                    variance = 2 * d * (k - d) / (k**2 * (k + 2))
                    scores.append((left.mean() - remaining_loss(d, k)) / np.sqrt(variance / 60))
                    spreads.append(left.var(ddof=1) / variance)
    assert len(scores) == 72
    assert 0.8 < np.sqrt(np.mean(np.square(scores))) < 1.25
    assert abs(np.mean(spreads) - 1) < 0.1


@pytest.mark.parametrize("d", [5, 6, 12])
def test_nothing_is_left_once_there_are_as_many_dimensions_as_directions_that_count(rng, d):
    eigenvalues = np.where(np.arange(12) < 5, 2.5, 0.0)
    assert remaining_loss(d, 5) == 0
    assert np.all(simulated(rng, d, eigenvalues, np.ones(12), 5) < 1e-20)
    assert remaining_loss_of_spectrum(d, eigenvalues, np.ones(12)) == 0


def test_for_equal_eigenvalues_the_limit_is_exact():
    d = np.arange(1, 20)
    eigenvalues = np.where(np.arange(40) < 15, 0.3, 0.0)
    np.testing.assert_allclose(
        remaining_loss_of_spectrum(d, eigenvalues, np.linspace(1, 3, 40)), remaining_loss(d, 15), atol=1e-12
    )


@pytest.mark.parametrize("d", [3, 12, 40])
@pytest.mark.parametrize("exponent", [0.5, 1.5])
def test_a_falling_spectrum_is_resolved_from_its_largest_eigenvalue_down(rng, d, exponent):
    """Within 4 standard errors and 2 % of the whole, for the finite size; far from what equal ones would leave."""
    eigenvalues = np.arange(1, 61.0) ** -exponent
    left = simulated(rng, d, eigenvalues, np.ones(60), 100)
    expected = remaining_loss_of_spectrum(d, eigenvalues, np.ones(60))
    assert abs(left.mean() - expected) < 4 * left.std(ddof=1) / 10 + 0.02
    assert expected < remaining_loss(d, 60) - 0.01


def test_a_subspace_is_what_matters_and_not_the_columns_that_span_it(rng):
    P, mix = rng.normal(size=(9, 4)), rng.normal(size=(4, 4))
    eigenvalues, displacements = rng.uniform(size=9), rng.normal(size=9)
    left = remaining_loss_within(P, eigenvalues, displacements)
    assert remaining_loss_within(P @ mix, eigenvalues, displacements) == pytest.approx(left, rel=1e-9)
    z = np.linalg.solve(P.T * eigenvalues @ P, P.T @ (eigenvalues * displacements))  # the normal equations
    by_hand = eigenvalues @ (displacements - P @ z) ** 2 / (eigenvalues @ displacements**2)
    assert left == pytest.approx(by_hand, rel=1e-9)
    assert 0.01 < left < 0.99


def test_the_dimension_that_suffices_is_nine_tenths_of_the_rank():
    """The closed form, a line between d = 0 and d = k, read off a grid in any order."""
    for k in (10, 20, 7, 55):
        grid = list(range(1, 60))[::-1]
        d_90 = sufficient_dimension(grid, list(remaining_loss(np.array(grid), k) + 0.1), 1.1, 0.1)
        assert d_90 == pytest.approx(0.9 * k, rel=1e-9)
    assert sufficient_dimension([4, 8], [0.05, 0.0], 1.0, 0.0) == 4
    assert sufficient_dimension([1, 2, 4], [0.9, 0.6, 0.2], 1.0, 0.0) is None
    assert sufficient_dimension([1, 2, 4], [0.9, 0.6, 0.2], 1.0, 0.0, share=0.6) == pytest.approx(3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [0.5], 1.0, 0.0), "as many, and some; got 2 and 1"),
        (([], [], 1.0, 0.0), "as many, and some; got 0 and 0"),
        (([1], [0.5], 1.0, 1.0), "must lower the loss; it went from 1.0 to 1.0"),
        (([1], [0.5], 1.0, 0.0, 1.5), "share must be above 0 and at most 1; got 1.5"),
        (([1], [float("nan")], 1.0, 0.0), "a loss must be a finite number; got nan"),
        (([-1], [0.5], 1.0, 0.0), "a dimension must be at least 0; got -1"),
    ],
)
def test_a_sufficient_dimension_that_means_nothing_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sufficient_dimension(*arguments)


def test_losses_that_mean_nothing_are_refused():
    one = np.ones(3)
    for call, message in (
        (lambda: remaining_loss(-1, 3), "at least 0 and rank at least 1; got -1 and 3"),
        (lambda: remaining_loss(1, 0), "at least 0 and rank at least 1; got 1 and 0"),
        (lambda: remaining_loss_of_spectrum(0, one, one), "dimension must be above 0; got 0"),
        (lambda: remaining_loss_of_spectrum(1, -one, one), "-1 as smallest eigenvalue"),
        (lambda: remaining_loss_of_spectrum(1, one, 0 * one), "nothing is lost at theta_0"),
        (
            lambda: remaining_loss_within(np.ones((2, 1)), one, one),
            r"a row for each of 3 eigenvalues; got shape \(2, 1",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
