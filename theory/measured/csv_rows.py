"""The lines of a CSV file of losses as numbers, however its columns are called and separated."""

import csv
import dataclasses
import math
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from theory.measured.loss_table import LossTableError

_LONGEST = 10**7
"""R(l) is tabulated at every l; beyond this the columns were probably swapped."""
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_IN_UNIT = ("loss", "approximation_loss", "bayes_risk")
TO_NATS: dict[str, Callable[[float], float]] = {
    "nats": float,
    "bits": lambda value: value * math.log(2),
    "perplexity": lambda value: math.log(value) if value > 0 else math.nan,
}
"""Units of a loss that become nats, and how."""
_INDEX = ("", "unnamed: 0")
"""Names of a column that a program wrote to number the lines."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column that is understood.

    Attributes:
        other_names: in small letters, with an underscore for each blank.
        smallest: the smallest value.
        largest: the largest value.
        whole: whether it holds whole numbers; then no cell may be empty.
        above: whether values must lie above the smallest.
    """

    other_names: tuple[str, ...] = ()
    smallest: int = 0
    largest: float = 1e100
    whole: bool = False
    above: bool = False


LOSS = Column(("val_loss", "validation_loss", "eval_loss", "test_loss"), above=True)
LOSS_TABLE: Mapping[str, Column] = {
    "context_length": Column(
        ("context", "ctx", "n_ctx", "ctx_len", "context_len", "seq_len", "sequence_length", "l"),
        largest=_LONGEST,
        whole=True,
    ),
    "dataset_size": Column(("tokens", "n_tokens", "samples", "n_samples", "train_size", "d"), 1, 2**63 - 1, whole=True),
    "seed": Column(("run", "repetition", "replicate"), largest=2**63 - 1, whole=True),
    "loss": LOSS,
    "approximation_loss": Column(),
    "bayes_risk": Column(),
    "intrinsic_dimension": Column(),
}
"""The columns of a table over context lengths and dataset sizes."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The cells of a line as numbers; NaN where left empty."""

    line: int
    values: Mapping[str, int | float]


