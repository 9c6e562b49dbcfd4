"""Growth by thresholds: a context is learned once there is enough data for it, or its table is full."""

import abc
import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, lambertw

from theory.checks import check_integer, check_positive, set_fields
from theory.regimes.base import Regime
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class CorrelationHorizon(Regime):
    """G = R(min(l, n*)) - R(l), n* = (D/k)^(1/(2 beta)): nothing is learned past n* (arXiv 2602.07488).

    The loss falls to n* and is flat from there on: no U. Its smallest value is first reached at n*, which
    :meth:`optimum` reports with the kind "edge" if it lies beyond the window and "interior" otherwise.

    Attributes:
        scale: k > 0, samples.
        correlation_exponent: beta > 0.
    """

    scale: float = 1.0
    correlation_exponent: float = 1.0

    growth: ClassVar[str] = "(D/k)^(1/(2 beta))"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "correlation_exponent"):
            set_fields(self, **{name: check_positive(name, getattr(self, name))})

    def approximation_loss(self, context_length: Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        horizon = self.leading_order(dataset_size)
        return np.asarray(self.bayes_risk(np.minimum(context_length, horizon)) - self.bayes_risk(context_length))

    def loss(self, context_length: Scalar | Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        """R(min(l, n*)), without the rounding of a difference, so that it is flat past n*."""
        horizon = self.leading_order(check_positive("dataset_size", dataset_size))
        return self.bayes_risk(np.minimum(context_length, horizon))

    def leading_order(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        D = np.asarray(dataset_size, np.float64)
        return np.asarray((D / self.scale) ** (1 / (2 * self.correlation_exponent)))


@dataclasses.dataclass(frozen=True)
class ParityLearner(Regime):
    """Base of the two regimes of k-bit parities: nothing is learned of a context that needs more than D/T samples.

    Then the loss is R(0) (infinite without an offset), else R(l): l* is the longest context that can be learned, at a
    cliff of the loss.

    Attributes:
        degree: k >= 1.
        n_tasks: T >= 1.
        samples: c > 0, of one candidate or one bit.
    """

    degree: int = 2
    n_tasks: int = 1
    samples: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(
            self,
            degree=check_integer("degree", self.degree, 1),
            n_tasks=check_integer("n_tasks", self.n_tasks, 1),
            samples=check_positive("samples", self.samples),
        )

    @abc.abstractmethod
    def log_learnable(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        """ln of the number of candidates that D samples tell apart."""

    def approximation_loss(self, context_length: Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        l, k = np.asarray(context_length, np.float64), self.degree
        some = l >= k
        at = np.where(some, l, k)
        log_candidates = np.where(some, gammaln(at + 1) - gammaln(at - k + 1) - gammaln(k + 1), -np.inf)
        unlearned = log_candidates > self.log_learnable(dataset_size)
        return np.where(unlearned, self.bayes_risk(0.0) - self.bayes_risk(l), 0.0)

    def leading_order(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        """From C(l, k) ~ l^k / k!; infinite where a double cannot hold it."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp((gammaln(self.degree + 1) + self.log_learnable(dataset_size)) / self.degree))


@dataclasses.dataclass(frozen=True)
class PolynomialLearner(ParityLearner):
    """Needs D/T >= c C(l, k): a kernel learner weighs every product of k bits."""

    growth: ClassVar[str] = "(k! D / (c T))^(1/k)"

    def log_learnable(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        return np.asarray(np.log(np.asarray(dataset_size, np.float64) / (self.samples * self.n_tasks)))


@dataclasses.dataclass(frozen=True)
class BayesLearner(ParityLearner):
    """Needs D/T >= c log2 C(l, k): every sample halves the candidates."""

    growth: ClassVar[str] = "(k!)^(1/k) 2^(D/(c k T))"

    def log_learnable(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        return np.asarray(np.log(2) * np.asarray(dataset_size, np.float64) / (self.samples * self.n_tasks))


@dataclasses.dataclass(frozen=True)
class TableLearner(Regime):
    """G = (v-1) v^l / (2 D), in nats: a table of every context over v symbols.

    Attributes:
        vocabulary: v > 1.
    """

    vocabulary: float = 2.0

    growth: ClassVar[str] = "ln D / ln v"

    def __post_init__(self) -> None:
        super().__post_init__()
        v = check_positive("vocabulary", self.vocabulary)
        if v <= 1:
            raise ValueError(f"vocabulary must be above 1; got {v}")
        set_fields(self, vocabulary=v)

    def approximation_loss(self, context_length: Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        v = self.vocabulary
        # Far beyond any optimum the exponential must not overflow.
        return np.asarray((v - 1) / (2 * dataset_size) * np.exp(np.minimum(context_length * np.log(v), 600.0)))

    def leading_order(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        return np.asarray(np.log(np.asarray(dataset_size, np.float64)) / np.log(self.vocabulary))

    def stationary_point(self, dataset_size: Scalar) -> float:
        """The minimum in closed form, by Lambert's W.

        (l+b) ln v + (gamma+1) ln(l+b) = ln(2 D C gamma v^b / ((v-1) ln v)); negative where the loss rises from l = 0.
        """
        D, log_v, g = check_positive("dataset_size", dataset_size), np.log(self.vocabulary), self.exponent + 1
        K = np.log(2 * D * self.reducible * self.exponent / ((self.vocabulary - 1) * log_v)) + self.offset * log_v
        return float(g / log_v * np.real(lambertw(log_v / g * np.exp(K / g))) - self.offset)
