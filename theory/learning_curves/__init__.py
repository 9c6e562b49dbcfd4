"""Expected risk of learners that can be solved exactly."""

from theory.learning_curves.least_squares import least_squares_risk, minimum_norm_risk

__all__ = ["least_squares_risk", "minimum_norm_risk"]
