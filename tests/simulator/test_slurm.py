"""Studies on a real Slurm: whatever happens to jobs and nodes, the table is that of a local run."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import sys
import threading
import time
import types

import pytest
import xarray as xr

from paper_reproduction import command_line
from simulator import SlurmError, Study, load_results, run, run_on_slurm
from simulator.learners import GradientDescent, LeastSquares
from simulator.machine.workers import surroundings
from simulator.models import MLP
from simulator.studies import slurm
from simulator.tasks import GaussianLookBack, SparseParity
from tests.slurm_cluster import SlurmCluster

pytestmark = pytest.mark.optimised

QUICK = Study(GaussianLookBack.arfima(0.3, 8), LeastSquares(), (1, 2, 4), (20, 40), seeds=4, test_size=64)
LONG = dataclasses.replace(QUICK, dataset_sizes=(300_000,), seeds=12)


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory):
    with SlurmCluster.start(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster, monkeypatch):
    for name, value in running_cluster.environment.items():
        monkeypatch.setenv(name, value)
    yield running_cluster
    if running_cluster.command("squeue", "--noheader"):
        running_cluster.command("scancel", "--me")
    running_cluster.wait_idle()


@pytest.fixture(scope="module")
def long_table():
    return run(LONG, progress=False)


def submit(study, store, **changes):
    return run_on_slurm(study, store, **{"shards": 2, "timeout_minutes": 5, "poll_seconds": 0.2, **changes})


def submissions(store):
    return len(list((store / "slurm").glob("*_submission.sh")))


def starts(store):
    """How often an element began, queued anew or for the first time."""
    return sum(log.read_text().count("Starting with") for log in (store / "slurm").glob("*_log.*"))


@pytest.mark.slurm
def test_a_study_on_slurm_ends_in_the_table_of_a_local_run(cluster, tmp_path):
    """Runs depend on their spec alone, not on the element of the array that makes them."""
    table = submit(QUICK, tmp_path / "runs")
    xr.testing.assert_identical(table, run(QUICK, progress=False))
    assert len(list((tmp_path / "runs" / "slurm").glob("*_result.pkl"))) == 2
    assert submissions(tmp_path / "runs") == 1
    xr.testing.assert_identical(submit(QUICK, tmp_path / "runs"), table)
    assert submissions(tmp_path / "runs") == 1


@pytest.mark.slurm
def test_networks_are_kept_on_slurm_as_here(cluster, tmp_path):
    """Their numbers may be there already, as here those of one seed."""
    learner = GradientDescent(MLP((8,)), steps=60, batch_size=32, validation_size=256)
    study = Study(SparseParity(((2, 1), (3, 1)), 4), learner, (2, 4), (40,), seeds=2, test_size=256)
    run(dataclasses.replace(study, seeds=1), tmp_path / "slurm", progress=False)
    table = submit(study, tmp_path / "slurm", keep="networks")
    xr.testing.assert_identical(table, run(study, tmp_path / "here", keep="networks", progress=False))
    on_slurm, here = (
        {path.name: path.read_bytes() for path in tmp_path.glob(f"{place}/??/*.network")} for place in ("slurm", "here")
    )
    assert on_slurm == here
    assert len(here) == 4


def a_node_loses_power(cluster, store):
    cluster.kill_node("node1")
    time.sleep(1)
    cluster.revive_node("node1")


def a_process_is_killed(cluster, store):
    """The one that makes the runs of the first element, and neither srun nor the shell that wait for it."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_text().split("\0")
            if words[0] == sys.executable and str(store / "slurm") in words:
                os.kill(int(process.name), signal.SIGKILL)
                return


def time_is_up(cluster, store):
    """What Slurm says some time before the limit, and before it gives the node to a more urgent job."""
    cluster.command("scancel", "--me", "--signal=USR2")


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("disturbance", "shards", "jobs"), [(a_node_loses_power, 1, 1), (time_is_up, 1, 1), (a_process_is_killed, 2, 2)]
)
def test_what_is_lost_in_the_middle_is_made_again(cluster, tmp_path, long_table, disturbance, shards, jobs):
    """When a node fails, Slurm queues the element again. When its time is up, the element queues itself. When its
    process dies, nobody does: the runs that it left are submitted as a second job."""
    store = tmp_path / "runs"

    def disturb():
        while not list(store.glob("??/*.json")):
            time.sleep(0.02)
        disturbance(cluster, store)

    other = threading.Thread(target=disturb)
    other.start()
    table = submit(LONG, store, shards=shards)
    other.join()
    assert starts(store) > shards
    assert submissions(store) == jobs
    xr.testing.assert_identical(table, long_table)


@pytest.mark.slurm
def test_an_element_that_always_fails_ends_the_study_with_its_traceback(cluster, tmp_path):
    """A graphics card is asked for on nodes without: no further attempt would help."""
    with pytest.raises(SlurmError, match=r"(?s)the 2\. time in a row.*PlatformError: platform 'gpu' was asked for"):
        submit(QUICK, tmp_path / "runs", attempts=2, platform="gpu")
    assert submissions(tmp_path / "runs") == 2


