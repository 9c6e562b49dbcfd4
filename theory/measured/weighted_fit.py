"""Laws fitted to all cells of a table at once, weighted by the covariance of the seed means.

A table gives the mean loss y of every cell (l, D). A law says y = R(l) + G(l, D), plus the scatter of the seeds, whose
covariance V is pooled from the table (:mod:`theory.measured.scatter`). Misfits below a tolerance count as nothing: V
holds a variance (tolerance U)^2 for every cell, and one for a shift of all cells together. The misfit of a law is

    T = min over its constants of (y - f)^T V^-1 (y - f).

Where R(l) is not known, it is one free constant for each context length, fitted with the law. A law that uses R(l)
itself takes the fitted one. Gaps at the ceiling Gmax(l) = R(0) - R(l) say only that nothing was learned: a law that
predicts the ceiling, or more, agrees with them. Where neither R(l) nor the loss without context is known, there is no
ceiling.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import least_squares

from theory.laws.base import Law, Truth
from theory.measured.fitting import constants_of, fit_gap, unit_of, with_constants_of
from theory.measured.loss_table import LossTableError, seed_means
from theory.measured.scatter import Grid, Scatter, SeedNoise, estimate_noise, estimate_scatter
from theory.types import Array

TOLERANCE = 0.002
"""Misfit that counts as nothing, in units of U = R(0) - R(L): what validation and finite training leave."""
_BEYOND = 10.0
"""Largest gap of a law where no ceiling is known, in units of the largest gap measured (or of U)."""
_STEP = 1e-5
"""Step of the constants in a Jacobian."""
_NEAR_CEILING = 2.5
"""Standard errors below the ceiling from which a gap counts as the ceiling."""


@dataclasses.dataclass(frozen=True)
class LossCells:
    """The losses of a table, cell by cell.

    Attributes:
        grid: where the cells lie.
        losses: losses of each cell and seed; NaN where a cell lacks the seed.
        truth: R(l) and dim(l), at every l = 0..L.
        risk_known: whether R(l) is exact. If not, the truth's R(l) is where fits start.
    """

    grid: Grid
    losses: Float[Array, "cells seed"]
    truth: Truth
    risk_known: bool = True

    @property
    def mean(self) -> Float[Array, "cells"]:
        """The mean over the seeds of a cell."""
        return self.grid.mean(self.losses)

    @property
    def ceiling_known(self) -> bool:
        """Whether R(0) is exact, or the loss at l = 0 was measured."""
        return self.risk_known or bool(np.any(self.grid.length == 0))

    @property
    def has_scatter(self) -> bool:
        """Whether the seeds of some cell differ."""
        return bool(np.any(self.grid.deviations(self.losses)))


def cells_of(
    losses: Float[Array, "l D seed"], lengths: Array, sizes: Array, truth: Truth, *, risk_known: bool = True
) -> LossCells:
    """The cells of a table that have a run, none of them diverged. They may differ in their number of seeds."""
    usable = np.isfinite(seed_means(losses))
    row, column = np.nonzero(usable)
    grid = Grid(np.asarray(lengths)[row], np.asarray(sizes, np.float64)[column], np.isfinite(losses[usable]))
    return LossCells(grid, losses[usable], truth, risk_known)


def best_fits(laws: Sequence[Law], cells: LossCells) -> list[Law]:
    """Constants from which :func:`weighted_fits` starts: those of :func:`theory.measured.fitting.fit_gap`."""
    lengths, sizes = np.unique(cells.grid.length), np.unique(cells.grid.size)
    gap = np.full((len(lengths), len(sizes)), np.nan)
    gap[cells.grid.ranks] = np.maximum(cells.mean - cells.truth.bayes_risk[cells.grid.length], 0.0)
    return [fit_gap(law, lengths, sizes, gap, cells.truth).law for law in laws]


@dataclasses.dataclass(frozen=True)
class WeightedFits:
    """Laws fitted to the same cells with the same weights.

    Attributes:
        fits: one for each law.
        squares: T of each law.
        misfit: T per degree of freedom.
        weights: the covariance of the means.
        level: gaps of the law of the smallest T of the first weights, in units of U, on which V depends.
    """

    fits: tuple["LawFit", ...]
    squares: Float[Array, "law"]
    misfit: Float[Array, "law"]
    weights: "Weights"
    level: Float[Array, "cells"]

    @property
    def laws(self) -> tuple[Law, ...]:
        """The laws with the constants that fit best."""
        return tuple(fit.law for fit in self.fits)

    @property
    def truths(self) -> tuple[Truth, ...]:
        """R(l) and dim(l) under each law: as given, or with the fitted R(l)."""
        return tuple(fit.truth for fit in self.fits)

    @property
    def best(self) -> int:
        """The law of the smallest T."""
        return int(np.argmin(self.squares))


def weighted_fits(starts: Sequence[Law], cells: LossCells, *, tolerance: float = TOLERANCE) -> WeightedFits:
    """The constants of the smallest T.

    Args:
        starts: the laws, with constants from which their fits start (:func:`best_fits`).
        cells: the losses.
        tolerance: misfit that counts as nothing, in units of U.

    Raises:
        LossTableError: a law has as many constants as there are cells beyond those that fix R(l).
    """
    _check_cells(starts, cells)
    # The first weights come from a smooth surface through the means, the second from the best fit.
    weights = Weights.of(cells, _smooth(cells), tolerance)
    fits, squares = _fitted([(law, _first_values(law, cells)) for law in starts], cells, weights)
    best = fits[int(np.argmin(squares))]
    level = weights.predicted(best.law, best.truth, cells)
    weights = Weights.of(cells, level, tolerance)
    fits, squares = _fitted([(fit.law, fit.values) for fit in fits], cells, weights)
    freedom = np.array([_spare(cells) - len(fit.law.fitted) for fit in fits])
    return WeightedFits(tuple(fits), squares, squares / freedom, weights, level)


def _spare(cells: LossCells) -> int:
    """Cells beyond those that fix R(l)."""
    return len(cells.grid.length) - len(_free_lengths(cells))


def can_be_judged(laws: Sequence[Law], cells: LossCells) -> bool:
    """Whether there are more cells than constants, those of R(l) included."""
    return _spare(cells) > max(len(law.fitted) for law in laws)


def _check_cells(laws: Sequence[Law], cells: LossCells) -> None:
    if not can_be_judged(laws, cells):
        most = max(laws, key=lambda law: len(law.fitted))
        free = "" if cells.risk_known else " and R(l), which is not known,"
        raise LossTableError(
            f"{len(cells.grid.length)} usable cells cannot test the {len(most.fitted)} constants of the law "
            f"{most.name!r}{free}: give more context lengths or dataset sizes with finite losses"
        )


@dataclasses.dataclass(frozen=True)
class LawFit:
    """A law, its fitted values, what it predicts (in units of U) and the derivatives of that by the values."""

    law: Law
    truth: Truth
    values: Float[Array, "p"]
    predicted: Float[Array, "cells"]
    jacobian: Float[Array, "cells p"]


@dataclasses.dataclass(frozen=True)
class Weights:
    """The covariance V of the means and what is fitted.

    Attributes:
        root: inverse Cholesky factor of V: ``root @ residual`` has unit variance.
        target: measured gaps in units of U, at most the ceiling. Where R(l) is free: losses less the R(l) at which fits
            start.
        ceiling: largest gap that counts, in units of U.
        tied: whether a cell lies below its ceiling. Those at the ceiling are independent of all others.
        scatter: that of single samples.
        unit: U.
    """

    root: Float[Array, "cells cells"]
    target: Float[Array, "cells"]
    ceiling: Float[Array, "cells"]
    tied: Array
    scatter: Scatter
    unit: float

    @classmethod
    def of(cls, cells: LossCells, level: Float[Array, "cells"], tolerance: float) -> "Weights":
        grid, unit = cells.grid, unit_of(cells.truth)
        scatter = pooled_scatter(cells, grid.deviations(cells.losses)[None] / unit, level, tolerance)
        target = (cells.mean - cells.truth.bayes_risk[grid.length]) / unit
        ceiling = np.full(len(target), _BEYOND * max(1.0, float(np.abs(target).max())))
        if cells.ceiling_known:
            largest = cells.truth.largest_gap(grid.length) / unit
            error = np.sqrt(scatter.variance[0] / grid.seeds) if cells.has_scatter else 0.0
            ceiling = np.maximum(largest - _NEAR_CEILING * np.minimum(error, 0.3 * largest), 0.0)
        tied = target < ceiling
        root = whitening_roots(scatter, cells, tied, tolerance)[0]
        return cls(root, np.minimum(target, ceiling), ceiling, tied, scatter, unit)

    def predicted(self, law: Law, truth: Truth, cells: LossCells) -> Float[Array, "cells"]:
        """The losses that a law predicts, less the R(l) that the target leaves out, at most the ceiling."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            gap = law.approximation_loss(cells.grid.length, cells.grid.size, truth) / self.unit
        shift = (truth.bayes_risk - cells.truth.bayes_risk)[cells.grid.length] / self.unit
        return np.minimum(np.where(np.isnan(gap), np.inf, gap + shift), self.ceiling)


