"""Ridge regression on the visible tokens: least squares that does not trust directions in which it has seen little."""

import dataclasses

import numpy as np
import scipy.linalg
from jaxtyping import Float

from simulator.learners.least_squares import LeastSquares, mean_loss
from simulator.tasks.base import Task
from simulator.tasks.gaussian_task import GaussianTask
from theory.checks import Positive
from theory.learning_curves import ridge_risk
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class Ridge(LeastSquares):
    """beta = argmin |X beta - y|^2 / D + penalty |beta|^2 over the last l tokens, without intercept.

    It is :class:`LeastSquares` on the data and D penalty more rows of a task that is always answered by 0: [X y] above
    [(D penalty)^(1/2) I, 0]. The rows of tokens out of sight are zero among those in sight, so that one factorisation
    serves every length here, too. Unlike that of least squares, the risk depends on the covariance of the tokens and is
    finite at every l and D.

    Attributes:
        penalty: above 0, in the unit of the tokens' variance; the same at every D, so that the weights stay shrunken
            however many samples there are.
    """

    penalty: Positive

    def penalised(
        self, triangle: Float[np.ndarray, "rows columns"], dataset_size: int, n_steps: int
    ) -> Float[np.ndarray, "rows2 columns"]:
        n_columns = triangle.shape[1]
        added = np.sqrt(dataset_size * self.penalty) * np.eye(n_columns - n_steps, n_columns)
        stacked = np.concatenate([triangle, added])
        return np.asarray(scipy.linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0])[:n_columns]

    def expected_risk(self, task: Task, context_length: Integer, dataset_size: Integer) -> float:
        """Expected loss over data sets, from the exact covariance; the relative error is of order 1/D.

        :func:`theory.learning_curves.ridge_risk` of the spectrum of the visible tokens and the true weights, with noise
        of variance V_s(l); the mean over the steps.

        Raises:
            ValueError: a task that is not Gaussian.
        """
        if not isinstance(task, GaussianTask):
            raise ValueError(f"the expected risk of ridge regression is known for Gaussian tasks; got {task!r:.100}")
        L, length = task.max_context_length, int(context_length)
        errors, weights = task.prediction_errors(length), task.prediction_weights(length)[::-1]
        spectrum, basis = np.linalg.eigh(task.joint_covariance()[L - length : L, L - length : L])
        # Irrelevant channels: directions of unit variance and no weight.
        n_irrelevant = length * (task.n_channels - 1)
        spectrum = np.concatenate([spectrum, np.ones(n_irrelevant)])
        rotated = np.concatenate([basis.T @ weights, np.zeros((n_irrelevant, task.n_steps))])
        risks = [
            float(ridge_risk(spectrum, w, error, self.penalty, dataset_size).total)
            for w, error in zip(rotated.T, errors, strict=True)
        ]
        return mean_loss(task, length, errors, np.array(risks))
