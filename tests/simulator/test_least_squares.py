"""The least-squares learner against textbook solvers and against its exact expected risk."""

import itertools
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from simulator import Study, run
from simulator.learners import LeastSquares, Run
from simulator.learners.closed_form import training_samples
from simulator.tasks import Examples, GaussianLookBack, InContextRegression, IrrelevantTokens
from simulator.tasks.base import Task
from tests.simulator.population_risk import z_scores
from theory.gaussian_process import power_law_risk
from theory.learning_curves import least_squares_risk

DESIGNED = GaussianLookBack.designed(1.0, 1.0, 1.0, 1.0, 48)
INDEPENDENT = GaussianLookBack.independent(1.0, 3.0, 0.6, 1.0, 48)
WIDE = GaussianLookBack.designed(1.0, 1.0, 1.0, 1.0, 16, n_steps=3, n_irrelevant_channels=1)


@pytest.mark.parametrize(("size", "seed"), [(1, 0), (20, 1), (47, 2), (48, 3), (200, 0), (4100, 1)])
def test_weights_are_the_minimum_norm_least_squares_solution(size, seed):
    """numpy's SVD solver on the very samples, each context length on its own."""
    examples = training_samples(DESIGNED, seed, size)
    X, y = np.asarray(examples.context, float), np.asarray(examples.target, float)
    runs = [Run(length, size, seed) for length in (0, 1, 7, 30, 48)]
    for fitted in LeastSquares().fit_runs(DESIGNED, runs):
        length = fitted.run.context_length
        visible = X[:, 48 - length :]
        weights = np.asarray(fitted.predictor.weights, float)
        assert not weights[: 48 - length].any()
        expected = np.linalg.lstsq(visible, y)[0]
        scale = np.abs(expected).max(initial=1.0)
        # Close to l = D the problem is ill-conditioned and any two solvers differ.
        tolerance = 1e-5 if abs(length - size) > 2 else 1e-3
        np.testing.assert_allclose(weights[48 - length :], expected, atol=tolerance * scale)


@pytest.mark.parametrize("size", [1, 48, 4100])
def test_weights_of_channels_and_steps_are_the_least_squares_solution(size):
    """Every channel is a column and every step is a right-hand side."""
    examples = training_samples(WIDE, 0, size)
    X, y = np.asarray(examples.context, float), np.asarray(examples.target, float)
    for fitted in LeastSquares().fit_runs(WIDE, [Run(length, size, 0) for length in (0, 1, 5, 16)]):
        length = fitted.run.context_length
        expected = np.zeros((16, 2, 3))
        expected[16 - length :] = np.linalg.lstsq(X[:, 16 - length :].reshape(size, -1), y)[0].reshape(length, 2, 3)
        weights = np.asarray(fitted.predictor.weights, float).reshape(16, 2, 3)
        np.testing.assert_allclose(weights, expected, atol=1e-5 * np.abs(expected).max(initial=1.0))
        predicted = np.einsum("blc,lcs->bs", X, expected)
        np.testing.assert_allclose(fitted.predictor(examples), predicted, atol=1e-3)


def test_every_irrelevant_channel_is_one_more_regressor_per_token():
    """mean_s V_s(l) (1 + p/(D-p-1)), p = l (1+m), and V(l) unchanged."""
    learner, cells = LeastSquares(), list(itertools.product((1, 9, 16), (48, 384)))
    for length, size in cells:
        p = 2 * length
        expected = WIDE.bayes_risk(length) * (1 + p / (size - p - 1))
        assert learner.expected_risk(WIDE, length, size) == pytest.approx(expected, rel=1e-12)
    assert np.abs(z_scores(WIDE, learner, cells, 24)).max() < 4
    assert np.isinf(learner.expected_risk(WIDE, 10, 20))
    assert learner.untrained(WIDE, 3)(training_samples(WIDE, 0, 2)).shape == (2, 3)


@pytest.mark.parametrize("kind", ["noise", "distractor"])
def test_irrelevant_tokens_are_regressors_and_nothing_else(kind):
    """V(k) (D-1)/(D-l-1), k of the l visible tokens relevant: the Bayes risk is flat where the loss rises with l."""
    bare = GaussianLookBack.designed(1.0, 3.0, 0.6, 1.0, 8)
    task = IrrelevantTokens(bare, 0.4, kind, "last")
    learner = LeastSquares()
    study = Study(task, learner, context_lengths=(2, 14), dataset_sizes=(48,), seeds=16, test_size=512)
    losses = run(study, progress=False)["loss"].values[:, 0]
    for length, found in zip(study.context_lengths, losses, strict=True):
        exact = learner.expected_risk(task, length, 48)
        assert exact == pytest.approx(bare.bayes_risk(min(length, 8)) * 47 / (47 - length), rel=1e-12)
        assert abs(found.mean() - exact) < 4 * found.std(ddof=1) / 4
    assert learner.expected_risk(task, 20, 128) > learner.expected_risk(task, 8, 128)
    isotropic = IrrelevantTokens(GaussianLookBack.independent(1.0, 3.0, 0.6, 1.0, 8), 0.4)
    assert np.isfinite(learner.expected_risk(isotropic, 20, 8))


