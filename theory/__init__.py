"""Exact mathematics of context length, in float64 NumPy: what is known, what laws predict, what was measured.

best = optimal_context_length(results)      # l*(D) with its interval
table = compare(results, laws=[...])        # fitted on small dataset sizes, scored on large ones
results = read_loss_table("losses.csv")     # losses measured elsewhere
"""

from theory.bayes_risk import BayesRiskEstimate, estimate_bayes_risk
from theory.chinchilla_fit import ChinchillaFit, fit_chinchilla
from theory.comparison import best_laws, compare, comparison_as_text
from theory.csv_table import read_loss_table
from theory.fitting import Fit, fit, profile_interval
from theory.loss_table import LossTableError
from theory.optimum import optimal_context_length
from theory.surface import surface_optimum
from theory.verdict import Verdict, verdict

__all__ = [
    "BayesRiskEstimate",
    "ChinchillaFit",
    "Fit",
    "LossTableError",
    "Verdict",
    "best_laws",
    "compare",
    "comparison_as_text",
    "estimate_bayes_risk",
    "fit",
    "fit_chinchilla",
    "optimal_context_length",
    "profile_interval",
    "read_loss_table",
    "surface_optimum",
    "verdict",
]
