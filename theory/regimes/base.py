"""A Bayes risk, a learner on top of it, and where their sum is smallest."""

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from theory.checks import check_non_negative, check_positive, set_fields
from theory.types import Array, Scalar

Kind = Literal["interior", "local", "edge", "none"]
_SHORTEST, _LONGEST = 1e-3, 1e12
"""The range searched; the second stands for infinity where no window is given."""
_PER_E_FOLD, _REFINEMENTS = 200, 6


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
    minima = [_refined(loss, grid[i - 1], grid[i + 1]) for i in inside]
    end = 0 if losses[0] < losses[-1] else -1
    ends = (0.0, float(window))
    if not minima:
        return Optimum(ends[end], "edge" if end == -1 and np.isfinite(window) else "none", ())
    lowest = min(minima, key=lambda pair: pair[1])
    lengths = tuple(length for length, _ in minima)
    if losses[end] < lowest[1]:
        return Optimum(ends[end], "local", lengths)
    return Optimum(lowest[0], "interior", lengths)


def _refined(loss: Callable[[Array], Array], below: float, above: float) -> tuple[float, float]:
    """The first minimum between two points and its loss, by finer and finer grids: it may lie at a cliff."""
    length = smallest = np.nan
    for _ in range(_REFINEMENTS):
        grid = np.geomspace(below, above, 101)
        losses = np.asarray(loss(grid))
        i = int(losses.argmin())
        below, above = float(grid[max(i - 1, 0)]), float(grid[min(i + 1, 100)])
        length, smallest = float(grid[i]), float(losses[i])
    return length, smallest


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
