"""What every law of the literature has in common: a loss at every context length and dataset size."""

import abc
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import ClassVar, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.interpolate import PchipInterpolator

from theory.checks import Checked, NonNegative, Positive, check_number, check_positive, set_fields
from theory.types import Array, Scalar

_LOG_STEP = 1e-4
"""Step in ln D of the symmetric difference. Its error is about 1e-9 of the third derivative."""
_ROUNDING = 8 * np.finfo(np.float64).eps
"""Relative difference below which two losses count as equal."""

_LARGEST_LOG = 600.0


def power_product(amplitude: Scalar, *powers: tuple[Scalar | Array, Scalar | Array]) -> Float[Array, "*cells"]:
    """A x^a y^b ..., computed from its logarithm so that a huge and a tiny factor do not give 0 times infinity.

    Args:
        amplitude: A > 0.
        powers: pairs of a base above 0 and its exponent.
    """
    log = np.log(amplitude) + sum(exponent * np.log(base) for base, exponent in powers)
    return bounded_exp(log)


def bounded_exp(log: Scalar | Array) -> Float[Array, "*cells"]:
    """exp(log), but at most exp(600): far above any loss, and no wild step of an optimiser overflows."""
    return np.asarray(np.exp(np.minimum(log, _LARGEST_LOG)))


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """The exact curves of a task at every context length l = 0..L. Laws use them without fitting.

    Attributes:
        bayes_risk: R(0) .. R(L), in the unit of the task's loss; shape (L+1,).
        intrinsic_dimension: dim(0) .. dim(L); shape (L+1,).
        unit: "nats" where R is a cross-entropy. A law whose noise term is R itself, the variance of squared errors,
            then counts half a nat for each parameter instead.
    """

    bayes_risk: Float[Array, "l"]
    intrinsic_dimension: Float[Array, "l"]
    unit: str | None = None

    def loss_of_a_parameter(self, context_length: Array) -> Float[Array, "*cells"]:
        """What a fitted parameter costs at D = 1: R(l) for squared errors, where R is the variance of the noise; 1/2 in
        nats, as in any regular model."""
        risk = self.bayes_risk[context_length]
        return np.full_like(risk, 0.5) if self.unit == "nats" else np.asarray(risk)

    def largest_gap(self, context_length: Array) -> Float[Array, "*cells"]:
        """Gmax(l) = R(0) - R(l): the approximation loss of the best predictor that ignores the context."""
        return np.asarray(self.bayes_risk[0] - self.bayes_risk[context_length])

    def bayes_risk_between(self, context_length: Array) -> Float[Array, "*cells"]:
        """R at real context lengths in 0..L: monotone cubic interpolation, so that horizons can be fitted.

        It passes through every R(l), has a continuous derivative and rises nowhere where R falls (Fritsch & Carlson
        1980).
        """
        return np.asarray(self._curve(context_length))

    @functools.cached_property
    def _curve(self) -> PchipInterpolator:
        return PchipInterpolator(np.arange(len(self.bayes_risk)), self.bayes_risk)


@dataclasses.dataclass(frozen=True)
class PowerLawRisk(Checked):
    """R(l) = C0 + C/(l+b)^gamma and dim(l) = e l: the truth for which laws state how fast l*(D) grows.

    Attributes:
        reducible: C > 0.
        exponent: gamma > 0.
        floor: C0 >= 0.
        offset: b > 0. It makes R(0) finite, and the growth at large D does not depend on it.
        dimension_per_token: e > 0.
    """

    reducible: Positive = 1.0
    exponent: Positive = 1.0
    floor: NonNegative = 0.0
    offset: Positive = 1.0
    dimension_per_token: Positive = 1.0

    def truth(self, max_context_length: int) -> Truth:
        """R(l) and dim(l) at l = 0..L."""
        length = np.arange(max_context_length + 1.0)
        risk = self.floor + self.reducible * (length + self.offset) ** -self.exponent
        return Truth(risk, self.dimension_per_token * length)


AnyLaw = TypeVar("AnyLaw", bound="Law")


