"""Screening: only tokens whose correlation with the answer stands out of the noise are used, each by itself."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from simulator.learners.closed_form import ClosedForm
from simulator.learners.least_squares import LinearPredictor
from simulator.tasks.base import Examples, Task
from simulator.tasks.gaussian_look_back import GaussianLookBack
from simulator.tasks.gaussian_processes import IndependentTokens
from theory.checks import NonNegative
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class CorrelationScreening(ClosedForm):
    """Q_l(x) = sum of b_i x_i over the tokens in sight with |b_i| > t s_i; b_i = (sum x_i y) / (sum x_i^2).

    s_i^2 = mean(y^2) / (sum x_i^2) is about the variance of b_i if the token bears on nothing. A token at distance n
    whose correlation with the answer falls as n^-beta is used from D ~ n^(2 beta) on, whatever the window: there is a
    horizon n*(D) ~ D^(1/(2 beta)) beyond which nothing is learned and context does no harm (arXiv 2602.07488), where
    least squares pays for every token in sight. Right for uncorrelated tokens.

    Attributes:
        threshold: t, 0 or above.
    """

    threshold: NonNegative = 3.0

    def check_task(self, task: Task) -> None:
        discrete = task.n_classes is not None or task.vocabulary_size is not None
        if discrete or task.every_position or task.n_channels != 1 or task.n_steps != 1:
            raise ValueError(
                "CorrelationScreening needs tokens and one answer that are one real number each; got "
                f"{task!r:.100}. Use GradientDescent for it"
            )

    def learn(self, task: Task, samples: Examples, context_length: int) -> LinearPredictor:
        tokens, answers = np.asarray(samples.context, np.float64), np.asarray(samples.target, np.float64)
        # Not by a matrix product: the order of its sums is the number of threads' affair.
        squares = np.maximum(np.einsum("ni,ni->i", tokens, tokens), np.finfo(np.float64).tiny)
        weights = np.einsum("ni,n->i", tokens, answers) / squares
        used = weights**2 > self.threshold**2 * np.mean(answers**2) / squares
        used[: task.max_context_length - context_length] = False
        return LinearPredictor(jnp.asarray(np.where(used, weights, 0.0), jnp.float32), context_length)

    def expected_risk(self, task: Task, context_length: Integer, dataset_size: Integer) -> float:
        """Expected loss over data sets to leading order in 1/D, for independent tokens.

        b_i is taken for normal with mean a_i and variance v_i = (R(0) - a_i^2) / D, and R(l) + sum_{i<=l} E[(a_i -
        b_i 1(|b_i| > t s))^2], s^2 = R(0) / D, has the closed form of a censored normal law's second moment.

        Raises:
            ValueError: another task than independent Gaussian tokens under squared error.
        """
        if not (
            isinstance(task, GaussianLookBack)
            and isinstance(task.process, IndependentTokens)
            and task.loss == "squared_error"
        ):
            raise ValueError(f"the expected risk of screening is known for independent tokens alone; got {task!r:.100}")
        length, total = int(context_length), task.bayes_risk(0)
        mean = np.abs(task.process.weights(task.max_context_length)[:length])
        deviation = np.sqrt((total - mean**2) / dataset_size)
        edge = self.threshold * np.sqrt(total / dataset_size)
        below, above = (-edge - mean) / deviation, (edge - mean) / deviation
        screened = norm.cdf(above) - norm.cdf(below)
        # E[(b - a)^2; used] = v (1 - E[z^2; screened]), z = (b - a)/sqrt(v).
        inner = screened - (above * norm.pdf(above) - below * norm.pdf(below))
        return float(task.bayes_risk(length) + np.sum(mean**2 * screened + deviation**2 * (1 - inner)))

    def untrained(self, task: Task, context_length: Integer) -> LinearPredictor:
        return LinearPredictor(jnp.zeros(task.max_context_length, jnp.float32), int(context_length))
