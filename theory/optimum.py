"""The best context length l*(D) of a table of measured losses, with its uncertainty.

Never read off a parabola: its vertex is biased even without noise (arXiv 2603.22339).
"""

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array
from scipy import stats

from theory.checks import check_integer
from theory.loss_table import LossTableError, check_loss_table, seed_losses


def optimal_context_length(
    results: xr.Dataset, *, level: float = 0.9, n_bootstrap: int = 2000, seed: int = 0
) -> xr.Dataset:
    """Measured l*(D) = argmin over the grid of the seed-mean loss, with an interval from a bootstrap over seeds.

    Context lengths are compared by paired differences: seeds are resampled whole, so what the context lengths of one
    seed share (its data set, its test set) cancels. The interval holds every context length whose loss is not
    significantly above the smallest, see :func:`context_lengths_not_worse`.

    Args:
        results: a table with ``loss`` over (context_length, dataset_size, seed).
        level: confidence level of the interval, in (0, 1).
        n_bootstrap: number of resamples.
        seed: seed of the resampling.

    Returns:
        A Dataset over ``dataset_size``:
        ``optimal_context_length`` (NaN where ``at_edge``), ``lower`` and ``upper`` ends of its interval,
        ``at_edge`` (the smallest loss lies at an end of the grid, or beside a context length that had to be left out:
        the minimum may lie outside what was measured), ``best_on_grid`` (the argmin whether at an edge or not),
        ``loss`` (the smallest seed-mean loss), ``left_out`` (context lengths with a diverged or missing run).

    Raises:
        LossTableError: dimensions are missing, or a dataset size has no context length without diverged runs.
        ValueError: the level is outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), as in 0.9; got {level!r}")
    check_integer("n_bootstrap", n_bootstrap, 1)
    table = check_loss_table(results, "loss")
    losses = seed_losses(table)
    lengths = table.indexes["context_length"].to_numpy()
    sizes = table.indexes["dataset_size"].to_numpy()
    complete = np.isfinite(losses).all(axis=2)
    for size, usable in zip(sizes, complete.any(axis=0), strict=True):
        if not usable:
            raise LossTableError(
                f"every context length of dataset size {size} has a diverged or missing run: "
                "leave the size out with results.drop_sel(dataset_size=...), or lower the learning rate"
            )

    columns = []
    for j in range(len(sizes)):
        usable = complete[:, j]
        means = np.where(usable, np.where(usable[:, None], losses[:, j], 0.0).mean(axis=1), np.inf)
        best = int(np.argmin(means))
        kept = context_lengths_not_worse(
            losses[usable, j], level=level, n_bootstrap=n_bootstrap, rng=np.random.default_rng([seed, j])
        )
        inside = lengths[usable][kept]
        edge = is_at_edge(best, usable)
        columns.append(
            (lengths[best], np.nan if edge else lengths[best], inside.min(), inside.max(), edge, means[best], (~usable).sum())
        )
    best, optimum, lower, upper, at_edge, loss, left_out = map(np.asarray, zip(*columns, strict=True))
    return xr.Dataset(
        {
            "optimal_context_length": ("dataset_size", optimum.astype(np.float64)),
            "lower": ("dataset_size", lower),
            "upper": ("dataset_size", upper),
            "at_edge": ("dataset_size", at_edge),
            "best_on_grid": ("dataset_size", best),
            "loss": ("dataset_size", loss),
            "left_out": ("dataset_size", left_out),
        },
        coords={"dataset_size": sizes},
        attrs={"level": level, "n_seeds": losses.shape[2]},
    )


def is_at_edge(index: int, usable: Bool[Array, "l"]) -> bool:
    """Whether a context length has no usable neighbour on one of its sides."""
    return index in (0, len(usable) - 1) or not (usable[index - 1] and usable[index + 1])


def context_lengths_not_worse(
    losses: Float[Array, "l seed"], *, level: float, n_bootstrap: int, rng: np.random.Generator
) -> Bool[Array, "l"]:
    """PLACEHOLDER"""
    n_seeds = losses.shape[1]
    means = losses.mean(axis=1)
    best = int(np.argmin(means))
    draws = rng.integers(n_seeds, size=(n_bootstrap, n_seeds))
    winners = np.argmin(losses[:, draws].mean(axis=2), axis=0)
    lo, hi = np.quantile(winners, [(1 - level) / 2, (1 + level) / 2], method="closest_observation")
    index = np.arange(len(means))
    return ((index >= lo) & (index <= hi)) | (index == best)
