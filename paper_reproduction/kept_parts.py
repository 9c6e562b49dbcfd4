"""Parts of a reproduction. Each part is made once and kept in a file, which the next call reads."""

import contextlib
import itertools
import pathlib
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import xarray as xr
from tqdm.auto import tqdm

from simulator import load_results, save_results
from simulator.machine.workers import check_workers, make_with_workers
from simulator.specification import canonical_json, digest

ENDLESS = 10**9
"""A dataset size at which no batch is seen twice: the loss that remains is not a lack of data."""


def part_spec(*values: Any) -> str:
    """The spec of a part as text. A class is named by its reproduction, wherever in the folder its code stands."""
    return canonical_json(values).replace(".make.", ".")


def kept_parts(
    folder: pathlib.Path, parts: dict[str, Callable[[], xr.Dataset]], what: str, workers: int
) -> list[xr.Dataset]:
    """Return the table of each part, in order; read it if it was made before, else make it and keep it.

    Args:
        folder: the parts are kept in its subfolder ``parts``.
        parts: a function that makes the part, for each spec as text. Put the longest first, so that all workers end
            at about the same time.
        what: name of the parts on the progress bar.
        workers: number of processes that make parts, one core each; 1 makes them in this process, on all cores. The
            number of threads changes the order of sums over large arrays. So a network that is trained here, unlike one
            of a study, is the same to the bit only for the same number of threads.

    Raises:
        ValueError: a kept file is damaged, or the number of workers is out of range.
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
    """Yield each part when it is made, here or in a worker process."""
    for spec, make in itertools.chain.from_iterable(groups):
        yield spec, make()
