"""The commands a user types, at smoke scale: one run and one refusal in processes of their own, the others in this."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from paper_reproduction import __main__ as reproductions
from paper_reproduction import command_line, study_report
from paper_reproduction.reproduction import exit_status, names
from simulator import Stopped, Study, load_results, run, save_results
from simulator.learners import GradientDescent, LeastSquares
from simulator.models import MLP
from simulator.tasks import GaussianLookBack, SparseParity
from theory import compare, optimal_context_length
from theory.laws import EXAMPLES as LAWS
from theory.laws import ChinchillaLaw, PowerLaw


def process(*arguments, cwd):
    command = [sys.executable, "-W", "error", "-m", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder; nothing that is looked for there is looked for later."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def printed(capsys, *arguments):
    """What a command of ``context-scaling`` that succeeds prints."""
    assert command_line.main(list(map(str, arguments))) == 0
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A reproduction's folder, and the process that made it."""
    folder = tmp_path_factory.mktemp("smoke")
    done = process("paper_reproduction", "look_back", "--scale", "smoke", cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "results" / "smoke" / "look_back", done


def test_a_second_call_trains_nothing_and_says_the_same(smoke, monkeypatch, capsys):
    folder, first = smoke
    assert re.search(r"runs: 100%.* 96/96 .*run/s", first.stderr), "progress is shown"
    monkeypatch.chdir(folder.parents[2])
    assert reproductions.main(["look_back", "--scale", "smoke"]) == 0
    again = capsys.readouterr().out
    assert "96 finished and 0 to do" in again
    report = (folder / "report.txt").read_text()
    assert report in first.stdout
    assert report in again


def test_plan_run_compare_and_figure_work_on_a_study_file(smoke, here, capsys):
    source = smoke[0]
    stored = (source / "study.json", "--store", source / "runs")
    assert "0 to do" in printed(capsys, "plan", *stored)
    printed(capsys, "run", *stored, "--out", "table.nc")
    assert load_results("table.nc").identical(load_results(source / "results.nc"))
    compared = printed(capsys, "compare", "table.nc", "--laws", "power", "--out", "c.csv")
    assert "power" in compared
    assert "intrinsic" not in compared
    assert set(pd.read_csv("c.csv")["law"]) == {"power", "l* stays"}
    drawn = printed(capsys, "figure", "table.nc", "--laws", "power", "--out", "drawn")
    assert len(list((here / "drawn").iterdir())) == len(drawn.split()) == 6


def test_a_study_can_be_named_by_module_and_made_by_workers(here, capsys):
    """The workers, too, find the user's module in the working folder."""
    (here / "mine.py").write_text(
        "from simulator import Study\nfrom simulator.learners import LeastSquares\n"
        "from simulator.tasks import GaussianLookBack\n"
        "class Own(LeastSquares):\n    pass\n"
        "study = Study(GaussianLookBack.arfima(0.3, 8), Own(), (1, 2), (20, 40), seeds=2, test_size=64)\n"
    )
    assert "8 to do" in printed(capsys, "plan", "mine:study")
    printed(capsys, "run", "mine:study", "--workers", 2)
    assert np.isfinite(load_results("results.nc")["loss"]).all()
    assert len(list((here / "runs").glob("??/*.json"))) == 8
    xr.testing.assert_identical(load_results("results.nc"), run(command_line.read_study("mine:study"), progress=False))


def test_runs_that_optimisation_limits_are_counted_and_left_out_unless_asked_for(here, capsys):
    """Too few steps: most runs are better at their last evaluation than ever before."""
    study = Study(
        SparseParity(((2, 1), (3, 1)), 4),
        GradientDescent(MLP((4,)), steps=40, evaluation_every=10, batch_size=16, validation_size=64),
        (1, 2, 3, 4),
        (32, 64, 128, 256),
        seeds=2,
        test_size=64,
    )
    (here / "study.json").write_text(study.to_json())
    said = printed(capsys, "run", "study.json", "--workers", 1, "--keep", "networks")
    assert len(list((here / "runs").glob("??/*.network"))) == 32
    results = load_results("results.nc")
    limits = results["optimisation_limit"]
    improving, plateau = (int((limits == reason).sum()) for reason in ("still improving", "plateau"))
    assert improving > 0
    assert f"{improving + plateau} of 32 runs seem limited by optimisation: {improving} were still improving" in said
    assert f"{plateau} ended on a plateau" in said
    save_results(results.assign(limited_by_optimisation=results["diverged"] | True), "all.nc")
    for command in ("compare", "figure"):
        assert command_line.main([command, "all.nc", "--laws", "power", "--leave-out-limited"]) == 1
        assert "16 cells that optimisation seems to limit were left out" in capsys.readouterr().err
        assert printed(capsys, command, "all.nc", "--laws", "power")


def test_a_run_adds_lengths_and_seeds_where_the_optimum_is_uncertain(here, capsys):
    task = GaussianLookBack.arfima(d=0.4, max_context_length=24)
    study = Study(task, LeastSquares(), (4, 16), (64,), seeds=2, test_size=2048)
    (here / "study.json").write_text(study.to_json())
    text = printed(capsys, "run", "study.json", "--workers", 1, "--most-runs", 300)
    results = load_results("results.nc")
    made = int((results["run"] != "").sum())
    assert text.startswith(f"{made} runs, 0 diverged")
    assert 4 < made <= 300
    assert not optimal_context_length(results)["at_edge"].any()
    assert command_line.main(["run", "study.json", "--most-runs", "300", "--slurm"]) == 1
    assert "leave --slurm out" in capsys.readouterr().err


def test_a_run_takes_all_cores_unless_told_how_many(smoke, here, monkeypatch, capsys):
    asked = []

    def made(study, store, **options):
        asked.append(options)
        return load_results(smoke[0] / "results.nc")

    monkeypatch.setattr(command_line, "run", made)
    monkeypatch.setattr(command_line, "best_workers", lambda: 7)
    for words in ((), ("--workers", 3, "--platform", "cpu", "--keep", "networks")):
        printed(capsys, "run", smoke[0] / "study.json", *words)
    assert asked == [
        {"workers": 7, "platform": None, "keep": None},
        {"workers": 3, "platform": "cpu", "keep": "networks"},
    ]


@pytest.fixture
def losses(tmp_path):
    """A CSV file of losses with an exact R(l)."""
    lengths, sizes = (1, 2, 4, 8, 16, 32), (100, 200, 400, 800)
    rows = [(l, D, 2 + 3 / l**0.5, 2 + 3 / l**0.5 + 0.4 * l / D) for l in lengths for D in sizes]
    rows.append((0, sizes[0], 6.0, None))
    columns = ["context_length", "dataset_size", "bayes_risk", "loss"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "a.csv", index=False)
    return str(tmp_path / "a.csv")


def test_compare_and_figure_take_losses_from_a_csv_file(losses, tmp_path, capsys):
    """What was estimated is printed beside the scores."""
    pd.read_csv(losses).dropna().drop(columns="bayes_risk").eval("loss = loss + 1 / dataset_size").to_csv(
        losses, index=False
    )
    words = (losses, "--laws", "power")
    with pytest.warns(UserWarning, match="below the Bayes risk"):
        shown = printed(capsys, "compare", *words)
    assert "bayes_risk: estimated: C0 + C/l^gamma" in shown
    assert "intrinsic_dimension: assumed: dim(l) = l" in shown
    with pytest.warns(UserWarning, match="below the Bayes risk"):
        printed(capsys, "figure", *words, "--out", tmp_path / "drawn")
    assert len(list((tmp_path / "drawn").iterdir())) == 6


def test_what_was_predicted_beforehand_is_scored_by_what_is_measured_afterwards(losses, tmp_path, capsys):
    rows, later = pd.read_csv(losses), tmp_path / "later.csv"
    rows.assign(dataset_size=rows["dataset_size"] * 16).to_csv(later, index=False)
    made = tmp_path / "p.json"
    shown = printed(capsys, "predict", losses, "--laws", "power", "--at", 1600, 3200, "--out", made)
    assert "power: " in shown
    assert str(made) in shown
    shown = printed(capsys, "score", made, later)
    assert "measured l*" in shown
    assert shown.count("power") == 2
    assert command_line.main(["predict", losses, "--at", "1600", "--out", str(made)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_design_is_asked_for_with_a_pilot_of_few_seeds(losses, tmp_path, capsys):
    rows, rng, out = pd.read_csv(losses), np.random.default_rng(0), tmp_path / "designs.csv"
    again = [rows.eval("loss = bayes_risk + (loss - bayes_risk) * @factor").assign(seed=seed)
             for seed in (0, 1) for factor in [1 + 0.02 * rng.normal(size=len(rows))]]  # fmt: skip
    pd.concat(again).to_csv(losses, index=False)
    words = ("--laws", "power", "nearest-neighbour", "--budget", 100, "--probability", 0.8)
    shown = printed(capsys, "design", losses, *words, "--out", out)
    assert "2 seeds, l = 1, 2, 4, 8, 16, 32, D = 100, 200, 400, 800: 48 runs, 189,000 tokens" in shown
    assert set(pd.read_csv(out)["truth"]) == {"power", "nearest neighbour"}
    for words, message in (
        (("--laws", "power"), "give at least two with distinct names; got ['power']"),
        (("--laws", "power", "nearest-neighbour", "--budget", "9"), "a budget of 9 runs is too small for any design"),
    ):
        assert command_line.main(["design", losses, *words]) == 1
        assert message in capsys.readouterr().err


def test_losses_in_bits_and_a_bayes_risk_of_its_own_file_are_read(losses, tmp_path, capsys):
    """In bits the same file gives the same l* and the same regrets in nats."""
    rows = pd.read_csv(losses)
    risk, bits = tmp_path / "risk.csv", tmp_path / "bits.csv"
    rows[["context_length", "bayes_risk"]].drop_duplicates().eval("bayes_risk = bayes_risk / log(2)").to_csv(risk)
    rows.dropna().drop(columns="bayes_risk").eval("loss = loss / log(2)").to_csv(bits)
    one = printed(capsys, "compare", losses, "--laws", "power")
    two = printed(capsys, "compare", bits, "--laws", "power", "--unit", "bits", "--bayes-risk", risk)
    assert one.split("given")[0].split("fit residual")[0] == two.split("given")[0].split("fit residual")[0]


def test_the_law_of_hoffmann_is_fitted_to_a_csv_file_of_runs(tmp_path, capsys):
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e10, 4), np.geomspace(1e9, 1e12, 4)))
    loss = np.append(ChinchillaLaw.besiroglu().loss(N, D), 9.0) / np.log(2)
    path = tmp_path / "runs.csv"
    pd.DataFrame({"params": [*N, 1e8], "tokens": [*D, 1e9], "loss": loss}).to_csv(path, index=False)
    said = printed(capsys, "chinchilla", path, "--unit", "bits", "--leave-out-highest", 1)
    assert "fitted to 16 runs, with 90% intervals" in said
    for line in ("E      1.817 ", "A      482 ", "B      2085 ", "alpha  0.3478 ", "beta   0.3658 "):
        assert f"\n{line}" in said
    assert "compute-optimal: N ~ C^0.513, D ~ C^0.487" in said
    assert "unit: nats\ncolumns: model_size is the column 'params'" in said
    assert "runs left out: 1 of the highest losses, from 9 on, lines 18" in said


