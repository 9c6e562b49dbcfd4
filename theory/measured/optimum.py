"""The best context length l*(D) of a table of measured losses, with its uncertainty.

Never read off a parabola: its vertex is biased even without noise (arXiv 2603.22339).
"""

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from theory.measured.intervals import check_level
from theory.measured.loss_table import LIMITED, check_loss_table, limited_runs, seed_losses, seed_means
from theory.measured.scatter import Grid, Scatter, estimate_scatter
from theory.types import Array

_REPLICATES = 400
"""Simulated tables behind an interval."""
_CLOSE = 1.0
"""Standard errors above a context length within which another one counts as a rival of it."""


def optimal_context_length(results: xr.Dataset, *, level: float = 0.9, seed: int = 0) -> xr.Dataset:
    """Measured l*(D) = argmin over the grid of the seed-mean loss, with an interval.

    The interval reaches from the shortest to the longest context length that could be the best one. A length could be
    if no other is better by more than chance explains: the largest of the differences to its rivals, each in units of
    its standard error, stays within the ``level`` quantile of simulated tables in which all of them are equally good
    (a confidence set for the argmin: Mogstad, Romano, Shaikh & Wilhelm 2024, Review of Economic Studies 91, 476). The
    noise is the scatter of the seeds, pooled over all cells (:mod:`theory.measured.scatter`) and estimated again from
    each simulated table. So two seeds are enough, and an interval of one length says that the others are worse. For the
    interval, losses beyond 2 R(0) - R(L) count as that: by how much a run is worse than without context is no matter.

    The shares of simulated tables whose interval covers l* stand in ``tests/benchmarks/measured.txt`` (``python -m
    tests.benchmarks.coverage``). They are above the level where one length is clearly the best.

    Args:
        results: a table with ``loss`` over (context_length, dataset_size, seed), and ``approximation_loss`` if known:
            the scatter depends on it. Cells may differ in their number of seeds (NaN where there is none).
        level: confidence level of the interval, in (0, 1).
        seed: seed of the simulation.

    Returns:
        A Dataset over ``dataset_size``:
        ``optimal_context_length`` (NaN where ``at_edge``), ``lower`` and ``upper`` ends of its interval (NaN if no cell
        has two seeds), ``at_edge`` (the smallest loss lies at an end of the grid, or beside a context length that had
        to be left out: the minimum may lie where nothing was measured), ``best_on_grid`` (the argmin, at an edge or
        not; -1 where every context length was left out), ``loss`` (the smallest seed-mean loss), ``left_out`` (number
        of context lengths with a diverged run, or without any), ``limited_by_optimisation`` (the table marks so a run
        at this context length or at one beside it: more training may move the argmin).

    Raises:
        LossTableError: dimensions are missing, or named otherwise.
        ValueError: the level is outside (0, 1).
    """
    check_level(level)
    table = check_loss_table(results, "loss")
    losses = seed_losses(table)
    lengths = table.indexes["context_length"].to_numpy()
    sizes = table.indexes["dataset_size"].to_numpy()
    means = seed_means(losses)
    complete = np.isfinite(means)
    # An infinite mean keeps a context length with a diverged run from winning.
    means = np.where(complete, means, np.inf)
    best = means.argmin(axis=0)
    found = complete.any(axis=0)
    limited = np.asarray(limited_runs(table).any(axis=2))
    moved = np.array([limited[max(index - 1, 0) : index + 2, j].any() for j, index in enumerate(best)])
    at_edge = np.array([_lacks_a_neighbour(index, complete[:, j]) for j, index in enumerate(best)])
    gaps = seed_means(seed_losses(results, "approximation_loss")) if "approximation_loss" in results else None
    length, size = np.meshgrid(lengths, sizes.astype(np.float64), indexing="ij")
    grid = Grid(length[complete], size[complete], np.isfinite(losses[complete]))
    unit, worst = _unit_and_worst(table, means[complete])
    possible = _possible(np.minimum(losses, worst) / unit, complete, grid, gaps, level, np.random.default_rng(seed))
    lower, upper = np.full((2, len(sizes)), np.nan)
    if possible is not None:
        for j in np.flatnonzero(found):
            possible[best[j], j] = True
            lower[j], upper[j] = lengths[possible[:, j]][[0, -1]]
    return xr.Dataset(
        {
            "optimal_context_length": ("dataset_size", np.where(at_edge, np.nan, lengths[best])),
            "lower": ("dataset_size", lower),
            "upper": ("dataset_size", upper),
            "at_edge": ("dataset_size", at_edge),
            "best_on_grid": ("dataset_size", np.where(found, lengths[best], -1)),
            "loss": ("dataset_size", np.where(found, means.min(axis=0), np.nan)),
            "left_out": ("dataset_size", (~complete).sum(axis=0)),
            LIMITED: ("dataset_size", moved),
        },
        coords={"dataset_size": sizes},
        attrs={"level": level, "n_seeds": losses.shape[2]},
    )