def read_rows(
    path: pathlib.Path, needed: Sequence[str], columns: Mapping[str, Column] = LOSS_TABLE
) -> tuple[list[Row], str]:
    """The rows of a file, and the words that say how its columns were understood.

    Commas, semicolons or tabs separate the cells. In the wide form of a loss table, the first column is the context
    length, and every other column is named by its dataset size and holds losses.

    Raises:
        FileNotFoundError: there is no such file.
        LossTableError: it is no such file; with the value, its line and what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LossTableError(f"{path} is not a CSV file: {error}") from error
    numbered = [(n, line) for n, line in enumerate(text.splitlines(), 1) if _says_something(line)]
    if not numbered:
        raise LossTableError(f"{path} is empty: its first line must name the columns, as in {','.join(needed)}")
    separator = max(",;\t", key=numbered[0][1].count)
    lines = [(n, _cells(line, separator, f"{path}, line {n}")) for n, line in numbered]
    header = lines[0][1]
    for n, cells in lines[1:]:
        if len(cells) != len(header):
            raise LossTableError(
                f"{path}, line {n} has {len(cells)} cells, the header {len(header)}: {separator.join(cells)!r}"
            )
    if columns is LOSS_TABLE and _is_wide(header):
        return _wide_rows(lines, path), f"wide: losses at dataset sizes {', '.join(header[1:])}"
    places, said = _understood(header, needed, columns, path)
    rows = [
        Row(n, {name: _number(name, columns[name], cells[i], f"{path}, line {n}") for name, i in places.items()})
        for n, cells in lines[1:]
    ]
    return rows, said


def _says_something(line: str) -> bool:
    return bool(line.strip(" \t,;")) and not line.lstrip().startswith("#")


def _cells(line: str, separator: str, where: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, strict=True))]
    except csv.Error as error:
        raise LossTableError(f"{where} cannot be read: {error}") from error


def _means(given: str, name: str, column: Column) -> bool:
    return re.sub("[ _-]+", "_", given.lower()) in (name, *column.other_names)


def _is_wide(header: Sequence[str]) -> bool:
    sizes = header[1:]
    return (
        _means(header[0], "context_length", LOSS_TABLE["context_length"])
        and len(sizes) > 0
        and all(_DECIMAL.fullmatch(name) for name in sizes)
    )


def _wide_rows(lines: Sequence[tuple[int, list[str]]], path: pathlib.Path) -> list[Row]:
    def number(name: str, cell: str, n: int) -> int | float:
        return _number(name, LOSS_TABLE[name], cell, f"{path}, line {n}")

    sizes = [number("dataset_size", name, lines[0][0]) for name in lines[0][1][1:]]
    rows = []
    for n, (length, *losses) in lines[1:]:
        at_length = {"context_length": number("context_length", length, n)}
        for size, loss in zip(sizes, losses, strict=True):
            rows.append(Row(n, {**at_length, "dataset_size": size, "loss": number("loss", loss, n)}))
    return rows


def _understood(
    header: Sequence[str], needed: Sequence[str], columns: Mapping[str, Column], path: pathlib.Path
) -> tuple[dict[str, int], str]:
    """The place of each known column, by its own name or another one, and what was made of the header."""
    places, said = {}, []
    for name, column in columns.items():
        found = [i for i, given in enumerate(header) if given == name]
        found = found or [i for i, given in enumerate(header) if _means(given, name, column)]
        if len(found) > 1:
            raise LossTableError(
                f"{path}: the columns {[header[i] for i in found]} all mean {name}: keep one, named {name}"
            )
        if found:
            places[name] = found[0]
            if header[found[0]] != name:
                said.append(f"{name} is the column {header[found[0]]!r}")
    missing = [name for name in needed if name not in places]
    if missing:
        others = "; ".join(
            f"{name} may be called {', '.join(columns[name].other_names)}"
            for name in missing
            if columns[name].other_names
        )
        raise LossTableError(
            f"{path} has the columns {list(header)}; it lacks {missing}: rename or add columns. It may have "
            f"{[name for name in columns if name not in needed]}. {others}".rstrip(". ")
        )
    left_out = [name for i, name in enumerate(header) if i not in places.values() and name.lower() not in _INDEX]
    if left_out:
        said.append(f"left out: {', '.join(left_out)}")
    return places, "; ".join(said)


def _number(name: str, column: Column, cell: str, where: str) -> int | float:
    if not cell and not column.whole:
        return np.nan
    value: int | float = np.nan
    if _INTEGER.fullmatch(cell) and column.whole:
        value = int(cell)
    elif _DECIMAL.fullmatch(cell):
        value = float(cell)
    good = np.isfinite(float(value)) and value >= column.smallest and (value > column.smallest or not column.above)
    if not good or (column.whole and not float(value).is_integer()):
        kind = "a whole number" if column.whole else "a finite number"
        least = f"above {column.smallest}" if column.above else f"of at least {column.smallest}"
        remedy = "" if column.whole else "; leave the cell empty if it is missing or the run diverged"
        raise LossTableError(f"{where}: {name} must be {kind} {least}; got {cell!r}{remedy}")
    if value > column.largest:
        swapped = ". Are columns swapped?" if name == "context_length" else ""
        raise LossTableError(f"{where}: {name} must be at most {column.largest}; got {cell!r}{swapped}")
    return int(value) if column.whole else value


def in_nats(rows: Sequence[Row], unit: str, path: pathlib.Path) -> list[Row]:
    """Losses in bits, or as perplexities, in nats."""
    if unit == "perplexity":
        for row in rows:
            if "approximation_loss" in row.values:
                raise LossTableError(f"{path}: an approximation loss has no perplexity: remove that column")
            low = [value for name in _IN_UNIT if (value := row.values.get(name, 2.0)) < 1]
            if low:
                raise LossTableError(f"{path}, line {row.line}: a perplexity is at least 1; got {low[0]}")
    convert = TO_NATS.get(unit, float)
    return [Row(row.line, {n: convert(v) if n in _IN_UNIT else v for n, v in row.values.items()}) for row in rows]
