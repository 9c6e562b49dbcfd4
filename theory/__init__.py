"""Exact mathematics of context length, in float64 NumPy: what is known, what laws predict, what was measured.

best = optimal_context_length(results)      # l*(D) with its interval
table = compare(results, laws=[...])        # fitted on small dataset sizes, scored on large ones
"""

from theory.comparison import best_laws, compare, comparison_as_text
from theory.fitting import Fit, fit, profile_interval
from theory.loss_table import LossTableError
from theory.optimum import optimal_context_length
from theory.surface import surface_optimum
from theory.verdict import Verdict, verdict

__all__ = [
    "Fit",
    "LossTableError",
    "Verdict",
    "best_laws",
    "compare",
    "comparison_as_text",
    "fit",
    "optimal_context_length",
    "profile_interval",
    "surface_optimum",
    "verdict",
]
