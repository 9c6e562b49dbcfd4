"""Fitting a law to measured approximation losses.

The Bayes risk is exact. So the approximation loss G has a floor of exactly zero, and no constant is fitted for it. The
fit minimises the summed Huber losses of one residual for every cell (l, D):

    w [ sqrt(min(G_law, Gmax) / U) - sqrt(min(G_measured, Gmax) / U) ],    Gmax(l) = R(0) - R(l),  U = R(0) - R(L),
    w = 1 / (1 + (measured loss - smallest measured loss at this D) / (U/10)).

- The square root is a compromise. Cells that have learned nothing dominate differences of G, and tiny gaps far from
  any optimum dominate differences of ln G.
- The weight w favours the cells that decide where the minimum lies.
- Where G exceeds Gmax, the learner does worse than one without context. No law here describes by how much. Such a gap
  therefore counts as Gmax, in the law and in the measurement.

These choices were made on 17 tables (13 of MLPs on Pareto-placed parities, 4 of least squares). The criterion was how
well the saturating law predicts held-out l*:

| residual | mean error, octaves | largest error |
| --- | --- | --- |
| as above | 0.19 | 0.32 |
| without the weight | 0.25 | 0.49 |
| difference of ln(loss) | 0.26 | 1.01 |
| as above, 7 tables not used for the choice | 0.46 | 0.71 |

Constants in which ln G is affine are found by linear least squares at each start (variable projection, Golub & Pereyra
1973); then all are polished together. Residuals are summed, not averaged: averaging makes optimisers stop early
(Besiroglu et al., arXiv 2404.10102).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import least_squares
from scipy.special import huber

from theory.laws.base import AnyLaw, Law, Truth
from theory.measured.loss_table import LossTableError, check_gaps
from theory.types import Array

NEAR_OPTIMUM = 0.1
"""Excess loss, in units of R(0) - R(L), at which a cell has half its weight."""
HUBER_DELTA = 0.02
"""Residuals beyond this count linearly."""
_NO_CHANGE = 1e-6
"""A change of all residuals together by less than this is rounding."""


def unit_of(truth: Truth) -> float:
    """U = R(0) - R(L): what the whole context is worth."""
    unit = float(truth.bayes_risk[0] - truth.bayes_risk[-1])
    if unit <= 0:
        raise LossTableError("the Bayes risk does not fall with the context length: there is nothing to learn")
    return unit


def cell_weights(truth: Truth, context_lengths: Array, gap: Float[Array, "l D"]) -> Float[Array, "l D"]:
    """w of every cell; 0 where the gap is not known."""
    loss = truth.bayes_risk[context_lengths][:, None] + np.where(np.isfinite(gap), gap, np.inf)
    smallest = loss.min(axis=0)
    excess = loss - np.where(np.isfinite(smallest), smallest, 0.0)
    return 1 / (1 + excess / (NEAR_OPTIMUM * unit_of(truth)))


def root_gap(gap: Float[Array, "*cells"], context_length: Array, truth: Truth) -> Float[Array, "*cells"]:
    """sqrt(min(G, Gmax(l)) / U)."""
    return np.sqrt(np.minimum(gap, truth.largest_gap(context_length)) / unit_of(truth))


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted law and how well it fits.

    Attributes:
        law: the law with its fitted constants.
        rms_residual: root mean square of the weighted residual above, over the cells. Where R(l) was fitted, too: the
            root of the misfit per degree of freedom (:mod:`theory.measured.weighted_fit`).
        n_cells: number of (l, D) cells used.
        flat_directions: combinations of the constants (of their logarithms where they are positive) that the table
            does not fix to better than one unit (a factor e); empty if all are fixed.
        intervals: lower and upper end of an interval of each fitted constant, from the jackknife over seeds
            (:func:`theory.measured.intervals.jackknife_interval`). Both are NaN with a single seed.
        p_adequate: p-value of the law to within a tolerance (:mod:`theory.measured.adequacy`). At most 0.02 rejects the
            law: then no constants fit, and the intervals mean nothing. NaN with a single seed.
    """

    law: Law
    rms_residual: float
    n_cells: int
    flat_directions: tuple[str, ...] = ()
    intervals: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    p_adequate: float = np.nan


def fit_gap(
    law: Law,
    context_lengths: Array,
    dataset_sizes: Array,
    gap: Float[Array, "l D"],
    truth: Truth,
    *,
    polish_only: bool = False,
) -> Fit:
    """:func:`fit` on bare arrays; ``polish_only`` starts from the law's present constants alone (for resampling)."""
    cells = Cells(law, context_lengths, dataset_sizes, gap, truth)
    if not law.fitted:
        residuals = cells.residuals(law)
        return Fit(law, float(np.sqrt(np.mean(residuals**2))), residuals.size)
    if polish_only:
        best = polish(law, cells, law.fitted, _AGAIN)
    else:
        points = law.starting_points(cells.length, cells.size, truth)
        starts = [_solve_separable(law.with_constants(point), cells) for point in points]
        solutions = [polish(start, cells, law.fitted, _FIRST_LOOK) for start in starts]
        promising = sorted(solutions, key=lambda solution: solution.cost)[:_KEPT_STARTS]
        solutions = [polish(solution.law, cells, law.fitted, FULL_EFFORT) for solution in promising]
        best = min(solutions, key=lambda solution: solution.cost)
    residuals = cells.residuals(best.law)
    return Fit(best.law, float(np.sqrt(np.mean(residuals**2))), residuals.size, _flat_directions(best, residuals))


