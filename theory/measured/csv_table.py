"""Reads losses measured elsewhere, as of language models, from a CSV file into the table of this package."""

import collections
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from theory.measured.bayes_risk import BayesRiskEstimate, estimate_bayes_risk
from theory.measured.csv_rows import TO_NATS, Row, in_nats, read_rows
from theory.measured.loss_table import AXES, LossTableError, seed_losses, seed_means
from theory.types import Array

_NEEDED = ("context_length", "dataset_size", "loss")


def read_loss_table(
    path: str | os.PathLike[str],
    *,
    unit: str = "nats",
    bayes_risk: BayesRiskEstimate | str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """A CSV file as the table that ``compare``, ``fit``, ``optimal_context_length`` and the figures take.

    One row for each training, under a header: ``context_length``, ``dataset_size``, ``loss``, and, if known, ``seed``,
    ``bayes_risk``, ``approximation_loss``, ``intrinsic_dimension``. Usual other names, as ``ctx``, ``seq_len``,
    ``tokens`` and ``val_loss``, are understood, and other columns left out; the attribute ``columns`` says so. Commas,
    semicolons or tabs separate cells. Lines that begin with # are comments. In the wide form the first column is the
    context length, and the others, named by their dataset sizes, hold losses.

    Cells may differ in their number of repetitions, and a cell without a row was not measured. A loss left empty is a
    run that diverged: its cell has no mean. Without a column ``seed``, or if no seed has rows of two cells, rows of one
    cell are repetitions, numbered in their order.

    - R(l) is the column ``bayes_risk``, which must also hold l = 0. A monotone cubic in ln(1 + l) joins its lengths.
      Without the column R(l) = min(C0 + C/l^gamma, R(0)). The constants are those of the argument ``bayes_risk``. If
      there is none, :func:`theory.estimate_bayes_risk` fits them to the seed-mean losses at the largest dataset size.
      The fit stops at the length of the smallest loss, because beyond it the approximation loss dominates.
    - R(0) is the seed-mean loss at context_length 0 and the largest dataset size that has it. Without
      such a loss it is C0 + C, as if one token were no context. The ceiling of approximation losses is R(0) - R(l).
    - Approximation losses are their column, or else loss - R(l), where negative values count as zero.
    - dim(l) is its column, linear between its lengths, from dim(0) = 0. Without the column dim(l) = l.

    An R(l) fitted to the losses of the table contains their approximation loss. So ``compare`` fits R(l) again with
    each law (attribute ``bayes_risk_estimated``), and tells fewer laws apart. Give R(l) from another source if you can.
    If you cannot, give the loss at context length 0. Without it, laws that exceed R(0) in some cells are mostly
    rejected.

    The attributes ``bayes_risk``, ``intrinsic_dimension`` and ``approximation_loss`` say what was estimated or assumed.

    Args:
        path: the file.
        unit: unit of the losses in the file. "bits" and "perplexity" (the exponential of the loss in nats) become nats.
            Laws that give nats are refused for other units.
        bayes_risk: R(l) from elsewhere, in nats, as an estimate from a far larger model on the same text; or a CSV file
            with columns ``context_length`` and ``bayes_risk``, in the same unit.

    Returns:
        A Dataset with ``loss``, ``approximation_loss`` (NaN where there is no run) and ``diverged`` over
        (context_length, dataset_size, seed),
        ``bayes_risk`` and ``intrinsic_dimension`` over context_length, and both as ``..._curve`` over
        ``every_context_length`` 0..L.

    Raises:
        FileNotFoundError: there is no such file.
        LossTableError: it is not such a table, or leaves R(l) open; with the value, its line and what to do.

    Warns:
        UserWarning: approximation losses came out negative, with their number and size; or columns were left out.
    """
    path = pathlib.Path(path)
    rows, columns = read_rows(path, _NEEDED)
    if "left out" in columns:
        warnings.warn(f"{path}: {columns}", stacklevel=2)
    rows = in_nats(rows, unit, path)
    given_risk, given_dimension = _by_length(rows, "bayes_risk"), _by_length(rows, "intrinsic_dimension")
    if given_risk and bayes_risk is not None:
        raise LossTableError(f"{path} has a column bayes_risk, and bayes_risk was given, too: leave one out")
    if bayes_risk is not None and not isinstance(bayes_risk, BayesRiskEstimate):
        elsewhere = pathlib.Path(bayes_risk)
        risks, _ = read_rows(elsewhere, ("context_length", "bayes_risk"))
        given_risk, bayes_risk = _by_length(in_nats(risks, unit, elsewhere), "bayes_risk"), None
    # What is known without context may stand in the file without a training that saw none.
    rows = [row for row in rows if row.values["context_length"] > 0 or np.isfinite(row.values["loss"])]
    if not any(np.isfinite(row.values["loss"]) for row in rows):
        raise LossTableError(f"{path} holds no loss: every cell of that column is empty")
    table = _as_table(_numbered(rows))
    lengths = table.indexes["context_length"].to_numpy()
    every = np.arange(lengths[-1] + 1)
    if len(every) < 2:
        raise LossTableError(f"{path} has no context length above 0: there is nothing to compare")
    if given_risk:
        risk = _interpolated_risk(given_risk, lengths, every)
        known = f"given at {len(given_risk)} context lengths, monotone cubic in ln(1 + l) between them"
    elif "approximation_loss" in table:
        raise LossTableError(
            f"{path} has approximation losses without a column bayes_risk: add it, bayes_risk = loss - "
            "approximation_loss, also at context_length 0"
        )
    else:
        risk, known = _estimated_risk(table, every, bayes_risk)
    if risk.min() < 0 and unit in TO_NATS:
        raise LossTableError(
            f"R(l) comes out negative, {risk.min():.4g} ({known}): a cross-entropy is not. Give the Bayes risk in a "
            "column bayes_risk, or look for a wrong loss"
        )
    table["bayes_risk"] = "context_length", risk[lengths]
    notes: dict[str, str | int] = {
        "unit": "nats" if unit in TO_NATS else unit, "source": path.name, "bayes_risk": known
    }  # fmt: skip
    if columns:
        notes["columns"] = columns
    if not given_risk and bayes_risk is None:
        notes["bayes_risk_estimated"] = 1
    if "approximation_loss" not in table:
        gaps = table["loss"] - table["bayes_risk"]
        table["approximation_loss"] = gaps.clip(min=0.0)
        notes["approximation_loss"] = "loss - R(l)"
        below = gaps.values[gaps.values < 0]
        if below.size:
            clipped = (
                f"{below.size} of {np.isfinite(gaps.values).sum()} losses lie below the Bayes risk, by up to "
                f"{-below.min():.3g}: their approximation loss counts as zero"
            )
            notes["approximation_loss"] = f"loss - R(l); {clipped}"
            warnings.warn(f"{path}: {clipped}. R(l) is {known}", stacklevel=2)

    notes["intrinsic_dimension"] = f"given at {len(given_dimension)} context lengths, linear between them"
    if not given_dimension:
        notes["intrinsic_dimension"] = "assumed: dim(l) = l"
    dimension = {0: 0.0, **(given_dimension or {int(lengths[-1]): float(lengths[-1])})}
    _check_known_at("intrinsic_dimension", dimension, lengths if given_dimension else ())
    curve = np.interp(every, sorted(dimension), [dimension[l] for l in sorted(dimension)])
    table["intrinsic_dimension"] = "context_length", curve[lengths]
    return table.assign(
        bayes_risk_curve=("every_context_length", risk), intrinsic_dimension_curve=("every_context_length", curve)
    ).assign_coords(every_context_length=every).assign_attrs(notes)  # fmt: skip


def _numbered(rows: Sequence[Row]) -> list[Row]:
    """Repetitions without a seed, or with seeds of their own in every cell, get numbers in the order of their lines."""
    cells = [(row.values["context_length"], row.values["dataset_size"]) for row in rows]
    if "seed" in rows[0].values:
        seeds = [row.values["seed"] for row in rows]
        if len(set(seeds)) < len(seeds) or len(set(cells)) == 1:
            return list(rows)
    seen: collections.Counter[tuple[int | float, ...]] = collections.Counter()
    numbered = []
    for row, cell in zip(rows, cells, strict=True):
        numbered.append(Row(row.line, {**row.values, "seed": seen[cell]}))
        seen[cell] += 1
    return numbered


def _as_table(rows: Sequence[Row]) -> xr.Dataset:
    """Losses, and approximation losses where there are, on the grid of all values along each axis."""
    cells = [tuple(int(row.values.get(axis, 0)) for axis in AXES) for row in rows]
    first: dict[tuple[int, ...], int] = {}
    for row, cell in zip(rows, cells, strict=True):
        if cell in first:
            raise LossTableError(
                f"lines {first[cell]} and {row.line} are both (context_length, dataset_size, seed) = {cell}: tell "
                "repetitions apart in a column seed"
            )
        first[cell] = row.line
    axes = [np.unique(values) for values in zip(*cells, strict=True)]
    places = tuple(np.searchsorted(axis, values) for axis, values in zip(axes, zip(*cells, strict=True), strict=True))
    table = xr.Dataset(coords=dict(zip(AXES, axes, strict=True)))
    for name in ("loss", "approximation_loss"):
        if name in rows[0].values:
            grid = np.full([len(axis) for axis in axes], np.nan)
            grid[places] = [row.values[name] for row in rows]
            table[name] = AXES, grid
    diverged = np.zeros([len(axis) for axis in axes], bool)
    diverged[places] = [np.isnan(row.values["loss"]) for row in rows]
    table["diverged"] = AXES, diverged
    return table


def _by_length(rows: Sequence[Row], name: str) -> dict[int, float]:
    """The value of a column at each context length, where it is given."""
    found: dict[int, float] = {}
    for row in rows:
        length, value = int(row.values["context_length"]), row.values.get(name, np.nan)
        if np.isfinite(value) and found.setdefault(length, value) != value:
            raise LossTableError(
                f"{name} depends on the context length alone; at {length} it is {found[length]:.6g} and, in line "
                f"{row.line}, {value:.6g}"
            )
    return dict(sorted(found.items()))


def _check_known_at(name: str, known: Mapping[int, float], lengths: Sequence[int] | Array) -> None:
    missing = [int(length) for length in lengths if length not in known]
    if missing:
        raise LossTableError(f"{name} is not given at the context lengths {missing}: fill it in, or drop the column")


def _interpolated_risk(given: Mapping[int, float], lengths: Array, every: Array) -> Float[Array, "l"]:
    if 0 not in given:
        raise LossTableError(
            "bayes_risk is not given at context_length 0: add a row with it (loss may be empty), for text the entropy "
            "of the token frequencies, or, as an upper bound, the logarithm of the vocabulary's size"
        )
    _check_known_at("bayes_risk", given, lengths)
    where, values = list(given), np.array(list(given.values()))
    rises = np.flatnonzero(np.diff(values) > 0)
    if rises.size:
        i = rises[0]
        raise LossTableError(
            f"bayes_risk rises from {values[i]:.6g} at context length {where[i]} to {values[i + 1]:.6g} at "
            f"{where[i + 1]}: more context cannot cost the best predictor anything. Were losses given?"
        )
    return np.asarray(PchipInterpolator(np.log1p(where), values)(np.log1p(every)))


def _estimated_risk(
    table: xr.Dataset, every: Array, estimate: BayesRiskEstimate | None
) -> tuple[Float[Array, "l"], str]:
    """min(C0 + C/l^gamma, R(0)) at every l, and the words that say where it comes from."""
    mean = xr.DataArray(seed_means(seed_losses(table)), {a: table[a] for a in AXES[:2]}, AXES[:2])
    source = "given"
    if estimate is None:
        if len(table["dataset_size"]) == 1:
            raise LossTableError(
                f"a table with one dataset size, {table['dataset_size'].item()}, cannot tell the Bayes risk from the "
                "approximation loss: give the Bayes risk in a column bayes_risk, or more dataset sizes"
            )
        largest = mean.isel(dataset_size=-1).dropna("context_length")
        largest = largest.sel(context_length=largest["context_length"] >= 1)
        fitted = largest[: int(np.argmin(largest.values)) + 1] if largest.size else largest
        estimate = estimate_bayes_risk(fitted["context_length"].values, fitted.values)
        source = (
            f"fitted to the losses at dataset size {largest['dataset_size'].item()}, so that laws judged there are "
            "judged by its error, too"
        )
    without = estimate.risk(1)
    at_zero = "C0 + C, as if one token were no context"
    if table["context_length"][0] == 0:
        measured = mean.isel(context_length=0).dropna("dataset_size")
        if measured.size:
            without, at_zero = measured.values[-1], "the loss at context length 0"
    risk = np.minimum(np.append(without, estimate.risk(every[1:])), without)
    return risk, f"estimated: {estimate}, {source}; R(0) = {without:.4g}, {at_zero}"
