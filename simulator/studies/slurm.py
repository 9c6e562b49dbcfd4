"""Running a study on Slurm: each element of a job array makes a shard of the grid and keeps what it finishes.

The store is the only truth: whatever happens to jobs, nodes and the controller, what is not in it is submitted again.
Slurm's own requeueing, of jobs preempted, out of time or on a node that failed, saves only the wait in the queue.
"""

import collections
import contextlib
import dataclasses
import io
import itertools
import os
import pathlib
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, get_args

import xarray as xr
from tqdm.auto import tqdm

from simulator.grid import Run
from simulator.machine.platform import Platform, check_platform, on_cpu
from simulator.machine.workers import Surroundings, adopt, surroundings
from simulator.specification import digest
from simulator.studies.run import Keep, check_keep, finished_runs, make_runs, open_store, run
from simulator.studies.store import Store
from simulator.studies.study import Study, check_importable, check_study
from theory.checks import check_choice, check_integer, check_positive

_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
"""States that squeue shows for some minutes after a job's end."""

_OURS = {"array", "cpus-per-task", "error", "job-name", "nodes", "ntasks", "output", "time"}
"""Parameters of sbatch that this module sets, or whose defaults it relies on."""


class SlurmError(RuntimeError):
    """Slurm, or the jobs on it, do not do what a study needs; the message shows why, and says what to do."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """What an element of the array calls with its runs; submitit pickles it.

    Attributes:
        study: the study as JSON.
        store: absolute path of the store, on a file system that the nodes share.
        workers: number of worker processes on a CPU. On an accelerator a single process makes the runs.
        platform: platform that JAX must run on; ``None`` accepts any.
        surroundings: settings of JAX and folders of modules in the process that submits.
        attempts: number of times in a row that an element may be stopped before it has finished a run.
        fruitless: number of times in a row that it has been stopped so.
        keep: what is kept beside the numbers, as :func:`simulator.run` takes it.
    """

    study: str
    store: str
    workers: int
    platform: str | None
    surroundings: Surroundings
    attempts: int
    fruitless: int = 0
    keep: Keep | None = None

    def __call__(self, runs: Sequence[Run]) -> None:
        """Make those of the runs that the store lacks."""
        adopt(self.surroundings)
        check_platform(self.platform)
        study, store, missing = self._missing(runs)
        for _ in make_runs(study, missing, store, self.workers if on_cpu() else 1, self.keep):
            pass

    def checkpoint(self, runs: Sequence[Run]) -> Any:
        """What is to be done once the element is queued again: the runs that are missing.

        Raises:
            SlurmError: it was stopped too often without having finished a run; queued again it would be for ever.
        """
        _, _, missing = self._missing(runs)
        fruitless = 0 if len(missing) < len(runs) else self.fruitless + 1
        if fruitless == self.attempts:
            raise SlurmError(
                f"stopped {fruitless} times in a row before one of {len(runs)} runs was finished. If time was up, "
                "raise timeout_minutes"
            )
        return _submitit().helpers.DelayedSubmission(dataclasses.replace(self, fruitless=fruitless), missing)

    def _missing(self, runs: Sequence[Run]) -> tuple[Study, Store, list[Run]]:
        study, store = Study.from_json(self.study), Store(pathlib.Path(self.store))
        finished = open_store(study, store, runs, self.keep)
        return study, store, [run for run in runs if run not in finished]


def run_on_slurm(
    study: Study,
    store: str | os.PathLike[str],
    *,
    shards: int = 16,
    timeout_minutes: int = 240,
    cores_per_shard: int = 1,
    options: Mapping[str, object] = {},
    attempts: int = 3,
    poll_seconds: float = 10.0,
    platform: str | None = None,
    keep: Keep | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Make every run of a study that is not in the store yet as jobs on Slurm, wait, and return the table of all.

    The table is that of :func:`simulator.studies.run.run`, to the bit. Killing this process does not end the jobs: call
    again, on any machine of the cluster, and it waits for those in the queue and goes on. The jobs get the environment
    and the working directory of this process.

    Args:
        study: what to run.
        store: folder of finished runs, on a file system that the nodes share; logs go to its folder ``slurm``.
        shards: most elements of the job array, among which the groups of runs that are left are dealt out.
        timeout_minutes: limit of each element. Time is up two minutes before it (at half of it, if it is shorter than
            four): the element is queued again then, and begins its unfinished runs anew. A run that takes longer never
            ends: an element that is stopped ``attempts`` times without having finished one is an error.
        cores_per_shard: cores of each element. On CPUs each core makes runs of its own.
        options: further parameters of sbatch, as in ``{"partition": "long", "mem": "8G"}``; True for a bare one.
        attempts: jobs in a row, and stops of an element in a row, that may end without a single finished run.
        poll_seconds: seconds between two looks at the queue.
        platform: ``"cpu"``, ``"gpu"`` or ``"tpu"`` to insist on in the jobs; None to take what JAX finds there.
        keep: ``"networks"`` to keep them in the store, as in :func:`simulator.run`.
        progress: show a bar with the runs finished and the jobs' states.

    Returns:
        A Dataset over (context_length, dataset_size, seed); see :func:`simulator.studies.results.as_table`.

    Raises:
        SlurmError: submitit is not installed, Slurm refuses, the job was cancelled, or nothing was finished in so many
            attempts; with the end of an element's log.
        StoreError: the store is of another format or not writable.
    """
    check_study(study)
    check_importable(study, "run the study without Slurm")
    minutes = check_integer("timeout_minutes", timeout_minutes, 1, 365 * 24 * 60)
    cores = check_integer("cores_per_shard", cores_per_shard, 1, 4096)
    shards = check_integer("shards", shards, 1, 100_000)
    attempts = check_integer("attempts", attempts, 1)
    poll_seconds = check_positive("poll_seconds", poll_seconds)
    check_keep(keep)
    check_choice("platform", platform, (None, *get_args(Platform)))
    if taken := sorted(name for name in options if name.replace("_", "-") in _OURS):
        raise ValueError(
            f"options may not hold {', '.join(taken)}: give shards, timeout_minutes and cores_per_shard instead"
        )
    kept = Store(pathlib.Path(store).absolute())
    shard = Shard(study.to_json(), str(kept.path), cores, platform, surroundings(), attempts, keep=keep)
    queue = _Queue(
        folder=kept.path / "slurm",
        name=f"context-scaling-{digest(shard.study + shard.store)[:12]}",
        parameters={
            "time": minutes,
            "cpus_per_task": cores,
            "srun_args": [f"--cpus-per-task={cores}"],  # which srun does not take over from sbatch
            "array_parallelism": shards,
            "signal_delay_s": min(120, 30 * minutes),
            "additional_parameters": {"requeue": True, **options},
        },
    )
    runs = study.runs()
    finished = open_store(study, kept, runs, keep)
    missing = [run for run in runs if run not in finished]
    failures = 0
    with tqdm(total=len(runs), initial=len(finished), desc="runs", unit="run", disable=not progress) as bar:
        while missing:
            jobs = queue.active() or {queue.submit(shard, _dealt_out(study.learner.groups(missing), shards))}
            files = [kept.file(study.run_spec(run)) for run in missing]
            cancelled = False
            for states in queue.states(jobs, poll_seconds):
                cancelled |= "CANCELLED" in states
                bar.set_postfix_str(f"job {', '.join(sorted(jobs))}: {_shown(states)}")
                bar.update(len(runs) - len(missing) + sum(file.exists() for file in files) - bar.n)
            finished = dict(finished_runs(study, kept, missing, keep))
            failures = 0 if finished else failures + 1
            missing = [run for run in missing if run not in finished]
            if missing and (cancelled or failures == attempts):
                why = "was cancelled" if cancelled else f"ended without a finished run, the {failures}. time in a row"
                raise SlurmError(
                    f"job {', '.join(sorted(jobs))} {why}. Finished runs are kept, the same call continues. "
                    + queue.last_words(jobs)
                )
    return run(study, store, keep=keep, progress=False)


