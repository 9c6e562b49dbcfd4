"""The networks of a study are kept beside its runs, and come back to the bit."""

import dataclasses
import itertools
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import xarray as xr

from simulator import StoreError, Study, load_predictor, run
from simulator.inference import visible_context_sweep
from simulator.learners import GradientDescent, LeastSquares
from simulator.learners.base import FittedRun
from simulator.machine.workers import surroundings
from simulator.measurement import extract_features
from simulator.models import MLP
from simulator.studies import slurm
from simulator.studies.networks import network_file, read_network
from simulator.studies.run import check_keep
from simulator.studies.run_result import RunResult
from simulator.studies.store import CorruptFileWarning, Store
from simulator.tasks import GaussianLookBack
from tests.simulator.kept_networks import PARITY, bits, content_of, random_network, signed

STUDY = Study(
    PARITY,
    GradientDescent(MLP((8,)), steps=60, evaluation_every=20, batch_size=32, validation_size=256),
    (3, 10),
    (40, 500),
    seeds=2,
    test_size=512,
)
SOLVED = Study(GaussianLookBack.arfima(0.3, 8), LeastSquares(), (1, 4), (20, 40), seeds=2, test_size=64)
CELL = {"context_length": 10, "dataset_size": 500, "seed": 1}
SPEC = STUDY.run_spec(STUDY.runs()[-1])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "runs"
    return folder, run(STUDY, folder, keep="networks", progress=False)


@pytest.fixture
def store(made, tmp_path):
    """A store of all runs and their networks."""
    return Store(pathlib.Path(shutil.copytree(made[0], tmp_path / "runs")))


@pytest.fixture(scope="module")
def learned():
    """What the learner alone gives."""
    return {fitted.run: fitted.predictor for fitted in STUDY.learner.fit_runs(PARITY, STUDY.runs())}


def contents(folder, pattern="??/*"):
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern))}


def refuse(*arguments):
    raise AssertionError("trained again")


def test_keeping_changes_no_number_and_no_name(made, tmp_path):
    folder, table = made
    xr.testing.assert_identical(table, run(STUDY, tmp_path / "plain", progress=False))
    names = {pathlib.Path(name).stem for name in contents(tmp_path / "plain")}
    assert set(contents(folder)) == {f"{name}.{kind}" for name in names for kind in ("json", "network")}


def test_every_network_comes_back_as_the_learner_gave_it(made, learned, monkeypatch):
    """The table stands for its study, and nothing is trained again."""
    monkeypatch.setattr(GradientDescent, "fit_groups", refuse)
    for cell, predictor in learned.items():
        for study in (STUDY, made[1]):
            assert bits(load_predictor(study, made[0], **dataclasses.asdict(cell))) == bits(predictor)


READING = """
import sys
from simulator import Study, load_predictor
from simulator.learners.evaluation import evaluate
study = Study.from_json(sys.argv[1])
for cell in study.runs():
    predictor = load_predictor(study, sys.argv[2], **vars(cell))
    measured = evaluate(study.task, predictor, cell.seed, study.test_size)
    print(measured.approximation_loss.hex(), measured.test_loss.hex())
"""


@pytest.mark.slow
@pytest.mark.optimised
def test_a_network_gives_the_stored_losses_to_the_bit_in_a_new_process(tmp_path):
    table = run(STUDY, tmp_path / "runs", keep="networks", progress=False)
    arguments = [sys.executable, "-c", READING, STUDY.to_json(), str(tmp_path / "runs")]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    cells = [table.sel(dataclasses.asdict(cell)) for cell in STUDY.runs()]
    expected = [f"{float(c['approximation_loss']).hex()} {float(c['test_loss']).hex()}" for c in cells]
    assert done.stdout.splitlines() == expected


def test_what_is_not_kept_is_fitted_again(store, learned):
    network_file(store, SPEC).unlink()
    assert bits(load_predictor(STUDY, store.path, **CELL)) == bits(learned[STUDY.runs()[-1]])
    assert not network_file(store, SPEC).exists()


def test_a_solution_in_closed_form_is_never_kept_and_always_to_be_had(tmp_path, monkeypatch):
    table = run(SOLVED, tmp_path / "runs", keep="networks", progress=False)
    xr.testing.assert_identical(table, run(SOLVED, progress=False))
    assert not contents(tmp_path / "runs", "??/*.network")
    for cell in SOLVED.runs():
        predictor = load_predictor(table, tmp_path / "runs", **dataclasses.asdict(cell))
        expected = SOLVED.learner.fit(SOLVED.task, cell.context_length, cell.dataset_size, cell.seed)
        np.testing.assert_array_equal(predictor.weights, expected.weights)
    monkeypatch.setattr(LeastSquares, "fit_groups", refuse)
    xr.testing.assert_identical(run(SOLVED, tmp_path / "runs", keep="networks", progress=False), table)


