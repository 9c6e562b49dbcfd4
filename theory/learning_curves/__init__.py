"""Expected risk of learners that can be solved exactly."""

from theory.learning_curves.interpolation import interpolation_risk
from theory.learning_curves.least_squares import least_squares_risk, minimum_norm_risk
from theory.learning_curves.nearest_neighbour import nearest_neighbour_distance
from theory.learning_curves.parity_posterior import parity_posterior_risk
from theory.learning_curves.parity_ridge import n_monomials, parity_ridge_risk
from theory.learning_curves.quanta import (
    few_shot_skill,
    fraction_beyond,
    gradient_flow_skill,
    multilinear_loss,
    quanta_risk,
    unlearned_asymptote,
    unlearned_fraction,
)
from theory.learning_curves.ridge import RidgeRisk, best_isotropic_penalty, isotropic_ridge_risk, ridge_risk
from theory.learning_curves.table import expected_log_count, table_risk

__all__ = [
    "RidgeRisk",
    "best_isotropic_penalty",
    "expected_log_count",
    "few_shot_skill",
    "fraction_beyond",
    "gradient_flow_skill",
    "interpolation_risk",
    "isotropic_ridge_risk",
    "least_squares_risk",
    "minimum_norm_risk",
    "multilinear_loss",
    "n_monomials",
    "nearest_neighbour_distance",
    "parity_posterior_risk",
    "parity_ridge_risk",
    "quanta_risk",
    "ridge_risk",
    "table_risk",
    "unlearned_asymptote",
    "unlearned_fraction",
]
