"""The least-squares learner against textbook solvers and against its exact expected risk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator import Study, run
from simulator.learners import LeastSquares, Run
from simulator.random.streams import stream_key
from simulator.tasks import Examples, GaussianLookBack, InContextRegression, IrrelevantTokens
from simulator.tasks.base import Task
from theory.gaussian_process import power_law_risk
from theory.learning_curves import least_squares_risk

DESIGNED = GaussianLookBack.designed(1.0, 1.0, 1.0, 1.0, 48)
INDEPENDENT = GaussianLookBack.independent(1.0, 3.0, 0.6, 1.0, 48)
WIDE = GaussianLookBack.designed(1.0, 1.0, 1.0, 1.0, 16, n_steps=3, n_irrelevant_channels=1)


@pytest.mark.parametrize(("size", "seed"), [(1, 0), (20, 1), (47, 2), (48, 3), (200, 0), (4100, 1)])
def test_weights_are_the_minimum_norm_least_squares_solution(size, seed):
    """numpy's SVD solver on the very samples, each context length on its own."""
    examples = DESIGNED.sample(stream_key(seed, "train"), jnp.arange(size))
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


@pytest.mark.parametrize("size", [1, 20, 48, 4100])
def test_weights_of_channels_and_steps_are_the_least_squares_solution(size):
    """Every channel is a column and every step is a right-hand side."""
    examples = WIDE.sample(stream_key(0, "train"), jnp.arange(size))
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
    """mean_s V_s(l) (1 + p/(D-p-1)), p = l (1+m), against the measured mean over seeds, and V(l) unchanged."""
    learner = LeastSquares()
    study = Study(WIDE, learner, context_lengths=(1, 9, 16), dataset_sizes=(48, 384), seeds=32, test_size=512)
    losses = run(study, progress=False)["loss"].values
    for i, length in enumerate(study.context_lengths):
        for j, size in enumerate(study.dataset_sizes):
            p = 2 * length
            exact = learner.expected_risk(WIDE, length, size)
            assert exact == pytest.approx(WIDE.bayes_risk(length) * (1 + p / (size - p - 1)), rel=1e-12)
            error = losses[i, j].std(ddof=1) / np.sqrt(32)
            assert abs(losses[i, j].mean() - exact) < 4 * error
    assert np.isinf(learner.expected_risk(WIDE, 10, 20))
    assert learner.untrained(WIDE, 3)(WIDE.sample(stream_key(0, "train"), range(2))).shape == (2, 3)


@pytest.mark.parametrize("kind", [pytest.param("noise", marks=pytest.mark.slow), "distractor"])
def test_irrelevant_tokens_are_regressors_and_nothing_else(kind):
    """V(k) (D-1)/(D-l-1), k of the l visible tokens relevant: the Bayes risk is flat where the loss rises with l."""
    bare = GaussianLookBack.designed(1.0, 3.0, 0.6, 1.0, 8)
    task = IrrelevantTokens(bare, 0.4, kind, "last")
    learner = LeastSquares()
    study = Study(task, learner, context_lengths=(2, 8, 14), dataset_sizes=(32, 128), seeds=32, test_size=512)
    losses = run(study, progress=False)["loss"].values
    for i, length in enumerate(study.context_lengths):
        for j, size in enumerate(study.dataset_sizes):
            exact = learner.expected_risk(task, length, size)
            assert exact == pytest.approx(bare.bayes_risk(min(length, 8)) * (size - 1) / (size - length - 1), rel=1e-12)
            error = losses[i, j].std(ddof=1) / np.sqrt(32)
            assert abs(losses[i, j].mean() - exact) < 4 * error
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
    study = Study(task, LeastSquares(), context_lengths=(12,), dataset_sizes=(16,), seeds=64, test_size=512)
    losses = run(study, progress=False)["loss"].values[0, 0]
    exact = LeastSquares().expected_risk(task, 12, 16)
    assert abs(losses.mean() - exact) < 4 * losses.std(ddof=1) / 8


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
    """D is from 16 to 2048 and |l - D| > 5: z-scores have a root mean square near one.

    Every seed has its own data and its own test set, so the standard error over seeds holds all the noise.
    """
    study = Study(
        task=INDEPENDENT,
        learner=LeastSquares(),
        context_lengths=(1, 4, 8, 23, 45),
        dataset_sizes=(16, 32, 64, 128, 512, 2048),
        seeds=32,
        test_size=512,
    )
    results = run(study, progress=False)
    losses = results["loss"].values
    z = []
    for i, length in enumerate(study.context_lengths):
        for j, size in enumerate(study.dataset_sizes):
            exact = LeastSquares().expected_risk(INDEPENDENT, length, size)
            if abs(length - size) > 5 and np.isfinite(exact):
                cell = losses[i, j]
                z.append((cell.mean() - exact) / (cell.std(ddof=1) / np.sqrt(cell.size)))
    assert len(z) >= 24
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
    """A million samples of 48 tokens are 392 MB as float64; the blocks keep the increase far below."""
    import resource

    LeastSquares().fit(DESIGNED, 8, 5000, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    LeastSquares().fit(DESIGNED, 8, 300_000, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB; the whole set is 117,600
    jax.clear_caches()