def test_runs_without_networks_are_made_again_and_their_files_stay(made, tmp_path, monkeypatch):
    folder, table = made
    run(STUDY, tmp_path / "runs", progress=False)
    before = contents(tmp_path / "runs")
    xr.testing.assert_identical(run(STUDY, tmp_path / "runs", keep="networks", progress=False), table)
    after = contents(tmp_path / "runs")
    assert {name: after[name] for name in before} == before
    assert contents(tmp_path / "runs", "??/*.network") == contents(folder, "??/*.network")
    monkeypatch.setattr(GradientDescent, "fit_groups", refuse)
    xr.testing.assert_identical(run(STUDY, tmp_path / "runs", keep="networks", progress=False), table)


def with_another(store, name="test_loss"):
    """A store in which one number of a run is the next larger one."""
    result = store.read(SPEC)
    larger = result[name] + 1 if name == "steps" else np.nextafter(result[name], 1)
    store.write(SPEC, result | {name: larger}, {})


@pytest.mark.parametrize("name", ["test_loss", "steps"])
def test_a_run_that_gives_other_numbers_than_before_is_an_error(store, name):
    """The last bit counts. The network that goes with other numbers is not kept."""
    with_another(store, name)
    network_file(store, SPEC).unlink()
    with pytest.raises(StoreError, match=rf"has {name} = [\d.]+; made again for its network, .*name another folder"):
        run(STUDY, store.path, keep="networks", progress=False)
    assert not network_file(store, SPEC).exists()


def test_a_predictor_with_other_numbers_than_the_stored_is_an_error_unless_it_is_wanted(store, learned):
    expected = bits(learned[STUDY.runs()[-1]])
    with_another(store)
    with pytest.raises(StoreError, match=r"test_loss of Run\(.*seed=1\) is 0\.\d+, but 0\.\d+ in .*check=False"):
        load_predictor(STUDY, store.path, **CELL)
    assert bits(load_predictor(STUDY, store.path, **CELL, check=False)) == expected
    store.file(SPEC).unlink()
    assert bits(load_predictor(STUDY, store.path, **CELL, check=False)) == expected


def test_a_whole_file_with_another_number_does_not_pass_the_check(store):
    path = network_file(store, SPEC)
    content = content_of(path.read_bytes())
    name = "biases/0/value"
    content["parameters"][name] = content["parameters"][name] + np.float32(1)
    path.write_bytes(signed(content))
    with pytest.raises(StoreError, match=r"approximation_loss of Run\(context_length=10, dataset_size=500, seed=1\)"):
        load_predictor(STUDY, store.path, **CELL)


def test_a_file_of_another_run_is_put_aside_and_the_run_made_again(store, learned, made):
    whole = contents(store.path)
    other = network_file(store, STUDY.run_spec(STUDY.runs()[0]))
    shutil.copy(other, network_file(store, SPEC))
    with pytest.warns(
        CorruptFileWarning, match=r"damaged \(it holds another run\); it was renamed to .*\.network\.cor"
    ):
        predictor = load_predictor(STUDY, store.path, **CELL)
    assert bits(predictor) == bits(learned[STUDY.runs()[-1]])
    shutil.copy(other, network_file(store, SPEC))
    with pytest.warns(CorruptFileWarning, match="the run will be made again"):
        xr.testing.assert_identical(run(STUDY, store.path, keep="networks", progress=False), made[1])
    assert {name: data for name, data in contents(store.path).items() if name in whole} == whole


def test_a_file_of_another_format_is_refused_and_left_alone(store):
    """A later version may have written it: nothing is damaged."""
    path = network_file(store, SPEC)
    path.write_bytes(signed(content_of(path.read_bytes()) | {"format": 2}))
    for use in (
        lambda: load_predictor(STUDY, store.path, **CELL),
        lambda: run(STUDY, store.path, keep="networks", progress=False),
    ):
        with pytest.raises(StoreError, match=r"in format 2, this version reads and writes 1: name another folder"):
            use()
    assert path.exists()


@pytest.mark.parametrize("failing", [1, 2], ids=["network", "result"])
def test_a_full_disk_leaves_no_result_without_its_network(tmp_path, monkeypatch, made, failing):
    """A network is written before the result that promises it."""
    original, written = Store.write_bytes, []

    def filling(self, path, data):
        written.append(path)
        if len(written) == failing:
            raise StoreError("No space left on device")
        original(self, path, data)

    monkeypatch.setattr(Store, "write_bytes", filling)
    with pytest.raises(StoreError, match="No space"):
        run(STUDY, tmp_path / "runs", keep="networks", progress=False)
    monkeypatch.undo()
    assert not contents(tmp_path / "runs", "??/*.json")
    assert len(contents(tmp_path / "runs", "??/*.network")) == failing - 1
    xr.testing.assert_identical(run(STUDY, tmp_path / "runs", keep="networks", progress=False), made[1])


def test_a_left_over_temporary_file_is_never_read(store, monkeypatch, made):
    """A process that is killed while it writes leaves one."""
    path = network_file(store, SPEC)
    path.rename(path.with_name(f"{path.name}.tmp.1.abcd"))
    path.with_name(f"{path.name}.tmp.1.abcd").write_bytes(b"half")
    assert read_network(store, SPEC) is None
    xr.testing.assert_identical(run(STUDY, store.path, keep="networks", progress=False), made[1])
    assert read_network(store, SPEC) is not None


