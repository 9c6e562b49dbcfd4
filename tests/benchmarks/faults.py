"""What becomes of a study when processes, disks and clocks fail: every fault many times, and a table of outcomes.

    python -m tests.benchmarks.faults [fault ...]

A study of 40 runs is disturbed, then run again without its disturber. Either the call that was disturbed ends in the
undisturbed table, or it stops with one clear error (or because it was asked to), and the next call continues to that
table; anything else is counted as broken and described. Runs kept (least-median-most) are files at the fault. Disks are
small tmpfs mounts where one may mount them; else a limit on the size of files stands for a full disk, and folders
without permission to write for a read-only one.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr

from simulator import Study, load_results, run
from simulator.learners import GradientDescent
from simulator.models import MLP
from simulator.studies.store import CorruptFileWarning
from simulator.tasks import SparseParity

STUDY = Study(
    SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10),
    GradientDescent(MLP(hidden_sizes=(16, 16)), steps=6000, patience=None, batch_size=32, side_by_side=4),
    context_lengths=(2, 10),
    dataset_sizes=(64, 512),
    seeds=10,
    test_size=2048,
)
N_RUNS = 40

CHILD = """
import sys
from simulator import Study, run, save_results
save_results(run(Study.from_json(sys.argv[1]), sys.argv[2], workers=int(sys.argv[3])), sys.argv[2] + ".nc")
"""

BACKWARDS = """
import time
begin, forwards = time.time(), time.time
time.time = lambda: begin - 1000 * (forwards() - begin)
"""

RANDOM = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True)
class Try:
    """One disturbed study: how the disturbed call ended, what was kept then, and what is broken, if anything."""

    outcome: str
    kept: int
    broken: str = ""


class Place:
    """A store in a folder of its own, and the processes that work on it."""

    def __init__(self, folder: pathlib.Path):
        self.store = folder / "runs"
        self.workers_seen: set[int] = set()

    def begin(self, workers: int = 1, prelude: str = "") -> subprocess.Popen[str]:
        """A process that makes the study."""
        command = [sys.executable, "-c", prelude + CHILD, STUDY.to_json(), str(self.store), str(workers)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def files(self) -> list[pathlib.Path]:
        return sorted(self.store.glob("??/*.json"))

    def wait(self, process: subprocess.Popen[str], until: Callable[[], bool]) -> None:
        """Until the condition holds or the process has ended; its children are noted."""
        while process.poll() is None:
            self.workers_seen.update(children_of(process.pid))
            if until():
                return
            time.sleep(0.01)

    def ended(self, process: subprocess.Popen[str], error: str = "", asked: bool = False) -> Try:
        """What the process left behind, judged by making the rest here."""
        message, kept = process.communicate()[1], len(self.files())
        last = (message.strip().splitlines() or [""])[-1]
        broken, table = "", self.store.with_suffix(".nc")
        if process.returncode == 0 and table.exists():
            outcome = "identical"
            broken = "" if load_results(table).identical(undisturbed()) else "its table is another one"
        elif process.returncode == -signal.SIGKILL and not error:
            outcome = "killed, resumed"
        elif asked and process.returncode in (0, -signal.SIGTERM):
            outcome = "stopped, resumed" if process.returncode == 0 else "ended while loading, resumed"
        else:
            outcome = "clear error, resumed"
            if not error or process.returncode != 1 or error not in last or "run again to continue" not in last:
                broken = f"status {process.returncode}: {message[-2000:]}"
        return Try(outcome, kept, broken or self.left_behind() or self.resumed())

    def writable(self, yes: bool) -> bool:
        """Make the disk, or the folders, writable or not; a disk refuses while a file is open for writing."""
        if self.store.parent.is_mount():
            return mount(self.store.parent, "remount,rw" if yes else "remount,ro")
        for path in [self.store, *self.store.glob("??")]:
            path.chmod(0o755 if yes else 0o555)
        return True

    def left_behind(self) -> str:
        """Workers that outlive their parent: they are given ten seconds."""
        end = time.monotonic() + 10
        while left := [pid for pid in self.workers_seen if is_running(pid)]:
            if time.monotonic() > end:
                return f"worker processes {left} are left behind"
            time.sleep(0.01)
        return ""

    def resumed(self, damaged: int | None = 0) -> str:
        """Make the rest; says what is wrong with the table, or with the number of files put aside."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            table = run(STUDY, self.store, progress=False)
        put_aside = sum(issubclass(warning.category, CorruptFileWarning) for warning in caught)
        if damaged is not None and put_aside != damaged:
            return f"{put_aside} files were put aside, not {damaged}"
        return "" if table.identical(undisturbed()) else "the table after resuming is another one"


def children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(number) for number in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


@functools.cache
def undisturbed() -> xr.Dataset:
    """The table of a study that nothing disturbs."""
    return run(STUDY, progress=False)


def whole_time(workers: int) -> float:
    """Seconds that an undisturbed process takes."""
    begin = time.monotonic()
    with new_place() as place:
        assert place.begin(workers).wait() == 0
    return time.monotonic() - begin


