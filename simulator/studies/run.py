"""Running a study: every run that is not kept yet is made, kept as it ends, and the table put together."""

import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Generator, Iterable, Iterator, Sequence

import xarray as xr
from tqdm.auto import tqdm

from simulator.grid import Run
from simulator.machine.platform import check_platform
from simulator.machine.stopping import stopping_in_order
from simulator.machine.workers import check_workers, make_with_workers
from simulator.studies.results import as_table
from simulator.studies.run_result import RunResult
from simulator.studies.store import Store
from simulator.studies.study import Study, check_importable, check_study


def run(
    study: Study,
    store: str | os.PathLike[str] | None = None,
    *,
    workers: int = 1,
    platform: str | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Make every run of a study that is not in the store yet, and return the table of all.

    Runs are kept as they finish: stop the process at any moment, call again, and it continues; the table is the same
    to the bit. SIGTERM lets the training chunk under way finish first, and ends the process with status 0.

    Args:
        study: what to run.
        store: folder of finished runs; None to keep nothing.
        workers: processes that make runs, each pinned to a core. 1 makes them here, on every device that JAX shows;
            more are for CPUs. The numbers are the same to the bit.
        platform: ``"cpu"``, ``"gpu"`` or ``"tpu"`` to insist on; None to take what JAX finds.
        progress: show a bar with the time left.

    Returns:
        A Dataset over (context_length, dataset_size, seed); see :func:`simulator.studies.results.as_table`.

    Raises:
        StoreError: the store is of another format, not writable, or its disk is full.
        PlatformError: the platform asked for is not there.
        WorkerError: a worker process failed or was killed.
        Stopped: SIGTERM came.
    """
    check_study(study)
    check_platform(platform)
    workers = check_workers(workers)
    if workers > 1:
        check_importable(study, "set workers=1")
    runs = study.runs()
    kept = None if store is None else Store(pathlib.Path(store))
    results = {} if kept is None else open_store(study, kept, runs)
    bar = tqdm(total=len(runs), initial=len(results), desc="runs", unit="run", disable=not progress, mininterval=0.5)
    # However the loop ends, closing ends the workers and restores the handler of SIGTERM.
    with bar, contextlib.closing(make_runs(study, [r for r in runs if r not in results], kept, workers)) as making:
        for made, result in making:
            results[made] = result
            bar.update()
    return as_table(study, results)


def open_store(study: Study, store: Store, runs: Iterable[Run]) -> dict[Run, RunResult]:
    """Make the store if there is none, and return those of the runs that are in it."""
    store.open()
    return dict(finished_runs(study, store, runs))


def make_runs(
    study: Study, runs: Sequence[Run], store: Store | None, workers: int = 1
) -> Generator[tuple[Run, RunResult], None, None]:
    """Make runs, keeping and yielding each as it ends."""
    groups = study.learner.groups(runs)
    with stopping_in_order():
        before = time.perf_counter()
        workers = min(workers, len(groups))
        made = (
            make_here(study, groups)
            if workers <= 1
            else make_with_workers(functools.partial(_make_there, study.to_json()), groups, workers)
        )
        with contextlib.closing(made):
            for run, result in made if groups else ():
                if store is not None:
                    now = time.perf_counter()
                    # Seconds are no part of a result: they differ from one time to the next.
                    about = {"seconds_since_previous": now - before}
                    store.write(study.run_spec(run), result.to_json(), about)
                    before = now
                yield run, result


def make_here(study: Study, groups: Iterable[Sequence[Run]]) -> Generator[tuple[Run, RunResult], None, None]:
    """Make runs in this process, yielding each run's result."""
    for fitted in study.learner.fit_groups(study.task, groups):
        yield fitted.run, RunResult.measured(study.task, fitted, study.test_size)


def _make_there(study: str, groups: Iterable[Sequence[Run]]) -> Iterator[tuple[Run, RunResult]]:
    """In a worker process, of a study as text."""
    return make_here(Study.from_json(study), groups)


def finished_runs(
    study: Study, store: Store, runs: Iterable[Run], *, put_aside: bool = True
) -> Iterator[tuple[Run, RunResult]]:
    """Those of the runs that are in the store, with their results."""
    for run in runs:
        result = store.read(study.run_spec(run), put_aside=put_aside)
        if result is not None:
            yield run, RunResult.from_json(result)
