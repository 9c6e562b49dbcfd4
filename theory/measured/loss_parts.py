"""The loss of trained networks, split into what data, the network and its training could each still gain."""

import json

import numpy as np
import xarray as xr
from jaxtyping import Float

from theory.measured.loss_table import AXES, LossTableError, check_loss_table, seed_losses, seed_means, truth_of
from theory.types import Array

PARTS = ("bayes_risk", "capacity", "estimation", "optimisation")
"""The parts in the order in which they add up."""


def split_loss(results: xr.Dataset, *, best: xr.Dataset, endless: xr.Dataset) -> xr.Dataset:
    """The mean loss of every cell in four parts:

        loss(l, D) = R(l) + capacity(l) + estimation(l, D) + optimisation(l, D).

    G is the mean approximation loss over the seeds. A run that ``results`` or ``best`` lacks counts in neither.

    - *Capacity* is G of the network on endless data: no more samples help it.
    - *Optimisation* is what a better training gains on the same samples: G of ``results`` less G of ``best``.
    - *Estimation* is the rest, G of ``best`` less the capacity: what more samples would gain.

    What the training of ``best`` missed counts as estimation, and what that of ``endless`` missed as capacity. Parts
    are differences of measured means. Noise can make small ones negative.

    Args:
        results: the table of a study.
        best: the same task, context lengths, dataset sizes and seeds by the best training at hand, as of a learner
            tuned in each cell.
        endless: the same task and context lengths by that training at one dataset size, so large that no sample comes
            twice.

    Returns:
        Over (context_length, dataset_size) the four parts, and ``capacity_error``, ``estimation_error`` and
        ``optimisation_error``, their standard errors over seeds (NaN with one seed, or where a run diverged). That of
        the optimisation is of differences seed by seed.

    Raises:
        LossTableError: the tables do not belong together.
    """
    results, best, endless = (check_loss_table(of, "approximation_loss") for of in (results, best, endless))
    _check_belong_together(results, best, endless)
    endless = endless.sel(context_length=results["context_length"])
    of_both = [seed_losses(of, "approximation_loss") for of in (results, best)]
    plain, tuned = np.where(np.isnan(of_both).any(axis=0), np.nan, of_both)
    capacity, capacity_error = _mean_and_error(seed_losses(endless, "approximation_loss"))
    reached, reached_error = _mean_and_error(tuned)
    with np.errstate(invalid="ignore"):
        difference = np.where(np.isinf(tuned), np.inf, plain - tuned)
    optimisation, optimisation_error = _mean_and_error(difference)
    axes, risk = AXES[:2], truth_of(results).bayes_risk[results["context_length"].values][:, None]
    parts = {
        "bayes_risk": np.broadcast_to(risk, reached.shape),
        "capacity": np.broadcast_to(capacity, reached.shape),
        "estimation": reached - capacity,
        "optimisation": optimisation,
        "capacity_error": np.broadcast_to(capacity_error, reached.shape),
        "estimation_error": np.hypot(reached_error, capacity_error),
        "optimisation_error": optimisation_error,
    }
    coordinates = {axis: results[axis].values for axis in axes}
    unit = results.attrs.get("unit", "")
    return xr.Dataset({name: (axes, values) for name, values in parts.items()}, coordinates, {"unit": unit})


def _mean_and_error(losses: Float[Array, "l D seed"]) -> tuple[Float[Array, "l D"], Float[Array, "l D"]]:
    """The means over the seeds, and their standard errors."""
    mean, seeds = seed_means(losses), np.sum(~np.isnan(losses), axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = np.nansum((losses - mean[:, :, None]) ** 2, axis=2)
        error = np.sqrt(squares / (seeds - 1) / seeds)
    return mean, np.where(np.isfinite(mean) & (seeds > 1), error, np.nan)


def _check_belong_together(results: xr.Dataset, best: xr.Dataset, endless: xr.Dataset) -> None:
    for axis in AXES:
        if not np.array_equal(results[axis], best[axis]):
            raise LossTableError(
                f"best has {axis} {best[axis].values.tolist()}, and results {results[axis].values.tolist()}: give "
                "tables of the same cells and seeds"
            )
    lacking = np.setdiff1d(results["context_length"], endless["context_length"])
    if lacking.size:
        raise LossTableError(f"endless has no context length {lacking.tolist()}: measure it there, too")
    sizes, largest = endless["dataset_size"].values.tolist(), int(results["dataset_size"].max())
    if len(sizes) != 1 or sizes[0] <= largest:
        raise LossTableError(
            f"endless has dataset sizes {sizes}: give one, above the largest of results, {largest}, and with no fewer "
            "samples than its training takes"
        )
    for what, found in (("tasks", _task), ("units", lambda of: of.attrs.get("unit", ""))):
        values = [found(of) for of in (results, best, endless)]
        if len(set(values)) > 1:
            raise LossTableError(f"the tables are of different {what}: give tables of one study's task; got {values}")


def _task(results: xr.Dataset) -> str:
    """The task in the study of a table, as text."""
    return json.dumps(json.loads(results.attrs.get("study", "{}")).get("task", "not named"))