@dataclasses.dataclass(frozen=True)
class _Queue:
    """Jobs of one name.

    Attributes:
        folder: folder of submitit's files.
        name: name of the jobs.
        parameters: parameters of submitit's executor.
    """

    folder: pathlib.Path
    name: str
    parameters: Mapping[str, Any]

    def submit(self, shard: Shard, elements: Sequence[Sequence[Run]]) -> str:
        """Submit an array with an element for each sequence of runs, a plain job if it is one; returns its number."""
        submitit = _submitit()
        try:
            executor = submitit.SlurmExecutor(self.folder, max_num_timeout=1000)
            executor.update_parameters(job_name=self.name, **self.parameters)
            with contextlib.redirect_stderr(io.StringIO()):  # where it would print its error, too
                jobs = executor.map_array(shard, elements)
        except RuntimeError as error:
            raise SlurmError(f"Slurm does not take the job: {error}") from error
        return jobs[0].job_id.split("_")[0]

    def active(self) -> set[str]:
        """Numbers of the jobs that have not ended."""
        return {job for job, state in self._look() if state not in _ENDED}

    def states(self, jobs: Collection[str], poll_seconds: float) -> Iterator[collections.Counter[str]]:
        """How many lines of the queue show these jobs in which state, at every look, until all have ended.

        A job that is queued again never leaves the queue; a controller that does not answer is waited for.
        """
        while True:
            try:
                states = collections.Counter(state for job, state in self._look() if job in jobs)
            except SlurmError:
                states = collections.Counter(["no answer from Slurm"])
            yield states
            if not set(states) - _ENDED:
                return
            time.sleep(poll_seconds)

    def _look(self) -> list[tuple[str, str]]:
        """Number and state of the jobs, and for some minutes of those that ended."""
        command = ["squeue", "--noheader", f"--user={os.geteuid()}", f"--name={self.name}", "--states=all"]
        try:
            done = subprocess.run([*command, "--format=%F %T"], capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SlurmError(f"cannot ask for the queue: {error}. Is this a machine of a Slurm cluster?") from error
        if done.returncode:
            raise SlurmError(f"cannot ask for the queue: {done.stderr.strip()}")
        return [(job, state) for job, state in map(str.split, done.stdout.splitlines())]

    def last_words(self, jobs: Collection[str]) -> str:
        """The end of the log that was written last."""
        logs = [log for job in jobs for log in self.folder.glob(f"{job}_*log.err") if log.stat().st_size]
        if not logs:
            return f"There is no log in {self.folder}: is it on a file system that the nodes share?"
        latest = max(logs, key=lambda log: log.stat().st_mtime)
        lines = latest.read_text(errors="replace").splitlines()[-30:]
        return "\n".join([f"Logs are in {self.folder}; {latest.name} ends:", *lines])


def _dealt_out(groups: Sequence[Sequence[Run]], shards: int) -> list[list[Run]]:
    """Groups, largest first, in at most so many shards of about the same size."""
    number = min(shards, len(groups))
    return [list(itertools.chain.from_iterable(groups[i::number])) for i in range(number)]


def _shown(states: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {state.lower()}" for state, number in sorted(states.items()))


def _submitit() -> ModuleType:
    try:
        import submitit
    except ImportError as error:
        raise SlurmError('submitit is not installed: pip install "context-scaling[slurm]"') from error
    return submitit
