"""Parts of a reproduction that are made once: each is kept in a file, and the next call reads it."""

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
