"""Scarce data: the answer of the nearest sample, as far away as the intrinsic dimension makes it."""

import dataclasses
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import gammaln

from theory.laws.base import Law, PowerLawRisk, Truth, bounded_exp
from theory.types import Array, Scalar


def distance_constant(dimension: Scalar | Array) -> Float[Array, "*cells"]:
    """Gamma(1+2/d) Gamma(d/2+1)^(2/d) / pi: E[r^2] D^(2/d) for the nearest of D -> infinity uniform points.

    Its limit at large d is d/(2 pi e). arXiv 2405.15124 prints d/(4 pi): 0.50, 0.80, 1.00, 1.27 times it at d = 2, 4,
    8, 64, and e/2 at large d.

    Args:
        dimension: d > 0.
    """
    d = np.asarray(dimension, np.float64)
    if not np.all(d > 0):
        raise ValueError(f"the dimension must be above 0; got {dimension!r}")
    return np.asarray(np.exp(log_distance_constant(d)))


def log_distance_constant(dimension: Scalar | Array) -> Float[Array, "*cells"]:
    """The logarithm of :func:`distance_constant`, which overflows at dimensions near zero."""
    d = np.asarray(dimension, np.float64)
    return np.asarray(gammaln(1 + 2 / d) + 2 / d * gammaln(d / 2 + 1) - np.log(np.pi))


@dataclasses.dataclass(frozen=True)
class NearestNeighbourLaw(Law):
    """G(l, D) = B K(d) D^(-2/d), d = dim(l): a K1-Lipschitz answer read off the nearest of D samples, B = K1^2.

    Shi et al., "Scaling Law for Time Series Forecasting" (arXiv 2405.15124), scarce data. K(d) is the mean square
    distance on a uniform torus (:func:`distance_constant`) or d/(4 pi) as the paper prints it. Where dim(l) = 0 there
    is nothing to learn and G = 0. Noise of the targets is not in it: one neighbour repeats it whole.

    Attributes:
        amplitude: B.
        constant: "exact" or "published".
    """

    amplitude: float = 1.0
    constant: Literal["exact", "published"] = "exact"

    name: ClassVar[str] = "nearest neighbour"
    equation: ClassVar[str] = "B K(d) D^(-2/d), d = dim(l), K(d) ~ d"
    growth: ClassVar[str] = "about (2/(gamma+1)) ln D / ln ln D for dim(l) = l"
    source: ClassVar[str] = "arXiv 2405.15124, scarce data; constant corrected"
    fitted: ClassVar[tuple[str, ...]] = ("amplitude",)
    positive: ClassVar[tuple[str, ...]] = ("amplitude",)
    separable: ClassVar[tuple[str, ...]] = ("amplitude",)
    universal: ClassVar[tuple[str, ...]] = ("constant",)

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        dimension = truth.intrinsic_dimension[context_length]
        something = (dimension > 0) & (np.asarray(context_length) > 0)
        d = np.where(something, dimension, 1.0)
        log_constant = log_distance_constant(d) if self.constant == "exact" else np.log(d / (4 * np.pi))
        gap = bounded_exp(np.log(self.amplitude) + log_constant - 2 / d * np.log(dataset_size))
        return np.where(something, gap, 0.0)

    def leading_order(self, dataset_size: Scalar | Array, risk: PowerLawRisk) -> Float[Array, "*sizes"]:
        """kappa / ((gamma + 1) ln kappa), kappa = (2/e) ln D: l*(D) to leading order at large D."""
        kappa = 2 / risk.dimension_per_token * np.log(np.asarray(dataset_size, np.float64))
        return np.asarray(kappa / ((risk.exponent + 1) * np.log(kappa)))

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        """The constant holds once the ball that reaches across the torus, radius 1/2, holds a sample on average."""
        d = np.maximum(truth.intrinsic_dimension[context_length], np.finfo(np.float64).tiny)
        log_volume = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1) - d * np.log(2)
        return {"nearest sample within the torus": np.asarray(np.log(dataset_size) + log_volume > 0)}