def pooled_scatter(
    cells: LossCells, deviations: Float[Array, "batch cells seed"], level: Float[Array, "cells"], tolerance: float
) -> Scatter:
    """The scatter of tables; without a second seed anywhere there is none to estimate."""
    if not cells.has_scatter:
        nothing = np.zeros(len(deviations))
        return Scatter(np.zeros(deviations.shape[:2]), nothing, nothing)
    return estimate_scatter(deviations, cells.grid, _log_level(cells, level, tolerance))


def _log_level(cells: LossCells, level: Float[Array, "cells"], tolerance: float) -> Float[Array, "cells"] | None:
    """ln G in units of U, NaN where it is too small to be known; None if R(l) is not known."""
    if not cells.risk_known:
        return None
    known = (level > tolerance / 4) & (cells.mean > cells.truth.bayes_risk[cells.grid.length])
    return np.where(known, np.log(np.maximum(level, np.finfo(np.float64).tiny)), np.nan)


def noise_of(cells: LossCells, law: Law) -> SeedNoise:
    """The scatter of single runs, for any grid. The law, fitted to these cells, tells how large G is."""
    unit = unit_of(cells.truth)
    gap = law.approximation_loss(cells.grid.length, cells.grid.size, cells.truth)
    level = np.minimum(gap, cells.truth.largest_gap(cells.grid.length)) / unit
    return estimate_noise(cells.grid.deviations(cells.losses) / unit, cells.grid, _log_level(cells, level, TOLERANCE))


