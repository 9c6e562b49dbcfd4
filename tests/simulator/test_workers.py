"""Worker processes give the same numbers on any number of cores, and lose nothing when one is killed or stopped."""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import xarray as xr

from simulator import Stopped, Study, WorkerError, run
from simulator.learners import GradientDescent, LeastSquares
from simulator.machine import workers
from simulator.machine.stopping import asked_to_stop, stop_if_asked, stopping_in_order
from simulator.models import MLP
from simulator.specification import SpecificationError
from simulator.studies import run as run_module
from simulator.studies.run import finished_runs
from simulator.studies.store import Store
from simulator.tasks import GaussianLookBack, SparseParity

pytestmark = pytest.mark.optimised


@dataclasses.dataclass(frozen=True)
class Waiting(LeastSquares):
    """Where WAITING is set, every process makes one group and then waits until it is asked to stop."""

    def fit_groups(self, task, groups):
        if "WAITING" not in os.environ:
            yield from super().fit_groups(task, groups)
            return
        yield from super().fit_groups(task, itertools.islice(groups, 1))
        for _ in range(30_000):
            stop_if_asked()
            time.sleep(0.02)
        raise TimeoutError("ten minutes have passed")


PARITY = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)
SERIES = GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=8)
WIDE = GradientDescent(model=MLP((256,)), steps=6, batch_size=512, evaluation_every=3, validation_size=256)
STUDY = Study(SERIES, Waiting(), (1, 4, 8), (64, 500), seeds=4, test_size=512)
GROUP = 6
"""Runs of a group, which is made by one process."""

CHILD = """
import sys
from simulator import Study, run, save_results
how = {"workers": int(sys.argv[4]), "keep": "networks", "progress": False}
save_results(run(Study.from_json(sys.argv[1]), sys.argv[2], **how), sys.argv[3])
"""


@pytest.fixture(scope="module")
def undisturbed():
    return run(STUDY, progress=False)


@contextlib.contextmanager
def child(folder, n_workers, study=STUDY):
    """A process that makes a study."""
    arguments = [study.to_json(), str(folder / "runs"), str(folder / "results.nc"), str(n_workers)]
    with subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def meanwhile(folder, n_runs, act, n_workers=2):
    """Once there are so many finished runs and workers of this process, call ``act`` with the workers."""
    others = children_of(os.getpid())

    def wait_and_act():
        def mine():
            return [pid for pid in children_of(os.getpid()) if pid not in others]

        wait_until(lambda: finished(folder) >= n_runs and len(mine()) == n_workers)
        act(mine())

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()
    assert set(children_of(os.getpid())) <= set(others), "all workers have ended"


def finished(folder):
    return len(list((folder / "runs").glob("??/*.json")))


def wait_until(condition, process=None):
    """Wait as long as the process runs. The ten minutes bound a hang, on however busy a machine."""
    end = time.monotonic() + 600
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "ten minutes have passed"
        time.sleep(0.05)


def children_of(pid):
    """Processes whose parent is this one, through any of its threads."""
    lists = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [int(number) for children in lists for number in children.read_text().split()]


def is_running(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


@pytest.mark.parametrize("precision", ["mixed", pytest.param("float32", marks=pytest.mark.slow)])
def test_a_table_is_the_same_to_the_bit_on_any_number_of_workers(precision, tmp_path):
    """The order of every sum is the same in one process with many threads and in processes with a core each.

    So are the networks, whose files say nothing of when and where they were made.
    """
    learner = dataclasses.replace(WIDE, precision=precision)
    study = Study(PARITY, learner, (8,), (600,), seeds=2, test_size=512)
    alone = run(study, tmp_path / "1", keep="networks", progress=False)  # first: workers find its programs compiled
    xr.testing.assert_identical(run(study, tmp_path / "2", keep="networks", progress=False, workers=2), alone)
    files = [{path.name: path.read_bytes() for path in tmp_path.glob(f"{n}/??/*.network")} for n in (1, 2)]
    assert files[0] == files[1]
    assert len(files[0]) == 2


def test_there_are_never_more_workers_than_groups_of_runs(monkeypatch):
    asked = []

    def here(make, groups, workers):
        asked.append(workers)
        return make(iter(groups))

    monkeypatch.setattr(run_module, "make_with_workers", here)
    for seeds, n_workers in ((1, 3), (4, 3), (4, 9)):
        table = run(dataclasses.replace(STUDY, seeds=seeds), workers=n_workers, progress=False)
        assert np.isfinite(table["loss"]).all()
    assert asked == [3, 4]


def test_a_killed_worker_is_reported_and_finished_runs_are_kept(tmp_path, undisturbed, monkeypatch):
    """The parent ends the others, and another call continues. There are more workers than cores: none is pinned."""
    monkeypatch.setattr(workers, "available_cores", lambda: [0])
    monkeypatch.setenv("WAITING", "")
    message = r"a worker process was killed by SIGKILL\. What was finished is kept"
    with (
        meanwhile(tmp_path, 2 * GROUP, lambda mine: os.kill(mine[0], signal.SIGKILL)),
        pytest.raises(WorkerError, match=message),
    ):
        run(STUDY, tmp_path / "runs", workers=2, progress=False)
    assert finished(tmp_path) == 2 * GROUP
    monkeypatch.delenv("WAITING")
    xr.testing.assert_identical(run(STUDY, tmp_path / "runs", progress=False), undisturbed)


def test_workers_end_at_once_when_their_parent_is_killed(tmp_path, undisturbed, monkeypatch):
    """They do not wait until they next have a result to send, which may take hours. What they sent is kept."""
    monkeypatch.setenv("WAITING", "")
    with child(tmp_path, 2) as parent:
        wait_until(lambda: finished(tmp_path) == 2 * GROUP, parent)
        mine = children_of(parent.pid)
        assert len(mine) == 2
        assert all(map(is_running, mine))
        parent.kill()
        parent.communicate()
    wait_until(lambda: not any(map(is_running, mine)))
    monkeypatch.delenv("WAITING")
    xr.testing.assert_identical(run(STUDY, tmp_path / "runs", progress=False), undisturbed)


def exits(groups):
    next(groups)
    os._exit(0)


def refuses(groups):
    raise ValueError("no such luck")
    yield


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (exits, "ended by itself with status 0"),
        (refuses, r"(?s)a worker process failed.*in refuses\n.*ValueError: no such luck"),
    ],
)
def test_a_worker_that_exits_or_raises_is_an_error(make, message):
    """Status 0 is an error too: a learner may call exit. An exception comes with its traceback."""
    with pytest.raises(WorkerError, match=message):
        list(workers.make_with_workers(make, [[1], [2]], 1))


