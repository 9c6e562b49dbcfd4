"""The project's own law: learning of context l turns on around a dataset size k l^p, from an exactly known ceiling."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from theory.laws.base import Law, Truth
from theory.types import Array


@dataclasses.dataclass(frozen=True)
class SaturatingLaw(Law):
    """G(l, D) = Gmax(l) / (1 + (D / (k l^p))^q), Gmax(l) = R(0) - R(l) exact.

    A learner that has learned nothing loses Gmax(l) and no more (it can always answer without looking); from
    D of about k l^p on the gap falls as D^(-q). Two limits are laws of their own: D >> k l^p with Gmax flat is
    :class:`PowerLaw` with u = p q; q -> infinity is a threshold, the emergence of arXiv 2303.13506.

    Where a learner is solved, its constants follow:

    - Ridge with the right prior (weights of variance Gmax/l on l independent tokens, noise R(l)) leaves, where the D
      samples determine the tokens' covariance (D >> l), l / (l/Gmax + D/R) = Gmax / (1 + D Gmax/(l R)): p = q = 1 and
      k = R/Gmax.
    - Least squares has the same tail R l/D, so p = q = 1, but no ceiling: near D = l it is worse than no context.
    - Ridge on the C(l, j) ~ l^j/j! products of j tokens: the same with C(l, j) for l, so p = j, q = 1, k = R/(j! Gmax).
    - Nearest neighbours, D^(-2/dim(l)): not of this form, since the exponent of D depends on l and q does not.

    Attributes:
        scale: k, in samples.
        length_exponent: p.
        steepness: q.
    """

    scale: float = 100.0
    length_exponent: float = 1.0
    steepness: float = 1.0

    name: ClassVar[str] = "saturating"
    equation: ClassVar[str] = "Gmax(l) / (1 + (D / (k l^p))^q)"
    growth: ClassVar[str] = "D^(q/(gamma + p q)); D^(1/p) as q -> infinity"
    source: ClassVar[str] = "this project; the ceiling Gmax(l) = R(0) - R(l) is exact"
    fitted: ClassVar[tuple[str, ...]] = ("scale", "length_exponent", "steepness")
    positive: ClassVar[tuple[str, ...]] = ("scale", "length_exponent", "steepness")

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        log_length = np.log(np.maximum(context_length, 1))
        log_ratio = np.log(dataset_size) - np.log(self.scale) - self.length_exponent * log_length
        return np.asarray(truth.largest_gap(context_length) * expit(-self.steepness * log_ratio))

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        middle_length = float(np.median(np.maximum(context_length, 1)))
        middle_size = float(np.median(dataset_size))
        for p, q, factor in itertools.product((0.5, 1.0, 2.0), (1.0, 3.0), (0.1, 1.0, 10.0)):
            yield {
                "scale": factor * middle_size / middle_length**p,
                "length_exponent": p,
                "steepness": q,
            }
