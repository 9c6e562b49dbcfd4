"""Settings chosen by validation loss: the choice is the one that anybody makes who trains each configuration alone."""

import collections
import dataclasses
import functools
import itertools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from simulator import Study, load_results, plan, run, save_results
from simulator.grid import Trial
from simulator.learners import GradientDescent, LeastSquares, Run, Tuned, tuned
from simulator.learners.base import FittedRun
from simulator.learners.evaluation import evaluate
from simulator.models import MLP, RandomSubspace
from simulator.random.streams import stream_key
from simulator.specification import canonical_json, from_json
from simulator.tasks import MarkovChain, SparseParity
from simulator.training.sweep import as_inputs
from tests.simulator.kept_networks import random_network
from theory import optimal_context_length

TASK = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)
LEARNER = GradientDescent(
    model=MLP((8, 8)),
    steps=150,
    evaluation_every=30,
    patience=3,
    batch_size=32,
    learning_rate=0.02,
    validation_size=256,
)
TUNED = Tuned(LEARNER, over={"model.hidden_sizes": [(8, 8), (16,)], "learning_rate": [0.005, 0.02]})
RUNS = [Run(length, size, seed) for length in (3, 10) for size in (40, 1000) for seed in (0, 5)]


@dataclasses.dataclass(frozen=True)
class OtherStart(MLP):
    """An MLP whose first weights are those of another key."""

    def init(self, task, key, context_length):
        return super().init(task, jax.random.fold_in(key, 1), context_length)


@functools.cache
def fitted(learner):
    return {f.run: f for f in learner.fit_runs(TASK, RUNS)}


@functools.partial(jax.jit, static_argnums=0)
def validation_loss(size, predictor, seed):
    examples = TASK.sample(stream_key(seed, "validation"), jnp.arange(size, dtype=jnp.int32))
    return TASK.pointwise_loss(predictor(examples), examples, predictor.context_length).mean()


def assert_same_training(found, plain, rtol):
    """The losses may be rounded otherwise: a learning rate is an input of one program, and a constant of the other."""
    for name in ("run", "steps", "stopped_by", "best_step", "evaluation_steps"):
        assert getattr(found, name) == getattr(plain, name)
    np.testing.assert_allclose(found.validation_losses, plain.validation_losses, rtol=rtol)
    for a, b in zip(*map(jax.tree.leaves, (found.predictor, plain.predictor)), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=10 * rtol)


def test_one_configuration_gives_the_plain_learner_to_the_bit():
    """It is trained by the same program, whatever the axes."""
    one = Tuned(LEARNER, over={name: [getattr(LEARNER, name)] for name in ("learning_rate", "weight_decay", "steps")})
    for run_, found in fitted(one).items():
        assert_same_training(found, fitted(LEARNER)[run_], rtol=0)
        assert found.chosen == 0
        assert len(found.configuration_losses) == 1


@pytest.mark.parametrize("rates", [(0.02,), pytest.param((0.005, 0.02), marks=pytest.mark.slow)])
def test_the_choice_is_the_smallest_validation_loss_of_configurations_trained_alone(rates):
    """Each is trained by a plain learner of its own, and its loss computed from what it learned."""
    search = dataclasses.replace(TUNED, over={**dict(TUNED.over), "learning_rate": rates})
    alone = [
        dataclasses.replace(LEARNER, learning_rate=rate, model=MLP(sizes))
        for rate in rates
        for sizes in ((8, 8), (16,))
    ]
    assert [search.configured(configuration) for configuration in search.configurations] == alone
    for run_, found in fitted(search).items():
        expected = [float(validation_loss(256, fitted(plain)[run_].predictor, run_.seed)) for plain in alone]
        np.testing.assert_allclose(found.configuration_losses, expected, rtol=1e-4)
        assert found.chosen == np.argmin(found.configuration_losses)
        assert_same_training(found, fitted(alone[found.chosen])[run_], rtol=1e-4)
    assert len({found.chosen for found in fitted(search).values()}) > 1


def test_a_restart_changes_the_first_weights_and_nothing_else():
    learners = LEARNER, dataclasses.replace(LEARNER, model=OtherStart(LEARNER.model.hidden_sizes))
    for run_, found in fitted(Tuned(LEARNER, over={}, restarts=2)).items():
        assert found.chosen in (0, 1)
        assert_same_training(found, fitted(learners[found.chosen])[run_], rtol=1e-4)
        assert found.configuration_losses[found.chosen] == min(found.configuration_losses)
    assert {found.chosen for found in fitted(Tuned(LEARNER, over={}, restarts=2)).values()} == {0, 1}


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_an_optimiser_takes_the_settings_of_a_trial_in_place_of_the_recipe_s(schedule):
    recipe = dataclasses.replace(LEARNER, schedule=schedule, warmup=0.2)
    inputs = as_inputs(recipe, [Trial(3, 40, 0, learning_rate=0.3, weight_decay=0.5)])
    assert inputs.restart is None
    own = recipe.optimizer(10, jnp.float32(inputs.learning_rate[0]), jnp.float32(inputs.weight_decay[0]))
    other = dataclasses.replace(recipe, learning_rate=0.3, weight_decay=0.5).optimizer(10)
    start, gradient = jnp.array([3.0, -2.0]), jnp.array([1e-3, 2e-3])
    with jax.numpy_dtype_promotion("standard"):
        updates = [optimizer.update(gradient, optimizer.init(start), start)[0] for optimizer in (own, other)]
    np.testing.assert_allclose(*updates, rtol=1e-6)


