"""Worker processes: the same numbers on any number of cores, and nothing lost when one is killed or told to stop."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import xarray as xr

from simulator import Study, WorkerError, load_results, run
from simulator.execution import workers
from simulator.execution.workers import available_cores
from simulator.learners import GradientDescent, LeastSquares
from simulator.models import MLP
from simulator.specification import SpecificationError
from simulator.tasks import GaussianLookBack, SparseParity

PARITY = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)
SERIES = GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=8)
NARROW = GradientDescent(model=MLP(hidden_sizes=(16, 16)), steps=300, batch_size=32, validation_size=256)
WIDE = GradientDescent(
    model=MLP(hidden_sizes=(256, 64)), steps=20, batch_size=3000, evaluation_every=10, validation_size=256
)
LONG = Study(PARITY, dataclasses.replace(NARROW, steps=20_000, patience=None), (2, 6, 10), (64, 512), seeds=8)

CHILD = """
import sys
from simulator import Study, run, save_results
save_results(run(Study.from_json(sys.argv[1]), sys.argv[2], workers=int(sys.argv[4]), progress=False), sys.argv[3])
"""


def study(learner, task=PARITY):
    return Study(task, learner, (1, 4, 8), (64, 500), seeds=3, test_size=512)


def child(of, folder, n_workers):
    arguments = [of.to_json(), str(folder / "runs"), str(folder / "results.nc"), str(n_workers)]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stderr=subprocess.PIPE, text=True)


def finished(folder):
    return len(list((folder / "runs").glob("??/*.json")))


def wait_until(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain for a minute")


def children_of(pid):
    """Processes whose parent is this one, from /proc."""
    return [int(number) for number in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


@pytest.mark.parametrize(
    "of",
    [
        study(LeastSquares(), SERIES),
        study(dataclasses.replace(NARROW, precision="mixed"), SERIES),
        study(WIDE),
    ],
    ids=["least squares", "narrow, mixed precision", "wide"],
)
def test_a_table_is_the_same_to_the_bit_on_any_number_of_workers(of):
    """One process with as many threads as cores, or processes with a core each: the order of every sum is the same."""
    xr.testing.assert_identical(run(of, progress=False, workers=2), run(of, progress=False))


def test_more_workers_than_cores_or_runs_do_no_harm():
    few = Study(SERIES, LeastSquares(), (1, 4), (64,), seeds=1, test_size=256)
    many = run(few, workers=len(available_cores()) + 1, progress=False)
    xr.testing.assert_identical(many, run(few, progress=False))


def test_a_killed_worker_is_told_and_what_was_finished_is_kept(tmp_path):
    """SIGKILL to a worker once runs are finished: the parent says so, ends all workers, and another call continues."""
    parent = child(LONG, tmp_path, 2)
    wait_until(lambda: finished(tmp_path) >= 4)
    mine = children_of(parent.pid)
    os.kill(mine[0], signal.SIGKILL)
    assert "a worker process was killed by SIGKILL. Finished runs are kept" in parent.communicate()[1]
    assert parent.returncode == 1
    assert not any(map(is_running, mine))
    kept = finished(tmp_path)
    assert 4 <= kept < 48
    again = child(LONG, tmp_path, 2)
    assert (again.communicate()[1], again.returncode) == ("", 0)
    xr.testing.assert_identical(load_results(tmp_path / "results.nc"), run(LONG, tmp_path / "runs", progress=False))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_sigterm_finishes_the_chunk_keeps_the_runs_and_ends_with_status_0(tmp_path, n_workers):
    stopped = child(LONG, tmp_path, n_workers)
    wait_until(lambda: finished(tmp_path) >= 1)
    mine = children_of(stopped.pid) if n_workers > 1 else []
    stopped.terminate()
    assert stopped.communicate()[1] == ""
    assert stopped.returncode == 0
    assert not (tmp_path / "results.nc").exists()
    assert not any(map(is_running, mine))
    assert 1 <= finished(tmp_path) < 48


def test_workers_end_when_their_parent_is_killed(tmp_path):
    parent = child(LONG, tmp_path, 2)
    wait_until(lambda: finished(tmp_path) >= 1)
    mine = children_of(parent.pid)
    assert len(mine) == 2
    parent.kill()
    parent.communicate()
    wait_until(lambda: not any(map(is_running, mine)))


def test_an_exception_in_a_worker_comes_with_its_traceback(monkeypatch):
    monkeypatch.setattr(workers, "_CHILD", workers._CHILD.replace("serve(pipe)", BROKEN + "\nserve(pipe)"))
    with pytest.raises(WorkerError, match=r"(?s)a worker process failed.*in refuse.*ValueError: no such luck"):
        run(study(LeastSquares(), SERIES), workers=2, progress=False)


BROKEN = """
from simulator.learners import LeastSquares
def refuse(*arguments):
    raise ValueError("no such luck")
LeastSquares.fit_groups = refuse
"""


@pytest.mark.parametrize(("number", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), ("2", TypeError)])
def test_an_impossible_number_of_workers_is_refused(number, error):
    with pytest.raises(error, match="workers"):
        run(study(LeastSquares(), SERIES), workers=number, progress=False)


def test_a_task_that_only_this_script_knows_is_refused_before_anything_runs(monkeypatch):
    class Own(GaussianLookBack):
        pass

    monkeypatch.setattr(Own, "__module__", "__main__")
    own = Own(SERIES.process, 8)
    with pytest.raises(SpecificationError, match=r"move it to a module of its own, or set workers=1"):
        run(Study(own, LeastSquares(), (1,), (64,), seeds=1), workers=2, progress=False)
