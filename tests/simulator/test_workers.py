"""Worker processes give the same numbers on any number of cores, and lose nothing when one is killed or stopped."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

from simulator import Study, WorkerError, run
from simulator.learners import GradientDescent, LeastSquares
from simulator.machine import workers
from simulator.machine.stopping import asked_to_stop, stopping_in_order
from simulator.machine.workers import available_cores
from simulator.models import MLP
from simulator.tasks import GaussianLookBack, SparseParity

pytestmark = pytest.mark.optimised

PARITY = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)
SERIES = GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=8)
NARROW = GradientDescent(model=MLP(hidden_sizes=(16, 16)), steps=300, batch_size=32, validation_size=256)
WIDE = GradientDescent(
    model=MLP(hidden_sizes=(256, 64)), steps=6, batch_size=512, evaluation_every=3, validation_size=256
)
LINEAR = Study(SERIES, LeastSquares(), (1, 4, 8), (64, 500), seeds=3, test_size=512)
LONG = Study(
    PARITY, dataclasses.replace(NARROW, steps=4000, patience=None, side_by_side=4), (2, 10), (64, 512), seeds=6
)

CHILD = """
import sys
from simulator import Study, run, save_results
save_results(run(Study.from_json(sys.argv[1]), sys.argv[2], workers=int(sys.argv[4]), progress=False), sys.argv[3])
"""


@pytest.fixture(scope="module")
def undisturbed():
    return run(LONG, progress=False)


@contextlib.contextmanager
def child(folder, n_workers, study=LONG):
    """A process that makes a study; LONG is 24 runs, of which a process holds 4 at once."""
    arguments = [study.to_json(), str(folder / "runs"), str(folder / "results.nc"), str(n_workers)]
    with subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(folder):
    return len(list((folder / "runs").glob("??/*.json")))


def assert_continues(folder, undisturbed, at_least=1):
    """Some runs are kept, not all. A second call makes the rest, and the table is that of an undisturbed study."""
    assert at_least <= finished(folder) < len(LONG.runs())
    xr.testing.assert_identical(run(LONG, folder / "runs", progress=False), undisturbed)


def wait_until(condition, process=None):
    """Wait as long as the process runs. The ten minutes bound a hang, on however busy a machine."""
    end = time.monotonic() + 600
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "ten minutes have passed"
        time.sleep(0.05)


def children_of(pid):
    """Processes whose parent is this one."""
    return [int(number) for number in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


@pytest.mark.parametrize(
    "study",
    [
        Study(PARITY, NARROW, (1, 8), (64, 500), seeds=2, test_size=512),
        Study(PARITY, dataclasses.replace(WIDE, precision="mixed"), (8,), (64, 600), seeds=2, test_size=512),
        pytest.param(Study(PARITY, WIDE, (8,), (64, 600), seeds=2, test_size=512), marks=pytest.mark.slow),
    ],
    ids=["narrow", "wide mixed", "wide"],
)
def test_a_table_is_the_same_to_the_bit_on_any_number_of_workers(study):
    """The order of every sum is the same in one process with many threads and in processes with a core each."""
    xr.testing.assert_identical(run(study, progress=False, workers=2), run(study, progress=False))


def test_more_workers_than_cores_or_runs_do_no_harm():
    """With more workers than cores none is pinned. There are never more workers than groups of runs, here three."""
    many = run(LINEAR, workers=len(available_cores()) + 1, progress=False)
    xr.testing.assert_identical(many, run(LINEAR, progress=False))
    few = dataclasses.replace(LINEAR, seeds=1)
    xr.testing.assert_identical(run(few, workers=3, progress=False), run(few, progress=False))


def test_a_killed_worker_is_reported_and_finished_runs_are_kept(tmp_path, undisturbed):
    """After SIGKILL to a worker the parent reports it and ends the others. Another call continues."""
    with child(tmp_path, 2) as parent:
        wait_until(lambda: finished(tmp_path) >= 4, parent)
        mine = children_of(parent.pid)
        os.kill(mine[0], signal.SIGKILL)
        assert (
            "WorkerError: a worker process was killed by SIGKILL. What was finished is kept" in parent.communicate()[1]
        )
    assert parent.returncode == 1
    assert not any(map(is_running, mine))
    assert_continues(tmp_path, undisturbed, at_least=4)


@pytest.mark.slow
def test_a_killed_parent_leaves_what_its_workers_finished(tmp_path, undisturbed):
    with child(tmp_path, 2) as parent:
        wait_until(lambda: finished(tmp_path) >= 4, parent)
        mine = children_of(parent.pid)
        parent.kill()
        parent.communicate()
    wait_until(lambda: not any(map(is_running, mine)))
    assert_continues(tmp_path, undisturbed, at_least=4)


def test_a_worker_that_ends_early_is_an_error(monkeypatch):
    """Status 0 is an error too: a learner may call exit."""
    for how, status in (("os._exit(0)", 0), ("os._exit(3)", 3)):
        instead = f"LeastSquares.fit_groups = lambda self, task, groups: (next(groups), {how})"
        monkeypatch.setattr(workers, "_CHILD", broken(instead))
        with pytest.raises(WorkerError, match=f"ended by itself with status {status}"):
            run(LINEAR, workers=2, progress=False)
        monkeypatch.undo()


def test_an_exception_in_a_worker_comes_with_its_traceback(monkeypatch):
    refuse = "def refuse(*_):\n    raise ValueError('no such luck')\nLeastSquares.fit_groups = refuse"
    monkeypatch.setattr(workers, "_CHILD", broken(refuse))
    with pytest.raises(WorkerError, match=r"(?s)a worker process failed.*in refuse\n.*ValueError: no such luck"):
        run(LINEAR, workers=2, progress=False)


def broken(instead):
    """A worker's program in which least squares does something else."""
    return workers._CHILD.replace(
        "\nserve(pipe)", f"\nfrom simulator.learners import LeastSquares\n{instead}\nserve(pipe)"
    )


