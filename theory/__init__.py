"""Exact mathematics of context length, in float64 NumPy: what is known, what laws predict, what was measured.

best = optimal_context_length(results)      # l*(D) with its interval
table = compare(results, laws=[...])        # fitted on small dataset sizes, scored on large ones
results = read_loss_table("losses.csv")     # losses measured elsewhere
runs = read_runs("runs.csv")                # losses over model and dataset sizes, for fit_chinchilla
"""

from theory.measured.bayes_risk import BayesRiskEstimate, estimate_bayes_risk
from theory.measured.chinchilla_fit import ChinchillaFit, fit_chinchilla
from theory.measured.chinchilla_runs import read_runs
from theory.measured.comparison import best_laws, compare, comparison_as_text
from theory.measured.csv_table import read_loss_table
from theory.measured.design import Advice, Design, design
from theory.measured.fitting import Fit
from theory.measured.law_fit import fit, profile_interval
from theory.measured.loss_parts import split_loss
from theory.measured.loss_table import LossTableError
from theory.measured.optimum import optimal_context_length
from theory.measured.pilot import Pilot
from theory.measured.prediction import Prediction, predict, score, score_as_text
from theory.measured.scatter import SeedNoise
from theory.measured.surface import surface_optimum
from theory.measured.verdict import Verdict, verdict

__all__ = [
    "Advice",
    "BayesRiskEstimate",
    "ChinchillaFit",
    "Design",
    "Fit",
    "LossTableError",
    "Pilot",
    "Prediction",
    "SeedNoise",
    "Verdict",
    "best_laws",
    "compare",
    "comparison_as_text",
    "design",
    "estimate_bayes_risk",
    "fit",
    "fit_chinchilla",
    "optimal_context_length",
    "predict",
    "profile_interval",
    "read_loss_table",
    "read_runs",
    "score",
    "score_as_text",
    "split_loss",
    "surface_optimum",
    "verdict",
]
