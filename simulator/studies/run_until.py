"""A study that grows until it has measured l*(D) well enough: context lengths and seeds are added where it does not."""

import dataclasses
import itertools
import os
import pathlib
import warnings

import xarray as xr

from simulator.grid import Run
from simulator.machine.platform import check_platform
from simulator.machine.workers import check_workers
from simulator.studies.results import as_table
from simulator.studies.run import Keep, check_keep, results_of
from simulator.studies.store import Store
from simulator.studies.study import Study, check_importable, check_study
from theory import optimal_context_length
from theory.checks import check_integer, check_number
from theory.types import Scalar


def run_until(
    study: Study,
    store: str | os.PathLike[str],
    *,
    most_runs: int,
    ratio: Scalar = 1.5,
    workers: int = 1,
    platform: str | None = None,
    keep: Keep | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Make the runs of a study, and more where they are needed, until each l*(D) has a narrow interval.

    After each round :func:`theory.optimal_context_length` decides what is added:

    - where the smallest loss of a dataset size lies at an end of the context lengths: one length beyond that end,
      farther by the ratio;
    - where the length of the smallest loss is farther than the ratio from a neighbour: the length half-way between
      them, in the logarithm;
    - where neither is the case, but the interval of l* is wider than the ratio: half as many seeds again, at this
      dataset size and the lengths within the interval.

    A new length is measured at all dataset sizes, with the seeds of the study. An interval is narrow if its ends differ
    by the ratio at most, or by one token. A smallest loss at l = L counts as found. Where a context length has a
    diverged run, it cannot be the best one. Seeds are added because an interval is wide, so that its level no longer
    holds exactly: ``tests/benchmarks/measured.txt`` says how often intervals of level 0.9 cover then (``python -m
    tests.benchmarks.adaptive``).

    The rounds depend on the numbers alone. Stopped at any moment and called again, the function continues, and returns
    the same table to the bit.

    Args:
        study: where to begin, with at least two seeds.
        store: folder of finished runs.
        most_runs: a round that would need more runs than this altogether is not begun.
        ratio: widest interval, as upper end over lower end.
        workers: as for :func:`simulator.run`; so are ``platform``, ``keep`` and ``progress``.
        platform: see there.
        keep: see there.
        progress: see there; each round has a bar.

    Returns:
        The table, as of :func:`simulator.run`, with NaN where a run was not needed. Its attribute ``study`` is the
        study with all lengths and seeds that were added.

    Raises:
        ValueError: the study has one seed, or more runs than ``most_runs``; or the ratio is not above 1.

    Warns:
        UserWarning: it ended before every interval was narrow; with the dataset sizes that are left. Either
            ``most_runs`` ended it, or every context length has a diverged run at these sizes.
    """
    check_study(study)
    check_platform(platform)
    check_keep(keep)
    workers = check_workers(workers)
    if workers > 1:
        check_importable(study, "set workers=1")
    if study.seeds < 2:
        raise ValueError("one seed gives no interval: give the study two seeds or more, as in seeds=2")
    if check_number("ratio", ratio) <= 1:
        raise ValueError(f"ratio must be above 1, as in 1.5; got {ratio!r}")
    wanted, n_seeds, kept = frozenset(study.runs()), study.seeds, Store(pathlib.Path(store))
    check_integer("most_runs", most_runs, len(wanted))
    while True:
        lengths, seeds = sorted({run.context_length for run in wanted}), 1 + max(run.seed for run in wanted)
        study = dataclasses.replace(study, context_lengths=lengths, seeds=seeds)
        runs = [run for run in study.runs() if run in wanted]
        table = as_table(study, results_of(study, runs, kept, workers, keep, progress=progress))
        more, left = more_runs(table, wanted, n_seeds, float(ratio))
        if not more or len(wanted | more) > most_runs:
            break
        wanted |= more
    if left:
        diverged = "every context length has a diverged run there. Change the learner, as by a smaller learning rate"
        warnings.warn(
            f"l* of dataset sizes {left} has no interval within a ratio of {ratio} after {len(wanted)} runs: "
            + (f"give more than most_runs={most_runs}" if more else diverged),
            stacklevel=2,
        )
    return table


def more_runs(
    table: xr.Dataset, wanted: frozenset[Run], n_seeds: int, ratio: float
) -> tuple[frozenset[Run], list[int]]:
    """The runs of the next round of :func:`run_until`, and the dataset sizes whose l* is not narrow yet.

    Args:
        table: the results of the runs wanted so far.
        wanted: those runs.
        n_seeds: seeds of a new context length.
        ratio: widest interval.
    """
    best = optimal_context_length(table)
    lengths, sizes = table["context_length"].values.tolist(), table["dataset_size"].values.tolist()
    longest = table.sizes["every_context_length"] - 1
    new_lengths: set[int] = set()
    more: set[Run] = set()
    left: list[int] = []
    for size in sizes:
        here = best.sel(dataset_size=size)
        smallest, lower, upper = (float(here[name]) for name in ("best_on_grid", "lower", "upper"))
        beside = _lengths_beside(int(smallest), lengths, ratio, longest)
        if beside or not upper <= max(ratio * lower, lower + 1):
            left.append(size)
        if beside:
            new_lengths |= beside
        elif size in left:
            inside = [length for length in lengths if lower <= length <= upper]
            seeds = max(
                (run.seed + 1 for run in wanted if run.dataset_size == size and run.context_length in inside), default=0
            )
            more |= {Run(length, size, seed) for length in inside for seed in range(seeds + max(1, seeds // 2))}
    more |= {Run(*cell) for cell in itertools.product(new_lengths, sizes, range(n_seeds))}
    return frozenset(more - wanted), left


def _lengths_beside(best: int, lengths: list[int], ratio: float, longest: int) -> set[int]:
    """Lengths to add around the best one: beyond an end of the grid, and half-way to a neighbour that is too far."""
    if best < 0:  # every context length has a diverged run
        return set()
    at, found = lengths.index(best), set()
    if at == 0 and best > 0:
        found.add(min(best - 1, round(best / ratio)))
    if at == len(lengths) - 1 and best < longest:
        found.add(min(longest, max(best + 1, round(best * ratio))))
    for low, high in itertools.pairwise(lengths[max(at - 1, 0) : at + 2]):
        if high > max(ratio * low, low + 1):
            found.add(max(low + 1, round((low * high) ** 0.5)))
    return found