@pytest.mark.parametrize("n_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sigterm_keeps_finished_runs_and_ends_with_status_0(tmp_path, undisturbed, n_workers):
    """Nothing is printed: whoever sent the signal knows."""
    with child(tmp_path, n_workers) as stopped:
        wait_until(lambda: finished(tmp_path) >= 1, stopped)
        mine = children_of(stopped.pid)
        stopped.terminate()
        assert stopped.communicate()[1] == ""
    assert stopped.returncode == 0
    assert not (tmp_path / "results.nc").exists()
    assert not any(map(is_running, mine))
    assert_continues(tmp_path, undisturbed)


@pytest.mark.parametrize("when", ["it makes runs", pytest.param("it is being loaded", marks=pytest.mark.slow)])
def test_sigterm_to_a_worker_stops_all_in_order(tmp_path, when):
    """A worker may get the signal before its parent: whoever ends a job signals its processes one by one."""
    with child(tmp_path, 2) as parent:
        if when == "it makes runs":
            wait_until(lambda: finished(tmp_path) >= 1, parent)
        wait_until(lambda: len(children_of(parent.pid)) == 2, parent)
        mine = children_of(parent.pid)
        os.kill(mine[1], signal.SIGTERM)
        assert parent.communicate()[1] == ""
    assert parent.returncode == 0
    assert not any(map(is_running, mine))
    assert finished(tmp_path) < len(LONG.runs())


def test_repeated_sigterm_in_nested_blocks_reaches_the_outer_one():
    before = signal.getsignal(signal.SIGTERM)
    with stopping_in_order():
        with stopping_in_order():
            for _ in range(2):
                signal.raise_signal(signal.SIGTERM)
        assert asked_to_stop()
    assert not asked_to_stop()
    assert signal.getsignal(signal.SIGTERM) == before


def test_workers_end_at_once_when_their_parent_is_killed(tmp_path):
    """They do not wait until they next have a result to send, which may take hours. Here one worker has an epoch of a
    billion samples before it, and the other has sent its last result."""
    learner = dataclasses.replace(NARROW, steps=None, epochs=1, side_by_side=1)
    with child(tmp_path, 2, Study(PARITY, learner, (2,), (64, 10**9), seeds=1)) as parent:
        wait_until(lambda: finished(tmp_path) == 1, parent)
        mine = children_of(parent.pid)
        assert any(map(is_running, mine))
        parent.kill()
        parent.communicate()
    wait_until(lambda: not any(map(is_running, mine)))


@pytest.mark.slow
def test_a_study_killed_at_random_moments_ends_in_the_same_table(tmp_path, undisturbed):
    """A process gets SIGKILL anywhere between its first import and its last write.

    The moments are fractions of the time that an undisturbed process takes.
    """
    begin = time.monotonic()
    with child(tmp_path / "undisturbed", 1) as process:
        assert process.wait() == 0
    whole, kept = time.monotonic() - begin, []
    for share in np.random.default_rng(4).uniform(0.05, 1.0, size=8):
        with child(tmp_path / "killed", 1) as victim, contextlib.suppress(subprocess.TimeoutExpired):
            victim.wait(share * whole)
        kept.append(finished(tmp_path / "killed"))
    assert np.all(np.diff(kept) >= 0)
    assert kept[-1] > 0
    xr.testing.assert_identical(run(LONG, tmp_path / "killed" / "runs", progress=False), undisturbed)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (0, "workers must be between 1 and 4096; got 0"),
        (-1, "workers must be between 1 and 4096; got -1"),
        (2.5, "workers must be an integer; got 2.5"),
        ("2", "workers must be an integer; got '2'"),
    ],
)
def test_an_impossible_number_of_workers_is_refused(number, message):
    """The check itself is called: under the type checks of the tests, run's annotation refuses some values first."""
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        workers.check_workers(number)


def test_a_task_defined_in_the_script_is_refused_before_anything_runs(tmp_path):
    """Another process cannot import what the script defines. A single process can run it."""
    script = """
import dataclasses, sys
from simulator import Study, run
from simulator.learners import LeastSquares
from simulator.tasks import GaussianLookBack
@dataclasses.dataclass(frozen=True)
class Own(GaussianLookBack):
    pass
own = Own.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=4)
study = Study(own, LeastSquares(), (1,), (64,), seeds=2, test_size=64)
assert run(study, progress=False).loss.size == 2
run(study, "runs", workers=2, progress=False)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search("SpecificationError: .*move it to a module of its own, or set workers=1", done.stderr)
    assert not list(tmp_path.iterdir())
