"""Statistical rate of transformers for Hoelder targets on a low-dimensional manifold."""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Float

from theory.checks import Positive, such_that
from theory.laws.base import Law, Truth
from theory.laws.chinchilla import ModelSize
from theory.types import Array


@dataclasses.dataclass(frozen=True)
class HavrillaLiaoLaw(Law):
    """G(l, D) = A [D^(-2b/(2b+d)) + N^(-2b/d)], d = dim(l), b the Hoelder exponent of the target.

    Havrilla & Liao (arXiv 2411.06646): the rates of squared error of a transformer on a compact d-manifold, up to
    logarithms; the minimax rate in D. The two exponents obey 1/alpha_D = 1 + 1/alpha_N. One amplitude serves both
    terms here. Where dim(l) = 0 there is nothing to learn and G = 0.

    Attributes:
        amplitude: A.
        smoothness: b in (0, 1], given.
        model_size: N, given; may be infinite.
    """

    amplitude: float = 1.0
    smoothness: Annotated[Positive, such_that(lambda b: b <= 1, "must lie in (0, 1]")] = 1.0
    model_size: ModelSize = np.inf

    name: ClassVar[str] = "Hoelder target on a manifold"
    equation: ClassVar[str] = "A (D^(-2b/(2b+d)) + N^(-2b/d)), d = dim(l)"
    growth: ClassVar[str] = "about (2b/(e gamma)) ln D / ln ln D for dim(l) = e l"
    source: ClassVar[str] = "arXiv 2411.06646"
    fitted: ClassVar[tuple[str, ...]] = ("amplitude",)
    positive: ClassVar[tuple[str, ...]] = ("amplitude",)
    separable: ClassVar[tuple[str, ...]] = ("amplitude",)

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        dimension = truth.intrinsic_dimension[context_length]
        something = (dimension > 0) & (np.asarray(context_length) > 0)
        d, twice = np.where(something, dimension, 1.0), 2 * self.smoothness
        rate = dataset_size ** (-twice / (twice + d)) + self.model_size ** (-twice / d)
        return np.where(something, self.amplitude * rate, 0.0)
