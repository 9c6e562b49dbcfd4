"""A law fitted to a table, with intervals of its constants."""

import dataclasses

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.stats import f as fisher

from theory.checks import check_choice
from theory.laws.base import Law, Truth
from theory.measured.adequacy import judge
from theory.measured.fitting import (
    FULL_EFFORT,
    Cells,
    Fit,
    constants_from,
    constants_of,
    cost,
    fit_gap,
    polish,
    with_constants_of,
)
from theory.measured.intervals import check_level, interval_around, jackknife_interval
from theory.measured.loss_table import (
    LossTableError,
    check_loss_table,
    check_unit,
    risk_known,
    seed_losses,
    seed_means,
    truth_of,
)
from theory.measured.weighted_fit import LossCells, best_fits, cells_of, weighted_fits
from theory.types import Array, Scalar

_REPLICATES = 99
"""Simulated tables behind ``p_adequate``."""
_WIDEST = 20.0
"""A profile that reaches this distance in a constant, or in its logarithm, counts as open."""


def fit(law: Law, results: xr.Dataset, *, level: Scalar = 0.9) -> Fit:
    """The law with the constants that best describe the seed-mean approximation loss of a table.

    Args:
        law: the form to fit. Its fields named in ``law.fitted`` are adjusted, and the others stay.
        results: a table with ``approximation_loss`` over (context_length, dataset_size, seed) and the truth curves.
            Cells with a diverged run are left out; the others may differ in their number of seeds. If R(l) was
            estimated from the losses of the table (:func:`theory.read_loss_table`), it is fitted together with the law
            (:mod:`theory.measured.weighted_fit`). Then the table should hold the loss at context length 0: without it
            the ceiling of the losses is not known, and a law that exceeds the ceiling is mostly rejected.
        level: confidence level of the intervals.

    Raises:
        LossTableError: the table lacks what is needed, has too few usable cells, or another unit than the law.
    """
    check_level(level)
    lengths, sizes, gaps, truth = _measured(law, results)
    if not risk_known(results):
        return _fit_with_risk(law, lengths, sizes, seed_losses(results), truth, level)
    best = fit_gap(law, lengths, sizes, seed_means(gaps), truth)

    def constants(mean_gap: Float[Array, "l D"]) -> Float[Array, "p"]:
        again = fit_gap(best.law, lengths, sizes, mean_gap, truth, polish_only=True)
        return constants_of(again.law, law.fitted)

    _, *ends = jackknife_interval(constants, gaps, level)
    lower, upper = (constants_from(law, law.fitted, end) for end in ends)
    intervals = {name: (lower[name], upper[name]) for name in law.fitted}
    cells = cells_of(gaps + truth.bayes_risk[lengths][:, None, None], lengths, sizes, truth)
    return dataclasses.replace(best, intervals=intervals, p_adequate=_p_adequate(best.law, cells))


def _p_adequate(law: Law, cells: LossCells) -> float:
    return float(judge([law], cells, replicates=_REPLICATES).p_adequate[0])


def _fit_with_risk(
    law: Law, lengths: Array, sizes: Array, losses: Float[Array, "l D seed"], truth: Truth, level: Scalar
) -> Fit:
    """The law fitted together with an R(l) that is not known, and the jackknife over seeds of both."""

    def fitted(losses: Float[Array, "l D seed"], starts: list[Law] | None = None) -> tuple[Law, LossCells, float]:
        cells = cells_of(losses, lengths, sizes, truth, risk_known=False)
        found = weighted_fits(starts or best_fits([law], cells), cells)
        return found.laws[0], cells, float(np.sqrt(found.misfit[0]))

    best, cells, rms = fitted(losses)
    without = [
        constants_of(fitted(np.delete(losses, s, axis=2), [best])[0], law.fitted)
        for s in range(losses.shape[2])
        if losses.shape[2] > 1
    ]
    _, *ends = interval_around(constants_of(best, law.fitted), np.array(without), level)
    lower, upper = (constants_from(law, law.fitted, end) for end in ends)
    intervals = {name: (lower[name], upper[name]) for name in law.fitted}
    return Fit(best, rms, len(cells.mean), intervals=intervals, p_adequate=_p_adequate(best, cells))


def profile_interval(law: Law, results: xr.Dataset, name: str, *, level: Scalar = 0.9) -> tuple[float, float]:
    """The values of one constant at which the best fit of all others is not much worse.

    The ends solve S(value) = S_min (1 + F / (n - p)). S is twice the Huber cost of n cells, and F is the quantile of
    Fisher's distribution with (1, n - p) degrees of freedom. An open end is infinite (0 for a positive constant).
    Unlike a standard error, the profile shows curvature. It takes residuals as independent, although cells of a seed
    share data.

    Args:
        law: the form, which is fitted anew.
        results: as for :func:`fit`.
        name: one of ``law.fitted``.
        level: confidence level.

    Raises:
        ValueError: the law has no such constant to fit.
        LossTableError: as :func:`fit`; or R(l) was estimated, so that it would have to be profiled, too.
    """
    check_choice("name", name, law.fitted)
    check_level(level)
    if not risk_known(results):
        raise LossTableError("R(l) was estimated from the losses of the table: take the intervals of fit instead")
    lengths, sizes, gaps, truth = _measured(law, results)
    best = fit_gap(law, lengths, sizes, seed_means(gaps), truth)
    cells = Cells(law, lengths, sizes, seed_means(gaps), truth)
    others = tuple(other for other in law.fitted if other != name)
    center, smallest = constants_of(best.law, (name,))[0], cost(best.law, cells)
    freedom = best.n_cells - len(law.fitted)
    allowed = smallest * (1 + fisher.ppf(level, 1, freedom) / freedom) + 1e-16

    ends = []
    for side in (-1.0, 1.0):
        # Each fit starts where the last one ended: from afar all cells may lie at the ceiling, and say nothing.
        nearby = best.law

        def excess(value: float) -> float:
            nonlocal nearby
            nearby = with_constants_of(nearby, (name,), np.array([value]))
            if not others:
                return float(cost(nearby, cells) - allowed)
            solution = polish(nearby, cells, others, FULL_EFFORT)
            nearby = solution.law
            return float(solution.cost - allowed)

        inner, outer = 0.0, 1e-3
        while outer < _WIDEST and excess(center + side * outer) < 0:
            inner, outer = outer, outer + min(outer, 2.0)
        end = side * np.inf
        if outer < _WIDEST:
            end = brentq(excess, center + side * inner, center + side * outer, xtol=1e-9)
        ends.append(constants_from(law, (name,), np.array([end]))[name])
    return ends[0], ends[1]


def _measured(law: Law, results: xr.Dataset) -> tuple[Array, Array, Float[Array, "l D seed"], Truth]:
    check_unit(results, law)
    table = check_loss_table(results, "approximation_loss")
    lengths, sizes = table.indexes["context_length"].to_numpy(), table.indexes["dataset_size"].to_numpy()
    return lengths, sizes, seed_losses(table, "approximation_loss"), truth_of(table)
