"""Least squares: every visible token costs parameters, and every parameter costs variance."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from theory.checks import Positive
from theory.laws.base import Law, PowerLawRisk, Truth
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class VarianceLimitedLaw(Law):
    """G(l, D) = R(l) p / (D-p-1), p = c l: unseen tokens act as noise of variance R(l); nothing is fitted.

    In nats (:attr:`theory.laws.Truth.unit`) G(l, D) = p / (2 (D-p-1)). Exact for least squares on Gaussian tokens with
    c = 1, a squared loss (:func:`theory.learning_curves.least_squares_risk`) or a Gaussian log-loss of known variance;
    infinite for D <= p+1. Bahri et al. (arXiv 2102.06701) call its large-D form, exponent 1 in D, variance-limited.
    With a squared loss and R = C0 + C/l^gamma its optimum tends to l* = (C gamma D / (c C0))^(1/(1+gamma)).

    Attributes:
        parameters_per_token: c, the number of channels of a token.
    """

    parameters_per_token: Positive = 1.0

    name: ClassVar[str] = "variance-limited"
    equation: ClassVar[str] = "R(l) p / (D - p - 1), p = c l; in nats p / (2 (D - p - 1))"
    growth: ClassVar[str] = "(C gamma D / (c C0))^(1/(1+gamma))"
    source: ClassVar[str] = "Wishart moments of least squares; regime of arXiv 2102.06701 and 2405.15124"
    fitted: ClassVar[tuple[str, ...]] = ()

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        parameters = self.parameters_per_token * np.asarray(context_length)
        freedom = dataset_size - parameters - 1
        gap = truth.loss_of_a_parameter(context_length) * parameters / np.where(freedom > 0, freedom, 1.0)
        return np.where(parameters == 0, 0.0, np.where(freedom > 0, gap, np.inf))

    def leading_order(self, dataset_size: Scalar | Array, risk: PowerLawRisk) -> Float[Array, "*sizes"]:
        """l*(D) to leading order at large D. Without a floor it is a fixed share of D."""
        D = np.asarray(dataset_size, np.float64)
        c, gamma = self.parameters_per_token, risk.exponent
        if risk.floor == 0:
            return np.asarray(gamma / (1 + gamma) * D / c)
        return np.asarray((risk.reducible * gamma * D / (c * risk.floor)) ** (1 / (1 + gamma)))

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        parameters = self.parameters_per_token * np.asarray(context_length)
        return {"more samples than parameters": np.asarray(dataset_size > parameters + 1)}
