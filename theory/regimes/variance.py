"""Variance-limited growth: every token costs a parameter."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from theory.checks import check_positive, set_fields
from theory.learning_curves import minimum_norm_risk
from theory.regimes.base import Regime
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class VarianceLimited(Regime):
    """G = R(l) l/(D-l-1): least squares, infinite for l >= D-1; C0 > 0.

    Without a floor l* grows linearly: l* = gamma (D-1)/(gamma+1) where b = 0, near the singularity at every D.
    """

    growth: ClassVar[str] = "(C gamma D / C0)^(1/(1+gamma))"

    def approximation_loss(self, context_length: Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        freedom = dataset_size - np.asarray(context_length, np.float64) - 1
        gap = self.bayes_risk(context_length) * context_length / np.where(freedom > 0, freedom, 1.0)
        return np.where(freedom > 0, gap, np.inf)

    def leading_order(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        D = np.asarray(dataset_size, np.float64)
        if self.floor == 0:
            return np.asarray(self.exponent / (1 + self.exponent) * D)
        return np.asarray((self.reducible * self.exponent * D / self.floor) ** (1 / (1 + self.exponent)))


@dataclasses.dataclass(frozen=True)
class DoubleDescent(VarianceLimited):
    """Minimum-norm least squares on independent tokens: past l = D the loss comes down again (arXiv 1903.08560).

    R(0) - R(l) is the signal of the visible tokens, so it needs an offset. There may be a minimum on either side of
    l = D (:attr:`Optimum.minima`); the leading order is that of the first.
    """

    offset: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, offset=check_positive("offset", self.offset))

    def approximation_loss(self, context_length: Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        length = np.asarray(context_length, np.float64)
        # The formula is for whole numbers: infinite at D-1, D, D+1, and here at the real lengths among them.
        whole = np.where(np.abs(length - dataset_size) < 2, dataset_size, length)
        risk = self.bayes_risk(length)
        return np.asarray(minimum_norm_risk(risk, self.bayes_risk(0.0) - risk, whole, dataset_size) - risk)