def test_no_program_runs_ahead_of_the_others(monkeypatch):
    """A run is drawn for all programs at about the same time, so that worker processes share the runs evenly."""
    monkeypatch.setattr(tuned, "sweep", lambda task, learner, trials: ((trial, None, []) for trial in trials))
    uneven, drawn, ended = dataclasses.replace(TUNED, budget=3), [], collections.Counter()
    runs = [Run(3, 40, seed) for seed in range(30)]
    for n, (_, trial, *_) in enumerate(uneven.trained(TASK, (drawn.append(r) or r for r in runs)), 1):
        ended[trial.configuration] += 1
        assert len(drawn) <= n / 3 + 2
    assert ended == {0: 30, 1: 30, 2: 30}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_of_equally_good_configurations_the_first_is_chosen_whichever_ends_first(order, monkeypatch):
    state = types.SimpleNamespace(best_loss=0.5, diverged=False)
    network = random_network(LEARNER.model)
    ended = [(LEARNER, Trial(3, 40, 0, configuration=number), state, [number]) for number in order]
    monkeypatch.setattr(Tuned, "trained", lambda *_: iter(ended))
    monkeypatch.setattr(
        GradientDescent, "fitted", lambda _, task, run_, state, history: FittedRun(run_, network, best_step=history[0])
    )
    (found,) = TUNED.fit_groups(TASK, [[Run(3, 40, 0)]])
    assert (found.chosen, found.best_step) == (0, 0)


