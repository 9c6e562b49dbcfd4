"""Can a law be true? An absolute test of each law, and a test of equal merit between two.

The misfit T of a law is that of :mod:`theory.measured.weighted_fit`. For a linear model T is the sum of squared
one-step-ahead prediction errors, each in units of its own standard deviation (recursive residuals: Brown, Durbin &
Evans 1975, Journal of the Royal Statistical Society B 37, 149). So a law pays for its constants by what it cannot
foresee, and no penalty for their number is added.

**Adequacy.** Two statistics look for a misfit: T, against any misfit, and the part of T that a quadratic surface in
(ln l, ln D) would explain, against a smooth one. Their distribution under the law is simulated: seeds are drawn from
the estimated scatter, V is estimated again from each draw, and the law is fitted again, linearised at its constants.
The p-value is twice the smaller of the two. It comes twice: for the law to within the tolerance, where every draw also
has a misfit of that size, and for the law as it is.

**Equal merit.** Laws A and B are equally good where the truth lies half-way between their fits. The same simulation
around that midpoint gives the distribution of T_B - T_A, hence the p-value of the difference found.

Where R(l) is not known, its constants are fitted anew in each draw.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from theory.laws.base import Law
from theory.measured.weighted_fit import (
    TOLERANCE,
    LawFit,
    LossCells,
    Weights,
    pooled_scatter,
    surface_powers,
    weighted_fits,
    whitening_roots,
)
from theory.types import Array

REPLICATES = 199
"""Simulated tables behind a p-value."""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a table says of each law.

    Attributes:
        laws: the laws with the constants that fit best.
        misfit: T per degree of freedom.
        p_adequate: p-value of the law to within the tolerance; NaN without scatter to judge by.
        p_exact: p-value of the law without a tolerance.
        p_equal: p-value of equal merit with the law of the smallest misfit; 1 for that law itself.
    """

    laws: tuple[Law, ...]
    misfit: Float[Array, "law"]
    p_adequate: Float[Array, "law"]
    p_exact: Float[Array, "law"]
    p_equal: Float[Array, "law"]


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
        starts: the laws, with constants from which their fits start (:func:`theory.measured.weighted_fit.best_fits`).
        cells: the losses.
        tolerance: misfit that counts as nothing, in units of U.
        replicates: simulated tables.
        seed: seed of the simulation.

    Raises:
        LossTableError: a law has as many constants as there are cells beyond those that fix R(l).
    """
    found = weighted_fits(starts, cells, tolerance=tolerance)
    p_adequate = p_exact = p_equal = np.full(len(found.fits), np.nan)
    if cells.has_scatter:
        weights, best = found.weights, found.fits[found.best]
        drawn = _Replicates.of(cells, weights, found.level, tolerance, replicates, seed)
        p_adequate, p_exact = np.array([drawn.p_adequate(fit, weights) for fit in found.fits]).T
        p_equal = np.array([1.0 if fit is best else drawn.p_equal(best, fit, weights) for fit in found.fits])
    return Judgement(found.laws, found.misfit, p_adequate, p_exact, p_equal)


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
        weights: Weights,
        level: Float[Array, "cells"],
        tolerance: float,
        number: int,
        seed: int,
    ) -> "_Replicates":
        rng = np.random.default_rng(seed)
        samples = weights.scatter.draw(cells.grid, rng, number)
        again = pooled_scatter(cells, cells.grid.deviations(samples), level, tolerance)
        misfit = tolerance * (rng.normal(size=(number, 1)) + rng.normal(size=(number, len(cells.grid.length))))
        roots = whitening_roots(again, cells, weights.tied, tolerance)
        return cls(cells.grid.mean(samples), misfit, roots, surface_powers(cells.grid, 2))

    def p_adequate(self, fit: LawFit, weights: Weights) -> tuple[float, float]:
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

    def p_equal(self, best: LawFit, other: LawFit, weights: Weights) -> float:
        """The p-value of T_other - T_best where the truth lies half-way between both."""
        half = (other.predicted - best.predicted) / 2
        found, drawn = [], []
        for fit, offset in ((best, half), (other, -half)):
            columns = _independent(weights.root @ fit.jacobian, fit.jacobian)
            residual = (weights.root @ (weights.target - fit.predicted))[None]
            found.append(_left(weights.root[None] @ columns, residual)[0])
            drawn.append(_left(self.roots @ columns, np.einsum("bij,bj->bi", self.roots, self.noise + offset)))
        return float((1 + np.sum(drawn[1] - drawn[0] >= found[1] - found[0])) / (1 + len(self.noise)))

    def _smooth_beside(self, columns: Float[Array, "cells p"], weights: Weights) -> Float[Array, "cells q"]:
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
