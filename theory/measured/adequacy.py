"""Can a law be true? An absolute test of each law, and a test of equal merit between two.

A table gives the mean loss y of every cell (l, D). A law says y = R(l) + G(l, D), plus the scatter of the seeds, whose
covariance V is pooled from the table (:mod:`theory.measured.scatter`). Misfits below a tolerance count as nothing: V
holds a variance (tolerance U)^2 for every cell, and one for a shift of all cells together. The misfit of a law is

    T = min over its constants of (y - f)^T V^-1 (y - f).

For a linear model T is the sum of squared one-step-ahead prediction errors, each in units of its own standard
deviation (recursive residuals: Brown, Durbin & Evans 1975, Journal of the Royal Statistical Society B 37, 149). So a
law pays for its constants by what it cannot foresee, and no penalty for their number is added.

**Adequacy.** Two statistics look for a misfit: T, against any misfit, and the part of T that a quadratic surface in
(ln l, ln D) would explain, against a smooth one. Their distribution under the law is simulated: seeds are drawn from
the estimated scatter, V is estimated again from each draw, and the law is fitted again, linearised at its constants.
The p-value is twice the smaller of the two. It comes twice: for the law to within the tolerance, where every draw also
has a misfit of that size, and for the law as it is.

**Equal merit.** Laws A and B are equally good where the truth lies half-way between their fits. The same simulation
around that midpoint gives the distribution of T_B - T_A, hence the p-value of the difference found.

Where R(l) is not known, it is one free constant for each context length, fitted with the law and anew in each draw.
A law that uses R(l) itself takes the fitted one. Where R(l) is known, gaps at the ceiling Gmax(l) = R(0) - R(l) say
only that nothing was learned: a law that predicts the ceiling, or more, agrees with them.
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
REPLICATES = 199
"""Simulated tables behind a p-value."""
_BEYOND = 10.0
"""Largest gap of a law where no ceiling is known, in units of the largest gap measured (or of U)."""
_STEP = 1e-5
"""Step of the constants in a Jacobian."""
_NEAR_CEILING = 2.5
"""Standard errors below the ceiling from which a gap counts as the ceiling."""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a table says of each law.

    Attributes:
        laws: the laws with the constants that fit best.
        truths: R(l) and dim(l) under each law: as given, or with the fitted R(l).
        misfit: T per degree of freedom.
        p_adequate: p-value of the law to within the tolerance; NaN without scatter to judge by.
        p_exact: p-value of the law without a tolerance.
        p_equal: p-value of equal merit with the law of the smallest misfit; 1 for that law itself.
    """

    laws: tuple[Law, ...]
    truths: tuple[Truth, ...]
    misfit: Float[Array, "law"]
    p_adequate: Float[Array, "law"]
    p_exact: Float[Array, "law"]
    p_equal: Float[Array, "law"]


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
    """Constants from which the fits of :func:`judge` start: those of :func:`theory.measured.fitting.fit_gap`."""
    lengths, sizes = np.unique(cells.grid.length), np.unique(cells.grid.size)
    gap = np.full((len(lengths), len(sizes)), np.nan)
    gap[cells.grid.ranks] = np.maximum(cells.mean - cells.truth.bayes_risk[cells.grid.length], 0.0)
    return [fit_gap(law, lengths, sizes, gap, cells.truth).law for law in laws]