STUDY = Study(TASK, TUNED, (3, 10), (40, 1000), seeds=3, test_size=512)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of all runs, and their table."""
    folder = tmp_path_factory.mktemp("tuned") / "runs"
    return folder, run(STUDY, folder, progress=False)


def test_the_table_says_what_was_chosen_and_what_was_tried(made):
    table = made[1]
    assert [json.loads(text) for text in table["configuration"].values] == [
        {"learning_rate": rate, "model.hidden_sizes": sizes} for rate in (0.005, 0.02) for sizes in ([8, 8], [16])
    ]
    for found in TUNED.fit_runs(TASK, STUDY.runs()):
        cell = table.sel(**dataclasses.asdict(found.run))
        settings = TUNED.configurations[found.chosen]
        assert cell["chosen_learning_rate"] == settings["learning_rate"]
        assert json.loads(cell["chosen_model.hidden_sizes"].item()) == list(settings["model.hidden_sizes"])
        assert cell["configuration_loss"].values.tolist() == list(found.configuration_losses)
        measured = evaluate(TASK, found.predictor, found.run.seed, 512)
        assert cell["approximation_loss"] == measured.approximation_loss
        assert (cell["stopped_by"], cell["best_step"]) == (found.stopped_by, found.best_step)


def test_a_tuned_table_survives_the_disk_and_the_store_and_theory_reads_it(made, tmp_path, monkeypatch):
    folder, table = made
    save_results(table, tmp_path / "results.nc")
    xr.testing.assert_identical(load_results(tmp_path / "results.nc"), table)
    monkeypatch.setattr(Tuned, "fit_groups", None)
    xr.testing.assert_identical(run(STUDY, folder, progress=False), table)
    assert optimal_context_length(table)["best_on_grid"].shape == (2,)


@pytest.mark.optimised
@pytest.mark.slow
def test_a_tuned_table_is_the_same_to_the_bit_with_workers():
    study = dataclasses.replace(STUDY, learner=Tuned(LEARNER, over={"weight_decay": [0, 1]}, restarts=2))
    xr.testing.assert_identical(*(run(study, workers=workers, progress=False) for workers in (1, 2)))


def test_a_configuration_that_diverges_is_not_chosen(tmp_path):
    explosive = dataclasses.replace(LEARNER, gradient_clip=None)
    study = dataclasses.replace(STUDY, learner=Tuned(explosive, over={"learning_rate": [1e30, 0.02]}), seeds=1)
    table = run(study, tmp_path, progress=False)
    xr.testing.assert_identical(run(study, tmp_path, progress=False), table)
    assert (table["chosen_learning_rate"] == 0.02).all()
    assert table["configuration_loss"].isel(configuration=0).isnull().all()
    assert not table["diverged"].any()
    every = run(
        dataclasses.replace(study, learner=Tuned(explosive, over={"learning_rate": [1e30, 1e29]})), progress=False
    )
    assert every["diverged"].all()


def test_a_budget_adds_to_a_smaller_one_and_tries_all_values_before_it_restarts():
    over = {"learning_rate": [0.01, 0.02, 0.04], "weight_decay": [0, 0.1, 1], "gradient_clip": [None, 1]}
    whole = Tuned(LEARNER, over=over, restarts=2)
    assert len(whole.configurations) == 36
    drawn = [Tuned(LEARNER, over=over, restarts=2, budget=n).configurations for n in range(1, 37)]
    assert [len(configurations) for configurations in drawn] == list(range(1, 37))
    assert all(c in more for fewer, more in itertools.pairwise(drawn) for c in fewer)
    assert drawn[-1] == whole.configurations
    assert drawn[17] == tuple(c for c in whole.configurations if c["restart"] == 0)


def test_equal_searches_are_equal_specs_and_survive_json():
    a = Tuned(LEARNER, over={"weight_decay": [0, 1], "model.hidden_sizes": [[8], (4, 4)]}, restarts=2, budget=3)
    b = Tuned(LEARNER, over={"model.hidden_sizes": ((8,), (4, 4)), "weight_decay": (0.0, 1.0)}, restarts=2, budget=3)
    assert canonical_json(a) == canonical_json(b)
    assert a == b == from_json(canonical_json(a))
    assert hash(a) == hash(b)


def test_a_plan_counts_every_configuration():
    cost = plan(STUDY).cost
    assert len(cost.shape_groups) == 2
    assert cost.seconds_range[0] <= cost.seconds <= cost.seconds_range[1]
    overs = [{**dict(TUNED.over), "model.hidden_sizes": [sizes]} for sizes in ((8, 8), (16,))]
    of_each = [plan(dataclasses.replace(STUDY, learner=Tuned(LEARNER, over=over))).cost for over in overs]
    assert cost.memory_bytes == sum(one.memory_bytes for one in of_each)  # all programs are in memory together


def test_an_untrained_predictor_is_that_of_the_first_configuration():
    assert Tuned(LEARNER, over={"model.hidden_sizes": [(3,), (5,)]}).untrained(TASK, 10).model == MLP((3,))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"over": {"rate": [1]}}, ValueError, "over rate: GradientDescent has no setting 'rate'; it has model, steps,"),
        ({"over": {"model.width": [1]}}, ValueError, "over model.width: MLP has no setting 'width'; it has hidden_siz"),
        ({"over": {"steps.x": [1]}}, ValueError, "over steps.x: int has no setting 'x'; it has none"),
        ({"over": {"learning_rate.": [1]}}, ValueError, "over learning_rate.: float has no setting ''; it has none"),
        ({"over": [("warmup", [0]), ("warmup", [0.1])]}, ValueError, "over names a setting twice: give all its values"),
        ({"over": {"learning_rate": []}}, ValueError, "over learning_rate is empty: give at least one value"),
        ({"over": {"learning_rate": [0.1, -1]}}, ValueError, "over learning_rate: .* number above 0; got -1"),
        ({"over": {"learning_rate": "0.1"}}, TypeError, "over learning_rate must be a sequence; got '0.1'"),
        ({"over": {"weight_decay": [1, 1.0]}}, ValueError, r"weight_decay holds a value twice; got \(1.0, 1.0\)"),
        ({"over": {"epochs": [3]}}, ValueError, "over epochs: give exactly one of steps and epochs"),
        ({"over": {"validation_size": [3]}}, ValueError, "over may not hold validation_size"),
        ({"over": 3}, TypeError, "over"),
        ({"over": {3: [1]}}, TypeError, "over"),
        ({"budget": 0}, ValueError, "budget must be at least 1; got 0"),
        ({"budget": 5}, ValueError, "budget is 5, but there are only 4 configurations: leave it None"),
        ({"restarts": 0}, ValueError, "restarts must be at least 1; got 0"),
        (
            {"learner": LeastSquares()},
            TypeError,
            "GradientDescent",
        ),
        ({"over": {"model.negative_slopes": [(0.1,)]}}, ValueError, "2 hidden layers need as many negative_slopes"),
    ],
)
def test_an_impossible_search_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dataclasses.replace(TUNED, **arguments)


def test_a_task_that_one_configuration_cannot_learn_is_refused():
    learner = dataclasses.replace(LEARNER, model=RandomSubspace(MLP((8,)), dimension=5))
    with pytest.raises(ValueError, match="a subspace of 1000000 dimensions does not fit"):
        Tuned(learner, over={"model.dimension": [5, 10**6]}).check_task(TASK)


def test_a_validation_set_smaller_than_the_classes_is_refused():
    learner = Tuned(dataclasses.replace(LEARNER, validation_size=2), over={})
    with pytest.raises(ValueError, match=r"validation_size is 2, below the 3 classes of MarkovChain: .*Raise"):
        learner.fit(MarkovChain.random(2, 3, 0.5, 8), 4, 10, 0)
