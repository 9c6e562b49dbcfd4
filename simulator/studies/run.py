"""Running a study: every run that is not kept yet is made, kept as it ends, and the table put together."""

import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import xarray as xr
from tqdm.auto import tqdm

from simulator.grid import Run
from simulator.learners.network_predictor import NetworkPredictor
from simulator.machine.compiled_programs import keep_compiled_programs
from simulator.machine.platform import check_platform
from simulator.machine.stopping import stopping_in_order
from simulator.machine.workers import check_workers, make_with_workers
from simulator.studies.networks import network_as_bytes, network_file, read_network
from simulator.studies.results import as_table
from simulator.studies.run_result import RunResult
from simulator.studies.store import Store, StoreError
from simulator.studies.study import Study, check_importable, check_study
from theory.checks import check_choice

Keep: TypeAlias = Literal["networks"]
"""What can be kept of a run beside its numbers."""


class Made(NamedTuple):
    """A run that was made: its result, and the file of its network if that is to be kept."""

    run: Run
    result: RunResult
    network: bytes | None


def run(
    study: Study,
    store: str | os.PathLike[str] | None = None,
    *,
    workers: int = 1,
    platform: str | None = None,
    keep: Keep | None = None,
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
        keep: ``"networks"`` to keep the selected parameters of every network in the store, one file for each run, for
            :func:`simulator.load_predictor`. The numbers are the same to the bit. A run whose network is not in the
            store is made again, even if its numbers are there. A solution in closed form is not kept.
        progress: show a bar with the time left.

    Returns:
        A Dataset over (context_length, dataset_size, seed); see :func:`simulator.studies.results.as_table`.

    Raises:
        ValueError: ``keep`` is something else, or there is no store to keep networks in.
        StoreError: the store is of another format, not writable, or its disk is full. Or a run that is made again for
            its network gives other numbers than those in the store.
        PlatformError: the platform asked for is not there.
        WorkerError: a worker process failed or was killed.
        Stopped: SIGTERM came.
    """
    check_study(study)
    check_platform(platform)
    workers = check_workers(workers)
    check_keep(keep)
    if keep is not None and store is None:
        raise ValueError(f"keep={keep!r} needs a folder to keep them in: give store, as in store='runs'")
    if workers > 1:
        check_importable(study, "set workers=1")
    kept = None if store is None else Store(pathlib.Path(store))
    return as_table(study, results_of(study, study.runs(), kept, workers, keep, progress=progress))


def results_of(
    study: Study, runs: Sequence[Run], store: Store | None, workers: int, keep: Keep | None, *, progress: bool
) -> dict[Run, RunResult]:
    """The results of runs, those that are not in the store made now, with a bar."""
    results = {} if store is None else open_store(study, store, runs, keep)
    missing = [run for run in runs if run not in results]
    bar = tqdm(total=len(runs), initial=len(results), desc="runs", unit="run", disable=not progress, mininterval=0.5)
    # However the loop ends, closing ends the workers and restores the handler of SIGTERM.
    with bar, contextlib.closing(make_runs(study, missing, store, workers, keep)) as making:
        for made, result in making:
            results[made] = result
            bar.update()
    return results


def check_keep(keep: Any) -> None:
    """Raise ValueError for anything else than what can be kept, or None."""
    check_choice("keep", keep, (None, *get_args(Keep)))


def open_store(study: Study, store: Store, runs: Iterable[Run], keep: Keep | None = None) -> dict[Run, RunResult]:
    """Make the store if there is none, and return those of the runs that are in it."""
    store.open()
    return dict(finished_runs(study, store, runs, keep))


def make_runs(
    study: Study, runs: Sequence[Run], store: Store | None, workers: int = 1, keep: Keep | None = None
) -> Generator[tuple[Run, RunResult], None, None]:
    """Make runs, keeping and yielding each as it ends."""
    groups = study.learner.groups(runs)
    with stopping_in_order():
        before = time.perf_counter()
        workers = min(workers, len(groups))
        made = (
            make_here(study, keep, groups)
            if workers <= 1
            else make_with_workers(functools.partial(_make_there, study.to_json(), keep), groups, workers)
        )
        with contextlib.closing(made):
            for run, result, network in made if groups else ():
                if store is not None:
                    now = time.perf_counter()
                    # Seconds are no part of a result: they differ from one time to the next.
                    about = {"seconds_since_previous": now - before}
                    result = _written(store, study.run_spec(run), result, network, about)
                    before = now
                yield run, result


def make_here(study: Study, keep: Keep | None, groups: Iterable[Sequence[Run]]) -> Generator[Made, None, None]:
    """Make runs in this process, yielding each as it is done."""
    keep_compiled_programs()
    for fitted in study.learner.fit_groups(study.task, groups):
        result = RunResult.measured(study.task, fitted, study.test_size)
        network = None
        if keep and isinstance(fitted.predictor, NetworkPredictor):
            network = network_as_bytes(study.run_spec(fitted.run), fitted.predictor)
        elif keep and result.steps > 0:
            raise TypeError(
                f"{type(study.learner).__name__} trains a {type(fitted.predictor).__name__}, and keep={keep!r} keeps "
                "a NetworkPredictor: leave keep out"
            )
        yield Made(fitted.run, result, network)


def _make_there(study: str, keep: Keep | None, groups: Iterable[Sequence[Run]]) -> Iterator[Made]:
    """In a worker process, of a study as text."""
    return make_here(Study.from_json(study), keep, groups)


def _written(store: Store, spec: str, result: RunResult, network: bytes | None, about: Mapping[str, Any]) -> RunResult:
    """Write a run and its network, and return the result in the store."""
    earlier = None if network is None else store.read(spec)
    if earlier is not None:
        _check_same_numbers(store, spec, earlier, result.to_json())
    if network is not None:  # before the result: where that is, the run is finished
        store.write_bytes(network_file(store, spec), network)
    if earlier is not None:
        return RunResult.from_json(earlier)
    store.write(spec, result.to_json(), about)
    return result


def _check_same_numbers(store: Store, spec: str, earlier: Mapping[str, Any], again: Mapping[str, Any]) -> None:
    """Raise StoreError if a run that was made again for its network has other numbers than before."""
    for name in (*RunResult.losses(), "steps"):
        if again[name] != earlier[name]:
            raise StoreError(
                f"{store.file(spec)} has {name} = {earlier[name]!r}; made again for its network, the run has "
                f"{again[name]!r}. Another machine, another version or other code made that file: name another folder"
            )


def finished_runs(
    study: Study, store: Store, runs: Iterable[Run], keep: Keep | None = None, *, put_aside: bool = True
) -> Iterator[tuple[Run, RunResult]]:
    """Those of the runs that are in the store, with their results. Where networks are kept, each has its own."""
    for run in runs:
        spec = study.run_spec(run)
        kept = store.read(spec, put_aside=put_aside)
        if kept is None:
            continue
        result = RunResult.from_json(kept)
        in_closed_form = result.steps == 0
        if keep is None or in_closed_form or read_network(store, spec) is not None:
            yield run, result