class Cells:
    """The measured cells as flat arrays."""

    def __init__(self, law: Law, context_lengths: Array, dataset_sizes: Array, gap: Array, truth: Truth):
        length, size = np.meshgrid(context_lengths, dataset_sizes.astype(np.float64), indexing="ij")
        usable = np.isfinite(gap)
        check_gaps(gap)
        if usable.sum() <= len(law.fitted):
            raise LossTableError(
                f"{usable.sum()} usable cells cannot fix the {len(law.fitted)} constants of the law {law.name!r}: "
                "give more context lengths or dataset sizes with a finite approximation loss"
            )
        self.truth = truth
        self.length, self.size, self.gap = length[usable], size[usable], gap[usable]
        self.root = root_gap(self.gap, self.length, truth)
        self.ceiling = truth.largest_gap(self.length)
        self.weight = cell_weights(truth, context_lengths, gap)[usable]

    def residuals(self, law: Law) -> Float[Array, "cells"]:
        predicted = law.approximation_loss(self.length, self.size, self.truth)
        return self.weight * (root_gap(predicted, self.length, self.truth) - self.root)

    def log_gap(self, law: Law, chosen: Bool[Array, "cells"]) -> Float[Array, "chosen"]:
        return np.log(law.approximation_loss(self.length[chosen], self.size[chosen], self.truth))


def constants_of(law: Law, names: tuple[str, ...]) -> Float[Array, "p"]:
    """The constants as a fit moves them: logarithms of those that must stay above zero."""
    return np.array([np.log(getattr(law, n)) if n in law.positive else getattr(law, n) for n in names])


def constants_from(law: Law, names: tuple[str, ...], values: Array) -> dict[str, float]:
    """The constants that a fit moved to these values, by name."""
    # The bound of the logarithm only keeps a wild step of the optimiser from overflowing.
    return {
        n: float(np.exp(np.clip(v, -600.0, 600.0) if np.isfinite(v) else v)) if n in law.positive else float(v)
        for n, v in zip(names, values, strict=True)
    }


def with_constants_of(law: AnyLaw, names: tuple[str, ...], values: Array) -> AnyLaw:
    """The law with constants as a fit moves them."""
    return law.with_constants(constants_from(law, names, values))


def _solve_separable(law: Law, cells: Cells) -> Law:
    """Least squares for the constants in which ln G is affine; columns are ln G at unit points less at zero."""
    names = law.separable
    if not names:
        return law
    origin = with_constants_of(law, names, np.zeros(len(names)))
    says_something = law.approximation_loss(cells.length, cells.size, cells.truth) > 0
    chosen = says_something & (cells.gap > 0) & (cells.gap < cells.ceiling)
    if chosen.sum() < len(names):
        return law
    offset = cells.log_gap(origin, chosen)
    columns = [cells.log_gap(with_constants_of(law, names, point), chosen) - offset for point in np.eye(len(names))]
    solution = np.linalg.lstsq(np.stack(columns, axis=1), np.log(cells.gap[chosen]) - offset)[0]
    return with_constants_of(law, names, solution)


@dataclasses.dataclass(frozen=True)
class Effort:
    """Relative tolerance of the optimiser, and its largest number of steps (None: a hundred for each constant)."""

    tolerance: float
    most_steps: int | None


FULL_EFFORT = Effort(1e-12, None)
_FIRST_LOOK = Effort(1e-8, 20)
"""Enough to tell good starts from bad ones."""
_AGAIN = Effort(1e-6, 10)
"""Enough for a resample, which starts at the optimum of all seeds."""
_KEPT_STARTS = 3


@dataclasses.dataclass(frozen=True)
class _Solution:
    """A local minimum over the constants ``names``; the Jacobian is that of the residuals as Huber weighs them."""

    law: Law
    names: tuple[str, ...]
    cost: float
    jacobian: Float[Array, "cells p"]


def polish(law: Law, cells: Cells, names: tuple[str, ...], effort: Effort) -> _Solution:
    """The local minimum of the summed Huber losses over these constants, from their present values on."""
    with np.errstate(over="ignore", under="ignore"):
        solution = least_squares(
            lambda x: cells.residuals(with_constants_of(law, names, x)),
            constants_of(law, names),
            loss="huber",
            f_scale=HUBER_DELTA,
            x_scale="jac",
            xtol=effort.tolerance,
            ftol=effort.tolerance,
            gtol=effort.tolerance,
            max_nfev=effort.most_steps,
        )
    return _Solution(with_constants_of(law, names, solution.x), names, float(solution.cost), solution.jac)


def cost(law: Law, cells: Cells) -> float:
    """Half the sum of Huber losses, as the optimiser counts it."""
    return float(np.sum(huber(HUBER_DELTA, cells.residuals(law))))


def _flat_directions(solution: _Solution, residuals: Float[Array, "cells"]) -> tuple[str, ...]:
    """Right singular vectors of the Jacobian along which one unit changes the residuals by less than their noise."""
    if not np.all(np.isfinite(solution.jacobian)):
        return ()
    _, sizes, directions = np.linalg.svd(solution.jacobian, full_matrices=False)
    noise = np.sqrt(np.sum(residuals**2) / max(residuals.size - len(solution.names), 1))
    flat = directions[sizes < max(float(noise), _NO_CHANGE)]
    labels = [f"ln {name}" if name in solution.law.positive else name for name in solution.names]
    return tuple(
        " ".join(f"{part:+.2f} {label}" for part, label in zip(row, labels, strict=True) if abs(part) > 0.1)
        for row in flat
    )