def test_an_expected_risk_that_is_not_known_is_refused():
    bare = GaussianLookBack.designed(1.0, 3.0, 0.6, 1.0, 8)
    for task in (InContextRegression(2, 0.3, 4), IrrelevantTokens(bare, 0.5, "repeat")):
        with pytest.raises(ValueError, match="known for Gaussian tasks"):
            LeastSquares().expected_risk(task, 2, 50)


def test_expected_risk_with_channels_beyond_the_dataset_size():
    """Minimum-norm least squares on independent tokens and channels: 24 regressors of 16 samples."""
    task = GaussianLookBack.independent(1.0, 3.0, 0.6, 1.0, 12, n_irrelevant_channels=1)
    assert abs(z_scores(task, LeastSquares(), [(12, 16)], 64)[0]) < 4


def test_published_values_of_the_exact_learner():
    """C0 = 1, C = 3, gamma = 0.6, b = 1: expected risks at three cells, and l* with its asymptote."""
    task = GaussianLookBack.designed(1.0, 3.0, 0.6, 1.0, 64)
    for length, size, value, digits in ((8, 200, 1.8782, 5e-5), (32, 200, 1.630, 5e-4), (64, 400, 1.4830, 5e-5)):
        assert LeastSquares().expected_risk(task, length, size) == pytest.approx(value, abs=digits)
    for size, best, asymptote in ((10**3, 90, 108), (10**4, 423, 457), (10**5, 1864, 1926)):
        lengths = np.arange(size // 2)
        assert np.argmin(least_squares_risk(power_law_risk(lengths, 1.0, 3.0, 0.6, 1.0), lengths, size)) == best
        assert round((3.0 * 0.6 * size) ** (1 / 1.6)) == asymptote


def test_mean_risk_agrees_with_the_closed_form_over_many_cells():
    """D is from 16 to 2048 and |l - D| > 5: z-scores have a root mean square near one."""
    cells = itertools.product((1, 4, 8, 23, 45), (16, 32, 64, 128, 512, 2048))
    z = z_scores(INDEPENDENT, LeastSquares(), [(l, D) for l, D in cells if abs(l - D) > 5], 24)
    assert len(z) >= 28
    assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.35


def test_expected_log_loss_is_the_scaled_expected_squared_error():
    squared, logarithmic = (GaussianLookBack.arfima(0.4, 16, loss=loss) for loss in ("squared_error", "log_loss"))
    learner = LeastSquares()
    excess = learner.expected_risk(squared, 4, 100) - squared.bayes_risk(4)
    expected = logarithmic.bayes_risk(4) + excess / (2 * squared.bayes_risk(4))
    assert learner.expected_risk(logarithmic, 4, 100) == pytest.approx(expected)
    assert np.isinf(learner.expected_risk(squared, 4, 5))
    assert np.isnan(learner.expected_risk(squared, 8, 5))
    assert np.isfinite(learner.expected_risk(INDEPENDENT, 8, 5))


def test_dependent_columns_get_the_minimum_norm_solution():
    """Every token repeats the one before: columns are equal, and the weight is shared between them."""

    class Repeated(GaussianLookBack):
        def sample(self, key, index):
            examples = GaussianLookBack.sample(self, key, index)
            same = jnp.repeat(examples.context[:, -1:], self.max_context_length, axis=1)
            return Examples(same, examples.query, examples.target)

    task: Task = Repeated(DESIGNED.process, 4)
    weights = np.asarray(LeastSquares().fit(task, 4, 500, 0).weights)
    np.testing.assert_allclose(weights, weights.mean(), rtol=1e-3)
    assert np.isfinite(weights).all()


def test_memory_does_not_hold_the_data_set():
    """65,536 samples of 49 numbers are 26 MB as float64; a block is 1.6 MB, and is copied a few times."""
    LeastSquares().fit(DESIGNED, 8, 5000, 0)
    tracemalloc.start()
    try:
        LeastSquares().fit(DESIGNED, 8, 65_536, 0)
        assert tracemalloc.get_traced_memory()[1] < 13e6
    finally:
        tracemalloc.stop()
