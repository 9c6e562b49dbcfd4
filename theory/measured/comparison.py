"""Measured l*(D) against what laws predict for dataset sizes their fit has not seen."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from theory.checks import check_integer, check_positive
from theory.laws.base import Law, Truth
from theory.measured.adequacy import REPLICATES, judge
from theory.measured.fitting import cell_weights, fit_gap, root_gap, unit_of
from theory.measured.intervals import check_level
from theory.measured.loss_table import (
    LossTableError,
    check_gaps,
    check_loss_table,
    check_unit,
    limited_runs,
    risk_known,
    seed_losses,
    seed_means,
    truth_of,
    without_limited_cells,
)
from theory.measured.optimum import optimal_context_length
from theory.measured.verdict import FEWEST_SIZES, STAYS, verdict
from theory.measured.weighted_fit import TOLERANCE, LossCells, best_fits, can_be_judged, cells_of, weighted_fits
from theory.types import Array

_FEWER_REPLICATES = 99
"""Simulated tables behind the p-values by part of the dataset sizes."""
_P_VALUES = ("p_adequate", "p_exact", "p_equal")


def compare(
    results: xr.Dataset,
    laws: Sequence[Law],
    *,
    fit_fraction: float = 0.5,
    level: float = 0.9,
    tolerance: float = TOLERANCE,
    n_bootstrap: int = 50,
    seed: int = 0,
    leave_out_limited: bool = False,
) -> xr.Dataset:
    """Fit each law on the small dataset sizes, let it predict the large ones, and test whether it can be true.

    A law predicts l* among the measured context lengths, so a perfect law has no error. These use only dataset sizes
    that the fit has not seen:

    - the error ``|log2(l*_predicted / l*_measured)|``, where l* was measured (not at an edge);
    - the regret: the measured loss at the predicted length minus the smallest measured loss, never negative, and NaN
      where the cell was left out because optimisation limits it;
    - the error of the loss: the root mean square of w [sqrt(G_law / U) - sqrt(G_measured / U)], the residual of the
      fit (:mod:`theory.measured.fitting`), which counts cells near a minimum most;
    - the coverage: the share of measured l* within the law's prediction interval.

    The tests (:mod:`theory.measured.adequacy`) use all cells up to a dataset size, for every size from the fourth on:
    can the scatter of the seeds explain what the law misses, and is another law better? :func:`theory.verdict` reads
    the answer.

    Args:
        results: a table from :func:`simulator.run`, or of the same shape. Where R(l) was estimated
            (:func:`theory.read_loss_table`) it is fitted anew with each law, a constant for each context length.
            Dataset sizes whose every context length has a diverged run are left out.
        laws: laws to fit; those without fitted constants are tested as they are. The baseline "l* stays" is added.
        fit_fraction: share of the dataset sizes, smallest first, that the fit sees.
        level: level of all intervals.
        tolerance: misfit of a law that counts as nothing, in units of U = R(0) - R(L).
        n_bootstrap: resamples of the seeds behind each law's prediction interval; 0 for none.
        seed: seed of the resampling and of the tests.
        leave_out_limited: take the cells as missing in which the table marks a run as ``limited_by_optimisation``. Such
            marks are often wrong (:func:`simulator.limited_by_optimisation`), so that by default all cells count.

    Returns:
        A Dataset over (law, dataset_size): ``predicted``, its interval ``predicted_lower`` and ``predicted_upper``,
        ``ratio`` (predicted / measured), ``log2_error``, ``regret``, ``predicted_loss``, and, by all cells up to this
        size, ``p_adequate`` (p-value of the law to within the tolerance), ``p_exact`` (without a tolerance) and
        ``p_equal`` (of equal merit with the best law; 1 for that law); over dataset_size what
        :func:`optimal_context_length` measured and ``held_out``; over law ``mean_log2_error`` and ``mean_regret``
        (held-out means), ``n_scored`` (held-out sizes with a measured l*), ``loss_error``, ``coverage``, ``misfit`` (T
        per degree of freedom, by all cells), ``rms_residual`` of the fit, its ``constants``, the ``given`` constants
        that were not fitted (:attr:`theory.laws.Law.given`), and ``flat_directions``
        (:class:`theory.measured.fitting.Fit`).

    Raises:
        LossTableError: fewer than one dataset size would be left on either side, the table lacks what is needed, holds
            a negative approximation loss, or another unit than a law.
    """
    check_level(level)
    table = check_loss_table(results, "loss", "approximation_loss")
    limited, n_runs = limited_runs(table), int((~np.isnan(seed_losses(table))).sum())
    hint = ""
    if leave_out_limited and limited.any():
        table = without_limited_cells(table)
        n_cells = int(limited.any(axis=2).sum())
        hint = f". {n_cells} cells that optimisation seems to limit were left out; keep them to use them, too"
    truth = truth_of(table)
    laws = list(laws) if isinstance(laws, Sequence) else [laws]
    if not laws or not all(isinstance(law, Law) for law in laws):
        raise TypeError(f"laws are instances of Law, at least one, as in [SaturatingLaw(), PowerLaw()]; got {laws!r}")
    names = [law.name for law in laws]
    if len(set(names)) != len(names) or STAYS in names:
        raise ValueError(f"laws need distinct names, other than {STAYS!r}; got {names}")
    if not 0.0 < fit_fraction < 1.0:
        raise ValueError(f"fit_fraction must lie in (0, 1), as in 0.5; got {fit_fraction!r}")
    check_integer("n_bootstrap", n_bootstrap, 0)
    check_positive("tolerance", tolerance)
    for law in laws:
        check_unit(table, law)
    measured = optimal_context_length(table, level=level, seed=seed)
    usable = measured["best_on_grid"].values >= 0
    table, measured = table.isel(dataset_size=usable), measured.isel(dataset_size=usable)
    sizes = table.indexes["dataset_size"].to_numpy()
    n_fitted = round(len(sizes) * fit_fraction - 1e-9)
    if not 1 <= n_fitted < len(sizes):
        raise LossTableError(
            f"{len(sizes)} usable dataset sizes cannot be split at fit_fraction = {fit_fraction}: at least one must be "
            f"fitted and one held out{hint}"
        )
    lengths = table.indexes["context_length"].to_numpy()
    gaps = seed_losses(table, "approximation_loss")
    check_gaps(gaps)
    losses = np.where(np.isnan(gaps), np.nan, seed_losses(table))
    mean_loss = seed_means(losses)
    if not np.isfinite(mean_loss[:, n_fitted:]).any():
        raise LossTableError(f"no held-out cell has a finite approximation loss: nothing can be scored{hint}")
    trial = Trial(lengths, sizes, n_fitted, truth, risk_known(table))
    fits = trial.fit(laws, losses)
    stays = np.full((1, len(sizes)), measured["best_on_grid"].values[n_fitted - 1])
    predicted = np.concatenate([trial.predict(fits), stays])
    resampled = [trial.predict(again) for again in trial.resample(fits, losses, n_bootstrap, seed)]
    lower, upper = _prediction_intervals(resampled, laws, level, len(sizes))
    at = np.searchsorted(lengths, predicted)
    # A law that picks a context length with a diverged run is not let off: its regret there is infinite.
    reached = np.nan_to_num(mean_loss, nan=np.inf)
    if leave_out_limited:
        reached[limited[:, usable].any(axis=2)] = np.nan
    regret = reached[at, np.arange(len(sizes))[None, :]] - measured["loss"].values[None, :]
    optimum = measured["optimal_context_length"].values[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = predicted / optimum
        log2_error = np.abs(np.log2(ratio))
    predicted_loss = np.stack([f.law.loss(row, sizes, f.truth) for f, row in zip(fits, predicted, strict=False)])
    held_out = np.arange(len(sizes)) >= n_fitted
    covered = np.where(np.isfinite(lower) & np.isfinite(optimum), (lower <= optimum) & (optimum <= upper), np.nan)
    misfit, p_values = trial.judge(laws, losses, tolerance, seed)
    none, nowhere = [np.nan], np.full((1, len(sizes)), np.nan)
    over = ("law", "dataset_size")
    comparison = xr.Dataset(
        {
            "predicted": (over, predicted),
            "predicted_lower": (over, lower),
            "predicted_upper": (over, upper),
            "predicted_loss": (over, np.concatenate([predicted_loss, nowhere])),
            "ratio": (over, ratio),
            "log2_error": (over, log2_error),
            "regret": (over, regret),
            **{name: (over, np.concatenate([values, nowhere])) for name, values in p_values.items()},
            "held_out": ("dataset_size", held_out),
            "loss_error": ("law", [*trial.loss_errors(fits, losses), *none]),
            "misfit": ("law", [*misfit, *none]),
            "rms_residual": ("law", [*(f.rms_residual for f in fits), *none]),
            "constants": ("law", [*(_listed(f.law, f.law.fitted) for f in fits), ""]),
            "given": ("law", [*map(_given, laws), ""]),
            "flat_directions": ("law", [*("; ".join(f.flat_directions) for f in fits), ""]),
        },
        coords={"law": [*names, STAYS], "dataset_size": sizes},
        attrs={
            "level": level, "fit_fraction": fit_fraction, "n_seeds": gaps.shape[2], "n_bootstrap": n_bootstrap,
            "tolerance": tolerance, "risk_known": int(trial.risk_known), "n_lengths": len(lengths),
            "below_risk": trial.below_risk(losses), "n_runs": n_runs, "n_limited": int(limited.sum()),
            "leave_out_limited": int(leave_out_limited),
        },
    )  # fmt: skip
    judged = comparison.isel(dataset_size=held_out)
    comparison["mean_log2_error"] = judged["log2_error"].mean("dataset_size")
    comparison["mean_regret"] = judged["regret"].mean("dataset_size")
    comparison["n_scored"] = judged["log2_error"].notnull().sum("dataset_size")
    comparison["coverage"] = xr.DataArray(covered, dims=over)[:, held_out].mean("dataset_size")
    return comparison.merge(measured, combine_attrs="drop_conflicts")


@dataclasses.dataclass(frozen=True)
class FitWithRisk:
    """A fitted law, and the truth it was fitted with: R(l) as given, or as fitted with the law."""

    law: Law
    truth: Truth
    rms_residual: float
    flat_directions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Trial:
    """A split of the dataset sizes: laws are fitted on the first ``n_fitted`` and scored on the others."""

    lengths: Array
    sizes: Array
    n_fitted: int
    truth: Truth
    risk_known: bool

    def cells(self, losses: Float[Array, "l D seed"], n_sizes: int) -> LossCells:
        """The cells of the first dataset sizes."""
        return cells_of(losses[:, :n_sizes], self.lengths, self.sizes[:n_sizes], self.truth, risk_known=self.risk_known)

    def fit(
        self, laws: Sequence[Law], losses: Float[Array, "l D seed"], *, polish_only: bool = False
    ) -> list[FitWithRisk]:
        """Each law on the first dataset sizes; ``polish_only`` starts from its present constants alone."""
        if not self.risk_known:
            cells = self.cells(losses, self.n_fitted)
            fitted = weighted_fits(laws if polish_only else best_fits(laws, cells), cells)
            found = zip(fitted.laws, fitted.truths, fitted.misfit, strict=True)
            return [FitWithRisk(law, truth, float(np.sqrt(misfit))) for law, truth, misfit in found]
        gap = self.mean_gap(losses)[:, : self.n_fitted]
        seen = self.sizes[: self.n_fitted]
        fits = [fit_gap(law, self.lengths, seen, gap, self.truth, polish_only=polish_only) for law in laws]
        return [FitWithRisk(f.law, self.truth, f.rms_residual, f.flat_directions) for f in fits]

    def mean_gap(self, losses: Float[Array, "l D seed"]) -> Float[Array, "l D"]:
        """Seed-mean approximation losses, at least zero."""
        return np.maximum(seed_means(losses) - self.truth.bayes_risk[self.lengths][:, None], 0.0)

    def predict(self, fits: Sequence[FitWithRisk]) -> Int[Array, "law D"]:
        """l* among the measured lengths."""
        return np.stack([f.law.optimal_context_length(self.sizes, f.truth, self.lengths) for f in fits])

    def resample(
        self, fits: Sequence[FitWithRisk], losses: Float[Array, "l D seed"], n_bootstrap: int, seed: int
    ) -> list[list[FitWithRisk]]:
        """Fits with seeds drawn with replacement. In each resample every law gets the same seeds."""
        n_seeds = losses.shape[2]
        if n_seeds == 1:
            return []
        rng, laws = np.random.default_rng(seed), [f.law for f in fits]
        drawn = (losses[:, :, rng.integers(n_seeds, size=n_seeds)] for _ in range(n_bootstrap))
        return [self.fit(laws, again, polish_only=True) for again in drawn]

    def loss_errors(self, fits: Sequence[FitWithRisk], losses: Float[Array, "l D seed"]) -> list[float]:
        """Root mean square residual of the held-out cells."""
        found, length = [], self.lengths[:, None]
        for f in fits:
            gap = seed_means(losses) - f.truth.bayes_risk[length]
            weight = cell_weights(self.truth, self.lengths, gap)
            law = f.law.approximation_loss(length, self.sizes[None, :].astype(np.float64), f.truth)
            of_law, of_losses = (root_gap(np.maximum(g, 0.0), length, self.truth) for g in (law, gap))
            residual = weight * (of_law - of_losses)
            found.append(float(np.sqrt(np.nanmean(residual[:, self.n_fitted :] ** 2))))
        return found

    def below_risk(self, losses: Float[Array, "l D seed"]) -> float:
        """The largest distance of a mean loss below an R(l) that is known, in units of U."""
        if not self.risk_known:
            return 0.0
        gap = seed_means(losses) - self.truth.bayes_risk[self.lengths][:, None]
        return float(max(-np.nanmin(gap), 0.0) / unit_of(self.truth))

    def judge(
        self, laws: Sequence[Law], losses: Float[Array, "l D seed"], tolerance: float, seed: int
    ) -> tuple[Float[Array, "law"], dict[str, Float[Array, "law D"]]]:
        """The misfit of each law by all cells, and its p-values by all cells up to each size; NaN below four sizes."""
        p_values = {name: np.full((len(laws), len(self.sizes)), np.nan) for name in _P_VALUES}
        misfit = np.full(len(laws), np.nan)
        starts: Sequence[Law] = ()
        for n_sizes in range(len(self.sizes), FEWEST_SIZES - 1, -1):
            cells = self.cells(losses, n_sizes)
            if not can_be_judged(laws, cells):
                break
            replicates = REPLICATES if not starts else _FEWER_REPLICATES
            judged = judge(
                starts or best_fits(laws, cells), cells, tolerance=tolerance, replicates=replicates, seed=seed
            )
            for name, values in p_values.items():
                values[:, n_sizes - 1] = getattr(judged, name)
            if not starts:
                misfit, starts = judged.misfit, judged.laws
        return misfit, p_values


def _prediction_intervals(
    resampled: Sequence[Int[Array, "law D"]], laws: Sequence[Law], level: float, n_sizes: int
) -> Float[Array, "2 laws D"]:
    """Intervals of the predicted l*(D) over resamples of the seeds behind the fit; NaN where nothing is fitted."""
    intervals = np.full((2, len(laws) + 1, n_sizes), np.nan)
    if resampled:
        ends = [(1 - level) / 2, (1 + level) / 2]
        intervals[:, :-1] = np.quantile(resampled, ends, axis=0, method="closest_observation")
        intervals[:, [i for i, law in enumerate(laws) if not law.fitted]] = np.nan
    return intervals


def _listed(law: Law, names: Sequence[str]) -> str:
    values = ((name, getattr(law, name)) for name in names)
    return ", ".join(f"{name} = {value if isinstance(value, str) else format(value, '.4g')}" for name, value in values)


def _given(law: Law) -> str:
    """The given constants, and the universal ones that were changed."""
    defaults = {field.name: field.default for field in dataclasses.fields(law)}
    changed = [name for name in law.universal if getattr(law, name) != defaults[name]]
    return _listed(law, [*law.given, *changed])


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
    lines += [
        "",
        f"{'law':<{width}}  mean |log2 error|  mean regret  loss error  coverage  fit residual   misfit  p adequate  "
        "p exact  p equal  constants",
    ]
    last = comparison.isel(dataset_size=-1)
    for law in comparison["law"].values:
        row = last.sel(law=law)
        lines.append(
            f"{law:<{width}}  {float(row['mean_log2_error']):>17.3f}  {float(row['mean_regret']):>11.4f}  "
            f"{float(row['loss_error']):>10.4f}  {float(row['coverage']):>8.2f}  {float(row['rms_residual']):>12.4f}  "
            f"{float(row['misfit']):>7.4g}  {float(row['p_adequate']):>10.3f}  {float(row['p_exact']):>7.3f}  "
            f"{float(row['p_equal']):>7.3f}  "
            f"{row['constants'].item()}"
            + (f"  (not fixed: {row['flat_directions'].item()})" if row["flat_directions"].item() else "")
        )
    pairs = zip(comparison["law"].values, comparison["given"].values, strict=True)
    given = [f"  {law}: {constants}" for law, constants in pairs if constants]
    if given:
        lines += ["", "given constants, not fitted:", *given]
    if comparison.attrs.get("n_limited"):
        used = "left out" if comparison.attrs["leave_out_limited"] else "used, too"
        lines += [
            "",
            f"{comparison.attrs['n_limited']} of {comparison.attrs['n_runs']} runs seem limited by optimisation; their "
            f"cells are {used}. Give more steps, more patience or restarts",
        ]
    lines += ["", f"verdict: {verdict(comparison)}"]
    return "\n".join(lines)
