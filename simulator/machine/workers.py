"""Worker processes, one pinned to each core: on a CPU they beat the threads of one process.

Each is a fresh interpreter whose affinity is set before JAX is imported (JAX counts its cores then, and has no other
reliable knob). It asks for a group of items (of a study, runs) whenever it has room for one, so that none waits while
another is loaded. Results come back as plain values; only the parent touches the store. A worker's standard input is a
pipe on which nothing is ever sent: it closes when the parent is gone, however it went, and the worker ends at once.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, TypeAlias, TypeVar

import jax

from simulator.machine.compiled_programs import keep_compiled_programs
from simulator.machine.platform import on_cpu
from simulator.machine.stopping import Stopped, asked_to_stop, stopping_in_order
from theory.checks import check_integer

Item = TypeVar("Item")
Made = TypeVar("Made")

_INHERITED = ("jax_enable_x64", "jax_threefry_partitionable", "jax_default_prng_impl", "jax_numpy_dtype_promotion")
"""Settings of the parent's JAX that change numbers."""

Surroundings: TypeAlias = tuple[dict[str, Any], list[str]]
"""Settings of JAX, and the folders where modules are looked for."""

_CHILD = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
core, pipe = map(int, sys.argv[1:3])
sys.path[:] = sys.argv[3:]
if core >= 0 and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {core})
from simulator.machine.workers import serve
serve(pipe)
"""


class WorkerError(RuntimeError):
    """A worker process failed; the message says how, and what is kept."""


def available_cores() -> list[int]:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def best_workers() -> int:
    """One for each core on a CPU; one on an accelerator, which a single process uses best."""
    return len(available_cores()) if on_cpu() else 1


def surroundings() -> Surroundings:
    """What another process must take over from this one to make the same numbers."""
    return {name: getattr(jax.config, name) for name in _INHERITED}, list(sys.path)


def adopt(around: Surroundings) -> None:
    """Take over another process's :func:`surroundings`."""
    settings, path = around
    sys.path.extend(folder for folder in path if folder not in sys.path)
    for name, value in settings.items():
        jax.config.update(name, value)


def check_workers(workers: Any) -> int:
    """The number of workers, or an error that says why there cannot be so many."""
    workers = check_integer("workers", workers, 1, 4096)
    if workers > 1 and not on_cpu():
        raise ValueError(
            f"workers = {workers}: one process at a time can use an accelerator, and it uses all of its devices; "
            "set workers=1"
        )
    return workers


def make_with_workers(
    make: Callable[[Iterator[Sequence[Item]]], Iterable[Made]], groups: Iterable[Sequence[Item]], workers: int
) -> Generator[Made, None, None]:
    """Make something of every item in worker processes, yielding each as it arrives.

    Args:
        make: what each worker does with the groups it is given: yields one thing for each item. A function of a module,
            or a ``functools.partial`` of one: it is pickled, as are groups and what is made.
        groups: items; a worker takes a group at a time.
        workers: how many.

    Raises:
        WorkerError: a worker failed or was killed; the others are stopped.
        Stopped: this process, or a worker, was asked to stop; all workers finish their chunk first. Whoever ends a job
            may signal its processes one by one, in any order.
    """
    cores = available_cores()
    waiting = iter(groups)
    started: list[_Worker] = []
    stopping = False
    try:
        for i in range(workers):
            started.append(_Worker(cores[i % len(cores)] if workers <= len(cores) else -1))
        for worker in started:
            worker.send(surroundings())
            worker.send(make)
        while alive := [worker for worker in started if worker.pipe is not None]:
            ready = wait([worker.pipe for worker in alive if worker.pipe is not None], timeout=0.2)
            if not stopping and (asked_to_stop() or any(worker.was_stopped for worker in started)):
                stopping = True
                for worker in alive:
                    worker.process.terminate()
            for worker in alive:
                if worker.pipe in ready:
                    yield from worker.attend(waiting, stopping)
        if stopping or any(worker.was_stopped for worker in started):
            raise Stopped
    finally:
        for worker in started:
            worker.process.kill()
            worker.end()


class _Worker:
    """A worker process as its parent sees it.

    Attributes:
        process: the process.
        pipe: for messages; None once the worker has ended.
        owed: items it was given and has not made.
        dismissed: it was told that there are no more.
        was_stopped: it ended because of SIGTERM.
    """

    def __init__(self, core: int):
        ours, theirs = Pipe()
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-c", _CHILD, str(core), str(number), *sys.path]
            # Bars of several workers share a line: none is drawn so often that the others cannot be read.
            environment = {"TQDM_MININTERVAL": "5", **os.environ, "JAX_PLATFORMS": "cpu"}
            self.process = subprocess.Popen(command, pass_fds=(number,), stdin=subprocess.PIPE, env=environment)
        self.pipe: Connection | None = ours
        self.owed = 0
        self.dismissed = self.was_stopped = False

    def send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # its end is noticed when it is read from
            assert self.pipe is not None
            self.pipe.send(message)

    def attend(self, waiting: Iterator[Sequence[Any]], stopping: bool) -> Iterator[Any]:
        """Take one message, or notice the end."""
        assert self.pipe is not None
        try:
            kind, content = self.pipe.recv()
        except (EOFError, OSError):  # between messages, or in the middle of one
            self.end()
            code = self.process.returncode
            self.was_stopped = code == -signal.SIGTERM
            if stopping or self.was_stopped or (code == 0 and self.dismissed and not self.owed):
                return
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended by itself with status {code}"
            raise WorkerError(
                f"a worker process {how}. What was finished is kept in its folder: run again to continue, with fewer "
                "workers if memory ran out"
            ) from None
        if kind == "next":
            group = None if stopping else next(waiting, None)
            self.dismissed = group is None
            self.owed += len(group or ())
            self.send(group)
        elif kind == "made":
            self.owed -= 1
            yield content
        else:
            raise WorkerError(f"a worker process failed; what was finished is kept in its folder\n\n{content}")

    def end(self) -> None:
        """Close the pipes of a worker that is ending."""
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


def serve(number: int) -> None:
    """What a worker process does: make of the items it is given, until there are none or its parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pipe = Connection(number)

    def groups() -> Iterator[Sequence[Any]]:
        while True:
            pipe.send(("next", None))
            group = pipe.recv()
            if group is None:
                return
            yield group

    try:
        adopt(pipe.recv())
        keep_compiled_programs()
        make = pipe.recv()
        with stopping_in_order():
            for made in make(groups()):
                pipe.send(("made", made))
    except Stopped:
        # Ended by the signal, as far as the parent can see: so is a worker that is asked before it listens.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        with contextlib.suppress(OSError):  # the parent is gone
            pipe.send(("failed", traceback.format_exc()))


def _end_with_parent() -> None:
    os.read(0, 1)  # until the other end of standard input is closed
    os._exit(1)
