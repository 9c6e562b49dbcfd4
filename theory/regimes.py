"""How l*(D) grows: the seven regimes of the literature for one Bayes risk R(l) = C0 + C/(l+b)^gamma.

Context lengths are real numbers here, so that growth is seen without the steps of integers. Every regime has its loss,
its leading order at large D (:meth:`Regime.leading_order`) and its exact optimum by numeric minimisation
(:meth:`Regime.optimum`), with its kind: a curve need not have an optimum inside.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, lambertw

from theory.checks import check_choice, check_integer, check_non_negative, check_positive, set_fields
from theory.laws.nearest_neighbour import distance_constant
from theory.learning_curves import minimum_norm_risk
from theory.types import Array, Scalar

Kind = Literal["interior", "local", "edge", "none"]
_SHORTEST, _PER_E_FOLD = 1e-3, 200
_LONGEST = 1e12
"""Stands for infinity where no window is given."""


@dataclasses.dataclass(frozen=True)
class Optimum:
    """Where a loss is smallest on (0, window].

    Attributes:
        context_length: l*; infinite where the loss is smallest as l -> infinity, 0 where it is as l -> 0.
        kind: "interior": a minimum inside, and the smallest loss. "local": a minimum inside, but an end of the range
            has a smaller loss, and l* is that end. "edge": no minimum inside, the loss falls right up to the end of a
            finite window. "none": no minimum inside and no window that stops l*.
        minima: every local minimum inside, ascending; several where the loss descends twice.
    """

    context_length: float
    kind: Kind
    minima: tuple[float, ...]


def minimise(loss: Callable[[Array], Array], window: Scalar = np.inf) -> Optimum:
    """The optimum of a loss over real context lengths, on a dense logarithmic grid whose minima are refined.

    Args:
        loss: of an array of context lengths; may be infinite, not NaN.
        window: the longest context length there is.

    Raises:
        ValueError: the window is not above 0.001, or the loss is NaN somewhere.
    """
    if not window > _SHORTEST:
        raise ValueError(f"window must be above {_SHORTEST}; got {window!r}")
    last = min(float(window), _LONGEST)
    grid = np.geomspace(_SHORTEST, last, int(_PER_E_FOLD * np.log(last / _SHORTEST)) + 2)
    losses = np.asarray(loss(grid), np.float64)
    if np.any(np.isnan(losses)):
        raise ValueError(f"the loss must not be NaN; it is at l = {grid[np.isnan(losses)][0]:.6g}")
    with np.errstate(invalid="ignore"):  # infinite beside infinite
        inside = np.flatnonzero((losses[1:-1] < losses[:-2]) & (losses[1:-1] <= losses[2:])) + 1
    minima = [_refined(loss, grid[i - 1], grid[i], grid[i + 1]) for i in inside]
    end = 0 if losses[0] < losses[-1] else -1
    ends = (0.0, float(window))
    if not minima:
        return Optimum(ends[end], "edge" if end == -1 and np.isfinite(window) else "none", ())
    lowest = min(minima, key=lambda pair: pair[1])
    lengths = tuple(length for length, _ in minima)
    if losses[end] < lowest[1]:
        return Optimum(ends[end], "local", lengths)
    return Optimum(lowest[0], "interior", lengths)


def _refined(loss: Callable[[Array], Array], below: float, at: float, above: float) -> tuple[float, float]:
    """The minimum between two grid points and its loss; the grid's own point where a cliff leads the search astray."""

    def of_log(x: float) -> float:
        return float(loss(np.exp(np.array([x])))[0])

    found = minimize_scalar(of_log, bounds=(np.log(below), np.log(above)), method="bounded", options={"xatol": 1e-10})
    on_grid = float(loss(np.array([at]))[0])
    return (float(np.exp(found.x)), float(found.fun)) if found.fun <= on_grid else (float(at), on_grid)


