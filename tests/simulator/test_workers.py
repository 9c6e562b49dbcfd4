"""Worker processes: the same numbers on any number of cores, and nothing lost when one is killed or told to stop."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import xarray as xr

from simulator import Study, WorkerError, run
from simulator.learners import GradientDescent, LeastSquares
from simulator.machine import workers
from simulator.machine.stopping import asked_to_stop, stopping_in_order
from simulator.machine.workers import available_cores
from simulator.models import MLP
from simulator.tasks import GaussianLookBack, SparseParity

PARITY = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)
SERIES = GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=8)
NARROW = GradientDescent(model=MLP(hidden_sizes=(16, 16)), steps=300, batch_size=32, validation_size=256)
WIDE = GradientDescent(
    model=MLP(hidden_sizes=(256, 64)), steps=6, batch_size=512, evaluation_every=3, validation_size=256
)
LINEAR = Study(SERIES, LeastSquares(), (1, 4, 8), (64, 500), seeds=3, test_size=512)
LONG = Study(
    PARITY, dataclasses.replace(NARROW, steps=10_000, patience=None, side_by_side=4), (2, 10), (64, 512), seeds=10
)

CHILD = """
import sys
from simulator import Study, run, save_results
save_results(run(Study.from_json(sys.argv[1]), sys.argv[2], workers=int(sys.argv[4]), progress=False), sys.argv[3])
"""


@pytest.fixture(scope="module")
def undisturbed():
    return run(LONG, progress=False)


def child(folder, n_workers, study=LONG):
    """A process that makes a study; LONG is 40 runs, of which a process holds 4 at once."""
    arguments = [study.to_json(), str(folder / "runs"), str(folder / "results.nc"), str(n_workers)]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stderr=subprocess.PIPE, text=True)


def finished(folder):
    return len(list((folder / "runs").glob("??/*.json")))


def assert_continues(folder, undisturbed, at_least=1):
    """Some runs are kept, not all; the rest is made, and the table is that of a study nobody disturbed."""
    assert at_least <= finished(folder) < 40
    xr.testing.assert_identical(run(LONG, folder / "runs", progress=False), undisturbed)


def wait_until(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain for a minute")


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
        LINEAR,
        Study(PARITY, NARROW, (1, 4, 8), (64, 500), seeds=3, test_size=512),
        Study(PARITY, WIDE, (8,), (64, 600), seeds=2, test_size=512),
        Study(PARITY, dataclasses.replace(WIDE, precision="mixed"), (8,), (64, 600), seeds=2, test_size=512),
    ],
    ids=["least squares", "narrow", "wide", "wide mixed"],
)
def test_a_table_is_the_same_to_the_bit_on_any_number_of_workers(study):
    """One process with as many threads as cores, or processes with a core each: the order of every sum is the same."""
    xr.testing.assert_identical(run(study, progress=False, workers=2), run(study, progress=False))


def test_more_workers_than_cores_or_runs_do_no_harm():
    """With more than there are cores none is pinned; there are never more than groups of runs, here three."""
    many = run(LINEAR, workers=len(available_cores()) + 1, progress=False)
    xr.testing.assert_identical(many, run(LINEAR, progress=False))
    few = dataclasses.replace(LINEAR, seeds=1)
    xr.testing.assert_identical(run(few, workers=3, progress=False), run(few, progress=False))


def test_a_killed_worker_is_told_and_what_was_finished_is_kept(tmp_path, undisturbed):
    """SIGKILL to a worker once runs are finished: the parent says so and ends the others; another call continues."""
    parent = child(tmp_path, 2)
    wait_until(lambda: finished(tmp_path) >= 4)
    mine = children_of(parent.pid)
    os.kill(mine[0], signal.SIGKILL)
    assert "WorkerError: a worker process was killed by SIGKILL. What was finished is kept" in parent.communicate()[1]
    assert parent.returncode == 1
    assert not any(map(is_running, mine))
    assert_continues(tmp_path, undisturbed, at_least=4)


def test_a_killed_parent_leaves_what_its_workers_finished(tmp_path, undisturbed):
    parent = child(tmp_path, 2)
    wait_until(lambda: finished(tmp_path) >= 4)
    mine = children_of(parent.pid)
    parent.kill()
    parent.communicate()
    wait_until(lambda: not any(map(is_running, mine)))
    assert_continues(tmp_path, undisturbed, at_least=4)


def test_a_worker_that_ends_by_itself_before_its_runs_are_made_is_no_success(monkeypatch):
    """Status 0 too: what makes a run may call exit."""
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


@pytest.mark.parametrize("n_workers", [1, 2])
def test_sigterm_finishes_the_chunk_keeps_the_runs_and_ends_with_status_0(tmp_path, undisturbed, n_workers):
    """And says nothing: whoever asked knows."""
    stopped = child(tmp_path, n_workers)
    wait_until(lambda: finished(tmp_path) >= 1)
    mine = children_of(stopped.pid)
    stopped.terminate()
    assert stopped.communicate()[1] == ""
    assert stopped.returncode == 0
    assert not (tmp_path / "results.nc").exists()
    assert not any(map(is_running, mine))
    assert_continues(tmp_path, undisturbed)


@pytest.mark.parametrize("when", ["it makes runs", "it is being loaded"])
def test_sigterm_to_a_worker_stops_all_in_order(tmp_path, when):
    """Whoever ends a job signals its processes one by one, and a worker may hear of it before its parent."""
    parent = child(tmp_path, 2)
    if when == "it makes runs":
        wait_until(lambda: finished(tmp_path) >= 1)
    wait_until(lambda: len(children_of(parent.pid)) == 2)
    mine = children_of(parent.pid)
    os.kill(mine[1], signal.SIGTERM)
    assert parent.communicate()[1] == ""
    assert parent.returncode == 0
    assert not any(map(is_running, mine))
    assert finished(tmp_path) < 40


def test_a_second_sigterm_is_one_too_and_an_inner_block_does_not_swallow_it():
    before = signal.getsignal(signal.SIGTERM)
    with stopping_in_order():
        with stopping_in_order():
            for _ in range(2):
                signal.raise_signal(signal.SIGTERM)
        assert asked_to_stop()
    assert not asked_to_stop()
    assert signal.getsignal(signal.SIGTERM) == before


def test_workers_end_at_once_when_their_parent_is_killed(tmp_path):
    """Not when they next have something to tell, which may be hours later: here a worker has an epoch of a billion
    samples before it, and the other has told all it will."""
    learner = dataclasses.replace(NARROW, steps=None, epochs=1, side_by_side=1)
    parent = child(tmp_path, 2, Study(PARITY, learner, (2,), (64, 10**9), seeds=1))
    wait_until(lambda: finished(tmp_path) == 1)
    mine = children_of(parent.pid)
    assert any(map(is_running, mine))
    parent.kill()
    parent.communicate()
    wait_until(lambda: not any(map(is_running, mine)))


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
    """By the check itself: run's annotation refuses some of them first where types are checked, as they are here."""
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        workers.check_workers(number)


def test_a_task_that_only_this_script_knows_is_refused_before_anything_runs(tmp_path):
    """Another process cannot import what is defined in the script that is run; one process makes it all the same."""
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