def _lacks_a_neighbour(index: int | np.integer, usable: Bool[Array, "l"]) -> bool:
    return bool(index in (0, len(usable) - 1) or not (usable[index - 1] and usable[index + 1]))


def _unit_and_worst(table: xr.Dataset, means: Float[Array, "cells"]) -> tuple[float, float]:
    """A unit of losses, and the loss beyond which it does not matter how bad a run is."""
    if "bayes_risk_curve" in table:
        without, whole = table["bayes_risk_curve"].values[[0, -1]]
        if without > whole:
            return float(without - whole), float(2 * without - whole)
    return float(np.ptp(means)) or 1.0, np.inf


def _possible(
    losses: Float[Array, "l D seed"],
    complete: Bool[Array, "l D"],
    grid: Grid,
    gaps: Float[Array, "l D"] | None,
    level: float,
    rng: np.random.Generator,
) -> Bool[Array, "l D"] | None:
    """Which context lengths could be the best of their dataset size; None if no cell has two seeds."""
    if not np.any(grid.seeds > 1):
        return None
    row, column = np.nonzero(complete)
    means = np.where(complete, seed_means(losses), np.inf)
    deviations = grid.deviations(losses[complete])[None]
    if not deviations.any():
        return means == means.min(axis=0)
    level_of_gaps = None
    if gaps is not None:
        known = gaps[complete] > 0
        level_of_gaps = np.log(gaps[complete], where=known, out=np.full(len(known), np.nan))
    scatter = estimate_scatter(deviations, grid, level_of_gaps)
    samples = scatter.draw(grid, rng, _REPLICATES)
    again, noise = estimate_scatter(grid.deviations(samples), grid, level_of_gaps), grid.mean(samples)
    possible = np.zeros(means.shape, bool)
    for j in np.flatnonzero(complete.any(axis=0)):
        cells = np.flatnonzero(column == j)
        mean = means[row[cells], j]
        error, errors = _errors(scatter, grid, cells)[0], _errors(again, grid, cells)
        excess = (mean[:, None] - mean) / error
        drawn = noise[:, cells]
        for i in range(len(cells)):
            rivals = np.flatnonzero((excess[i] > -_CLOSE) & (np.arange(len(cells)) != i))
            if rivals.size:
                chance = np.max((drawn[:, [i]] - drawn[:, rivals]) / errors[:, i, rivals], axis=1)
                possible[row[cells[i]], j] = excess[i].max() <= max(np.quantile(chance, level), 0.0)
            else:
                possible[row[cells[i]], j] = True
    return possible


def _errors(scatter: Scatter, grid: Grid, cells: Array) -> Float[Array, "batch l l"]:
    """Standard errors of the differences between the means of these cells."""
    covariance = scatter.covariance_of_means(grid, cells)
    variance = np.einsum("bii->bi", covariance)
    squares = variance[:, :, None] + variance[:, None, :] - 2 * covariance
    return np.sqrt(np.maximum(squares, 1e-12 * variance.max()))