@contextlib.contextmanager
def new_place(size: str = "") -> Iterator[Place]:
    """An empty folder, on a disk of its own if a size is given and one may mount it."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = bool(size) and mount(folder, f"size={size}", "-t", "tmpfs", "tmpfs")
        try:
            yield Place(pathlib.Path(folder))
        finally:
            if mounted:
                subprocess.run(["umount", folder], check=True)


def mount(folder: str | pathlib.Path, options: str, *what: str) -> bool:
    return not subprocess.run(["mount", "-o", options, *what, str(folder)], capture_output=True).returncode


def at_random_moments(workers: int, what: signal.Signals, tries: int) -> Iterator[Try]:
    whole = whole_time(workers)
    for share in RANDOM.uniform(0.05, 1.0, tries):
        with new_place() as place:
            process = place.begin(workers)
            end = time.monotonic() + share * whole
            place.wait(process, lambda end=end: time.monotonic() > end)
            process.send_signal(what)
            yield place.ended(process, asked=what == signal.SIGTERM)


def killed_worker(tries: int = 8) -> Iterator[Try]:
    for n in RANDOM.integers(0, N_RUNS - 8, tries):
        with new_place() as place:
            process = place.begin(2)
            place.wait(process, lambda place=place, n=n: len(place.workers_seen) == 2 and len(place.files()) >= n)
            os.kill(int(RANDOM.choice(sorted(place.workers_seen))), signal.SIGKILL)
            yield place.ended(process, "WorkerError: a worker process was killed by SIGKILL")


def full_disk(workers: int, tries: int = 5) -> Iterator[Try]:
    for pages in RANDOM.integers(2, N_RUNS - 4, tries):
        with new_place(f"{4 * pages}k") as place:
            is_disk = (folder := place.store.parent).is_mount()
            limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n"
            process = place.begin(workers, "" if is_disk else limit)
            process.wait()
            assert not is_disk or mount(folder, "remount,size=100m")
            yield place.ended(process, "StoreError: cannot ")


def read_only(workers: int, tries: int = 5) -> Iterator[Try]:
    for n in RANDOM.integers(1, N_RUNS - 8, tries):
        with new_place("100m") as place:
            process = place.begin(workers)
            place.wait(process, lambda place=place, n=n: len(place.files()) >= n)
            place.wait(process, lambda place=place: place.writable(False))
            process.wait()
            place.writable(True)
            yield place.ended(process, "StoreError: cannot ")


def together(tries: int = 4) -> Iterator[Try]:
    for workers in [1, 2] * (tries // 2):
        with new_place() as place:
            first = place.begin(1)
            place.wait(first, lambda place=place, n=workers: len(place.files()) >= n)
            kept, second = len(place.files()), place.begin(workers)
            tried = [place.ended(process) for process in (first, second)]
            yield dataclasses.replace(tried[1], kept=kept, broken=tried[0].broken or tried[1].broken)


def damaged(damage: Callable[[bytes], bytes], share: float, tries: int, seen: bool) -> Iterator[Try]:
    """Files of a finished study damaged; whether each must be noticed, or may be harmless."""
    with new_place() as place:
        place.resumed()
        for _ in range(tries):
            files = RANDOM.permutation(np.array(place.files(), object))[: round(share * N_RUNS)]
            for file in files:
                file.write_bytes(damage(file.read_bytes()))
            broken = place.resumed(len(files) if seen else None)
            yield Try("put aside, made again" if seen else "made again or harmless", N_RUNS - len(files), broken)


def bit_flipped(data: bytes) -> bytes:
    position = int(RANDOM.integers(len(data)))
    return data[:position] + bytes([data[position] ^ 1 << int(RANDOM.integers(8))]) + data[position + 1 :]


def clock(tries: int = 4) -> Iterator[Try]:
    for workers, shift in zip([1, 2] * (tries // 2), np.repeat([-(10**9), 10**9], tries // 2), strict=True):
        with new_place() as place:
            process = place.begin(workers, BACKWARDS)
            place.wait(process, lambda place=place: len(place.files()) >= 10)
            process.kill()
            process.communicate()
            kept = place.files()
            for file in kept:
                os.utime(file, (time.time() + shift,) * 2)
            yield dataclasses.replace(place.ended(place.begin(workers, BACKWARDS)), kept=len(kept))


FAULTS: dict[str, Callable[[], Iterator[Try]]] = {
    "SIGKILL, one process": lambda: at_random_moments(1, signal.SIGKILL, 25),
    "SIGKILL, parent of two workers": lambda: at_random_moments(2, signal.SIGKILL, 25),
    "SIGKILL, a worker": killed_worker,
    "SIGTERM, one process": lambda: at_random_moments(1, signal.SIGTERM, 10),
    "SIGTERM, parent of two workers": lambda: at_random_moments(2, signal.SIGTERM, 10),
    "disk full, one process": lambda: full_disk(1),
    "disk full, two workers": lambda: full_disk(2),
    "disk read-only, one process": lambda: read_only(1),
    "disk read-only, two workers": lambda: read_only(2),
    "two processes on one store": together,
    "every file truncated": lambda: damaged(lambda data: data[: int(RANDOM.integers(len(data)))], 1.0, 3, seen=True),
    "a bit flipped in 20 files": lambda: damaged(bit_flipped, 0.5, 10, seen=False),
    "clock runs backwards, mtimes jump": clock,
}


def main() -> None:
    """Print the table, a row as it is ready."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="fault", help=f"of {', '.join(FAULTS)}; all if none is given")
    names = parser.parse_args().faults or list(FAULTS)
    undisturbed()
    print(f"{'fault':34s} tries  runs kept   broken  seconds  outcomes", flush=True)
    for name in names:
        begin, tries = time.monotonic(), list(FAULTS[name]())
        kept, broken = [t.kept for t in tries], [t.broken for t in tries if t.broken]
        spread = f"{min(kept)}-{np.median(kept):g}-{max(kept)}"
        outcomes = ", ".join(f"{n} {outcome}" for outcome, n in collections.Counter(t.outcome for t in tries).items())
        seconds = time.monotonic() - begin
        print(f"{name:34s} {len(tries):5d}  {spread:10s} {len(broken):7d}  {seconds:7.0f}  {outcomes}", flush=True)
        for description in broken:
            print(f"    BROKEN: {description}", flush=True)


if __name__ == "__main__":
    main()
