"""Expected risk of learners that can be solved exactly."""

from theory.learning_curves.least_squares import least_squares_risk, minimum_norm_risk
from theory.learning_curves.nearest_neighbour import nearest_neighbour_distance
from theory.learning_curves.table import expected_log_count, table_risk

__all__ = [
    "expected_log_count",
    "least_squares_risk",
    "minimum_norm_risk",
    "nearest_neighbour_distance",
    "table_risk",
]