@dataclasses.dataclass(frozen=True)
class Regime(abc.ABC):
    """A Bayes risk R(l) = C0 + C/(l+b)^gamma and one learner's approximation loss on top of it.

    Attributes:
        reducible: C > 0.
        exponent: gamma > 0.
        floor: C0 >= 0.
        offset: b >= 0; without it R is infinite at l = 0.
    """

    reducible: float = 1.0
    exponent: float = 1.0
    floor: float = 0.0
    offset: float = 0.0

    growth: ClassVar[str]
    """Leading order of l*(D) in plain characters."""

    def __post_init__(self) -> None:
        for name in ("reducible", "exponent"):
            set_fields(self, **{name: check_positive(name, getattr(self, name))})
        for name in ("floor", "offset"):
            set_fields(self, **{name: check_non_negative(name, getattr(self, name))})

    def bayes_risk(self, context_length: Scalar | Array) -> Float[Array, "*lengths"]:
        """R(l); infinite at l = 0 without an offset."""
        with np.errstate(divide="ignore"):
            power = (np.asarray(context_length, np.float64) + self.offset) ** -self.exponent
        return np.asarray(self.floor + self.reducible * power)

    @abc.abstractmethod
    def approximation_loss(self, context_length: Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        """G(l, D) at real l > 0 and one D."""

    @abc.abstractmethod
    def leading_order(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        """l*(D) to leading order at large D."""

    def loss(self, context_length: Scalar | Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        """R(l) + G(l, D) at real l > 0 and one D > 1."""
        length, D = np.asarray(context_length, np.float64), check_positive("dataset_size", dataset_size)
        return np.asarray(self.bayes_risk(length) + self.approximation_loss(length, D))

    def optimum(self, dataset_size: Scalar, window: Scalar = np.inf) -> Optimum:
        """l*(D) by numeric minimisation over (0, window]."""
        return minimise(lambda length: self.loss(length, dataset_size), window)


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
        constant = distance_constant(l) if self.constant == "exact" else l / (4 * np.pi)
        return np.asarray(self.amplitude * constant * np.exp(-2 / l * np.log(dataset_size)))

    def leading_order(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        log_D = np.log(np.asarray(dataset_size, np.float64))
        return np.asarray(2 / (self.exponent + 1) * log_D / np.log(log_D))


@dataclasses.dataclass(frozen=True)
class VarianceLimited(Regime):
    """G = R(l) l/(D-l-1): least squares, infinite for l >= D-1; C0 > 0.

    Without a floor l* grows linearly: l* = gamma (D-1)/(gamma+1) where b = 0, near the singularity at every D.
    """

    growth: ClassVar[str] = "(C gamma D / C0)^(1/(1+gamma))"

    def approximation_loss(self, context_length: Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        freedom = dataset_size - np.asarray(context_length, np.float64) - 1
        gap = self.bayes_risk(context_length) * context_length / np.where(freedom > 0, freedom, 1.0)
        return np.where(freedom > 0, gap, np.inf)

    def leading_order(self, dataset_size: Scalar | Array) -> Float[Array, "*sizes"]:
        D = np.asarray(dataset_size, np.float64)
        if self.floor == 0:
            return np.asarray(self.exponent / (1 + self.exponent) * D)
        return np.asarray((self.reducible * self.exponent * D / self.floor) ** (1 / (1 + self.exponent)))


@dataclasses.dataclass(frozen=True)
class DoubleDescent(VarianceLimited):
    """Minimum-norm least squares on independent tokens: past l = D the loss comes down again (arXiv 1903.08560).

    R(0) - R(l) is the signal of the visible tokens, so it needs an offset. There may be a minimum on either side of
    l = D (:attr:`Optimum.minima`); the leading order is that of the first.
    """

    offset: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, offset=check_positive("offset", self.offset))

    def approximation_loss(self, context_length: Array, dataset_size: Scalar) -> Float[Array, "*lengths"]:
        risk = self.bayes_risk(context_length)
        return minimum_norm_risk(risk, self.bayes_risk(0.0) - risk, context_length, dataset_size) - risk


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
