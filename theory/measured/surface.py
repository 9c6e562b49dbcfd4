"""The best context length between the measured ones: the minimum of a smooth surface through all measured losses."""

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from theory.laws.base import Truth
from theory.measured.fitting import cell_weights
from theory.measured.intervals import interval_around, jackknife
from theory.measured.loss_table import LossTableError, check_gaps, check_loss_table, seed_losses, truth_of
from theory.types import Array, Scalar

_POINTS = 1024
"""Number of points, even in ln l, at which the surface is searched for its minimum."""


def surface_optimum(results: xr.Dataset, *, level: Scalar = 0.9) -> xr.Dataset:
    """l*(D) as a real number, and how fast it grows, each with an interval.

    The surface is R(l) + G(l, D): R exact, continued between integers by a monotone cubic in ln l, and

        ln G = c0 + c1 x + c2 x^2 + c3 y + c4 x y + c5 y^2,      x = ln l, y = ln D,

    by linear least squares over all cells. Cells near a minimum count most (the weight of
    :mod:`theory.measured.fitting`). No theory is supposed, but the surface is no closer to the truth than its form is.

    The argmin over a grid jumps, but this minimum moves with every loss. So the jackknife over seeds gives it an
    interval. At level 0.9 the interval covers l* of least squares in 88 to 89 % of 200 studies with four seeds, and in
    89 to 90 % with eight (``tests/theory/test_surface.py``). It holds the scatter of the seeds, not the misfit of the
    surface. Where ln G is not close to quadratic, the minimum is biased by more than the interval says. For a
    saturating law without any noise l* is off by 4 to 10 %, although the loss there is within 0.2 % of the smallest
    (same file).

    Args:
        results: a table with ``approximation_loss`` over (context_length, dataset_size, seed) and the truth curves.
            A context length and dataset size with a diverged or missing run is left out.
        level: confidence level of the intervals.

    Returns:
        A Dataset over ``dataset_size``: ``optimal_context_length``, its ``lower`` and ``upper`` end, ``at_edge`` (the
        surface falls towards an end of the measured lengths, or the interval reaches one: no l* is reported, all three
        are NaN); and scalars ``growth_exponent``, ``growth_lower``, ``growth_upper``: the slope of ln l* on ln D over
        the dataset sizes with an l* (NaN with fewer than two).

    Raises:
        LossTableError: the table lacks what is needed, has a negative approximation loss, fewer than three context
            lengths above 0 or fewer than three dataset sizes.
    """
    table = check_loss_table(results, "approximation_loss")
    truth = truth_of(table)
    table = table.sel(context_length=table.indexes["context_length"] > 0)
    lengths, sizes = table.indexes["context_length"].to_numpy(), table.indexes["dataset_size"].to_numpy()
    gaps = seed_losses(table, "approximation_loss")
    complete = np.isfinite(gaps).all(axis=2)
    check_gaps(gaps)
    # The mean must stay above zero when the jackknife leaves out any one seed.
    usable = complete & ((gaps > 0).sum(axis=2) >= min(2, gaps.shape[2]))
    if min(len(np.unique(axis)) for axis in np.nonzero(usable)) < 3 or usable.sum() < 7:
        raise LossTableError(
            f"{usable.any(axis=1).sum()} context lengths above 0 and {usable.any(axis=0).sum()} dataset sizes with a "
            "positive approximation loss do not fix a surface; give at least three of each"
        )
    search = np.linspace(np.log(lengths[0]), np.log(lengths[-1]), _POINTS)
    every = np.arange(1, len(truth.bayes_risk))
    risk = np.asarray(PchipInterpolator(np.log(every), truth.bayes_risk[1:])(search))

    def logarithms(mean_gap: Float[Array, "l D"]) -> Float[Array, "D"]:
        return _minima(mean_gap, usable, lengths, sizes, truth, search, risk)

    at_all, without = logarithms(gaps.mean(axis=2)), jackknife(logarithms, gaps)
    best, lower, upper = interval_around(at_all, without, level)
    step = search[1] - search[0]
    inside = (np.fmin(best, lower) > search[0] + step) & (np.fmax(best, upper) < search[-1] - step)
    growth = np.full(3, np.nan)
    if inside.sum() >= 2:
        slopes = np.polyfit(np.log(sizes[inside]), np.vstack([at_all, without])[:, inside].T, 1)[0]
        growth = np.concatenate(interval_around(slopes[:1], slopes[1:, None], level))
    found = {
        name: ("dataset_size", np.where(inside, np.exp(values), np.nan))
        for name, values in (("optimal_context_length", best), ("lower", lower), ("upper", upper))
    }
    growing = dict(zip(("growth_exponent", "growth_lower", "growth_upper"), growth, strict=True))
    return xr.Dataset(
        {**found, "at_edge": ("dataset_size", ~inside), **growing},
        coords={"dataset_size": sizes},
        attrs={"level": level, "n_seeds": gaps.shape[2]},
    )


def _minima(
    mean_gap: Float[Array, "l D"],
    usable: Array,
    lengths: Array,
    sizes: Array,
    truth: Truth,
    search: Float[Array, "points"],
    risk: Float[Array, "points"],
) -> Float[Array, "D"]:
    """ln l of the surface's minimum at each D."""
    weight = cell_weights(truth, lengths, np.where(usable, mean_gap, np.nan))[usable]
    middle = np.mean(np.log(sizes))

    def columns(x: Array, y: Array) -> Array:
        return np.stack(np.broadcast_arrays(1.0, x, x**2, y, x * y, y**2), axis=-1)

    x, y = np.meshgrid(np.log(lengths), np.log(sizes) - middle, indexing="ij")
    log_gap = np.log(mean_gap[usable])
    found = np.linalg.lstsq(columns(x, y)[usable] * weight[:, None], log_gap * weight)[0]
    surface = risk + np.exp(columns(search, (np.log(sizes) - middle)[:, None]) @ found)
    return search[np.argmin(surface, axis=1)]
