"""Fitting a law to measured approximation losses.

The Bayes risk is exact, so the approximation loss G has a floor of exactly zero and no constant is fitted for it. What
is minimised is a Huber loss of, for every cell (l, D),

    w [ sqrt(min(G_law, Gmax) / U) - sqrt(min(G_measured, Gmax) / U) ],    Gmax(l) = R(0) - R(l),  U = R(0) - R(L),
    w = 1 / (1 + (measured loss - smallest measured loss at this D) / (U/10)).

- The square root stands between differences of G, ruled by cells that have learned nothing, and differences of ln G,
  ruled by tiny gaps far from any optimum.
- The weight w makes the cells count that decide where the minimum lies.
- G above Gmax is worse than no context at all; how much worse no law here describes, so it counts as Gmax on both
  sides.

These choices were made on 17 tables (13 of MLPs on Pareto-placed parities, 4 of least squares) by how well the
saturating law then predicted held-out l*: an error of 0.19 octaves on average, 0.32 at worst, against 0.25 and 0.49
without the weight, 0.26 and 1.01 with differences of ln(loss). On 7 tables not used for the choice (other placements,
another weight decay) the same fit gave 0.46 and 0.71.

Constants in which ln G is affine are found by linear least squares at each start (variable projection, Golub & Pereyra
1973); then all are polished together. Residuals are summed, not averaged: averaging makes optimisers stop early
(Besiroglu et al., arXiv 2404.10102).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy.optimize import least_squares

from theory.laws.base import Law, Truth
from theory.loss_table import LossTableError, check_loss_table, seed_losses, truth_of
from theory.types import Array

HUBER_DELTA = 0.02
"""Residuals beyond this count linearly."""
NEAR_OPTIMUM = 0.1
"""Excess loss, in units of R(0) - R(L), at which a cell has half its weight."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted law and how well it fits.

    Attributes:
        law: the law with its fitted constants.
        rms_residual: root mean square of the weighted residual above, over the cells.
        n_cells: number of (l, D) cells used.
    """

    law: Law
    rms_residual: float
    n_cells: int


def fit(law: Law, results: xr.Dataset) -> Fit:
    """The law with the constants that best describe the seed-mean approximation loss of a table.

    Args:
        law: its fields named in ``law.fitted`` are adjusted, the others kept. A law with none is scored as it is.
        results: a table with ``approximation_loss`` over (context_length, dataset_size, seed) and the truth curves.
            Cells with a diverged or missing run are left out.

    Raises:
        LossTableError: the table lacks what is needed, or has too few usable cells.
    """
    table = check_loss_table(results, "approximation_loss")
    gap = seed_losses(table, "approximation_loss").mean(axis=2)
    lengths, sizes = table.indexes["context_length"].to_numpy(), table.indexes["dataset_size"].to_numpy()
    return fit_gap(law, lengths, sizes, gap, truth_of(table))


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
    cells = _Cells(law, context_lengths, dataset_sizes, gap, truth)
    if polish_only or not law.fitted:
        starts = [law]
    else:
        points = law.starting_points(cells.length, cells.size, truth)
        starts = [_solve_separable(law.with_constants(point), cells) for point in points]
    fits = [_polish(start, cells) for start in starts] if law.fitted else [(law, 0.0)]
    best = min(fits, key=lambda pair: pair[1])[0]
    residuals = cells.residuals(best)
    return Fit(best, float(np.sqrt(np.mean(residuals**2))), residuals.size)


class _Cells:
    """The measured cells as flat arrays."""

    def __init__(self, law: Law, context_lengths: Array, dataset_sizes: Array, gap: Array, truth: Truth):
        length, size = np.meshgrid(context_lengths, dataset_sizes.astype(np.float64), indexing="ij")
        usable = np.isfinite(gap)
        if np.any(gap[usable] < 0):
            raise LossTableError(
                f"an approximation loss is never negative; the table holds {gap[usable].min():.6g}. Measure it against "
                "the Bayes predictor, not as a difference of two noisy losses"
            )
        if usable.sum() <= len(law.fitted):
            raise LossTableError(
                f"{usable.sum()} usable cells cannot fix the {len(law.fitted)} constants of the law {law.name!r}: "
                "give more context lengths or dataset sizes with a finite approximation loss"
            )
        self.truth = truth
        self.length, self.size, self.gap = length[usable], size[usable], gap[usable]
        self.ceiling = truth.largest_gap(self.length)
        self.unit = float(truth.bayes_risk[0] - truth.bayes_risk[-1])
        if self.unit <= 0:
            raise LossTableError("the Bayes risk does not fall with the context length: there is nothing to learn")
        loss = truth.bayes_risk[length] + np.where(usable, gap, np.inf)
        excess = (loss - loss.min(axis=0))[usable]
        self.weight = 1 / (1 + excess / (NEAR_OPTIMUM * self.unit))

    def residuals(self, law: Law) -> Float[Array, "cells"]:
        predicted = law.approximation_loss(self.length, self.size, self.truth)
        roots = [np.sqrt(np.minimum(gap, self.ceiling) / self.unit) for gap in (predicted, self.gap)]
        return self.weight * (roots[0] - roots[1])

    def log_gap(self, law: Law, chosen: Bool[Array, "cells"]) -> Float[Array, "chosen"]:
        return np.log(law.approximation_loss(self.length[chosen], self.size[chosen], self.truth))


def _to_internal(law: Law, names: tuple[str, ...]) -> Float[Array, "p"]:
    return np.array([np.log(getattr(law, n)) if n in law.positive else getattr(law, n) for n in names])


def _from_internal(law: Law, names: tuple[str, ...], values: Array) -> Law:
    # The bound of the logarithm only keeps a wild step of the optimiser from overflowing.
    constants: Mapping[str, float] = {
        n: float(np.exp(np.clip(v, -600.0, 600.0))) if n in law.positive else float(v)
        for n, v in zip(names, values, strict=True)
    }
    return law.with_constants(constants)


def _solve_separable(law: Law, cells: _Cells) -> Law:
    """Least squares for the constants in which ln G is affine; columns are ln G at unit points less at zero."""
    names = law.separable
    if not names:
        return law
    origin = _from_internal(law, names, np.zeros(len(names)))
    says_something = law.approximation_loss(cells.length, cells.size, cells.truth) > 0
    chosen = says_something & (cells.gap > 0) & (cells.gap < cells.ceiling)
    if chosen.sum() < len(names):
        return law
    offset = cells.log_gap(origin, chosen)
    columns = [cells.log_gap(_from_internal(law, names, point), chosen) - offset for point in np.eye(len(names))]
    solution = np.linalg.lstsq(np.stack(columns, axis=1), np.log(cells.gap[chosen]) - offset)[0]
    return _from_internal(law, names, solution)


def _polish(law: Law, cells: _Cells) -> tuple[Law, float]:
    with np.errstate(over="ignore", under="ignore"):
        solution = least_squares(
            lambda x: cells.residuals(_from_internal(law, law.fitted, x)),
            _to_internal(law, law.fitted),
            loss="huber",
            f_scale=HUBER_DELTA,
            x_scale="jac",
            xtol=1e-12,
            ftol=1e-12,
            gtol=1e-12,
        )
    return _from_internal(law, law.fitted, solution.x), float(solution.cost)
