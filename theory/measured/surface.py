"""The best context length between the measured ones: the minimum of a smooth surface through all measured losses."""

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator
from scipy.stats import norm
from scipy.stats import t as student_t

from theory.measured.fitting import unit_of
from theory.measured.intervals import check_level
from theory.measured.kriging import Kriging
from theory.measured.loss_table import (
    LossTableError,
    check_gaps,
    check_loss_table,
    risk_known,
    seed_losses,
    seed_means,
    truth_of,
)
from theory.measured.scatter import estimate_scatter
from theory.measured.weighted_fit import LossCells, cells_of
from theory.types import Array, Scalar

_POINTS = 64
"""Context lengths, even in ln l, between which a parabola finds the minimum."""
_DRAWS = 400
_SMALLEST = 1e-4
"""Smallest gap, in units of R(0) - R(L), whose logarithm says something of a minimum."""
_LONE_NOISE = (0.003, 0.01, 0.03, 0.1, 0.3)
"""Noise of ln G that is tried where a single seed shows none."""


def surface_optimum(results: xr.Dataset, *, level: Scalar = 0.9, seed: int = 0) -> xr.Dataset:
    """l*(D) as a real number, and how fast it grows, each with an interval.

    The surface is R(l) + G(l, D). R is exact, continued between integers by a monotone cubic in ln l. ln G is a smooth
    function of ln l and ln D: a quadratic and a Gaussian process around it (:mod:`theory.measured.kriging`), inferred
    from the seed means of all cells. No theory is supposed. The noise of the means is the scatter of the seeds, pooled
    over cells (:mod:`theory.measured.scatter`). Cells with a gap below 0.0001 (R(0) - R(L)) are left out.

    Surfaces are drawn from the posterior. The interval holds the central ``level`` of their minima, widened as
    Student's t is by the number of independent deviations behind the scatter. So it holds the noise and what a smooth
    surface may do between cells. A kink, as where a ceiling is reached, is not smooth. The shares of simulated tables
    whose interval covers l* stand in ``tests/benchmarks/measured.txt`` (``python -m tests.benchmarks.coverage``).

    Args:
        results: a table with ``approximation_loss`` over (context_length, dataset_size, seed) and the truth curves.
            Cells may differ in their number of seeds (NaN where there is none); one with a diverged run is left out.
        level: confidence level of the intervals.
        seed: seed of the draws.

    Returns:
        A Dataset over ``dataset_size``: ``optimal_context_length``, its ``lower`` and ``upper`` end, ``at_edge`` (the
        surface falls towards an end of the measured lengths: no l* is reported). An end of the interval that equals an
        end of the measured lengths is open: l* may lie beyond. Scalars ``growth_exponent``, ``growth_lower``,
        ``growth_upper``: the slope of ln l* on ln D over the dataset sizes whose interval is not open (NaN with fewer
        than two). With a single seed there are no intervals: their ends are NaN.

    Raises:
        LossTableError: the table lacks what is needed, has a negative approximation loss, an R(l) that was estimated
            from the same losses, fewer than three context lengths above 0 or fewer than three dataset sizes.
    """
    check_level(level)
    table = check_loss_table(results, "loss", "approximation_loss")
    if not risk_known(table):
        raise LossTableError(
            "R(l) was estimated from the losses of the table, so that no surface R(l) + G(l, D) is known: give R(l), "
            "or take optimal_context_length, which needs none"
        )
    table = table.sel(context_length=table.indexes["context_length"] > 0)
    lengths, sizes = table.indexes["context_length"].to_numpy(), table.indexes["dataset_size"].to_numpy()
    truth, gaps = truth_of(table), seed_losses(table, "approximation_loss")
    check_gaps(gaps)
    told = seed_means(gaps)[:, :, None] > _SMALLEST * unit_of(truth)
    losses = np.where(told, truth.bayes_risk[lengths][:, None, None] + gaps, np.nan)
    cells = cells_of(losses, lengths, sizes, truth)
    measured = [len(np.unique(axis)) for axis in (cells.grid.length, cells.grid.size)]
    if min(measured) < 3 or len(cells.grid.length) < 7:
        raise LossTableError(
            f"{measured[0]} context lengths above 0 and {measured[1]} dataset sizes with an approximation loss above "
            "zero do not fix a surface; give at least three of each"
        )
    search = np.linspace(np.log(lengths[0]), np.log(lengths[-1]), _POINTS)
    every = np.arange(1, len(truth.bayes_risk))
    risk = PchipInterpolator(np.log(every), truth.bayes_risk[1:])(search) / unit_of(truth)
    best, minima = _minima(cells, search, np.log(sizes), risk, level, np.random.default_rng(seed))

    ends = [(1 - level) / 2, (1 + level) / 2]
    lower, upper = np.quantile(minima, ends, axis=0)
    inside = (lower > search[0]) & (upper < search[-1])
    at_edge = (best <= search[0]) | (best >= search[-1])
    growth = np.full(3, np.nan)
    if inside.sum() >= 2:
        x = np.log(sizes[inside])
        slopes = np.polyfit(x, minima[:, inside].T, 1)[0]
        growth = np.array([np.polyfit(x, best[inside], 1)[0], *np.quantile(slopes, ends)])
    if gaps.shape[2] == 1:
        lower, upper, growth[1:] = np.full_like(lower, np.nan), np.full_like(upper, np.nan), np.nan
    found = {
        "optimal_context_length": np.where(at_edge, np.nan, np.exp(best)),
        "lower": np.exp(lower),
        "upper": np.exp(upper),
        "at_edge": at_edge,
    }
    growing = dict(zip(("growth_exponent", "growth_lower", "growth_upper"), growth, strict=True))
    return xr.Dataset(
        {**{name: ("dataset_size", values) for name, values in found.items()}, **growing},
        coords={"dataset_size": sizes},
        attrs={"level": level, "n_seeds": gaps.shape[2]},
    )


