"""The learning curve of polynomial ridge on parities, against published numbers and a simulation with all monomials."""

import itertools
import math

import numpy as np
import pytest

from theory.learning_curves import best_isotropic_penalty, isotropic_ridge_risk, n_monomials, parity_ridge_risk

FAR = [math.floor(20 * (50 / (51 - k)) ** (1 / 1.2)) + 1 for k in range(1, 51)]
LENGTHS = np.arange(21, 101)
SOLVABLE = np.array([sum(far <= length for far in FAR) for length in LENGTHS]) / 50
TABLE = {
    10_000: (37, 0.919, 0.966), 20_000: (43, 0.849, 0.933), 50_000: (47, 0.691, 0.836), 100_000: (52, 0.536, 0.687),
    200_000: (66, 0.382, 0.456), 400_000: (93, 0.260, 0.263), 2_000_000: (93, 0.156, 0.157),
}  # fmt: skip


@pytest.mark.parametrize("size", TABLE)
def test_the_best_length_on_the_published_tasks_moves_from_37_to_93_with_the_data(size):
    """50 tasks, the best penalty at each length; the published errors come from a grid of penalties."""
    length, at_best, at_94 = TABLE[size]
    penalty = best_isotropic_penalty(SOLVABLE, 1 - SOLVABLE, n_monomials(LENGTHS, 2), size / 50)
    total = parity_ridge_risk(SOLVABLE, LENGTHS, penalty, size / 50).total
    assert LENGTHS[np.argmin(total)] == length
    assert total.min() == pytest.approx(at_best, abs=1.1e-3)
    assert total[LENGTHS == 94] == pytest.approx(at_94, abs=1.1e-3)


def test_a_share_of_solvable_tasks_is_the_mean_over_tasks():
    with_and_without = parity_ridge_risk(np.array([1.0, 0.0]), 30, 0.2, 500).total
    assert parity_ridge_risk(0.3, 30, 0.2, 500).total == pytest.approx(with_and_without @ [0.3, 0.7], rel=1e-14)
    assert with_and_without[0] == isotropic_ridge_risk(1.0, 0.0, 435, 0.2, 500).bias
    assert with_and_without[1] == 1 + isotropic_ridge_risk(0.0, 1.0, 435, 0.2, 500).variance


def test_with_fewer_bits_than_the_degree_nothing_is_fitted():
    risk = parity_ridge_risk(np.array([0.0, 0.0]), np.array([0, 2]), 0.1, 50, degree=3)
    np.testing.assert_array_equal(risk.total, 1.0)


def test_the_risk_is_that_of_ridge_on_explicit_monomials(rng):
    """32 cells of 16 data sets, p = 378 to 630 monomials of degree 2, a solvable and an unsolvable task in each.

    All monomials are uncorrelated, so the squared error is the squared distance of the weights, without a test set.
    """
    z, n = [], 16
    for length in (28, 36):
        monomials = np.array(list(itertools.combinations(range(length), 2)))
        assert len(monomials) == n_monomials(length, 2)
        for samples in (40, 200):
            for penalty in (0.3, 0.7, 1.5, 3.0):
                bits = rng.choice([-1.0, 1.0], size=(n, samples, length))
                features = bits[:, :, monomials].prod(axis=3)
                answers = np.stack([features[:, :, 7], rng.choice([-1.0, 1.0], size=(n, samples))], axis=2)
                gram = features @ features.transpose(0, 2, 1) / samples + penalty * np.eye(samples)
                weights = features.transpose(0, 2, 1) @ np.linalg.solve(gram, answers) / samples
                weights[:, 7, 0] -= 1
                lost = np.sum(weights**2, axis=1)
                for solvable, cell in ((1.0, lost[:, 0]), (0.0, 1 + lost[:, 1])):
                    exact = float(parity_ridge_risk(solvable, length, penalty, samples).total)
                    z.append((cell.mean() - exact) / (cell.std(ddof=1) / np.sqrt(n)))
    assert 0.75 < np.sqrt(np.mean(np.square(z))) < 1.3


@pytest.mark.parametrize(
    ("solvable", "length", "penalty", "samples", "degree", "message"),
    [
        (1.2, 20, 0.1, 50, 2, r"solvable share must lie between 0 and 1 .* got 1\.2, 20"),
        (0.5, -1, 0.1, 50, 2, r"context length not be negative; got 0\.5, -1"),
        (0.5, 20, -0.1, 50, 2, r"penalty must be finite, 0 or above.*-0\.1, 50"),
        (0.5, 20, 0.1, 50, 0, "degree must be at least 1; got 0"),
    ],
)
def test_impossible_arguments_are_refused_by_value(solvable, length, penalty, samples, degree, message):
    with pytest.raises(ValueError, match=message):
        parity_ridge_risk(solvable, length, penalty, samples, degree)
