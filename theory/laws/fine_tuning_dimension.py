"""Generalisation bound of fine-tuning in a subspace of low dimension."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from theory.laws.base import Law, Truth
from theory.types import Array


@dataclasses.dataclass(frozen=True)
class FineTuningDimensionLaw(Law):
    """G(l, D) = A sqrt(d / D), d = dim(l): a bound of this order holds for any model tuned in d dimensions.

    Aghajanyan, Zettlemoyer & Gupta (arXiv 2012.13255), by compression: the number of parameters does not enter, only
    the intrinsic dimension d of the objective (Li et al., arXiv 1804.08838), here taken as the task's dim(l). A bound
    and no estimate: where the loss is quadratic around its optimum the gap falls as d/D.

    Attributes:
        amplitude: A.
    """

    amplitude: float = 1.0

    name: ClassVar[str] = "fine-tuning dimension"
    equation: ClassVar[str] = "A sqrt(d / D), d = dim(l)"
    growth: ClassVar[str] = "D^(1/(1 + 2 gamma)) for dim(l) ~ l"
    source: ClassVar[str] = "bound of arXiv 2012.13255"
    fitted: ClassVar[tuple[str, ...]] = ("amplitude",)
    positive: ClassVar[tuple[str, ...]] = ("amplitude",)
    separable: ClassVar[tuple[str, ...]] = ("amplitude",)

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        dimension = np.where(np.asarray(context_length) > 0, truth.intrinsic_dimension[context_length], 0.0)
        return np.asarray(self.amplitude * np.sqrt(dimension / dataset_size))
