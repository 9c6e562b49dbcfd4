"""Measured l*(D) against what laws predict for dataset sizes their fit has not seen."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from theory.checks import check_integer
from theory.fitting import fit, fit_gap
from theory.laws.base import Law, Truth
from theory.loss_table import LossTableError, check_loss_table, seed_losses, truth_of
from theory.optimum import optimal_context_length

STAYS = "l* stays"
"""Name of the baseline without a theory: l* stays what it was at the largest fitted dataset size."""


def compare(
    results: xr.Dataset,
    laws: Sequence[Law],
    *,
    fit_fraction: float = 0.5,
    level: float = 0.9,
    n_bootstrap: int = 100,
    seed: int = 0,
) -> xr.Dataset:
    """Fit each law on the small dataset sizes, let it predict l* on the large ones, and score it there.

    Predictions are restricted to the measured context lengths, so that a perfect law scores zero. Two scores:
    the error ``|log2(l*_predicted / l*_measured)|``, where l* was measured (not at an edge), and the regret: the
    measured loss at the predicted length minus the smallest measured loss, in the unit of the loss, never negative.

    Args:
        results: a table from :func:`simulator.run`, or of the same shape.
            Dataset sizes whose every context length has a diverged run are left out.
        laws: laws to fit; those without fitted constants are scored as they are. The baseline "l* stays" is added.
        fit_fraction: share of the dataset sizes, smallest first, that the fit sees.
        level: level of all intervals.
        n_bootstrap: resamples of the seeds behind each law's prediction interval; 0 for none.
        seed: seed of the resampling.

    Returns:
        A Dataset over (law, dataset_size): ``predicted``, its interval ``predicted_lower`` and ``predicted_upper``,
        ``ratio`` (predicted / measured), ``log2_error``, ``regret``, ``predicted_loss``; over dataset_size what
        :func:`optimal_context_length` measured and ``held_out``; over law the held-out means ``mean_log2_error`` and
        ``mean_regret``, ``n_scored`` (held-out sizes with a measured l*), ``rms_residual`` of the fit, ``constants``.

    Raises:
        LossTableError: fewer than one dataset size would be left on either side, or the table lacks what is needed.
    """
    table = check_loss_table(results, "loss", "approximation_loss")
    truth = truth_of(table)
    laws = list(laws) if isinstance(laws, Sequence) else [laws]
    if not laws or not all(isinstance(law, Law) for law in laws):
        raise TypeError(f"laws are instances of Law, as in [SaturatingLaw(), PowerLaw()]; got {laws!r}")
    names = [law.name for law in laws]
    if len(set(names)) != len(names) or STAYS in names:
        raise ValueError(f"laws need distinct names, other than {STAYS!r}; got {names}")
    if not 0.0 < fit_fraction < 1.0:
        raise ValueError(f"fit_fraction must lie in (0, 1), as in 0.5; got {fit_fraction!r}")
    check_integer("n_bootstrap", n_bootstrap, 0)
    measured = optimal_context_length(table, level=level, seed=seed)
    usable = measured["best_on_grid"].values >= 0
    table, measured = table.isel(dataset_size=usable), measured.isel(dataset_size=usable)
    sizes = table.indexes["dataset_size"].to_numpy()
    n_fitted = round(len(sizes) * fit_fraction - 1e-9)
    if not 1 <= n_fitted < len(sizes):
        raise LossTableError(
            f"{len(sizes)} usable dataset sizes cannot be split at fit_fraction = {fit_fraction}: at least one must be "
            "fitted and one held out"
        )
    seen = table.isel(dataset_size=slice(0, n_fitted))
    fits = [fit(law, seen) for law in laws]
    lengths = table.indexes["context_length"].to_numpy()
    mean_loss = seed_losses(table).mean(axis=2)

    rows = [fitted.law.optimal_context_length(sizes, truth, lengths) for fitted in fits]
    rows.append(np.full(len(sizes), measured["best_on_grid"].values[n_fitted - 1]))
    predicted = np.stack(rows)
    intervals = [
        _bootstrap_predictions(f.law, seen, sizes, truth, lengths, level, n_bootstrap, np.random.default_rng([seed, i]))
        for i, f in enumerate(fits)
    ]
    intervals.append(np.full((2, len(sizes)), np.nan))
    lower, upper = np.stack(intervals, axis=1)

    at = np.searchsorted(lengths, predicted)
    columns = np.arange(len(sizes))[None, :]
    # A law that picks a context length with a diverged run is not let off: its regret there is infinite.
    regret = np.nan_to_num(mean_loss[at, columns], nan=np.inf) - measured["loss"].values[None, :]
    optimum = measured["optimal_context_length"].values[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = predicted / optimum
        log2_error = np.abs(np.log2(ratio))
    predicted_loss = np.stack(
        [f.law.loss(row, sizes, truth) for f, row in zip(fits, predicted, strict=False)] + [np.full(len(sizes), np.nan)]
    )
    held_out = np.arange(len(sizes)) >= n_fitted
    over = ("law", "dataset_size")
    comparison = xr.Dataset(
        {
            "predicted": (over, predicted),
            "predicted_lower": (over, lower),
            "predicted_upper": (over, upper),
            "predicted_loss": (over, predicted_loss),
            "ratio": (over, ratio),
            "log2_error": (over, log2_error),
            "regret": (over, regret),
            "held_out": ("dataset_size", held_out),
            "rms_residual": ("law", [f.rms_residual for f in fits] + [np.nan]),
            "constants": ("law", [_listed(f.law) for f in fits] + [""]),
        },
        coords={"law": [*names, STAYS], "dataset_size": sizes},
        attrs={"level": level, "fit_fraction": fit_fraction},
    )
    judged = comparison.isel(dataset_size=held_out)
    comparison["mean_log2_error"] = judged["log2_error"].mean("dataset_size")
    comparison["mean_regret"] = judged["regret"].mean("dataset_size")
    comparison["n_scored"] = judged["log2_error"].notnull().sum("dataset_size")
    return comparison.merge(measured, combine_attrs="drop_conflicts")


def _bootstrap_predictions(
    law: Law,
    seen: xr.Dataset,
    sizes: np.ndarray,
    truth: Truth,
    lengths: np.ndarray,
    level: float,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Interval of the predicted l*(D) when the seeds behind the fit are drawn again; shape (2, D)."""
    gaps = seed_losses(seen, "approximation_loss")
    gaps = np.where(np.isfinite(gaps).all(axis=2, keepdims=True), gaps, np.nan)
    n_seeds = gaps.shape[2]
    if not law.fitted or n_bootstrap == 0 or n_seeds == 1:
        return np.full((2, len(sizes)), np.nan)
    fitted_lengths, fitted_sizes = (seen.indexes[a].to_numpy() for a in ("context_length", "dataset_size"))
    draws = [
        fit_gap(
            law,
            fitted_lengths,
            fitted_sizes,
            gaps[:, :, rng.integers(n_seeds, size=n_seeds)].mean(axis=2),
            truth,
            polish_only=True,
        ).law.optimal_context_length(sizes, truth, lengths)
        for _ in range(n_bootstrap)
    ]
    return np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0, method="closest_observation")


