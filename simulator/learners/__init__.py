"""Rules that turn samples into predictors: gradient descent on a model, and closed forms."""

from simulator.grid import Cost, Run
from simulator.learners.base import FittedRun, Learner, Predictor
from simulator.learners.context_table import ContextTable, TablePredictor
from simulator.learners.correlation_screening import CorrelationScreening
from simulator.learners.gradient_descent import GradientDescent
from simulator.learners.least_squares import LeastSquares, LinearPredictor
from simulator.learners.nearest_neighbour import NearestNeighbour, NeighbourPredictor
from simulator.learners.network_predictor import NetworkPredictor
from simulator.learners.parity_posterior import ParityPosterior, PosteriorPredictor
from simulator.learners.polynomial_ridge import PolynomialPredictor, PolynomialRidge
from simulator.learners.quanta_counter import QuantaCounter, QuantaPredictor
from simulator.learners.ridge import Ridge
from simulator.learners.tuned import Tuned
from simulator.models.mlp import MLP
from simulator.training.curriculum import Ramp, RandomContext, ShortContext, Stage
from simulator.training.patience import GrowingPatience

EXAMPLES: tuple[Learner, ...] = (
    LeastSquares(),
    GradientDescent(model=MLP(hidden_sizes=(32, 32)), steps=600, validation_size=512),
    NearestNeighbour(),
    ContextTable(),
    ParityPosterior(),
    QuantaCounter(threshold=2),
    Ridge(0.01),
    PolynomialRidge(degree=2, penalty=0.1),
    CorrelationScreening(),
    Tuned(
        GradientDescent(model=MLP(hidden_sizes=(32, 32)), steps=600, validation_size=512),
        over={"learning_rate": (2e-3, 1e-2)},
    ),
)
"""One modest instance of each learner."""

__all__ = [
    "EXAMPLES",
    "ContextTable",
    "CorrelationScreening",
    "Cost",
    "FittedRun",
    "GradientDescent",
    "GrowingPatience",
    "Learner",
    "LeastSquares",
    "LinearPredictor",
    "NearestNeighbour",
    "NeighbourPredictor",
    "NetworkPredictor",
    "ParityPosterior",
    "PolynomialPredictor",
    "PolynomialRidge",
    "PosteriorPredictor",
    "Predictor",
    "QuantaCounter",
    "QuantaPredictor",
    "Ramp",
    "RandomContext",
    "Ridge",
    "Run",
    "ShortContext",
    "Stage",
    "TablePredictor",
    "Tuned",
]
