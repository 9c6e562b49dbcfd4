"""Studies: the grid, the table, and that no run is lost or made twice."""

import contextlib
import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
import xarray as xr

from simulator import StoreError, Study, limited_by_optimisation, load_results, plan, run, save_results
from simulator.learners import GradientDescent, LeastSquares, evaluation
from simulator.learners.evaluation import evaluate
from simulator.models import MLP
from simulator.studies import store as store_module
from simulator.studies.store import CorruptFileWarning
from simulator.tasks import GaussianLookBack, SparseParity
from theory import compare, optimal_context_length
from theory.laws import PowerLaw
from theory.measured.loss_table import LossTableError

SERIES = GaussianLookBack.designed(1.0, 1.0, 1.0, 1.0, 16)
STUDY = Study(SERIES, LeastSquares(), (0, 1, 4, 16), (40, 80, 160, 320), seeds=3, test_size=256)
DIVERGING = Study(
    SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10),
    GradientDescent(MLP((16,)), steps=100, batch_size=32, validation_size=256, learning_rate=1e30, gradient_clip=None),
    (3, 10),
    (40, 500),
    seeds=2,
    test_size=512,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "runs"
    return folder, run(STUDY, folder, progress=False)


@pytest.fixture
def results(made):
    return made[1]


@pytest.fixture
def store(made, tmp_path):
    """A store of all runs."""
    return pathlib.Path(shutil.copytree(made[0], tmp_path / "runs"))


def test_the_table_holds_every_run_and_the_exact_truth(results):
    assert results["loss"].dims == ("context_length", "dataset_size", "seed")
    assert results["loss"].shape == (4, 4, 3)
    assert not results["diverged"].any()
    assert (results["stopped_by"] == "solved").all()
    assert not results["limited_by_optimisation"].any()
    assert "validation_loss" not in results
    for length in STUDY.context_lengths:
        row = results.sel(context_length=length)
        assert float(row["bayes_risk"]) == SERIES.bayes_risk(length)
        assert float(row["intrinsic_dimension"]) == length
        assert np.isnan(row["intrinsic_entropy"])
    assert results["bayes_risk_curve"].values.tolist() == [SERIES.bayes_risk(l) for l in range(17)]
    assert results["loss"].attrs["units"] == results.attrs["unit"] == "squared error"
    np.testing.assert_allclose(results["loss"], results["bayes_risk"] + results["approximation_loss"], rtol=1e-15)


def test_test_losses_scatter_as_their_standard_errors_say(results):
    """KL on the test contexts and the loss on the sampled targets are two measurements of one number."""
    some = results.sel(context_length=[1, 4], dataset_size=[80, 320])
    z = (some["test_loss"] - some["loss"]) / some["test_loss_standard_error"]
    assert np.abs(z).max() < 4


def test_a_cell_is_what_the_learner_alone_gives(results):
    predictor = STUDY.learner.fit(SERIES, 4, 80, 2)
    cell = results.sel(context_length=4, dataset_size=80, seed=2)
    measured = evaluate(SERIES, predictor, 2, 256)
    assert float(cell["approximation_loss"]) == measured.approximation_loss
    assert float(cell["test_loss"]) == measured.test_loss


def test_theory_reads_the_table_as_it_comes(results):
    assert optimal_context_length(results)["best_on_grid"].shape == (4,)
    assert compare(results, [PowerLaw()], n_bootstrap=2)["law"].size == 2


