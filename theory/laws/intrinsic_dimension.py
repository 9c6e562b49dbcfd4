"""The main paper's law: an exponent that falls as the intrinsic dimension grows with the context."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from theory.laws.base import Law, Truth
from theory.types import Array


@dataclasses.dataclass(frozen=True)
class IntrinsicDimensionLaw(Law):
    """G(l, D) = A(l) D^(-alpha(l)), alpha(l) = c / dim(l).

    Shi et al., "Intrinsic Entropy of Context Length Scaling in LLMs" (arXiv 2502.01481), section on the
    approximation loss; the exponent after Sharma & Kaplan (arXiv 2004.10802) and Bahri et al. (arXiv 2102.06701).
    The paper leaves A(l) open; here A(l) = A l^u. dim(l) is the task's own and exact. Where dim(l) = 0 there is
    nothing to learn and G = 0.

    Attributes:
        amplitude: A.
        amplitude_exponent: u.
        rate: c.
    """

    amplitude: float = 1.0
    amplitude_exponent: float = 0.0
    rate: float = 4.0

    name: ClassVar[str] = "intrinsic dimension"
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
        gap = self.amplitude * length**self.amplitude_exponent * dataset_size ** (-self.rate / dimension)
        return np.where(something, gap, 0.0)


@dataclasses.dataclass(frozen=True)
class OffsetDimensionLaw(IntrinsicDimensionLaw):
    """The same with alpha(l) = c / (dim(l) + d0): the paper's form set free by one more fitted constant.

    Attributes:
        offset: d0 > 0.
    """

    offset: float = 1.0

    name: ClassVar[str] = "intrinsic dimension, offset"
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
