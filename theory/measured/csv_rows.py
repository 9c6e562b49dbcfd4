"""The lines of a CSV file of losses as numbers, however its columns are called and separated."""

import csv
import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from theory.measured.loss_table import AXES, LossTableError

_SMALLEST = {
    "context_length": 0, "dataset_size": 1, "seed": 0, "loss": 0, "approximation_loss": 0, "bayes_risk": 0,
    "intrinsic_dimension": 0,
}  # fmt: skip
"""The known columns and the smallest value of each. A loss must lie above it."""
_ALIASES = {
    "context_length": ("context", "ctx", "n_ctx", "ctx_len", "context_len", "seq_len", "sequence_length", "l"),
    "dataset_size": ("tokens", "n_tokens", "samples", "n_samples", "train_size", "d"),
    "loss": ("val_loss", "validation_loss", "eval_loss", "test_loss"),
    "seed": ("run", "repetition", "replicate"),
}
"""Other names of columns, in small letters."""
_LONGEST = 10**7
"""R(l) is tabulated at every l; beyond this the columns were probably swapped."""
_LARGEST = {"context_length": _LONGEST, "dataset_size": 2**63 - 1, "seed": 2**63 - 1}
_LARGEST_LOSS = 1e100
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INDEX = ("", "unnamed: 0")
"""Names of a column that a program wrote to number the lines."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The cells of a line as numbers; NaN where left empty."""

    line: int
    values: Mapping[str, int | float]


def read_rows(path: pathlib.Path, needed: Sequence[str]) -> tuple[list[Row], str]:
    """The rows of a file, and the words that say how its columns were understood.

    Commas, semicolons or tabs separate the cells. In the wide form, the first column is the context length, and every
    other column is named by its dataset size and holds losses.

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
    if _is_wide(header):
        return _wide_rows(lines, path), f"wide: losses at dataset sizes {', '.join(header[1:])}"
    places, said = _understood(header, needed, path)
    rows = [
        Row(n, {name: _number(name, cells[i], f"{path}, line {n}") for name, i in places.items()})
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


def _is_wide(header: Sequence[str]) -> bool:
    names = ("context_length", *_ALIASES["context_length"])
    sizes = header[1:]
    return header[0].lower() in names and len(sizes) > 0 and all(_DECIMAL.fullmatch(name) for name in sizes)


def _wide_rows(lines: Sequence[tuple[int, list[str]]], path: pathlib.Path) -> list[Row]:
    sizes = [_number("dataset_size", name, f"{path}, line {lines[0][0]}") for name in lines[0][1][1:]]
    rows = []
    for n, (length, *losses) in lines[1:]:
        where = f"{path}, line {n}"
        for size, loss in zip(sizes, losses, strict=True):
            length_and_loss = {"context_length": _number("context_length", length, where)} | {
                "dataset_size": size, "loss": _number("loss", loss, where)
            }  # fmt: skip
            rows.append(Row(n, length_and_loss))
    return rows


def _understood(header: Sequence[str], needed: Sequence[str], path: pathlib.Path) -> tuple[dict[str, int], str]:
    """The place of each known column, by its own name or another one, and what was made of the header."""
    places, said = {}, []
    for name in _SMALLEST:
        found = [i for i, given in enumerate(header) if given == name]
        found = found or [i for i, given in enumerate(header) if given.lower() in _ALIASES.get(name, ())]
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
        others = "; ".join(f"{name} may be called {', '.join(_ALIASES[name])}" for name in missing if name in _ALIASES)
        raise LossTableError(
            f"{path} has the columns {list(header)}; it lacks {missing}: rename or add columns. It may have "
            f"{[name for name in _SMALLEST if name not in needed]}. {others}".rstrip(". ")
        )
    left_out = [name for i, name in enumerate(header) if i not in places.values() and name.lower() not in _INDEX]
    if left_out:
        said.append(f"left out: {', '.join(left_out)}")
    return places, "; ".join(said)


def _number(name: str, cell: str, where: str) -> int | float:
    whole, smallest = name in AXES, _SMALLEST[name]
    if not cell and not whole:
        return np.nan
    value: int | float = np.nan
    if _INTEGER.fullmatch(cell) and whole:
        value = int(cell)
    elif _DECIMAL.fullmatch(cell):
        value = float(cell)
    good = np.isfinite(float(value)) and value >= smallest and (value > 0 or name != "loss")
    if not good or (whole and not float(value).is_integer()):
        kind = "a whole number of" if whole else "a finite number above" if name == "loss" else "a finite number of"
        least = f"{smallest}" if name == "loss" else f"at least {smallest}"
        remedy = "" if whole else "; leave the cell empty if it is missing or the run diverged"
        raise LossTableError(f"{where}: {name} must be {kind} {least}; got {cell!r}{remedy}")
    largest = _LARGEST.get(name, _LARGEST_LOSS)
    if value > largest:
        swapped = ". Are columns swapped?" if name == "context_length" else ""
        raise LossTableError(f"{where}: {name} must be at most {largest}; got {cell!r}{swapped}")
    return int(value) if whole else value
