"""Rules that turn samples into predictors: gradient descent on a model, and closed forms."""

from simulator.learners.base import Cost, FittedRun, Learner, Predictor, Run
from simulator.learners.gradient_descent import GradientDescent
from simulator.learners.least_squares import LeastSquares, LinearPredictor
from simulator.learners.network_predictor import NetworkPredictor
from simulator.models.mlp import MLP
from simulator.training.curriculum import Ramp, RandomContext, ShortContext, Stage

EXAMPLES: tuple[Learner, ...] = (
    LeastSquares(),
    GradientDescent(model=MLP(hidden_sizes=(32, 32)), steps=600, validation_size=512),
)
"""One modest instance of each learner."""

__all__ = [
    "EXAMPLES",
    "Cost",
    "FittedRun",
    "GradientDescent",
    "Learner",
    "LeastSquares",
    "LinearPredictor",
    "NetworkPredictor",
    "Predictor",
    "Ramp",
    "RandomContext",
    "Run",
    "ShortContext",
    "Stage",
]