def test_by_default_laws_without_given_constants_are_fitted_and_the_others_named(losses, tmp_path, monkeypatch, capsys):
    fitted = []

    def compared(results, laws, **options):
        fitted.append({law.name for law in laws})
        return compare(results, [PowerLaw()], n_bootstrap=2, **options)

    monkeypatch.setattr(command_line, "compare", compared)
    shown = printed(capsys, "compare", losses)
    assert "given constants, not fitted" not in shown
    for line in ("  table: classes\n", "  data-manifold: model_size, variance\n", "as in --laws power table:classes=4"):
        assert line in shown
    assert command_line.main(["figure", losses, "--out", str(tmp_path / "drawn")]) == 0
    assert "  table: classes\n" in capsys.readouterr().err
    assert fitted == 2 * [{law.name for law in LAWS if not law.given}]


def test_given_constants_come_from_the_user_and_are_printed(losses, capsys):
    """Also a universal one, if it is changed; a number may be infinite."""
    words = ["table:classes=7", "data-manifold:model_size=inf,variance=2.5", "nearest-neighbour:constant=published"]
    shown = printed(capsys, "compare", losses, "--laws", *words)
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
        ("power:amplitude=2", "'power' has no constant 'amplitude' to give; it has none: all its constants are"),
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


def test_a_refusal_is_one_line_and_status_1(tmp_path):
    done = process("paper_reproduction.command_line", "plan", "nowhere.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: there is no file nowhere.json\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("plan nonsense", "neither a JSON file nor package.module:name"),
        ("plan no.such:thing", "cannot load 'no.such:thing'"),
        ("plan math:pi", "math:pi is a float, not a Study"),
        ("compare nowhere.nc", "no results file at nowhere.nc"),
        ("compare nowhere.csv", "there is no file"),
        ("plan broken.json", "broken.json: not JSON"),
        ("plan learner.json", "describes a LeastSquares, not a Study"),
        ("figure broken.json", "cannot be read as a results file"),
        ("task Retreival", "nor a task's name: there are .*Retrieval"),
        ("task none.json", "no file none.json"),
        ("task math:pi", "math:pi is a float, not a task"),
        ("run study.json --platform gpu", "platform 'gpu' was asked for, but JAX runs on 'cpu'"),
        ("run study.json --workers 0", "workers must be between 1 and 4096; got 0"),
        ("run study.json --shards 4", "--shards, --minutes and --sbatch are for jobs on Slurm: give --slurm, too"),
        ("run study.json --slurm --shards 0", "shards must be between 1 and 100000; got 0"),
        ("run study.json --out .", "--out . is a folder: name a file, as in results.nc"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_the_reason(smoke, here, capsys, arguments, message):
    (here / "broken.json").write_text("{")
    (here / "learner.json").write_text(json.dumps({"type": "LeastSquares"}))
    (here / "study.json").write_text((smoke[0] / "study.json").read_text())
    assert command_line.main(arguments.split()) == 1
    assert re.match(f"error: .*{message}", capsys.readouterr().err)
    assert not (here / "runs").exists()


@pytest.mark.parametrize("main", [command_line.main, reproductions.main])
def test_being_asked_to_stop_is_said_and_is_no_failure(smoke, tmp_path, monkeypatch, capsys, main):
    """A scheduler that stops a process would take another status for a crash."""

    def stopped(*arguments, **options):
        raise Stopped

    monkeypatch.setattr(command_line, "run", stopped)
    monkeypatch.setattr(study_report, "run", stopped)
    study = str(smoke[0] / "study.json")
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


def test_an_unknown_reproduction_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit, match="2"):
        reproductions.main(["nonsense"])
    assert f"unknown reproduction nonsense; there are: {', '.join(names())}" in capsys.readouterr().err


def test_without_a_name_the_main_job_is_made(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(reproductions, "reproduce", lambda *arguments: made.append(arguments))
    assert reproductions.main(["--scale", "smoke", "--out", str(tmp_path)]) == 0
    assert made == [(name, "smoke", tmp_path, 1) for name in ("gallery", "look_back", "parity_mlp")]


def test_a_task_is_shown_by_name_and_by_file(here, capsys):
    shown = printed(capsys, "task", "Retrieval", "--seed", 1).splitlines()
    assert any("Bayes prediction" in line for line in shown)
    assert (here / "figures_out" / "task_Retrieval.png").stat().st_size > 10_000
    assert len(pd.read_csv("figures_out/task_Retrieval.csv")) > 5
    (here / "own.json").write_text(shown[0])
    again = printed(capsys, "task", "own.json", "--seed", 1, "--out", "other").splitlines()
    assert again[:-3] == shown[:-3]
    assert (here / "other" / "task_Retrieval.pdf").is_file()
