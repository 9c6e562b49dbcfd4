"""How l*(D) grows: the seven regimes of the literature for one Bayes risk R(l) = C0 + C/(l+b)^gamma.

Context lengths are real numbers here, so that growth is seen without the steps of integers. Every regime has its loss,
its leading order at large D (:meth:`Regime.leading_order`) and its exact optimum by numeric minimisation
(:meth:`Regime.optimum`), with its kind: a curve need not have an optimum inside. :class:`DoubleDescent` is the eighth,
least squares past its singularity.
"""

from theory.regimes.base import Optimum, Regime, minimise
from theory.regimes.resolution import NearestNeighbourLimited, ResolutionLimited
from theory.regimes.thresholds import BayesLearner, CorrelationHorizon, PolynomialLearner, TableLearner
from theory.regimes.variance import DoubleDescent, VarianceLimited

__all__ = [
    "BayesLearner",
    "CorrelationHorizon",
    "DoubleDescent",
    "NearestNeighbourLimited",
    "Optimum",
    "PolynomialLearner",
    "Regime",
    "ResolutionLimited",
    "TableLearner",
    "VarianceLimited",
    "minimise",
]
