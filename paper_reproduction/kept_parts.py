"""What every experiment beyond a single study does: measure, keep the parts that are done, draw, and report."""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from tqdm.auto import tqdm

import figures
from paper_reproduction.reproduction import Scale
from simulator import load_results, save_results
from simulator.machine.workers import check_workers, make_with_workers
from simulator.specification import canonical_json, digest

_COLUMNS = 16
"""Of a report, at most: longer tables are turned."""
ENDLESS = 10**9
"""Samples: no batch is seen twice, so that what is left of the loss is no lack of data."""


class Measurement(Protocol):
    """Measures at a scale, keeping what it makes in a folder, with so many worker processes where it runs studies."""

    def __call__(self, scale: Scale, folder: pathlib.Path, workers: int) -> dict[str, xr.Dataset]: ...


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Figures that no single study gives.

    Attributes:
        title: what is shown.
        measure: gives for the name of each figure what :func:`figures.curves` draws.
    """

    title: str
    measure: Measurement


def make_experiment(name: str, experiment: Experiment, scale: Scale, out: pathlib.Path, workers: int) -> None:
    """Measure, and write a table and a figure of each thing, and a report, below ``out``/``scale``/``name``."""
    folder = out / scale / name
    print(f"\n== {experiment.title} ==")
    written = []
    tables = experiment.measure(scale, folder, workers)
    for what, table in tables.items():
        save_results(table, folder / f"{what}.nc")
        written += [folder / f"{what}.nc", *figures.save(*figures.curves(table, experiment.title), folder / what)]
    text = "\n\n\n".join(map(report, tables.values()))
    (folder / "report.txt").write_text(text + "\n")
    print(text)
    print("\nwritten:", *(f"  {path}" for path in [*written, folder / "report.txt"]), sep="\n")


def report(table: xr.Dataset) -> str:
    """A row for each curve, or a column where it has many points, with the interval of each point beside it; a dash
    where there is no value. What was drawn against another quantity is shown with where it stands."""
    value, names = table["value"], ["value", "lower", "upper", *(["at"] if "at" in table else [])]
    columns = [table[name].stack(row=value.dims[:-1]).transpose("row", value.dims[-1]) for name in names]

    def shown(v: float, lower: float, upper: float, at: float | None = None) -> str:
        where = "" if at is None else f" at {at:.4g}"
        return f"{v:.4g} [{lower:.4g}, {upper:.4g}]{where}" if np.isfinite(v) else "-"

    cells = [
        [shown(*cell) for cell in zip(*row, strict=True)] for row in zip(*(c.values for c in columns), strict=True)
    ]
    frame = pd.DataFrame(cells, index=columns[0].indexes["row"], columns=value.indexes[value.dims[-1]])
    frame = frame if len(frame.columns) <= _COLUMNS else frame.T
    return f"{value.attrs.get('long_name', '')}\n\n{frame.to_string()}"


def mean_and_interval(samples: xr.DataArray) -> xr.Dataset:
    """Mean over ``seed``, and the interval of one standard error on either side."""
    mean = samples.mean("seed")
    error = samples.std("seed", ddof=1) / np.sqrt(samples.sizes["seed"]) if samples.sizes["seed"] > 1 else 0 * mean
    return xr.Dataset({"value": mean, "lower": mean - error, "upper": mean + error})


def part_spec(*values: Any) -> str:
    """The spec of a part as text. A class is named by its reproduction, wherever in the folder its code stands."""
    return canonical_json(values).replace(".make.", ".")


def kept_parts(
    folder: pathlib.Path, parts: dict[str, Callable[[], xr.Dataset]], what: str, workers: int
) -> list[xr.Dataset]:
    """The table of each part, in order: read if it was made before, else made and kept.

    Args:
        folder: where they are kept.
        parts: from a spec, as text, to what makes the part; what takes longest first, for all workers to end together.
        what: what the progress bar calls them.
        workers: processes that make parts, a core each; 1 makes them here, on all cores. Sums over large arrays are
            then taken in another order: a network that an experiment trains by itself, unlike those of studies, is the
            same to the bit only for as many threads.

    Raises:
        ValueError: a file that was kept is damaged, or there cannot be so many workers.
        WorkerError: a worker process failed or was killed.
    """
    paths = {spec: folder / "parts" / f"{digest(spec)[:20]}.nc" for spec in parts}
    tables = {spec: _kept(path) for spec, path in paths.items() if path.exists()}
    missing = [[(spec, make)] for spec, make in parts.items() if spec not in tables]
    workers = min(check_workers(workers), len(missing))
    made = make_with_workers(_made, missing, workers) if workers > 1 else _made(missing)
    with tqdm(total=len(parts), initial=len(tables), desc=what, unit="part") as bar, contextlib.closing(made):
        for spec, table in made:
            save_results(table.assign_attrs(spec=spec), paths[spec])
            tables[spec] = _kept(paths[spec])
            bar.update()
    return [tables[spec] for spec in parts]


def _kept(path: pathlib.Path) -> xr.Dataset:
    try:
        return load_results(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: delete it, and the same call makes it again") from error


def _made(
    groups: Iterable[Sequence[tuple[str, Callable[[], xr.Dataset]]]],
) -> Generator[tuple[str, xr.Dataset], None, None]:
    """Each part as it is made, here or in a worker process."""
    for spec, make in itertools.chain.from_iterable(groups):
        yield spec, make()


def labelled(table: xr.Dataset, names: dict[str, str], **value_attributes: Any) -> xr.Dataset:
    """The table with names of its coordinates and variables for the axes, and attributes of its value."""
    table = table.copy()
    for variable, name in names.items():
        table[variable].attrs["long_name"] = name
    table["value"].attrs.update(value_attributes)
    return table
