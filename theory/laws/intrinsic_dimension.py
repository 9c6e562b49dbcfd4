"""The main paper's law: an exponent that falls as the intrinsic dimension grows with the context."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from theory.laws.base import Law, PowerLawRisk, Truth, power_product
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class IntrinsicDimensionLaw(Law):
    """G(l, D) = A(l) D^(-alpha(l)), alpha(l) = c / dim(l).

    Shi et al., "Intrinsic Entropy of Context Length Scaling in LLMs" (arXiv 2502.01481), section on the
    approximation loss; the exponent after Sharma & Kaplan (arXiv 2004.10802) and Bahri et al. (arXiv 2102.06701).
    The paper leaves A(l) open; here A(l) = A l^u. dim(l) is the task's own and exact. Where dim(l) = 0 there is
    nothing to learn and G = 0.

    The optimum moves with -(d2G/dl dD) / (d2loss/dl2), so it grows with D exactly where

        ln D > 1/alpha - A' / (A |alpha'|)

    (:meth:`conditions`; derivatives in l). At smaller D the same form makes l* shrink. Read at a fixed D with the
    visible length in place of l, it is the paper's inference view: G grows with the visible length of a trained model.

    Attributes:
        amplitude: A.
        amplitude_exponent: u.
        rate: c.
    """

    amplitude: float = 1.0
    amplitude_exponent: float = 0.0
    rate: float = 4.0

    name: ClassVar[str] = "intrinsic dimension"
    equation: ClassVar[str] = "A l^u D^(-c/dim(l))"
    growth: ClassVar[str] = "about (c/(e (gamma+u))) ln D / ln ln D for dim(l) = e l"
    source: ClassVar[str] = "arXiv 2502.01481, L_approx = A(l) D^(-c/dim(l))"
    fitted: ClassVar[tuple[str, ...]] = ("amplitude", "amplitude_exponent", "rate")
    positive: ClassVar[tuple[str, ...]] = ("amplitude",)
    separable: ClassVar[tuple[str, ...]] = ("amplitude", "amplitude_exponent", "rate")

    def dimension(self, context_length: Array, truth: Truth) -> Float[Array, "*cells"]:
        """The dimension that divides the rate."""
        return truth.intrinsic_dimension[context_length]

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        something = (truth.intrinsic_dimension[context_length] > 0) & (context_length > 0)
        dimension = np.where(something, self.dimension(context_length, truth), 1.0)
        length = np.where(something, context_length, 1)
        gap = power_product(self.amplitude, (length, self.amplitude_exponent), (dataset_size, -self.rate / dimension))
        return np.where(something, gap, 0.0)

    def leading_order(self, dataset_size: Scalar | Array, risk: PowerLawRisk) -> Float[Array, "*sizes"]:
        """kappa / ((gamma + u) ln kappa), kappa = (c/e) ln D: l*(D) to leading order at large D, for gamma + u > 0."""
        kappa = self.rate / risk.dimension_per_token * np.log(np.asarray(dataset_size, np.float64))
        return np.asarray(kappa / ((risk.exponent + self.amplitude_exponent) * np.log(kappa)))

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        every_length = np.arange(1, len(truth.bayes_risk))
        dimension = np.maximum(self.dimension(every_length, truth), np.finfo(np.float64).tiny)
        slope = np.gradient(dimension) if len(every_length) > 1 else np.zeros(1)
        length, at = np.maximum(context_length, 1), np.maximum(context_length, 1) - 1
        # The condition times alpha |alpha'|, so that it also decides where alpha does not change.
        alpha, change = self.rate / dimension[at], self.rate * slope[at] / dimension[at] ** 2
        grows = alpha * (self.amplitude_exponent / length + change * np.log(dataset_size)) > change
        return {"l* grows with D": np.asarray(grows & (np.asarray(context_length) > 0))}


@dataclasses.dataclass(frozen=True)
class OffsetDimensionLaw(IntrinsicDimensionLaw):
    """The same with alpha(l) = c / (dim(l) + d0): the paper's form set free by one more fitted constant.

    Attributes:
        offset: d0 > 0.
    """

    offset: float = 1.0

    name: ClassVar[str] = "intrinsic dimension, offset"
    equation: ClassVar[str] = "A l^u D^(-c/(dim(l) + d0))"
    growth: ClassVar[str] = "as the law without d0, later"
    source: ClassVar[str] = "arXiv 2502.01481 with dim(l) + d0 in place of dim(l)"
    fitted: ClassVar[tuple[str, ...]] = (*IntrinsicDimensionLaw.fitted, "offset")
    positive: ClassVar[tuple[str, ...]] = ("amplitude", "offset")

    def dimension(self, context_length: Array, truth: Truth) -> Float[Array, "*cells"]:
        return truth.intrinsic_dimension[context_length] + self.offset

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        scale = float(np.max(truth.intrinsic_dimension))
        return ({"offset": scale * factor} for factor in (0.03, 0.3, 3.0))
