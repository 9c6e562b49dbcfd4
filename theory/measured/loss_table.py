"""The table every part of the theory reads: losses over context length, dataset size and seed."""

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from theory.laws.base import Law, Truth
from theory.types import Array

AXES = ("context_length", "dataset_size", "seed")
LIMITED = "limited_by_optimisation"
"""Variable of a table that marks the runs whose loss seems to be limited by their training."""


class LossTableError(ValueError):
    """A table that cannot be used as it is; the message says what is wrong with it and what to do."""


def check_loss_table(results: xr.Dataset, *variables: str) -> xr.Dataset:
    """The table with axes in the order (context_length, dataset_size, seed), sorted; or an error that says why not.

    A table without a seed axis is taken as one seed.

    Raises:
        LossTableError: a variable or an axis is missing, an axis is named otherwise, or holds duplicates.
    """
    if not isinstance(results, xr.Dataset):
        raise TypeError(
            f"a results table is an xarray.Dataset, as simulator.run returns it; got {type(results).__name__}"
        )
    for name in variables:
        if name not in results:
            raise LossTableError(f"the table has no variable {name!r}; it has {sorted(map(str, results.data_vars))}")
    if "seed" not in results.dims:
        one_seed = {name: results[name].drop_vars("seed", errors="ignore").expand_dims(seed=[0]) for name in variables}
        results = results.drop_vars("seed", errors="ignore").assign(one_seed)
    for name in variables:
        unknown = set(results[name].dims) - set(AXES)
        if unknown or not {"context_length", "dataset_size"} <= set(results[name].dims):
            raise LossTableError(
                f"{name!r} has dimensions {tuple(map(str, results[name].dims))}; it needs {AXES} (seed may be absent). "
                "Rename the dimensions, as in results.rename(l='context_length')"
            )
    for axis in AXES:
        index = results.indexes.get(axis)
        if index is None:
            raise LossTableError(f"the table has no coordinate {axis!r}: give the values along that dimension")
        if index.has_duplicates:
            raise LossTableError(f"the coordinate {axis!r} holds duplicates: {index[index.duplicated()].tolist()}")
    return results.sortby(list(AXES)).transpose(*AXES, ...)


def truth_of(results: xr.Dataset) -> Truth:
    """R(l) and dim(l) at every l = 0..L, which a results table carries along the dimension ``every_context_length``.

    Raises:
        LossTableError: the table does not carry them.
    """
    needed = ("bayes_risk_curve", "intrinsic_dimension_curve")
    missing = [name for name in needed if name not in results]
    if missing:
        raise LossTableError(
            f"the table lacks {missing}: R(l) and dim(l) for every l = 0..L along 'every_context_length'. "
            "Tables from simulator.run have them"
        )
    R, dim = (np.asarray(results[name].values, np.float64) for name in needed)
    return Truth(R, dim, results.attrs.get("unit"))


def risk_known(results: xr.Dataset) -> bool:
    """Whether R(l) is exact or given. If not, it was estimated from the losses of the same table."""
    return not results.attrs.get("bayes_risk_estimated", 0)


def seed_losses(results: xr.Dataset, variable: str = "loss") -> Float[Array, "l D seed"]:
    """The losses as a float64 array: NaN where there is no run of a seed, infinite where it diverged."""
    table = check_loss_table(results, variable)
    losses = np.asarray(table[variable].transpose(*AXES).values, np.float64)
    if "diverged" not in results:
        return losses
    diverged = check_loss_table(results, "diverged")["diverged"].transpose(*AXES).values
    return np.where(diverged.astype(bool), np.inf, losses)


def seed_means(losses: Float[Array, "*cells seed"]) -> Float[Array, "*cells"]:
    """The means over the seeds of each cell; NaN where there is no run, or where one diverged."""
    present = ~np.isnan(losses)
    usable = np.asarray(present.any(axis=-1) & ~np.isinf(losses).any(axis=-1))
    mean = np.where(present & usable[..., None], losses, 0.0).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)
    return np.where(usable, mean, np.nan)


def limited_runs(results: xr.Dataset) -> Bool[Array, "l D seed"]:
    """The runs that optimisation limits; none where the table does not say."""
    table = check_loss_table(results, "loss")
    flags = table.get(LIMITED, xr.DataArray(False)).broadcast_like(table["loss"])
    return np.asarray(flags.transpose(*AXES).values, bool)


def without_limited_cells(results: xr.Dataset) -> xr.Dataset:
    """The table whose losses are NaN, as if missing, in every cell with a run that optimisation limits."""
    limited = xr.DataArray(limited_runs(results).any(axis=2), dims=AXES[:2])
    return results.assign({name: results[name].where(~limited) for name in ("loss", "approximation_loss")})


def check_gaps(gaps: Float[Array, "*cells"]) -> None:
    """Raise LossTableError if a finite approximation loss is negative."""
    finite = gaps[np.isfinite(gaps)]
    if np.any(finite < 0):
        raise LossTableError(
            f"an approximation loss is never negative; the table holds {finite.min():.6g}. Measure it against the "
            "Bayes predictor, not as a difference of two noisy losses"
        )


def check_unit(results: xr.Dataset, law: Law) -> None:
    """Raise LossTableError if the table says that its losses are not in nats, and the law gives nats only."""
    unit = results.attrs.get("unit", "nats")
    if law.in_nats and unit != "nats":
        raise LossTableError(f"the law {law.name!r} gives losses in nats; the table holds {unit!r}: leave this law out")
