"""Resolution of a data manifold: how finely samples or parameters can cover d dimensions."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from theory.checks import NonNegative, Positive
from theory.laws.base import Law, Truth
from theory.laws.chinchilla import ModelSize
from theory.types import Array


@dataclasses.dataclass(frozen=True)
class DataManifoldLaw(Law):
    """G(l, D) = A [min(N, D)^(-n/d) + v / max(N, D)], d = dim(l), n = 4 for a smooth target and piecewise linear cells.

    Sharma & Kaplan (arXiv 2004.10802): cells of linear size s = N^(-1/d) leave an error s^2, a loss s^4. Bahri et al.
    (arXiv 2102.06701): the scarcer of parameters and samples limits the resolution, and the more plentiful one adds a
    variance with exponent 1; n >= 2, and 1/d bounds the exponent for any Lipschitz target. Where dim(l) = 0 there is
    nothing to learn and G = 0.

    :meth:`conditions` names the four regimes: the scarce quantity's (its exponent n/d) and the plentiful one's (its
    exponent 1). N = inf leaves A D^(-n/d): :class:`theory.laws.IntrinsicDimensionLaw` with A(l) constant and c = n.

    Attributes:
        amplitude: A.
        order: n, given.
        model_size: N, given; may be infinite.
        variance: v >= 0, given.
    """

    amplitude: float = 1.0
    order: Positive = 4.0
    model_size: ModelSize = np.inf
    variance: NonNegative = 1.0

    name: ClassVar[str] = "data manifold"
    equation: ClassVar[str] = "A (min(N, D)^(-n/d) + v / max(N, D)), d = dim(l), n = 4"
    growth: ClassVar[str] = "about (n/(e gamma)) ln D / ln ln D for dim(l) = e l, until D passes N"
    source: ClassVar[str] = "arXiv 2004.10802; regimes of arXiv 2102.06701"
    fitted: ClassVar[tuple[str, ...]] = ("amplitude",)
    positive: ClassVar[tuple[str, ...]] = ("amplitude",)
    separable: ClassVar[tuple[str, ...]] = ("amplitude",)
    universal: ClassVar[tuple[str, ...]] = ("order",)

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        dimension = truth.intrinsic_dimension[context_length]
        something = (dimension > 0) & (np.asarray(context_length) > 0)
        d = np.where(something, dimension, 1.0)
        resolution = np.minimum(self.model_size, dataset_size) ** (-self.order / d)
        variance = self.variance / np.maximum(self.model_size, dataset_size)
        return np.where(something, self.amplitude * (resolution + variance), 0.0)

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        more_data = np.greater(np.broadcast_arrays(dataset_size, context_length)[0], self.model_size)
        more, less = np.asarray(more_data), np.asarray(~more_data)
        return {
            "data resolution-limited": less,
            "model variance-limited": less,
            "data variance-limited": more,
            "model resolution-limited": more,
        }
