"""Plenty of data: a piecewise linear model, too coarse with few pieces and too noisy with many."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from theory.checks import Positive
from theory.laws.base import Law, Truth
from theory.types import Array


@dataclasses.dataclass(frozen=True)
class PiecewiseLinearLaw(Law):
    """G(l, D) = K d^2 N^(-4/d) / (4 pi^2) + (N d / D) R(l), d = dim(l), K = K2^2 the square of the curvature.

    Shi et al., "Scaling Law for Time Series Forecasting" (arXiv 2405.15124), sufficient data: N pieces by Zador's
    quantisation, each fitted by least squares. Noise and the unseen past together are R(l). In nats
    the second term is N d / (2 D). Where dim(l) = 0 there is
    nothing to learn and G = 0.

    Attributes:
        squared_curvature: K, in the unit of the loss.
        pieces: N, given.
    """

    squared_curvature: float = 1.0
    pieces: Positive = 1.0

    name: ClassVar[str] = "piecewise linear"
    equation: ClassVar[str] = "K d^2 N^(-4/d) / (4 pi^2) + (N d / D) R(l), d = dim(l); in nats N d / (2 D)"
    growth: ClassVar[str] = "(D/N)^(1/(gamma+1)) for many pieces, constant for few"
    source: ClassVar[str] = "arXiv 2405.15124, sufficient data"
    fitted: ClassVar[tuple[str, ...]] = ("squared_curvature",)
    positive: ClassVar[tuple[str, ...]] = ("squared_curvature",)

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        dimension = truth.intrinsic_dimension[context_length]
        something = (dimension > 0) & (np.asarray(context_length) > 0)
        d = np.where(something, dimension, 1.0)
        coarse = self.squared_curvature * d**2 * self.pieces ** (-4 / d) / (4 * np.pi**2)
        noise = self.pieces * d / dataset_size * truth.loss_of_a_parameter(context_length)
        return np.where(something, coarse + noise, 0.0)

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        """The paper's order parameter D/(N l): sliding windows are about D/l independent samples."""
        return {"sufficient data": np.asarray(dataset_size > self.pieces * np.asarray(context_length))}

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        d = float(np.median(np.maximum(truth.intrinsic_dimension[context_length], 1.0)))
        unit = float(truth.bayes_risk[0] - truth.bayes_risk[-1]) * 4 * np.pi**2 / d**2 * self.pieces ** (4 / d)
        return ({"squared_curvature": unit * factor} for factor in (1e-4, 1e-2, 1.0))
