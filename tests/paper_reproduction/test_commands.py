"""The commands a user types, at smoke scale, in processes of their own."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from paper_reproduction import __main__ as reproductions
from paper_reproduction import command_line, study_report
from paper_reproduction.reproduction import exit_status, names
from simulator import Stopped, Study, load_results
from theory import compare
from theory.laws import EXAMPLES as LAWS
from theory.laws import PowerLaw


def call(*arguments, cwd, check=True):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    return folder, call("paper_reproduction", "look_back", "--scale", "smoke", cwd=folder)


def test_a_second_call_trains_nothing_and_says_the_same(smoke):
    folder, first = smoke
    assert re.search(r"runs: 100%.* 96/96 .*run/s", first.stderr), "progress is shown"
    again = call("paper_reproduction", "look_back", "--scale", "smoke", cwd=folder)
    study = Study.from_json((folder / "results" / "smoke" / "look_back" / "study.json").read_text())
    assert f"{len(study.runs())} finished and 0 to do" in again.stdout
    report = (folder / "results" / "smoke" / "look_back" / "report.txt").read_text()
    assert report in first.stdout
    assert report in again.stdout


def test_plan_run_compare_and_figure_work_on_a_study_file(smoke, tmp_path):
    source = smoke[0] / "results" / "smoke" / "look_back"
    cli = "paper_reproduction.command_line"
    planned = call(cli, "plan", source / "study.json", "--store", source / "runs", cwd=tmp_path)
    assert "0 to do" in planned.stdout
    call(cli, "run", source / "study.json", "--store", source / "runs", "--out", "table.nc", cwd=tmp_path)
    assert load_results(tmp_path / "table.nc").identical(load_results(source / "results.nc"))
    compared = call(cli, "compare", "table.nc", "--laws", "saturating", "power", "--out", "c.csv", cwd=tmp_path)
    assert "saturating" in compared.stdout
    assert "intrinsic" not in compared.stdout
    assert set(pd.read_csv(tmp_path / "c.csv")["law"]) == {"saturating", "power", "l* stays"}
    drawn = call(cli, "figure", "table.nc", "--out", "drawn", cwd=tmp_path)
    assert len(list((tmp_path / "drawn").iterdir())) == len(drawn.stdout.split()) == 6


def test_a_study_can_be_named_by_module(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from simulator import Study\nfrom simulator.learners import LeastSquares\n"
        "from simulator.tasks import GaussianLookBack\n"
        "study = Study(GaussianLookBack.arfima(0.3, 8), LeastSquares(), (1, 2), (20, 40), seeds=2, test_size=64)\n"
    )
    assert "8 to do" in call("paper_reproduction.command_line", "plan", "mine:study", cwd=tmp_path).stdout
    call("paper_reproduction.command_line", "run", "mine:study", cwd=tmp_path)
    assert np.isfinite(load_results(tmp_path / "results.nc")["loss"]).all()
    assert len(list((tmp_path / "runs").glob("??/*.json"))) == 8


def test_compare_and_figure_take_losses_from_a_csv_file(tmp_path, capsys):
    """What was estimated is printed beside the scores."""
    lengths, sizes = (1, 2, 4, 8, 16, 32), (100, 200, 400, 800)
    rows = [(l, D, 2 + 3 / l**0.5 + 0.4 * l / D + 1 / D) for l in lengths for D in sizes]
    pd.DataFrame(rows, columns=["context_length", "dataset_size", "loss"]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.warns(UserWarning, match="below the Bayes risk"):
        assert command_line.main(["compare", str(tmp_path / "a.csv"), "--laws", "power"]) == 0
    shown = capsys.readouterr().out
    assert "bayes_risk: estimated: C0 + C/l^gamma" in shown
    assert "intrinsic_dimension: assumed: dim(l) = l" in shown
    with pytest.warns(UserWarning, match="below the Bayes risk"):
        assert (
            command_line.main(["figure", str(tmp_path / "a.csv"), "--laws", "power", "--out", str(tmp_path / "drawn")])
            == 0
        )
    assert len(list((tmp_path / "drawn").iterdir())) == 6
    assert command_line.main(["compare", str(tmp_path / "b.csv")]) == 1
    assert capsys.readouterr().err.startswith("error: there is no file")


@pytest.fixture
def losses(tmp_path):
    """A CSV file of losses with an exact R(l)."""
    lengths, sizes = (1, 2, 4, 8, 16, 32), (100, 200, 400, 800)
    rows = [(l, D, 2 + 3 / l**0.5, 2 + 3 / l**0.5 + 0.4 * l / D) for l in lengths for D in sizes]
    rows.append((0, sizes[0], 6.0, None))
    columns = ["context_length", "dataset_size", "bayes_risk", "loss"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "a.csv", index=False)
    return str(tmp_path / "a.csv")


def test_by_default_laws_without_given_constants_are_fitted_and_the_others_named(losses, tmp_path, monkeypatch, capsys):
    fitted = []

    def compared(results, laws, **options):
        fitted.append({law.name for law in laws})
        return compare(results, [PowerLaw()], **options)

    monkeypatch.setattr(command_line, "compare", compared)
    assert command_line.main(["compare", losses]) == 0
    shown = capsys.readouterr().out
    assert "given constants, not fitted" not in shown
    for line in ("  table: classes\n", "  data-manifold: model_size, variance\n", "as in --laws power table:classes=4"):
        assert line in shown
    assert command_line.main(["figure", losses, "--out", str(tmp_path / "drawn")]) == 0
    assert "  table: classes\n" in capsys.readouterr().err
    assert fitted == 2 * [{law.name for law in LAWS if not law.given}]


def test_given_constants_come_from_the_user_and_are_printed(losses, capsys):
    """Also a universal one, if it is changed; a number may be infinite."""
    words = ["table:classes=7", "data-manifold:model_size=inf,variance=2.5", "nearest-neighbour:constant=published"]
    assert command_line.main(["compare", losses, "--laws", *words]) == 0
    shown = capsys.readouterr().out
    for line in ("table: classes = 7", "data manifold: model_size = inf, variance = 2.5", "constant = published"):
        assert line in shown
    assert "left out" not in shown


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ("tabel", "there is no law 'tabel'; there are intrinsic-dimension, "),
        ("table", "the law 'table' needs classes: give --laws table:classes=VALUE"),
        ("polynomial-threshold:degree=2", "needs n_tasks: give --laws polynomial-threshold:degree=VALUE,n_tasks=VALUE"),
        ("table:clases=4", "the law 'table' has no constant 'clases' to give; it has classes"),
        (
            "power:amplitude=2",
            "the law 'power' has no constant 'amplitude' to give; it has none: all its constants are",
        ),
        ("table:classes", "'classes' gives no value; write classes=VALUE, as in --laws table:classes=4"),
        ("table:classes=1", "--laws table:classes=1: classes must be at least 2; got 1"),
        ("piecewise-linear:pieces=-2.5", "pieces must be a finite number above 0; got -2.5"),
    ],
)
def test_a_law_that_cannot_be_made_is_one_line_with_the_remedy(losses, capsys, law, message):
    assert command_line.main(["compare", losses, "--laws", law]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert message in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "nowhere.json"), "there is no file nowhere.json"),
        (("plan", "nonsense"), "neither a JSON file nor package.module:name"),
        (("plan", "no.such:thing"), "cannot load 'no.such:thing'"),
        (("plan", "math:pi"), "math:pi is a float, not a Study"),
        (("compare", "nowhere.nc"), "no results file at nowhere.nc"),
        (("plan", "broken.json"), "broken.json: not JSON"),
        (("plan", "task.json"), "describes a LeastSquares, not a Study"),
        (("figure", "broken.json"), "cannot be read as a results file"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_the_reason(tmp_path, arguments, message):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "task.json").write_text(json.dumps({"type": "LeastSquares"}))
    done = call("paper_reproduction.command_line", *arguments, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--platform", "gpu"), "error: platform 'gpu' was asked for, but JAX runs on 'cpu'"),
        (("--workers", "0"), "error: workers must be between 1 and 4096; got 0"),
        (("--shards", "4"), "error: --shards, --minutes and --sbatch are for jobs on Slurm: give --slurm, too"),
        (("--slurm", "--shards", "0"), "error: shards must be between 1 and 100000; got 0"),
    ],
)
def test_what_a_run_cannot_have_is_one_line_with_the_reason(smoke, tmp_path, capsys, arguments, message):
    study = smoke[0] / "results" / "smoke" / "look_back" / "study.json"
    assert command_line.main(["run", str(study), "--store", str(tmp_path / "runs"), *arguments]) == 1
    assert capsys.readouterr().err.startswith(message)
    assert not (tmp_path / "runs").exists()


def test_the_number_of_workers_changes_no_number(smoke, tmp_path):
    """A user may choose it by the machine alone, and leave it to the command to take all cores."""
    source = smoke[0] / "results" / "smoke" / "look_back"
    for words in ([], ["--workers", "1", "--platform", "cpu"], ["--workers", "2"]):
        name = "_".join(["table", *words])
        store = str(tmp_path / name)
        assert (
            command_line.main(["run", str(source / "study.json"), "--store", store, "--out", f"{store}.nc", *words])
            == 0
        )
        assert load_results(tmp_path / f"{name}.nc").identical(load_results(source / "results.nc"))


@pytest.mark.parametrize("main", [command_line.main, reproductions.main])
def test_being_asked_to_stop_is_said_and_is_no_failure(smoke, tmp_path, monkeypatch, capsys, main):
    """A scheduler that stops a process would take another status for a crash."""

    def stopped(*arguments, **options):
        raise Stopped

    monkeypatch.setattr(command_line, "run", stopped)
    monkeypatch.setattr(study_report, "run", stopped)
    study = str(smoke[0] / "results" / "smoke" / "look_back" / "study.json")
    words = ["run", study] if main is command_line.main else ["look_back", "--scale", "smoke", "--out", str(tmp_path)]
    assert main(words) == 0
    assert "stopped; finished runs are kept, the same command continues" in capsys.readouterr().err


def test_a_reader_that_has_read_enough_is_no_failure(tmp_path, monkeypatch, capsys):
    """As in ``context-scaling task LagCopy | head``. Python flushes the output at exit; it must then lead nowhere."""

    def cut_short():
        raise BrokenPipeError

    with (tmp_path / "output").open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert exit_status(cut_short) == 0
        output.write("what nobody reads")
    monkeypatch.undo()
    assert (tmp_path / "output").read_text() == ""
    assert capsys.readouterr().err == ""


def test_an_unknown_reproduction_is_refused_with_the_known_ones(tmp_path):
    done = call("paper_reproduction", "nonsense", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert f"unknown reproduction nonsense; there are: {', '.join(names())}" in done.stderr


def test_without_a_name_the_main_job_is_made(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(reproductions, "reproduce", lambda *arguments: made.append(arguments))
    assert reproductions.main(["--scale", "smoke", "--out", str(tmp_path)]) == 0
    assert made == [(name, "smoke", tmp_path, 1) for name in ("gallery", "look_back", "parity_mlp")]


def test_a_task_is_shown_by_name_and_by_file(tmp_path):
    done = call("paper_reproduction.command_line", "task", "Retrieval", "--seed", "1", cwd=tmp_path)
    assert "Bayes prediction" in done.stdout
    assert (tmp_path / "figures_out" / "task_Retrieval.png").stat().st_size > 10_000
    assert len(pd.read_csv(tmp_path / "figures_out" / "task_Retrieval.csv")) > 5
    (tmp_path / "own.json").write_text(done.stdout.splitlines()[0])
    again = call("paper_reproduction.command_line", "task", "own.json", "--seed", "1", "--out", "other", cwd=tmp_path)
    assert again.stdout.splitlines()[:-3] == done.stdout.splitlines()[:-3]
    assert (tmp_path / "other" / "task_Retrieval.pdf").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Retreival", "nor a task's name: there are .*Retrieval"),
        ("none.json", "no file none.json"),
        ("math:pi", "math:pi is a float, not a task"),
    ],
)
def test_what_is_no_task_is_refused_with_the_names_there_are(name, message, tmp_path):
    done = call("paper_reproduction.command_line", "task", name, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr
