"""Measured l*(D) against what laws predict for dataset sizes their fit has not seen."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from theory.checks import check_integer
from theory.laws.base import Law, Truth
from theory.measured.fitting import Fit, cell_weights, fit_gap, root_gap
from theory.measured.intervals import check_level
from theory.measured.loss_table import LossTableError, check_gaps, check_loss_table, check_unit, seed_losses, truth_of
from theory.measured.optimum import optimal_context_length
from theory.measured.verdict import STAYS, verdict
from theory.types import Array

_ROUNDING = 1e-6
"""Residual below which a law is exact: without it the likelihood of a noise-free table is unbounded."""


def compare(
    results: xr.Dataset,
    laws: Sequence[Law],
    *,
    fit_fraction: float = 0.5,
    level: float = 0.9,
    n_bootstrap: int = 100,
    seed: int = 0,
) -> xr.Dataset:
    """Fit each law on the small dataset sizes, let it predict the large ones, and score it there.

    A law predicts l* among the measured context lengths, so a perfect law has no error. The scores use only dataset
    sizes that the fit has not seen:

    - the error ``|log2(l*_predicted / l*_measured)|``, where l* was measured (not at an edge);
    - the regret: the measured loss at the predicted length minus the smallest measured loss, never negative;
    - the error of the loss: the root mean square of r = w [sqrt(G_law / U) - sqrt(G_measured / U)], the residual of the
      fit (:mod:`theory.measured.fitting`), which counts cells near a minimum most;
    - the predictive log-likelihood: the mean over cells of ln N(r; 0, s^2 + t^2), s the standard error of the measured
      mean over seeds and t the rms residual of the fitted cells. Only this score asks a law how wrong it is;
    - the coverage: the share of measured l* within the law's prediction interval.

    Args:
        results: a table from :func:`simulator.run`, or of the same shape.
            Dataset sizes whose every context length has a diverged run are left out.
        laws: laws to fit; those without fitted constants are scored as they are. The baseline "l* stays" is added.
        fit_fraction: share of the dataset sizes, smallest first, that the fit sees.
        level: level of all intervals.
        n_bootstrap: resamples of the seeds behind each law's prediction interval and the share of wins; 0 for none.
        seed: seed of the resampling.

    Returns:
        A Dataset over (law, dataset_size): ``predicted``, its interval ``predicted_lower`` and ``predicted_upper``,
        ``ratio`` (predicted / measured), ``log2_error``, ``regret``, ``predicted_loss``; over dataset_size what
        :func:`optimal_context_length` measured and ``held_out``; over law the held-out means ``mean_log2_error`` and
        ``mean_regret``, ``n_scored`` (held-out sizes with a measured l*), ``loss_error``, ``log_likelihood``,
        ``coverage``, ``score`` (log-likelihood less a nat for each fitted constant, as in Akaike's criterion, so that a
        law does not lose to one that contains it), ``wins`` (share of resamples in which its score is the highest),
        ``rms_residual`` of the fit, its ``constants``, the ``given`` constants that were not fitted
        (:attr:`theory.laws.Law.given`), and ``flat_directions`` (:class:`theory.measured.fitting.Fit`).

    Raises:
        LossTableError: fewer than one dataset size would be left on either side, the table lacks what is needed, holds
            a negative approximation loss, or another unit than a law.
    """
    check_level(level)
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
            "fitted and one held out"
        )
    lengths = table.indexes["context_length"].to_numpy()
    mean_loss = seed_losses(table).mean(axis=2)
    gaps = seed_losses(table, "approximation_loss")
    gaps = np.where(np.isfinite(gaps).all(axis=2, keepdims=True), gaps, np.nan)
    check_gaps(gaps)
    if not np.isfinite(gaps[:, n_fitted:]).any():
        raise LossTableError("no held-out cell has a finite approximation loss in every seed: nothing can be scored")
    trial = _Trial(lengths, sizes, n_fitted, truth)
    outcome = trial.play(laws, gaps)
    resampled = _resampled(trial, outcome, gaps, n_bootstrap, seed)

    stays = np.full((1, len(sizes)), measured["best_on_grid"].values[n_fitted - 1])
    predicted = np.concatenate([outcome.predicted, stays])
    lower, upper = _prediction_intervals(resampled, laws, level, len(sizes))
    at = np.searchsorted(lengths, predicted)
    columns = np.arange(len(sizes))[None, :]
    # A law that picks a context length with a diverged run is not let off: its regret there is infinite.
    regret = np.nan_to_num(mean_loss[at, columns], nan=np.inf) - measured["loss"].values[None, :]
    optimum = measured["optimal_context_length"].values[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = predicted / optimum
        log2_error = np.abs(np.log2(ratio))
    predicted_loss = np.stack([f.law.loss(row, sizes, truth) for f, row in zip(outcome.fits, predicted, strict=False)])
    held_out = np.arange(len(sizes)) >= n_fitted
    covered = np.where(np.isfinite(lower) & np.isfinite(optimum), (lower <= optimum) & (optimum <= upper), np.nan)
    wins = np.full(len(laws), np.nan)
    if resampled:
        best = np.argmax([r.score for r in resampled], axis=1)
        wins = np.bincount(best, minlength=len(laws)) / len(resampled)
    none = [np.nan]
    over = ("law", "dataset_size")
    comparison = xr.Dataset(
        {
            "predicted": (over, predicted),
            "predicted_lower": (over, lower),
            "predicted_upper": (over, upper),
            "predicted_loss": (over, np.concatenate([predicted_loss, np.full((1, len(sizes)), np.nan)])),
            "ratio": (over, ratio),
            "log2_error": (over, log2_error),
            "regret": (over, regret),
            "held_out": ("dataset_size", held_out),
            "loss_error": ("law", [*outcome.loss_error, *none]),
            "log_likelihood": ("law", [*outcome.log_likelihood, *none]),
            "score": ("law", [*outcome.score, *none]),
            "wins": ("law", [*wins, *none]),
            "rms_residual": ("law", [*(f.rms_residual for f in outcome.fits), *none]),
            "constants": ("law", [*(_listed(f.law, f.law.fitted) for f in outcome.fits), ""]),
            "given": ("law", [*map(_given, laws), ""]),
            "flat_directions": ("law", [*("; ".join(f.flat_directions) for f in outcome.fits), ""]),
        },
        coords={"law": [*names, STAYS], "dataset_size": sizes},
        attrs={"level": level, "fit_fraction": fit_fraction, "n_seeds": gaps.shape[2], "n_bootstrap": n_bootstrap},
    )
    judged = comparison.isel(dataset_size=held_out)
    comparison["mean_log2_error"] = judged["log2_error"].mean("dataset_size")
    comparison["mean_regret"] = judged["regret"].mean("dataset_size")
    comparison["n_scored"] = judged["log2_error"].notnull().sum("dataset_size")
    comparison["coverage"] = xr.DataArray(covered, dims=over)[:, held_out].mean("dataset_size")
    return comparison.merge(measured, combine_attrs="drop_conflicts")


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """Fits, predictions and scores of all laws on one set of seeds."""

    fits: list[Fit]
    predicted: Int[Array, "law D"]
    loss_error: Float[Array, "law"]
    log_likelihood: Float[Array, "law"]
    n_judged: int
    """Number of held-out cells."""

    @property
    def score(self) -> Float[Array, "law"]:
        return self.log_likelihood - np.array([len(f.law.fitted) for f in self.fits]) / self.n_judged


@dataclasses.dataclass(frozen=True)
class _Trial:
    """A split of the dataset sizes: laws are fitted on the first ``n_fitted`` and scored on the others."""

    lengths: Array
    sizes: Array
    n_fitted: int
    truth: Truth

    def play(self, laws: Sequence[Law], gaps: Float[Array, "l D seed"], *, polish_only: bool = False) -> _Outcome:
        """Fit on the first dataset sizes, predict all, score on the others."""
        mean = gaps.mean(axis=2)
        seen = self.sizes[: self.n_fitted]
        fits = [
            fit_gap(law, self.lengths, seen, mean[:, : self.n_fitted], self.truth, polish_only=polish_only)
            for law in laws
        ]
        weight = cell_weights(self.truth, self.lengths, mean)
        measured = root_gap(mean, self.lengths[:, None], self.truth)
        spread = weight * _standard_error(root_gap(gaps, self.lengths[:, None, None], self.truth))
        judged = np.isfinite(mean) & (np.arange(len(self.sizes)) >= self.n_fitted)[None, :]
        errors, likelihoods = [], []
        for f in fits:
            gap = f.law.approximation_loss(self.lengths[:, None], self.sizes[None, :].astype(np.float64), self.truth)
            residual = weight * (root_gap(gap, self.lengths[:, None], self.truth) - measured)
            variance = (f.rms_residual**2 + spread**2 + _ROUNDING**2)[judged]
            errors.append(np.sqrt(np.mean(residual[judged] ** 2)))
            likelihoods.append(np.mean(-(residual[judged] ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2))
        predicted = [f.law.optimal_context_length(self.sizes, self.truth, self.lengths) for f in fits]
        return _Outcome(fits, np.stack(predicted), np.array(errors), np.array(likelihoods), int(judged.sum()))


def _standard_error(samples: Float[Array, "l D seed"]) -> Float[Array, "l D"]:
    n_seeds = samples.shape[2]
    return samples.std(axis=2, ddof=1) / np.sqrt(n_seeds) if n_seeds > 1 else np.zeros(samples.shape[:2])


def _resampled(
    trial: _Trial, outcome: _Outcome, gaps: Float[Array, "l D seed"], n_bootstrap: int, seed: int
) -> list[_Outcome]:
    """The trial on seeds drawn with replacement. In each resample every law gets the same seeds."""
    n_seeds = gaps.shape[2]
    if n_seeds == 1:
        return []
    rng, fitted = np.random.default_rng(seed), [f.law for f in outcome.fits]
    return [
        trial.play(fitted, gaps[:, :, rng.integers(n_seeds, size=n_seeds)], polish_only=True)
        for _ in range(n_bootstrap)
    ]


def _prediction_intervals(
    resampled: Sequence[_Outcome], laws: Sequence[Law], level: float, n_sizes: int
) -> Float[Array, "2 laws D"]:
    """Intervals of the predicted l*(D) over resamples of the seeds behind the fit; NaN where nothing is fitted."""
    intervals = np.full((2, len(laws) + 1, n_sizes), np.nan)
    if resampled:
        draws, ends = [r.predicted for r in resampled], [(1 - level) / 2, (1 + level) / 2]
        intervals[:, :-1] = np.quantile(draws, ends, axis=0, method="closest_observation")
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
        f"{'law':<{width}}  mean |log2 error|  mean regret  loss error  log-likelihood   score  wins  coverage  "
        "fit residual  constants",
    ]
    for law in comparison["law"].values:
        row = comparison.sel(law=law)
        lines.append(
            f"{law:<{width}}  {float(row['mean_log2_error']):>17.3f}  {float(row['mean_regret']):>11.4f}  "
            f"{float(row['loss_error']):>10.4f}  {float(row['log_likelihood']):>14.3f}  "
            f"{float(row['score']):>6.3f}  {float(row['wins']):>4.2f}  "
            f"{float(row['coverage']):>8.2f}  {float(row['rms_residual']):>12.4f}  {row['constants'].item()}"
            + (f"  (not fixed: {row['flat_directions'].item()})" if row["flat_directions"].item() else "")
        )
    pairs = zip(comparison["law"].values, comparison["given"].values, strict=True)
    given = [f"  {law}: {constants}" for law, constants in pairs if constants]
    if given:
        lines += ["", "given constants, not fitted:", *given]
    lines += ["", f"verdict: {verdict(comparison)}"]
    return "\n".join(lines)