@dataclasses.dataclass(frozen=True)
class Widening(GradientDescent):
    """A learner whose model depends on the run. What it returns is not trained, which is quick."""

    def fit_groups(self, task, groups):
        for cell in itertools.chain.from_iterable(groups):
            network = random_network(MLP((cell.dataset_size,)), task)
            zeros = jax.tree.map(np.zeros_like, network.parameters)
            yield FittedRun(cell, dataclasses.replace(network, parameters=zeros), steps=1)


def test_a_learner_may_choose_another_model_for_each_run(tmp_path):
    study = Study(PARITY, Widening(steps=1), (3,), (4, 5), seeds=1, test_size=64)
    run(study, tmp_path / "runs", keep="networks", progress=False)
    for size in study.dataset_sizes:
        found = load_predictor(study, tmp_path / "runs", context_length=3, dataset_size=size, seed=0)
        assert found.model == MLP((size,))
        assert found.parameters["first_bias"][...].shape == (size,)


class Other(LeastSquares):
    """A learner that trains something else than a network."""

    def fit_groups(self, task, groups):
        for fitted in super().fit_groups(task, groups):
            yield dataclasses.replace(fitted, steps=20)


def test_something_else_that_was_trained_cannot_be_kept(tmp_path):
    study = dataclasses.replace(SOLVED, learner=Other())
    assert np.isfinite(run(study, tmp_path / "runs", progress=False)["loss"]).all()
    with pytest.raises(TypeError, match="Other trains a LinearPredictor, and keep='networks' keeps a NetworkPredictor"):
        run(study, tmp_path / "runs", keep="networks", progress=False)


def test_an_element_of_a_job_array_keeps_networks(tmp_path, made):
    """The numbers of some of its runs are there already."""
    run(dataclasses.replace(STUDY, dataset_sizes=(40,), seeds=1), tmp_path, progress=False)
    shard = slurm.Shard(STUDY.to_json(), str(tmp_path), 1, None, surroundings(), attempts=1, keep="networks")
    shard(STUDY.runs()[:3])
    found = contents(tmp_path, "??/*.network")
    assert len(found) == 3
    assert found.items() <= contents(made[0], "??/*.network").items()


def test_a_diverged_run_has_no_numbers_to_check(store, learned):
    result = store.read(SPEC)
    store.write(SPEC, result | dict.fromkeys(RunResult.losses()) | {"diverged": True}, {})
    assert bits(load_predictor(STUDY, store.path, **CELL)) == bits(learned[STUDY.runs()[-1]])


def test_a_kept_network_can_be_used_as_a_fitted_one(made, learned):
    kept, fitted = load_predictor(STUDY, made[0], **CELL), learned[STUDY.runs()[-1]]
    np.testing.assert_array_equal(extract_features(kept, "layer 0", 100), extract_features(fitted, "layer 0", 100))
    sweeps = [visible_context_sweep(predictor, (3, 10), seed=1, test_size=512) for predictor in (kept, fitted)]
    xr.testing.assert_identical(*sweeps)
    assert float(sweeps[0]["test_loss"][1]) == float(made[1].sel(CELL)["test_loss"])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"context_length": 4}, "context_length = 4 is not in the study: give one of 3, 10"),
        ({"dataset_size": 41}, "dataset_size = 41 is not in the study: give one of 40, 500"),
        ({"seed": 2}, "seed = 2 is not in the study: give one of 0, 1"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
    ],
)
def test_a_cell_that_is_not_in_the_study_is_refused(made, cell, message):
    with pytest.raises(ValueError, match=message):
        load_predictor(STUDY, made[0], **(CELL | cell))


def test_what_is_not_there_is_said(made, store, tmp_path):
    with pytest.raises(
        StoreError, match=r"there is no store at .*none: run\(study, store, keep='networks'\) makes one"
    ):
        load_predictor(STUDY, tmp_path / "none", **CELL)
    assert not (tmp_path / "none").exists()
    store.file(SPEC).unlink()
    with pytest.raises(StoreError, match=r"does not hold Run\(.*seed=1\): run\(study, store, keep='networks'\) makes"):
        load_predictor(STUDY, store.path, **CELL)
    with pytest.raises(ValueError, match="the table has no attribute 'study': give the Study"):
        load_predictor(made[1].drop_attrs(), store.path, **CELL)


def test_an_unknown_keep_and_a_keep_without_a_store_are_refused():
    """The check itself is called: under the type checks of the tests, run's annotation refuses other values first."""
    with pytest.raises(ValueError, match="keep must be one of None, 'networks'; got 'gradients'"):
        check_keep("gradients")
    with pytest.raises(
        ValueError, match="keep='networks' needs a folder to keep them in: give store, as in store='runs'"
    ):
        run(STUDY, keep="networks", progress=False)