@dataclasses.dataclass(frozen=True)
class Law(Checked, abc.ABC):
    """A form of the approximation loss G(l, D) = KL(P_l || Q_l), with its constants as fields.

    loss(l, D) = R(l) + G(l, D), R exact. A subclass is one form; an instance, one setting of its constants. The
    fields named in ``fitted`` are adjusted to data by :func:`theory.fit`; the others stay as they are.
    """

    name: ClassVar[str]
    equation: ClassVar[str]
    """G(l, D) in plain characters."""
    growth: ClassVar[str]
    """What the law predicts for l*(D)."""
    source: ClassVar[str]
    fitted: ClassVar[tuple[str, ...]]
    """Fields that are fitted."""
    positive: ClassVar[tuple[str, ...]] = ()
    """Fitted fields that must stay above zero. They are fitted through their logarithm."""
    separable: ClassVar[tuple[str, ...]] = ()
    """Fitted fields in which (or in whose logarithm) ln G is affine, so that a linear solve finds them."""
    universal: ClassVar[tuple[str, ...]] = ()
    """Fields that are not fitted and whose default holds for any data."""
    in_nats: ClassVar[bool] = False
    """Whether G is in nats whatever the unit of R. Such a law applies only to losses in nats."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.fitted:
            check = check_positive if name in self.positive else check_number
            set_fields(self, **{name: check(name, getattr(self, name))})

    @abc.abstractmethod
    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        """G(l, D) for integer l and D that broadcast together."""

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        """Conditions, by name, under which the law or one of its statements applies at (l, D), cell by cell."""
        return {}

    def data_exponent(
        self, context_length: Scalar | Array, dataset_size: Scalar | Array, truth: Truth
    ) -> Float[Array, "*cells"]:
        """-d ln G / d ln D at (l, D), by a symmetric difference in ln D; NaN where G is zero or infinite."""
        length, D = np.asarray(context_length), np.asarray(dataset_size, np.float64)
        less, more = (
            self.approximation_loss(length, np.asarray(D * np.exp(h)), truth) for h in (-_LOG_STEP, _LOG_STEP)
        )
        defined = (less > 0) & (more > 0) & np.isfinite(less) & np.isfinite(more)
        ratio = np.where(defined, less, 1.0) / np.where(defined, more, 1.0)
        return np.where(defined, np.log(ratio) / (2 * _LOG_STEP), np.nan)

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        """Values of the fitted, not separable constants from which a fit should be tried."""
        return ({},)

    def loss(
        self, context_length: Scalar | Array, dataset_size: Scalar | Array, truth: Truth
    ) -> Float[Array, "*cells"]:
        """R(l) + G(l, D), in the unit of R."""
        length, D = np.asarray(context_length), np.asarray(dataset_size, np.float64)
        last = len(truth.bayes_risk) - 1
        if not np.issubdtype(length.dtype, np.integer) or (
            length.size and not 0 <= length.min() <= length.max() <= last
        ):
            raise ValueError(f"context lengths must be integers in 0..{last}; got {context_length!r}")
        if not np.all(D >= 1):
            raise ValueError(f"dataset sizes must be at least 1; got {dataset_size!r}")
        return np.asarray(truth.bayes_risk[length] + self.approximation_loss(length, D, truth))

    def optimal_context_length(
        self, dataset_size: Scalar | Array, truth: Truth, context_lengths: Array | None = None
    ) -> Int[Array, "*sizes"]:
        """l*(D): the argmin of the loss over the given context lengths, by default every one from 0 to L.

        Where losses differ by rounding alone, the shortest length counts: past a horizon the loss is flat.
        """
        L = len(truth.bayes_risk) - 1
        lengths = np.arange(L + 1) if context_lengths is None else np.asarray(context_lengths)
        D = np.asarray(dataset_size, np.float64)
        losses = self.loss(lengths, D[..., None], truth)
        smallest = losses.min(axis=-1, keepdims=True)
        return np.asarray(lengths[np.argmax(losses <= smallest + _ROUNDING * np.abs(smallest), axis=-1)])

    def with_constants(self: AnyLaw, constants: Mapping[str, float]) -> AnyLaw:
        """The same law with some of its constants changed."""
        return dataclasses.replace(self, **constants)

    def constants(self) -> dict[str, float]:
        """The constants that a fit adjusts, by name."""
        return {name: getattr(self, name) for name in self.fitted}

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the constants that no fit finds and that differ from data to data: the user must know them."""
        names = (field.name for field in dataclasses.fields(self))
        return tuple(name for name in names if name not in (*self.fitted, *self.universal))