def test_sigterm_keeps_finished_runs_and_leads_to_status_0(tmp_path, undisturbed, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)

    def stop(_):
        assert signal.getsignal(signal.SIGTERM) is not before, "it would end the tests"
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setenv("WAITING", "")
    with meanwhile(tmp_path, GROUP, stop, n_workers=0), pytest.raises(Stopped) as stopped:
        run(STUDY, tmp_path / "runs", progress=False)
    assert stopped.value.code == 0
    assert signal.getsignal(signal.SIGTERM) is before
    assert finished(tmp_path) == GROUP
    monkeypatch.delenv("WAITING")
    xr.testing.assert_identical(run(STUDY, tmp_path / "runs", progress=False), undisturbed)


@pytest.mark.parametrize("n_runs", [2 * GROUP, 0], ids=["it waits", "it is being loaded"])
def test_sigterm_to_a_worker_stops_all_in_order(tmp_path, monkeypatch, capfd, n_runs):
    """A worker may get the signal before its parent: whoever ends a job signals its processes one by one.

    Nothing is printed: whoever sent the signal knows.
    """
    monkeypatch.setenv("WAITING", "")
    with meanwhile(tmp_path, n_runs, lambda mine: os.kill(mine[1], signal.SIGTERM)), pytest.raises(Stopped):
        run(STUDY, tmp_path / "runs", workers=2, progress=False)
    assert n_runs <= finished(tmp_path) <= 2 * GROUP
    assert capfd.readouterr().err == ""


def test_repeated_sigterm_in_nested_blocks_reaches_the_outer_one():
    before = signal.getsignal(signal.SIGTERM)
    with stopping_in_order():
        with stopping_in_order():
            for _ in range(2):
                signal.raise_signal(signal.SIGTERM)
        assert asked_to_stop()
    assert not asked_to_stop()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
def test_a_study_killed_at_random_moments_ends_in_the_same_table(tmp_path):
    """A process gets SIGKILL anywhere between its first import and its last write, and no result lacks its network.

    The moments are fractions of the time that an undisturbed process takes.
    """
    learner = GradientDescent(model=MLP((16,)), steps=2000, batch_size=32, validation_size=256, side_by_side=4)
    study = Study(PARITY, learner, (2, 10), (64, 512), seeds=4, test_size=512)
    begin = time.monotonic()
    undisturbed = run(study, progress=False)
    with child(tmp_path / "undisturbed", 1, study) as process:
        assert process.wait() == 0
    whole, kept = time.monotonic() - begin, []
    for share in np.random.default_rng(4).uniform(0.05, 1.0, size=4):
        with child(tmp_path / "killed", 1, study) as victim, contextlib.suppress(subprocess.TimeoutExpired):
            victim.wait(share * whole)
        kept.append(finished(tmp_path / "killed"))
        found = dict(finished_runs(study, Store(tmp_path / "killed" / "runs"), study.runs(), keep="networks"))
        assert len(found) == kept[-1]
    assert np.all(np.diff(kept) >= 0)
    assert kept[-1] > 0
    xr.testing.assert_identical(run(study, tmp_path / "killed" / "runs", keep="networks", progress=False), undisturbed)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (0, "workers must be between 1 and 4096; got 0"),
        (2.5, "workers must be an integer; got 2.5"),
    ],
)
def test_an_impossible_number_of_workers_is_refused(number, message):
    """The check itself is called: under the type checks of the tests, run's annotation refuses some values first."""
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        workers.check_workers(number)


def test_a_task_defined_in_the_script_is_refused_before_anything_runs(tmp_path, monkeypatch):
    """Another process cannot import what the script defines. A single process can run it."""

    @dataclasses.dataclass(frozen=True)
    class Own(GaussianLookBack):
        pass

    monkeypatch.setattr(Own, "__module__", "__main__")
    study = dataclasses.replace(STUDY, task=Own(SERIES.process, 8))
    assert np.isfinite(run(study, progress=False)["loss"]).all()
    with pytest.raises(SpecificationError, match="move it to a module of its own, or set workers=1"):
        run(study, tmp_path / "runs", workers=2, progress=False)
    assert not list(tmp_path.iterdir())
