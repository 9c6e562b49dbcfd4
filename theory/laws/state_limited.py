"""A state of fixed size: a model that carries its past in s numbers knows only what they hold."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from theory.checks import NonNegative, Positive
from theory.laws.base import Law, Truth, bounded_exp
from theory.types import Array


@dataclasses.dataclass(frozen=True)
class StateLimitedLaw(Law):
    """G(l, D) = R(min(l, l_s)) - R(l), l_s the longest context with I(l) <= C s + ln M, I(l) = I0 l^beta.

    Chen et al., L2M (arXiv 2503.04725): a model can hold at most C dim(state) + ln M of the mutual information I(l)
    between the two halves of a text. The paper states a necessary condition and no loss. The loss here is the simplest
    reading of it: the model uses all tokens up to l_s and none beyond. It does not depend on D. Between integer lengths
    R is interpolated.

    Attributes:
        capacity: C, the nats that one number of the state holds.
        state_size: s, given.
        log_tokens: ln M >= 0, given: the nats the last token itself carries over.
        information: I0 > 0, nats, given.
        information_exponent: beta > 0, given.
    """

    capacity: float = 1.0
    state_size: Positive = 16.0
    log_tokens: NonNegative = 0.0
    information: Positive = 1.0
    information_exponent: Positive = 1.0

    name: ClassVar[str] = "state-limited"
    equation: ClassVar[str] = "R(min(l, l_s)) - R(l), l_s = ((C s + ln M) / I0)^(1/beta)"
    growth: ClassVar[str] = "none: l_s at any D; s^(1/beta) in the state's size"
    source: ClassVar[str] = "arXiv 2503.04725"
    fitted: ClassVar[tuple[str, ...]] = ("capacity",)
    positive: ClassVar[tuple[str, ...]] = ("capacity",)

    @property
    def nats(self) -> float:
        """C s + ln M: what the model can hold."""
        return self.capacity * self.state_size + self.log_tokens

    @property
    def horizon(self) -> float:
        """l_s, in tokens."""
        return float(bounded_exp(np.log(self.nats / self.information) / self.information_exponent))

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        reached = truth.bayes_risk_between(np.minimum(context_length, self.horizon))
        gap = np.maximum(reached - truth.bayes_risk[context_length], 0.0)
        return np.broadcast_arrays(gap, dataset_size)[0].copy()

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        needed = self.information * np.asarray(context_length, np.float64) ** self.information_exponent
        return {"state holds the information": np.broadcast_arrays(needed <= self.nats, dataset_size)[0].copy()}

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        for length in np.quantile(context_length, (0.2, 0.5, 0.8)):
            nats = self.information * max(length, 1.0) ** self.information_exponent
            yield {"capacity": nats / self.state_size}
