"""The scale on which approximation losses are compared, and how much each cell counts (see theory.measured.fitting)."""

import numpy as np
from jaxtyping import Float

from theory.laws.base import Truth
from theory.measured.loss_table import LossTableError
from theory.types import Array

NEAR_OPTIMUM = 0.1
"""Excess loss, in units of R(0) - R(L), at which a cell has half its weight."""


def unit_of(truth: Truth) -> float:
    """U = R(0) - R(L): what the whole context is worth."""
    unit = float(truth.bayes_risk[0] - truth.bayes_risk[-1])
    if unit <= 0:
        raise LossTableError("the Bayes risk does not fall with the context length: there is nothing to learn")
    return unit


def cell_weights(truth: Truth, context_lengths: Array, gap: Float[Array, "l D"]) -> Float[Array, "l D"]:
    """w of every cell; 0 where the gap is not known."""
    loss = truth.bayes_risk[context_lengths][:, None] + np.where(np.isfinite(gap), gap, np.inf)
    smallest = loss.min(axis=0)
    excess = loss - np.where(np.isfinite(smallest), smallest, 0.0)
    return 1 / (1 + excess / (NEAR_OPTIMUM * unit_of(truth)))


def root_gap(gap: Float[Array, "*cells"], context_length: Array, truth: Truth) -> Float[Array, "*cells"]:
    """sqrt(min(G, Gmax(l)) / U)."""
    return np.sqrt(np.minimum(gap, truth.largest_gap(context_length)) / unit_of(truth))