def test_a_finished_run_is_never_made_again(store, results, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("made again")

    monkeypatch.setattr(LeastSquares, "fit_groups", refuse)
    xr.testing.assert_identical(run(STUDY, store, progress=False), results)


def test_a_larger_study_makes_only_what_is_missing(store, monkeypatch):
    larger = dataclasses.replace(STUDY, context_lengths=(0, 1, 3, 4, 16), seeds=4)
    made = []
    original = LeastSquares.fit_groups

    def noted(self, task, groups):
        groups = list(groups)
        made.extend(run for group in groups for run in group)
        return original(self, task, groups)

    monkeypatch.setattr(LeastSquares, "fit_groups", noted)
    table = run(larger, store, progress=False)
    assert len(made) == 5 * 4 * 4 - 4 * 4 * 3
    xr.testing.assert_identical(table, run(larger, progress=False))


def test_every_number_can_be_traced_to_its_file(made):
    folder, table = made
    cell = table.sel(context_length=4, dataset_size=160, seed=1)
    name = cell["run"].item()
    kept = json.loads((folder / name[:2] / f"{name}.json").read_text())
    assert kept["result"]["loss"] == float(cell["loss"])
    assert json.loads(kept["spec"])["run"] == {"type": "Run", "context_length": 4, "dataset_size": 160, "seed": 1}


def test_a_damaged_file_is_made_again_and_the_table_is_the_same(store, results):
    files = sorted(store.glob("??/*.json"))
    files[0].write_bytes(files[0].read_bytes()[:-200])
    files[1].write_bytes(files[1].read_bytes().replace(b'"loss"', b'"lost"'))
    with pytest.warns(CorruptFileWarning, match="damaged"):
        table = run(STUDY, store, progress=False)
    xr.testing.assert_identical(table, results)


def test_a_full_disk_ends_the_study_and_freeing_it_continues_it(tmp_path, results, monkeypatch):
    written = []
    original = store_module._write_atomically

    def filling(path, text):
        if len(written) == 20:
            raise OSError(28, "No space left on device")
        written.append(path)
        original(path, text)

    monkeypatch.setattr(store_module, "_write_atomically", filling)
    with pytest.raises(StoreError, match="No space left on device"):
        run(STUDY, tmp_path / "runs", progress=False)
    monkeypatch.undo()
    assert plan(STUDY, tmp_path / "runs").n_finished == 19  # and the store's marker
    xr.testing.assert_identical(run(STUDY, tmp_path / "runs", progress=False), results)


def test_results_survive_the_disk(tmp_path, results):
    save_results(results, tmp_path / "results.nc")
    xr.testing.assert_identical(load_results(tmp_path / "results.nc"), results)
    assert Study.from_json(load_results(tmp_path / "results.nc").attrs["study"]) == STUDY
    assert [path.name for path in tmp_path.iterdir()] == ["results.nc"]


def test_a_results_file_that_is_none_is_refused(tmp_path, results):
    with pytest.raises(FileNotFoundError, match="no results file"):
        load_results(tmp_path / "results.nc")
    (tmp_path / "results.nc").write_bytes(b"CDF nonsense")
    with pytest.raises(ValueError, match="cannot be read as a results file"):
        load_results(tmp_path / "results.nc")
    save_results(results, tmp_path / "results.nc")
    whole = (tmp_path / "results.nc").read_bytes()
    (tmp_path / "results.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read as a results file"):
        load_results(tmp_path / "results.nc")


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # h5netcdf, closing what it could not open
def test_a_flipped_bit_in_a_results_file_is_never_believed(tmp_path, results):
    save_results(results, tmp_path / "results.nc")
    whole = bytearray((tmp_path / "results.nc").read_bytes())
    for position in np.random.default_rng(0).integers(0, len(whole), 30):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(position % 8)
        (tmp_path / "results.nc").write_bytes(bytes(damaged))
        with contextlib.suppress(ValueError):  # the one error it may raise
            xr.testing.assert_identical(load_results(tmp_path / "results.nc"), results)


def test_a_table_that_cannot_be_written_is_one_clear_error(tmp_path, results):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*writable folder"):
        save_results(results, tmp_path / "file" / "results.nc")
    save_results(results, tmp_path / "new" / "folder" / "results.nc")
    assert load_results(tmp_path / "new" / "folder" / "results.nc").identical(results)


def test_planning_changes_nothing_and_refuses_what_running_refuses(store):
    file = next(store.glob("??/*.json"))
    file.write_text("{")
    assert plan(STUDY, store).n_finished == 47
    assert file.exists()
    (store / "store.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="format 99"):
        plan(STUDY, store)


def test_the_evaluation_does_not_depend_on_its_blocks(monkeypatch):
    predictor = STUDY.learner.fit(SERIES, 4, 80, 2)
    whole = evaluate(SERIES, predictor, 2, 256)
    monkeypatch.setattr(evaluation, "_BLOCK", 100)
    blocks = evaluate(SERIES, predictor, 2, 256)
    assert blocks.approximation_loss == pytest.approx(whole.approximation_loss, rel=1e-5)
    assert blocks.test_loss == pytest.approx(whole.test_loss, rel=1e-5)


def test_a_diverged_run_is_kept_shown_and_never_averaged(tmp_path):
    for _ in range(2):  # the second time from the store
        table = run(DIVERGING, tmp_path / "runs", progress=False)
        assert table["diverged"].all()
        assert (table["stopped_by"] == "diverged").all()
        assert not table["limited_by_optimisation"].any()
        assert all(table[name].isnull().all() for name in ("loss", "approximation_loss", "test_loss"))
    optima = optimal_context_length(table)
    assert optima["left_out"].values.tolist() == [2, 2]
    assert optima["optimal_context_length"].isnull().all()


TRAINED = dataclasses.replace(
    DIVERGING,
    learner=GradientDescent(MLP((8,)), steps=90, evaluation_every=20, patience=2, batch_size=32, validation_size=256),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store of trained runs, and their table."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    return folder, run(TRAINED, folder, progress=False)


def test_the_table_holds_how_every_run_was_trained(trained):
    """Each row of the table is what the learner alone gives, padded with NaN."""
    table = trained[1]
    for fitted in TRAINED.learner.fit_runs(TRAINED.task, TRAINED.runs()):
        row = table.sel(**dataclasses.asdict(fitted.run))
        assert (row["stopped_by"], row["best_step"]) == (fitted.stopped_by, fitted.best_step)
        for name, kept in (("evaluation_step", fitted.evaluation_steps), ("validation_loss", fitted.validation_losses)):
            padded = row[name].values
            np.testing.assert_array_equal(padded[: len(kept)], kept)
            assert np.isnan(padded[len(kept) :]).all()
    assert set(np.unique(table["stopped_by"])) == {"patience", "last step"}
    assert table.sizes["evaluation"] == 5


def test_training_curves_survive_the_disk_and_the_store(trained, tmp_path):
    folder, table = trained
    save_results(table, tmp_path / "results.nc")
    xr.testing.assert_identical(load_results(tmp_path / "results.nc"), table)
    xr.testing.assert_identical(run(TRAINED, folder, progress=False), table)


def older(folder):
    """Make a store look as if written before runs said why they stopped."""
    for path in folder.glob("??/*.json"):
        content = json.loads(path.read_text())
        for name in ("stopped_by", "best_step", "evaluation_steps"):
            del content["result"][name]
        content["checksum"] = store_module._checksum(content["spec"], content["result"])
        path.write_text(json.dumps(content))


def test_a_store_and_a_table_of_earlier_versions_stay_readable(trained, tmp_path):
    """The losses are all there. What was not kept is unknown, and no run is taken for one that was still improving."""
    folder = pathlib.Path(shutil.copytree(trained[0], tmp_path / "runs"))
    older(folder)
    table = run(TRAINED, folder, progress=False)
    assert (table["stopped_by"] == "unknown").all()
    assert (table["best_step"] == -1).all()
    assert table["evaluation_step"].isnull().all()
    assert not (table["optimisation_limit"] == "still improving").any()
    for name in ("loss", "validation_loss", "steps"):
        xr.testing.assert_identical(table[name], trained[1][name])
    new = ["stopped_by", "best_step", "evaluation_step", "validation_loss", "optimisation_limit", "evaluation"]
    plain = table.drop_vars([*new, "limited_by_optimisation"])
    save_results(plain, tmp_path / "old.nc")
    assert load_results(tmp_path / "old.nc").identical(plain)
    assert not optimal_context_length(plain)["limited_by_optimisation"].any()
    with pytest.raises(LossTableError, match="no variable 'stopped_by'"):
        limited_by_optimisation(plain)


def test_a_plan_trains_nothing_and_counts_what_is_left(tmp_path, store):
    before = plan(STUDY, tmp_path / "none")
    assert (before.n_runs, before.n_finished) == (48, 0)
    assert not (tmp_path / "none").exists()
    assert len(before.cost.shape_groups) == 1
    assert "48, 0 finished and 48 to do" in str(before)
    after = plan(STUDY, store)
    assert (after.n_runs, after.n_finished, after.cost.seconds) == (48, 48, 0.0)


def test_a_plan_gives_a_range_and_learns_from_finished_runs(tmp_path):
    cost = plan(DIVERGING).cost
    assert cost.seconds_range[0] <= cost.seconds <= cost.seconds_range[1]
    assert cost.memory_bytes > 0
    run(dataclasses.replace(DIVERGING, seeds=1), tmp_path / "runs", progress=False)
    rest = plan(DIVERGING, tmp_path / "runs")
    assert rest.n_finished == 4
    assert rest.cost.seconds_range[0] <= rest.cost.seconds <= rest.cost.seconds_range[1]


def test_the_progress_bar_counts_runs_and_tells_the_time_left(capsys):
    run(STUDY)
    shown = capsys.readouterr().err
    assert "48/48" in shown
    assert "<" in shown
    run(STUDY, progress=False)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context_lengths": ()}, "context_lengths is empty"),
        ({"context_lengths": (4, 2)}, r"context_lengths must increase without repeats; got \(4, 2\)"),
        ({"dataset_sizes": (10, 10)}, r"dataset_sizes must increase without repeats; got \(10, 10\)"),
        ({"context_lengths": (0, 17)}, "an entry of context_lengths must be between 0 and 16; got 17"),
        ({"dataset_sizes": (0, 4)}, "an entry of dataset_sizes must be between 1 and .*; got 0"),
        ({"seeds": 0}, "seeds must be between 1 and .*; got 0"),
        ({"task": DIVERGING.task, "context_lengths": (1, 2)}, "LeastSquares needs real-valued tokens"),
    ],
)
def test_an_impossible_study_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(STUDY, **changes)


@pytest.mark.parametrize("changes", [{"context_lengths": (1.5,)}, {"context_lengths": 5}])
def test_a_study_of_something_else_than_integers_is_refused(changes):
    with pytest.raises(TypeError):
        dataclasses.replace(STUDY, **changes)
