"""Reads losses measured elsewhere, as of language models, from a CSV file into the table of this package."""

import csv
import dataclasses
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from theory.measured.bayes_risk import BayesRiskEstimate, estimate_bayes_risk
from theory.measured.loss_table import AXES, LossTableError
from theory.types import Array

_NEEDED = ("context_length", "dataset_size", "loss")
_SMALLEST = {
    "context_length": 0, "dataset_size": 1, "seed": 0, "loss": 0, "approximation_loss": 0, "bayes_risk": 0,
    "intrinsic_dimension": 0,
}  # fmt: skip
"""The known columns and the smallest value of each. A loss must lie above it."""
_LONGEST = 10**7
"""R(l) is tabulated at every l; beyond this the columns were probably swapped."""


def read_loss_table(
    path: str | os.PathLike[str], *, unit: str = "nats", bayes_risk: BayesRiskEstimate | None = None
) -> xr.Dataset:
    """A CSV file as the table that ``compare``, ``fit``, ``optimal_context_length`` and the figures take.

    One row for each training, under a header: ``context_length``, ``dataset_size``, ``loss``, and, if known, ``seed``,
    ``bayes_risk``, ``approximation_loss``, ``intrinsic_dimension``. Lines that begin with # are comments. A loss left
    empty, and a combination without a row, is a missing run.

    - R(l) is the column ``bayes_risk``, which must also hold l = 0. A monotone cubic in ln(1 + l) joins its lengths.
      Without the column R(l) = min(C0 + C/l^gamma, R(0)). The constants are those of the argument ``bayes_risk``. If
      there is none, :func:`theory.estimate_bayes_risk` fits them to the seed-mean losses at the largest dataset size.
      The fit stops at the length of the smallest loss, because beyond it the approximation loss dominates.
    - R(0) is the seed-mean loss at context_length 0 and the largest dataset size that has it for every seed. Without
      such a loss it is C0 + C, as if one token were no context. The ceiling of approximation losses is R(0) - R(l).
    - Approximation losses are their column, or else loss - R(l), where negative values count as zero.
    - dim(l) is its column, linear between its lengths, from dim(0) = 0. Without the column dim(l) = l.

    An R(l) fitted to the losses of the table contains their approximation loss. ``compare`` then judges laws on the
    losses that R was fitted to. The measured l* is not affected, but the scores and the verdict can favour the wrong
    law. Give R(l) from another source if you can.

    The attributes ``bayes_risk``, ``intrinsic_dimension`` and ``approximation_loss`` say what was estimated or assumed.

    Args:
        path: the file.
        unit: unit of the losses. Laws that give nats are refused for other units.
        bayes_risk: R(l) estimated elsewhere, as from a far larger model on the same text.

    Returns:
        A Dataset with ``loss`` and ``approximation_loss`` over (context_length, dataset_size, seed), NaN where missing,
        ``bayes_risk`` and ``intrinsic_dimension`` over context_length, and both as ``..._curve`` over
        ``every_context_length`` 0..L.

    Raises:
        FileNotFoundError: there is no such file.
        LossTableError: it is not such a table, or leaves R(l) open; with the value, its line and what to do.

    Warns:
        UserWarning: approximation losses came out negative; with their number and size.
    """
    path = pathlib.Path(path)
    rows = _read_rows(path)
    given_risk, given_dimension = _by_length(rows, "bayes_risk"), _by_length(rows, "intrinsic_dimension")
    # What is known without context may stand in the file without a training that saw none.
    rows = [row for row in rows if row.values["context_length"] > 0 or np.isfinite(row.values["loss"])]
    if not any(np.isfinite(row.values["loss"]) for row in rows):
        raise LossTableError(f"{path} holds no loss: every cell of that column is empty")
    table = _as_table(rows)
    lengths = table.indexes["context_length"].to_numpy()
    every = np.arange(lengths[-1] + 1)

    if given_risk and bayes_risk is not None:
        raise LossTableError(f"{path} has a column bayes_risk, and bayes_risk was given, too: leave one out")
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
    table["bayes_risk"] = "context_length", risk[lengths]
    notes: dict[str, str | int] = {"unit": unit, "source": path.name, "bayes_risk": known}
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


@dataclasses.dataclass(frozen=True)
class _Row:
    """The cells of a line as numbers; NaN where left empty."""

    line: int
    values: Mapping[str, float]


def _read_rows(path: pathlib.Path) -> list[_Row]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LossTableError(f"{path} is not a CSV file: {error}") from error
    lines = [(n, next(csv.reader([line]))) for n, line in enumerate(text.splitlines(), 1) if _says_something(line)]
    if not lines:
        raise LossTableError(f"{path} is empty: its first line must name the columns, as in {','.join(_NEEDED)}")
    header = [name.strip() for name in lines[0][1]]
    missing = [name for name in _NEEDED if name not in header]
    unknown = [name for name in header if name not in _SMALLEST]
    if missing or unknown or len(set(header)) != len(header):
        raise LossTableError(
            f"{path} has the columns {header}; it needs {list(_NEEDED)}, may have "
            f"{[name for name in _SMALLEST if name not in _NEEDED]}, each once and no others, separated by commas: "
            "rename or remove columns"
        )
    rows = []
    for line, cells in lines[1:]:
        where = f"{path}, line {line}"
        if len(cells) != len(header):
            raise LossTableError(f"{where} has {len(cells)} cells, the header {len(header)}: {','.join(cells)!r}")
        rows.append(_Row(line, {n: _number(n, c.strip(), where) for n, c in zip(header, cells, strict=True)}))
    return rows


def _says_something(line: str) -> bool:
    return bool(line.strip(" \t,")) and not line.lstrip().startswith("#")


def _number(name: str, cell: str, where: str) -> float:
    whole, smallest = name in AXES, _SMALLEST[name]
    if not cell and not whole:
        return np.nan
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    good = np.isfinite(value) and value >= smallest and (value > 0 or name != "loss")
    if not good or (whole and not value.is_integer()):
        kind = "a whole number of" if whole else "a finite number above" if name == "loss" else "a finite number of"
        least = f"{smallest}" if name == "loss" else f"at least {smallest}"
        remedy = "" if whole else "; leave the cell empty if it is missing or the run diverged"
        raise LossTableError(f"{where}: {name} must be {kind} {least}; got {cell!r}{remedy}")
    if name == "context_length" and value > _LONGEST:
        raise LossTableError(f"{where}: {name} must be at most {_LONGEST}; got {cell!r}. Are columns swapped?")
    return value


def _as_table(rows: Sequence[_Row]) -> xr.Dataset:
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
    return table


def _by_length(rows: Sequence[_Row], name: str) -> dict[int, float]:
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
    mean = table["loss"].mean("seed", skipna=False)
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