def judge(
    starts: Sequence[Law],
    cells: LossCells,
    *,
    tolerance: float = TOLERANCE,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Judgement:
    """Test each law, and the merit of each against that of the best.

    Args:
        starts: the laws, with constants from which their fits start (:func:`best_fits`).
        cells: the losses.
        tolerance: misfit that counts as nothing, in units of U.
        replicates: simulated tables; 0 to fit the laws only.
        seed: seed of the simulation.

    Raises:
        LossTableError: a law has as many constants as there are cells beyond those that fix R(l).
    """
    _check_cells(starts, cells)
    fits = [_Fit(law, cells.truth, _first_values(law, cells)) for law in starts]
    # The first weights come from a smooth surface through the means, the second from the best fit.
    weights = _Weights.of(cells, _smooth(cells), tolerance)
    fits, squares = _refitted(fits, cells, weights)
    best = int(np.argmin(squares))
    level = weights.gap(fits[best].law, fits[best].truth, cells)
    weights = _Weights.of(cells, level, tolerance)
    fits, squares = _refitted(fits, cells, weights)
    best = int(np.argmin(squares))
    p_adequate = p_exact = p_equal = np.full(len(fits), np.nan)
    if cells.has_scatter and replicates:
        drawn = _Replicates.of(cells, weights, level, tolerance, replicates, seed)
        p_adequate, p_exact = np.array([drawn.p_adequate(fit, weights) for fit in fits]).T
        p_equal = np.array([1.0 if fit is fits[best] else drawn.p_equal(fits[best], fit, weights) for fit in fits])
    freedom = np.array([_spare(cells) - len(fit.law.fitted) for fit in fits])
    return Judgement(
        tuple(fit.law for fit in fits),
        tuple(fit.truth for fit in fits),
        squares / freedom,
        p_adequate,
        p_exact,
        p_equal,
    )


def misfits(judgement: Judgement, cells: LossCells) -> Float[Array, "law"]:
    """T of each law."""
    return judgement.misfit * np.array([_spare(cells) - len(law.fitted) for law in judgement.laws])


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
class _Fit:
    """A law, its fitted values, what it predicts (in units of U) and the derivatives of that by the values."""

    law: Law
    truth: Truth
    values: Float[Array, "p"]
    predicted: Float[Array, "cells"] = dataclasses.field(default_factory=lambda: np.empty(0))
    jacobian: Float[Array, "cells p"] = dataclasses.field(default_factory=lambda: np.empty((0, 0)))


@dataclasses.dataclass(frozen=True)
class _Weights:
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
    def of(cls, cells: LossCells, level: Float[Array, "cells"], tolerance: float) -> "_Weights":
        grid, unit = cells.grid, unit_of(cells.truth)
        scatter = _scatter(cells, grid.deviations(cells.losses)[None] / unit, level, tolerance)
        target = (cells.mean - cells.truth.bayes_risk[grid.length]) / unit
        ceiling = np.full(len(target), _BEYOND * max(1.0, float(np.abs(target).max())))
        if cells.risk_known:
            largest = cells.truth.largest_gap(grid.length) / unit
            error = np.sqrt(scatter.variance[0] / grid.seeds) if cells.has_scatter else 0.0
            ceiling = np.maximum(largest - _NEAR_CEILING * np.minimum(error, 0.3 * largest), 0.0)
        tied = target < ceiling
        root = _roots(scatter, cells, tied, tolerance)[0]
        return cls(root, np.minimum(target, ceiling), ceiling, tied, scatter, unit)

    def gap(self, law: Law, truth: Truth, cells: LossCells) -> Float[Array, "cells"]:
        """The gaps that a law predicts, at most the ceiling."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            gap = law.approximation_loss(cells.grid.length, cells.grid.size, truth) / self.unit
        return np.minimum(np.where(np.isnan(gap), np.inf, gap), self.ceiling)

    def predicted(self, law: Law, truth: Truth, cells: LossCells) -> Float[Array, "cells"]:
        """The losses that a law predicts, less the R(l) that the target leaves out."""
        shift = (truth.bayes_risk - cells.truth.bayes_risk)[cells.grid.length] / self.unit
        return self.gap(law, truth, cells) + shift


def _scatter(
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


def _roots(scatter: Scatter, cells: LossCells, tied: Array, tolerance: float) -> Float[Array, "batch cells cells"]:
    """Inverse Cholesky factors of V."""
    n = len(cells.grid.length)
    covariance = scatter.covariance_of_means(cells.grid) * (np.outer(tied, tied) | np.eye(n, dtype=bool))
    floor = max(tolerance, 1e-6) ** 2
    return np.linalg.inv(np.linalg.cholesky(covariance + floor * (np.eye(n) + np.ones((n, n)))))


def _surface(grid: Grid, degree: int) -> Float[Array, "cells k"]:
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
    if cells.risk_known:
        gap = np.minimum(gap, R.largest_gap(cells.grid.length) / unit)
    logs, surface = np.log(np.maximum(gap, 0.0) + TOLERANCE), _surface(cells.grid, 3)
    return np.exp(surface @ np.linalg.lstsq(surface, logs)[0]) - TOLERANCE


def _refitted(starts: Sequence[_Fit], cells: LossCells, weights: _Weights) -> tuple[list[_Fit], Float[Array, "law"]]:
    """The laws with the constants of the smallest T, from their present constants on, and T."""
    fits = [_refitted_law(start, cells, weights) for start in starts]
    return fits, np.array([np.sum((weights.root @ (weights.target - fit.predicted)) ** 2) for fit in fits])


def _refitted_law(start: _Fit, cells: LossCells, weights: _Weights) -> _Fit:
    law, values = start.law, start.values

    def predicted(values: Array) -> Float[Array, "cells"]:
        return weights.predicted(*_with_values(law, cells, values), cells)

    if values.size:
        values = least_squares(
            lambda values: weights.root @ (weights.target - predicted(values)), values,
            method="lm", x_scale="jac", xtol=1e-6, ftol=1e-6, max_nfev=200 * (values.size + 1),
        ).x  # fmt: skip
    found = predicted(values)
    columns = [(predicted(values + step) - found) / _STEP for step in _STEP * np.eye(values.size)]
    jacobian = np.stack(columns, axis=1) if columns else np.empty((len(found), 0))
    return _Fit(*_with_values(law, cells, values), values, found, jacobian)


def _free_lengths(cells: LossCells) -> Int[Array, "free"]:
    """The context lengths whose R(l) is fitted: none if it is known, else 0 and every measured one."""
    return np.unique(np.append(0, cells.grid.length)) if not cells.risk_known else np.empty(0, int)


def _first_values(law: Law, cells: LossCells) -> Float[Array, "p"]:
    """The law's constants, and the shifts of R(l) in units of U."""
    return np.append(constants_of(law, law.fitted), np.zeros(len(_free_lengths(cells))))


def _with_values(law: Law, cells: LossCells, values: Float[Array, "p"]) -> tuple[Law, Truth]:
    """The law and the truth that these values stand for. Between the measured lengths R(l) keeps its shape."""
    n, truth, free = len(law.fitted), cells.truth, _free_lengths(cells)
    law = with_constants_of(law, law.fitted, values[:n])
    if not free.size:
        return law, truth
    every = np.log1p(np.arange(len(truth.bayes_risk)))
    risk = truth.bayes_risk + unit_of(truth) * np.interp(every, np.log1p(free), values[n:])
    return law, dataclasses.replace(truth, bayes_risk=risk)


@dataclasses.dataclass(frozen=True)
class _Replicates:
    """Simulated noise of the means, misfits of the tolerated size, and the root of V as estimated from each draw."""

    noise: Float[Array, "number cells"]
    tolerated: Float[Array, "number cells"]
    roots: Float[Array, "number cells cells"]
    surface: Float[Array, "cells k"]

    @classmethod
    def of(
        cls,
        cells: LossCells,
        weights: _Weights,
        level: Float[Array, "cells"],
        tolerance: float,
        number: int,
        seed: int,
    ) -> "_Replicates":
        rng = np.random.default_rng(seed)
        samples = weights.scatter.draw(cells.grid, rng, number)
        again = _scatter(cells, cells.grid.deviations(samples), level, tolerance)
        misfit = tolerance * (rng.normal(size=(number, 1)) + rng.normal(size=(number, len(cells.grid.length))))
        roots = _roots(again, cells, weights.tied, tolerance)
        return cls(cells.grid.mean(samples), misfit, roots, _surface(cells.grid, 2))

    def p_adequate(self, fit: _Fit, weights: _Weights) -> tuple[float, float]:
        """p-values of the law, to within the tolerance and exactly: twice the smaller one of T and its smooth part."""
        columns = _independent(weights.root @ fit.jacobian, fit.jacobian)
        smooth = np.hstack([columns, self._smooth_beside(columns, weights)])
        residual = (weights.root @ (weights.target - fit.predicted))[None]
        whole, rest = (_left(weights.root[None] @ of, residual)[0] for of in (columns, smooth))
        found = []
        for noise in (self.noise + self.tolerated, self.noise):
            noise = np.einsum("bij,bj->bi", self.roots, noise)
            whole_drawn, rest_drawn = (_left(self.roots @ of, noise) for of in (columns, smooth))
            tails = (np.sum(whole_drawn >= whole), np.sum(whole_drawn - rest_drawn >= whole - rest))
            found.append(float(min(1.0, 2 * (1 + min(tails)) / (1 + len(self.noise)))))
        return found[0], found[1]

    def p_equal(self, best: _Fit, other: _Fit, weights: _Weights) -> float:
        """The p-value of T_other - T_best where the truth lies half-way between both."""
        half = (other.predicted - best.predicted) / 2
        found, drawn = [], []
        for fit, offset in ((best, half), (other, -half)):
            columns = _independent(weights.root @ fit.jacobian, fit.jacobian)
            residual = (weights.root @ (weights.target - fit.predicted))[None]
            found.append(_left(weights.root[None] @ columns, residual)[0])
            drawn.append(_left(self.roots @ columns, np.einsum("bij,bj->bi", self.roots, self.noise + offset)))
        return float((1 + np.sum(drawn[1] - drawn[0] >= found[1] - found[0])) / (1 + len(self.noise)))

    def _smooth_beside(self, columns: Float[Array, "cells p"], weights: _Weights) -> Float[Array, "cells q"]:
        """Directions of the surface that the law's constants cannot follow."""
        taken = np.linalg.qr(weights.root @ columns)[0]
        whitened = weights.root @ self.surface
        return _independent(whitened - taken @ (taken.T @ whitened), self.surface, 1e-3)


def _independent(
    whitened: Float[Array, "cells k"], columns: Float[Array, "cells k"], smallest: float = 1e-6
) -> Float[Array, "cells q"]:
    """Combinations of the columns that differ from each other once whitened."""
    _, sizes, directions = np.linalg.svd(whitened, full_matrices=False)
    kept = sizes > smallest * max(float(sizes.max(initial=0.0)), 1e-6)
    return np.asarray(columns @ (directions[kept].T / np.where(kept, sizes, 1.0)[kept]))


def _left(columns: Float[Array, "batch cells k"], residual: Float[Array, "batch cells"]) -> Float[Array, "batch"]:
    """The sum of squares that the best combination of the columns leaves."""
    whole = np.sum(residual**2, axis=1)
    if columns.shape[2] == 0:
        return whole
    basis = np.linalg.qr(columns)[0]
    return np.asarray(whole - np.sum(np.einsum("bnk,bn->bk", basis, residual) ** 2, axis=1))
