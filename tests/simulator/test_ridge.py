"""The ridge learner against textbook solvers and against its expected risk."""

import itertools

import numpy as np
import pytest

from simulator.learners import LeastSquares, Ridge, Run
from simulator.learners.closed_form import training_samples
from simulator.tasks import GaussianLookBack, IrrelevantTokens
from tests.simulator.population_risk import z_scores

DESIGNED = GaussianLookBack.designed(1.0, 1.0, 1.0, 1.0, 48)
WIDE = GaussianLookBack.designed(1.0, 1.0, 1.0, 1.0, 16, n_steps=3, n_irrelevant_channels=1)


@pytest.mark.parametrize("size", [1, 20, 200])
@pytest.mark.parametrize("task", [DESIGNED, WIDE], ids=["tokens", "channels and steps"])
def test_weights_solve_the_penalised_normal_equations(task, size):
    """(X'X + D penalty) b = X'y on the very samples, each context length on its own."""
    L, samples = task.max_context_length, training_samples(task, 0, size)
    X, y = np.asarray(samples.context, float), np.asarray(samples.target, float).reshape(size, -1)
    for penalty in (1e-3, 0.1, 10.0):
        for fitted in Ridge(penalty).fit_runs(task, [Run(length, size, 0) for length in (0, 1, 7, L)]):
            length = fitted.run.context_length
            visible = X[:, L - length :].reshape(size, -1)
            gram = visible.T @ visible + size * penalty * np.eye(visible.shape[1])
            weights = np.asarray(fitted.predictor.weights, float).reshape(L, -1, y.shape[1])
            assert not weights[: L - length].any()
            expected = np.linalg.solve(gram, visible.T @ y)
            np.testing.assert_allclose(weights[L - length :].reshape(expected.shape), expected, atol=1e-6)


def test_the_mean_risk_agrees_with_the_curve_over_many_cells():
    """24 cells of 16 data sets, with fewer weights than samples and nearly as many: z-scores have a root mean square
    near one.

    The equivalent's own error, of order 1/D, is below the noise of so few data sets.
    """
    z = []
    for task, lengths in ((DESIGNED, (4, 48)), (WIDE, (6, 16))):
        for penalty in (0.05, 0.5):
            z += z_scores(task, Ridge(penalty), list(itertools.product(lengths, (50, 100, 400))), 16)
    assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.35


def test_the_limits_of_small_and_large_penalties():
    for length, size in ((5, 40), (40, 60), (48, 20)):
        free = np.asarray(LeastSquares().fit(DESIGNED, length, size, 0).weights)
        np.testing.assert_allclose(Ridge(1e-9).fit(DESIGNED, length, size, 0).weights, free, atol=1e-5)
        assert np.abs(Ridge(1e9).fit(DESIGNED, length, size, 0).weights).max() < 1e-8
    assert Ridge(1e-9).expected_risk(DESIGNED, 12, 2000) == pytest.approx(
        LeastSquares().expected_risk(DESIGNED, 12, 2000), rel=1e-4
    )


def test_a_penalty_must_be_above_zero_and_the_covariance_known():
    with pytest.raises(ValueError, match="penalty must be a finite number above 0; got 0"):
        Ridge(0.0)
    with pytest.raises(ValueError, match="known for Gaussian tasks"):
        Ridge(0.1).expected_risk(IrrelevantTokens(DESIGNED, 0.5), 2, 50)
