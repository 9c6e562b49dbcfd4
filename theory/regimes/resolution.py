"""Resolution-limited growth: the exponent of D falls as one over the context length."""

import dataclasses
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from theory.checks import check_choice, check_positive, set_fields
from theory.laws.nearest_neighbour import log_distance_constant
from theory.regimes.base import Regime
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class ResolutionLimited(Regime):
    """G = A D^(-c/(e l)): the main paper's law with dim(l) = e l (arXiv 2502.01481).

    With kappa = c ln D / e the loss is C0 + C l^-gamma + A exp(-kappa/l): for gamma < 1 it falls to C0 + A from above,
    with a minimum and then a maximum on the way, or with neither.

    Attributes:
        amplitude: A > 0.
        rate: c/e > 0, of one token.
    """

    amplitude: float = 1.0
    rate: float = 1.0

    growth: ClassVar[str] = "(c/(e gamma)) ln D / ln ln D"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("amplitude", "rate"):
            set_fields(self, **{name: check_positive(name, getattr(self, name))})

    def approximation_loss(self, context_length: Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        return np.asarray(self.amplitude * np.exp(-self.rate * np.log(dataset_size) / context_length))

    def leading_order(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        log_D = np.log(np.asarray(dataset_size, np.float64))
        return np.asarray(self.rate / self.exponent * log_D / np.log(log_D))

    def stationary_point(self, dataset_size: Scalar) -> float:
        """The local minimum by Newton's method, NaN where there is none; b = 0 only.

        C gamma l^(1-gamma) = A kappa exp(-kappa/l) is, with kappa/l = e^z, the root of e^z + (gamma-1) z =
        ln(A kappa^gamma / (C gamma)). Its left side is convex: from a start to the right Newton's steps never pass the
        largest root, which is the minimum of the loss; the smaller one, if any, is a maximum.

        Raises:
            ValueError: D <= 1 or an offset.
        """
        D = check_positive("dataset_size", dataset_size)
        if D <= 1 or self.offset != 0:
            raise ValueError(f"the stationary point needs D > 1 and no offset; got D = {D}, offset = {self.offset}")
        kappa, s = self.rate * np.log(D), self.exponent - 1
        K = np.log(self.amplitude / (self.reducible * self.exponent)) + self.exponent * np.log(kappa)
        lowest = -s * (1 - np.log(-s)) if s < 0 else (0.0 if s == 0 else -np.inf)
        if lowest >= K:
            return float("nan")
        z = np.log(2 * max(K, 1.0) + 10)
        for _ in range(200):
            step = (np.exp(z) + s * z - K) / (np.exp(z) + s)
            z -= step
            if abs(step) < 1e-15 * max(abs(z), 1.0):
                break
        return float(kappa * np.exp(-z))


@dataclasses.dataclass(frozen=True)
class NearestNeighbourLimited(Regime):
    """G = B K(l) D^(-2/l), dim(l) = l: scarce time-series data (arXiv 2405.15124), alpha_Z = gamma + 1.

    Attributes:
        amplitude: B > 0.
        constant: "exact" (:func:`theory.laws.distance_constant`) or "published", l/(4 pi).
    """

    amplitude: float = 1.0
    constant: Literal["exact", "published"] = "exact"

    growth: ClassVar[str] = "(2/(gamma+1)) ln D / ln ln D"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("constant", self.constant, ("exact", "published"))
        set_fields(self, amplitude=check_positive("amplitude", self.amplitude))

    def approximation_loss(self, context_length: Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        l = np.asarray(context_length, np.float64)
        log_constant = log_distance_constant(l) if self.constant == "exact" else np.log(l / (4 * np.pi))
        # Far below one token, where no constant means anything, the exponential must not overflow.
        return np.asarray(self.amplitude * np.exp(np.minimum(log_constant - 2 / l * np.log(dataset_size), 600.0)))

    def leading_order(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        log_D = np.log(np.asarray(dataset_size, np.float64))
        return np.asarray(2 / (self.exponent + 1) * log_D / np.log(log_D))