def _minima(
    cells: LossCells,
    search: Float[Array, "points"],
    log_sizes: Float[Array, "D"],
    risk: Float[Array, "points"],
    level: Scalar,
    rng: np.random.Generator,
) -> tuple[Float[Array, "D"], Float[Array, "draws D"]]:
    """ln l of the minimum of the mean surface, and of each drawn surface."""
    x = _scaled(np.log(cells.grid.length), search)
    y = _scaled(np.log(cells.grid.size), log_sizes)
    surface, freedom = _surface(np.stack([x, y], axis=1), cells)
    at = np.meshgrid(_scaled(search, search), _scaled(log_sizes, log_sizes), indexing="ij")
    mean, draws = surface.posterior(np.stack(at, axis=-1).reshape(-1, 2), _DRAWS, rng)
    wider = student_t.ppf((1 + level) / 2, freedom) / norm.ppf((1 + level) / 2)
    every = np.vstack([mean, mean + wider * (draws - mean)]).reshape(-1, len(search), len(log_sizes))
    best, *minima = _lowest(search, risk[:, None] + np.exp(every))
    return best, np.array(minima)


def _surface(points: Float[Array, "cells 2"], cells: LossCells) -> tuple[Kriging, float]:
    """ln (G/U) of the cells, and the number of independent deviations behind its noise."""
    unit, truth = unit_of(cells.truth), cells.truth
    gap = (cells.mean - truth.bayes_risk[cells.grid.length]) / unit
    if not cells.has_scatter:
        noises = (0.0,) if cells.losses.shape[1] > 1 else _LONE_NOISE
        alike = [Kriging(points, np.log(gap), s**2 * np.eye(len(gap))) for s in noises]
        return max(alike, key=lambda surface: surface.log_evidence().max()), np.inf
    scatter = estimate_scatter(cells.grid.deviations(cells.losses)[None] / unit, cells.grid, np.log(gap))
    noise = scatter.covariance_of_means(cells.grid)[0] / np.outer(gap, gap)
    # The logarithm of a noisy mean lies below that of the true one, by half its variance.
    return Kriging(points, np.log(gap) + np.log1p(np.diag(noise)) / 2, noise), scatter.freedom(cells.grid)


def _scaled(values: Float[Array, "n"], over: Array) -> Float[Array, "n"]:
    """From -1 to 1 over the measured region."""
    return 2 * (values - over[0]) / (over[-1] - over[0]) - 1


def _lowest(search: Float[Array, "points"], surface: Float[Array, "draws points D"]) -> Float[Array, "draws D"]:
    """The minimum over the points, between them by a parabola; an end of the search where it lies there."""
    lowest = surface.argmin(axis=1)
    middle = np.clip(lowest, 1, len(search) - 2)
    before, at, after = (np.take_along_axis(surface, (middle + k)[:, None], axis=1)[:, 0] for k in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.where(bend > 0, (before - after) / (2 * np.where(bend > 0, bend, 1.0)), 0.0)
    inner = search[middle] + np.clip(shift, -1.0, 1.0) * (search[1] - search[0])
    return np.where(lowest == middle, inner, search[lowest])