def whitening_roots(
    scatter: Scatter, cells: LossCells, tied: Array, tolerance: float
) -> Float[Array, "batch cells cells"]:
    """Inverse Cholesky factors of V."""
    n = len(cells.grid.length)
    covariance = scatter.covariance_of_means(cells.grid) * (np.outer(tied, tied) | np.eye(n, dtype=bool))
    floor = max(tolerance, 1e-6) ** 2
    return np.linalg.inv(np.linalg.cholesky(covariance + floor * (np.eye(n) + np.ones((n, n)))))


def surface_powers(grid: Grid, degree: int) -> Float[Array, "cells k"]:
    """Products of powers of ln l and ln D of at most this degree together; fewer powers of D with few sizes."""
    x, y = (_centred(np.log(np.maximum(axis, 0.5))) for axis in (grid.length, grid.size))
    most = min(degree, len(np.unique(grid.size)) - 1), min(degree, len(np.unique(grid.length)) - 1)
    powers = [(i, j) for i in range(most[1] + 1) for j in range(min(degree - i, most[0]) + 1)]
    return np.stack([x**i * y**j for i, j in powers], axis=1)


def _centred(values: Float[Array, "cells"]) -> Float[Array, "cells"]:
    span = float(np.ptp(values))
    return 2 * (values - values.min()) / span - 1 if span > 0 else np.zeros_like(values)


def _smooth(cells: LossCells) -> Float[Array, "cells"]:
    """Gaps in units of U from a cubic surface through their logarithms: weights must not follow the noise."""
    unit, R = unit_of(cells.truth), cells.truth
    gap = (cells.mean - R.bayes_risk[cells.grid.length]) / unit
    if cells.ceiling_known:
        gap = np.minimum(gap, R.largest_gap(cells.grid.length) / unit)
    logs, surface = np.log(np.maximum(gap, 0.0) + TOLERANCE), surface_powers(cells.grid, 3)
    return np.exp(surface @ np.linalg.lstsq(surface, logs)[0]) - TOLERANCE


def _fitted(
    starts: Sequence[tuple[Law, Array]], cells: LossCells, weights: Weights
) -> tuple[list[LawFit], Float[Array, "law"]]:
    """The laws with the constants of the smallest T, from these values on, and T."""
    fits = [_fitted_law(law, values, cells, weights) for law, values in starts]
    return fits, np.array([np.sum((weights.root @ (weights.target - fit.predicted)) ** 2) for fit in fits])


def _fitted_law(law: Law, values: Float[Array, "p"], cells: LossCells, weights: Weights) -> LawFit:
    def predicted(values: Array) -> Float[Array, "cells"]:
        return weights.predicted(*_with_values(law, cells, values), cells)

    if values.size:
        # Trust regions, because the losses of some tables do not depend on every R(l): Levenberg-Marquardt then stops
        # at its start.
        values = least_squares(
            lambda values: weights.root @ (weights.target - predicted(values)), values, xtol=1e-6, ftol=1e-6
        ).x
    found = predicted(values)
    columns = [(predicted(values + step) - found) / _STEP for step in _STEP * np.eye(values.size)]
    jacobian = np.stack(columns, axis=1) if columns else np.empty((len(found), 0))
    return LawFit(*_with_values(law, cells, values), values, found, jacobian)


def _free_lengths(cells: LossCells) -> Int[Array, "free"]:
    """The context lengths whose R(l) is fitted: none if it is known, else every measured one, and 0 if it is not."""
    if cells.risk_known:
        return np.empty(0, int)
    measured = np.unique(cells.grid.length)
    return measured[measured > 0] if cells.ceiling_known else np.append(0, measured)


def _first_values(law: Law, cells: LossCells) -> Float[Array, "p"]:
    """The law's constants, and the shifts of R(l) in units of U."""
    return np.append(constants_of(law, law.fitted), np.zeros(len(_free_lengths(cells))))


def _with_values(law: Law, cells: LossCells, values: Float[Array, "p"]) -> tuple[Law, Truth]:
    """The law and the truth that these values stand for. Between the measured lengths R(l) keeps its shape."""
    n, truth, free = len(law.fitted), cells.truth, _free_lengths(cells)
    law = with_constants_of(law, law.fitted, values[:n])
    if not free.size:
        return law, truth
    knots, shifts = (free, values[n:]) if free[0] == 0 else (np.append(0, free), np.append(0.0, values[n:]))
    every = np.log1p(np.arange(len(truth.bayes_risk)))
    risk = truth.bayes_risk + unit_of(truth) * np.interp(every, np.log1p(knots), shifts)
    return law, dataclasses.replace(truth, bayes_risk=risk)