def _listed(law: Law) -> str:
    return ", ".join(f"{name} = {value:.4g}" for name, value in law.constants().items())


def best_laws(comparison: xr.Dataset) -> list[str]:
    """Names of the laws with the smallest held-out mean regret, several if they tie; the baseline may be among them."""
    regret = comparison["mean_regret"].values
    return comparison["law"].values[regret <= np.nanmin(regret) + 1e-12].tolist()


def comparison_as_text(comparison: xr.Dataset, unit: str = "") -> str:
    """The comparison as two plain-text tables: each held-out dataset size by law, then each law's means."""
    held = comparison.isel(dataset_size=comparison["held_out"].values)
    width = max(len(str(name)) for name in comparison["law"].values)
    lines = [
        f"{'D':>10}  {'measured l*':>20}  {'law':<{width}}  {'predicted':>9}  {'ratio':>6}  regret {unit}".rstrip()
    ]
    for D in held["dataset_size"].values:
        cell = held.sel(dataset_size=D)
        edge = " at edge" if bool(cell["at_edge"]) else ""
        measured = f"{int(cell['best_on_grid'])} [{float(cell['lower']):.0f}, {float(cell['upper']):.0f}]{edge}"
        for i, law in enumerate(comparison["law"].values):
            row = cell.sel(law=law)
            left = f"{int(D):>10}  {measured:>20}" if i == 0 else " " * 32
            ratio = f"{float(row['ratio']):6.2f}" if np.isfinite(row["ratio"]) else "     -"
            lines.append(f"{left}  {law:<{width}}  {int(row['predicted']):>9}  {ratio}  {float(row['regret']):.4f}")
    lines += ["", f"{'law':<{width}}  mean |log2 error|  mean regret  fit residual  constants"]
    for law in comparison["law"].values:
        row = comparison.sel(law=law)
        lines.append(
            f"{law:<{width}}  {float(row['mean_log2_error']):>17.3f}  {float(row['mean_regret']):>11.4f}  "
            f"{float(row['rms_residual']):>12.4f}  {row['constants'].item()}"
        )
    return "\n".join(lines)
