"""Which runs of a study seem limited by their optimisation: more training would lower their loss."""

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from theory.measured.loss_table import AXES, LIMITED, LossTableError, check_loss_table
from theory.types import Array

MATERIAL = 0.01
"""Smallest difference of losses that counts, in units of R(0) - R(L)."""
LATE = 0.8
"""A best evaluation after this share of the steps is among the last ones."""
LEVEL = 0.05
"""Probability that the seeds of a cell of usual, normal scatter lie as far apart as a plateau must."""


def limited_by_optimisation(results: xr.Dataset) -> xr.Dataset:
    """The trained runs whose loss seems limited by their optimisation, and why.

    U = R(0) - R(L) is the unit of losses, and G the approximation loss of a run.

    - *Still improving*: the run took its last step, its best evaluation lies in the last fifth of the steps, and the
      second half of its evaluations lowered the smallest validation loss by more than 0.01 U.
    - *Plateau*: G exceeds G0, the smallest G of any seed at the same context length with no more data. Three things
      must hold. G - G0 is above 0.01 U. ln(G / G0) is above the range that the seeds of a cell exceed with probability
      5 %, if ln G is normal with the standard deviation of the median cell. The validation loss rose by less than
      G - G0 after its minimum (the median of the later evaluations); where it rises by more, the run overfits, and data
      limit it.

    A plateau that all seeds share, and no smaller dataset avoids, cannot be seen. With one seed no plateau is seen. How
    often ten times the training contradicts a mark was measured: ``tests/benchmarks/measured.txt``.

    Args:
        results: the table of :func:`simulator.run`.

    Returns:
        Over (context_length, dataset_size, seed): ``limited_by_optimisation``, and ``optimisation_limit``, which is
        ``"still improving"``, ``"plateau"`` or empty.

    Raises:
        LossTableError: the table does not say how its runs ended.
    """
    if "stopped_by" not in results:
        raise LossTableError("the table has no variable 'stopped_by': an earlier version made it; make it again by run")
    results = check_loss_table(results, "approximation_loss")
    unit = float(results["bayes_risk_curve"][0] - results["bayes_risk_curve"][-1])
    improving = plateau = np.zeros(results["stopped_by"].shape, bool)
    if "validation_loss" in results:
        losses, stopped = results["validation_loss"].values, results["stopped_by"].values
        late_gain, rise = (np.apply_along_axis(of, -1, losses) for of in (_late_gain, _rise))
        improving = (stopped == "last step") & (late_gain > MATERIAL * unit)
        improving &= results["best_step"].values > LATE * results["steps"].values
        excess = _excess(results["approximation_loss"].values, unit)
        plateau = ~improving & (stopped != "diverged") & (excess > np.maximum(rise, MATERIAL * unit))
    reason = np.where(improving, "still improving", np.where(plateau, "plateau", "")).astype(object)
    found = {LIMITED: (AXES, improving | plateau), "optimisation_limit": (AXES, reason)}
    return xr.Dataset(found, coords={axis: results[axis] for axis in AXES})


def _late_gain(losses: Float[Array, "evaluation"]) -> float:
    """What the second half of the evaluations gained over the first; infinite where there is one evaluation."""
    losses = losses[np.isfinite(losses)]
    half = len(losses) // 2
    return float(losses[:half].min(initial=np.inf) - losses.min(initial=np.inf)) if losses.size else 0.0


def _rise(losses: Float[Array, "evaluation"]) -> float:
    """How far the median of the evaluations after the smallest lies above it."""
    losses = losses[np.isfinite(losses)]
    after = losses[np.argmin(losses) + 1 :] if losses.size else losses
    return float(np.median(after) - losses.min()) if after.size else 0.0


def _excess(gap: Float[Array, "l D seed"], unit: float) -> Float[Array, "l D seed"]:
    """G - G0 where ln(G / G0) is beyond usual scatter, elsewhere 0."""
    logs = np.log(np.where(gap > 0, gap, np.nan))
    seeds = np.isfinite(logs).sum(axis=2)  # a table may lack seeds in some cells
    if not np.any(seeds > 1):
        return np.zeros_like(gap)
    spreads, widest = [], np.empty(seeds.shape)
    for n in range(2, seeds.max() + 1):
        typical = np.sqrt(stats.chi2.median(n - 1) / (n - 1))
        spreads.extend(np.nanstd(logs[seeds == n], axis=1, ddof=1) / typical)
        widest[np.maximum(seeds, 2) == n] = stats.studentized_range.ppf(1 - LEVEL, n, np.inf)
    usual = (np.median(spreads) * widest)[:, :, None]
    known = np.where(np.isfinite(gap), gap, np.inf)
    smallest = np.minimum.accumulate(known.min(axis=2), axis=1)[:, :, None]
    far = logs - np.log(np.maximum(smallest, MATERIAL * unit)) > usual
    return np.where(far, gap - smallest, 0.0)
