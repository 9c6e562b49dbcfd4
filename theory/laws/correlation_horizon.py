"""Signal against noise: a lag is used once its correlation stands out, and tokens beyond are as good as unseen."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from theory.laws.base import Law, PowerLawRisk, Truth, bounded_exp
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class CorrelationHorizonLaw(Law):
    """G(l, D) = R(min(l, n*)) - R(l), n*(D) = (D/k)^(1/(2 beta)).

    Cagnetta, Raventos, Ganguli & Wyart (arXiv 2602.07488): correlations at lag n fall as n^(-beta), the noise of their
    estimate as D^(-1/2), so lags beyond n* are not learned at all and those within it completely (their fast-learning
    limit). Longer contexts do no harm: the loss is flat from n* on, and l* is the first length that reaches it. With
    R = C0 + C/l^gamma the excess of long contexts falls as D^(-gamma/(2 beta)). Between integer lengths R is
    interpolated.

    Data without pairwise correlations (parity) has no horizon of this kind.

    Attributes:
        scale: k, in samples: the dataset size that reaches the first token.
        correlation_exponent: beta.
    """

    scale: float = 1.0
    correlation_exponent: float = 1.0

    name: ClassVar[str] = "correlation horizon"
    equation: ClassVar[str] = "R(min(l, n*)) - R(l), n* = (D/k)^(1/(2 beta))"
    growth: ClassVar[str] = "(D/k)^(1/(2 beta)), then L; longer contexts do no harm"
    source: ClassVar[str] = "arXiv 2602.07488"
    fitted: ClassVar[tuple[str, ...]] = ("scale", "correlation_exponent")
    positive: ClassVar[tuple[str, ...]] = ("scale", "correlation_exponent")

    def horizon(self, dataset_size: Array) -> Float[Array, "*sizes"]:
        """n*(D), in tokens."""
        return bounded_exp((np.log(dataset_size) - np.log(self.scale)) / (2 * self.correlation_exponent))

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        reached = truth.bayes_risk_between(np.minimum(context_length, self.horizon(dataset_size)))
        return np.asarray(np.maximum(reached - truth.bayes_risk[context_length], 0.0))

    def leading_order(self, dataset_size: Scalar | Array, risk: PowerLawRisk) -> Float[Array, "*sizes"]:
        """l*(D) to leading order at large D."""
        return self.horizon(np.asarray(dataset_size, np.float64))

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        return {"within the horizon": np.asarray(context_length <= self.horizon(dataset_size))}

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        middle_length = float(np.median(np.maximum(context_length, 1)))
        middle_size = float(np.median(dataset_size))
        for beta, factor in itertools.product((0.5, 1.5), (0.3, 3.0)):
            yield {"scale": factor * middle_size / middle_length ** (2 * beta), "correlation_exponent": beta}
