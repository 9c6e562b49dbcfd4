"""A power law in both variables, with one exponent of D for all context lengths."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from theory.laws.base import Law, Truth, power_product
from theory.types import Array


@dataclasses.dataclass(frozen=True)
class PowerLaw(Law):
    """G(l, D) = A l^u D^(-alpha): the data term of Hoffmann et al. (arXiv 2203.15556) with a context-length factor.

    Its l*(D) solves -R'(l) = A u l^(u-1) D^(-alpha); with R(l) - C0 = C l^(-gamma) that is
    l* = (C gamma D^alpha / (A u))^(1/(gamma+u)). Least squares (u = alpha = 1, A = C0) is the variance-limited case.

    Attributes:
        amplitude: A.
        length_exponent: u.
        rate: alpha.
    """

    amplitude: float = 1.0
    length_exponent: float = 1.0
    rate: float = 1.0

    name: ClassVar[str] = "power"
    equation: ClassVar[str] = "A l^u D^(-alpha)"
    growth: ClassVar[str] = "(C gamma D^alpha / (A u))^(1/(gamma+u))"
    source: ClassVar[str] = "data term of arXiv 2203.15556 times l^u"
    fitted: ClassVar[tuple[str, ...]] = ("amplitude", "length_exponent", "rate")
    positive: ClassVar[tuple[str, ...]] = ("amplitude",)
    separable: ClassVar[tuple[str, ...]] = ("amplitude", "length_exponent", "rate")

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        visible = context_length > 0
        length = np.where(visible, context_length, 1)
        gap = power_product(self.amplitude, (length, self.length_exponent), (dataset_size, -self.rate))
        return np.where(visible, gap, 0.0)
