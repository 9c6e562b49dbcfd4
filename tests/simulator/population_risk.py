"""The expected loss of fitted linear predictors of a Gaussian task, without a test set; z-scores of their means."""

import numpy as np

from simulator.learners import Run


def population_risk(task, covariance, fitted):
    """mean_s of V_s(l) + (b - a)' Sigma (b - a), in exact arithmetic of the fitted weights."""
    L, l = task.max_context_length, fitted.run.context_length
    errors = np.asarray(fitted.predictor.weights, float).reshape(L, task.n_channels, task.n_steps)
    errors[L - l :, 0] -= task.prediction_weights(l)[::-1].reshape(l, -1)
    lost = np.einsum("is,ij,js->s", errors[:, 0], covariance[:L, :L], errors[:, 0])
    return float(np.mean(task.prediction_errors(l) + lost + np.sum(errors[:, 1:] ** 2, axis=(0, 1))))


def z_scores(task, learner, cells, n_seeds):
    """How far the mean risk over seeds lies from the learner's expected risk, in standard errors, for each (l, D)."""
    covariance, risks = task.joint_covariance(), {cell: [] for cell in cells}
    for fitted in learner.fit_runs(task, [Run(*cell, seed) for cell in cells for seed in range(n_seeds)]):
        risks[fitted.run.context_length, fitted.run.dataset_size].append(population_risk(task, covariance, fitted))
    return [
        (np.mean(found) - learner.expected_risk(task, *cell)) / (np.std(found, ddof=1) / np.sqrt(n_seeds))
        for cell, found in risks.items()
    ]
