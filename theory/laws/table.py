"""A table of contexts: exponentially many rows to fill."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from theory.checks import integer
from theory.laws.base import Law, PowerLawRisk, Truth, bounded_exp
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class TableLaw(Law):
    """G(l, D) = min((K-1) v^l / (2 D), Gmax(l)), in nats: half a parameter a sample, K-1 parameters a context.

    The large-D excess of any regular model (:func:`theory.learning_curves.table_risk` is exact at finite D), never
    above that of a learner that ignores the context. v is the growth rate of the number of contexts that occur: the
    vocabulary if all do. With R = C0 + C/l^gamma the optimum solves l ln v + (gamma+1) ln l =
    ln(2 D C gamma / ((K-1) ln v)).

    Attributes:
        vocabulary: v.
        classes: K >= 2, the number of answers, given.
    """

    vocabulary: float = 2.0
    classes: Annotated[int, integer(2)] = 2

    name: ClassVar[str] = "table"
    equation: ClassVar[str] = "min((K-1) v^l / (2 D), Gmax(l))"
    growth: ClassVar[str] = "about ln D / ln v"
    source: ClassVar[str] = "excess of a regular model, (number of parameters) / (2 D)"
    fitted: ClassVar[tuple[str, ...]] = ("vocabulary",)
    positive: ClassVar[tuple[str, ...]] = ("vocabulary",)
    in_nats: ClassVar[bool] = True

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        log_rows = context_length * np.log(self.vocabulary)
        excess = np.log((self.classes - 1) / 2) + log_rows - np.log(dataset_size)
        return np.asarray(np.minimum(bounded_exp(excess), truth.largest_gap(context_length)))

    def leading_order(self, dataset_size: Scalar | Array, risk: PowerLawRisk) -> Float[Array, "*sizes"]:
        """l*(D) to leading order at large D, for v > 1."""
        return np.asarray(np.log(np.asarray(dataset_size, np.float64)) / np.log(self.vocabulary))

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        log_rows = context_length * np.log(self.vocabulary)
        return {"as many samples as contexts": np.asarray(np.log(dataset_size) >= log_rows)}

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        return ({"vocabulary": v} for v in (1.1, 1.5, 2.0, 4.0, 16.0))