def test_an_element_that_never_finishes_a_run_is_not_queued_forever(tmp_path):
    """A finished run resets the count and is not given to the element again."""
    store, runs = tmp_path / "runs", QUICK.runs()
    shard = slurm.Shard(QUICK.to_json(), str(store), 1, None, surroundings(), attempts=2)
    once = shard.checkpoint(runs)
    assert once.args == (runs,)
    with pytest.raises(SlurmError, match=r"stopped 2 times in a row before one of 24 runs.*raise timeout_minutes"):
        once.function.checkpoint(*once.args)
    run(dataclasses.replace(QUICK, seeds=1), store, progress=False)
    again = once.function.checkpoint(*once.args)
    assert again.args == ([r for r in runs if r.seed > 0],)
    assert again.function == shard


@pytest.mark.slurm
def test_a_cancelled_job_is_not_submitted_again(cluster, tmp_path):
    later = {"begin": "now+1hour"}
    cancel = threading.Timer(2, cluster.command, ["scancel", "--me"])
    cancel.start()
    with pytest.raises(SlurmError, match="was cancelled"):
        submit(QUICK, tmp_path / "runs", options=later)
    cancel.join()
    assert submissions(tmp_path / "runs") == 1


@pytest.mark.slurm
def test_a_second_call_waits_for_the_job_already_in_the_queue(cluster, tmp_path, monkeypatch):
    """The process that submits may be killed like any other, and the runs must not be queued twice."""

    def interrupted(seconds):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(slurm, "time", types.SimpleNamespace(sleep=interrupted))  # and nobody else's
        with pytest.raises(KeyboardInterrupt):
            submit(QUICK, tmp_path / "runs", shards=1, options={"begin": "now+1hour"})
    (job,) = cluster.command("squeue", "--noheader", "--format=%F").split()
    cluster.command("scontrol", "update", f"JobId={job}", "StartTime=now")
    xr.testing.assert_identical(submit(QUICK, tmp_path / "runs"), run(QUICK, progress=False))
    assert submissions(tmp_path / "runs") == 1


@pytest.mark.slurm
def test_the_command_line_runs_a_study_on_slurm(cluster, tmp_path, capsys):
    """Slurm refuses one request and accepts another with options and several workers per element."""
    study, store, out = tmp_path / "study.json", tmp_path / "runs", tmp_path / "table.nc"
    study.write_text(QUICK.to_json())
    words = ["run", str(study), "--store", str(store), "--out", str(out), "--slurm", "--shards", "1", "--minutes", "5"]
    assert command_line.main([*words, "--sbatch", "partition=nowhere"]) == 1
    refused = capsys.readouterr().err
    assert "error: Slurm does not take the job: sbatch: error: invalid partition specified: nowhere" in refused
    assert command_line.main([*words, "--sbatch", "partition=urgent", "contiguous", "--workers", "2"]) == 0
    xr.testing.assert_identical(load_results(out), run(QUICK, progress=False))
    assert "24/24" in capsys.readouterr().err


def test_without_submitit_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setattr(slurm._Queue, "active", lambda queue: set())
    with pytest.raises(SlurmError, match=r'pip install "context-scaling\[slurm\]"'):
        submit(QUICK, tmp_path / "runs")


def test_without_slurm_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="Is this a machine of a Slurm cluster"):
        submit(QUICK, tmp_path / "runs")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shards": 0}, "shards must be between 1 and .*; got 0"),
        ({"timeout_minutes": 0}, "timeout_minutes must be between 1 and .*; got 0"),
        ({"cores_per_shard": 0}, "cores_per_shard must be between 1 and .*; got 0"),
        ({"attempts": 0}, "attempts must be at least 1; got 0"),
        ({"poll_seconds": 0.0}, "poll_seconds must be a finite number above 0; got 0"),
        ({"platform": "abacus"}, "platform must be one of .*; got 'abacus'"),
        ({"options": {"time": 5, "job_name": "mine"}}, "options may not hold job_name, time: give shards, timeout"),
    ],
)
def test_an_impossible_request_is_refused_before_anything_is_submitted(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        submit(QUICK, tmp_path / "runs", **changes)
    assert not (tmp_path / "runs").exists()


def test_a_study_that_only_this_script_knows_is_refused(tmp_path, monkeypatch):
    """The nodes cannot import what is defined in the script that is run."""

    @dataclasses.dataclass(frozen=True)
    class Own(LeastSquares):
        pass

    monkeypatch.setattr(Own, "__module__", "__main__")
    with pytest.raises(ValueError, match="move it to a module of its own, or run the study without Slurm"):
        submit(dataclasses.replace(QUICK, learner=Own()), tmp_path / "runs")
