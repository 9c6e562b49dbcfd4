"""Rules that turn samples into predictors: gradient descent on a model, and closed forms."""

from simulator.learners.base import Cost, FittedRun, Learner, Predictor, Run
from simulator.learners.context_table import ContextTable, TablePredictor
from simulator.learners.gradient_descent import GradientDescent
from simulator.learners.least_squares import LeastSquares, LinearPredictor
from simulator.learners.nearest_neighbour import NearestNeighbour, NeighbourPredictor
from simulator.learners.network_predictor import NetworkPredictor
from simulator.models.mlp import MLP
from simulator.training.curriculum import Ramp, RandomContext, ShortContext, Stage

EXAMPLES: tuple[Learner, ...] = (
    LeastSquares(),
    GradientDescent(model=MLP(hidden_sizes=(32, 32)), steps=600, validation_size=512),
    NearestNeighbour(),
    ContextTable(),
)
"""One modest instance of each learner."""

__all__ = [
    "EXAMPLES",
    "ContextTable",
    "Cost",
    "FittedRun",
    "GradientDescent",
    "Learner",
    "LeastSquares",
    "LinearPredictor",
    "NearestNeighbour",
    "NeighbourPredictor",
    "NetworkPredictor",
    "Predictor",
    "Ramp",
    "RandomContext",
    "Run",
    "ShortContext",
    "Stage",
    "TablePredictor",
]
