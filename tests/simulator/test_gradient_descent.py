"""Training: what a run depends on, what it costs, and how it ends."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator import Study, run
from simulator.learners import GradientDescent, Run
from simulator.models import MLP
from simulator.tasks import Examples, SparseParity
from simulator.training import sweep as engine
from simulator.training.batching import runs_per_device
from simulator.training.step import RunInputs, batch_indices

pytestmark = pytest.mark.optimised

TASK = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)
LEARNER = GradientDescent(model=MLP(hidden_sizes=(16, 16)), steps=300, batch_size=32, validation_size=256)


@dataclasses.dataclass(frozen=True)
class Truncated(SparseParity):
    """The same task whose samples are cut to their newest tokens: a network of its own size for every length."""

    whole_length: int = 10

    def sample(self, key, index):
        examples = SparseParity(self.pairs, self.whole_length, self.frequencies).sample(key, index)
        return Examples(examples.context[:, self.whole_length - self.max_context_length :], *examples[1:])


@pytest.mark.parametrize("length", [2, 7])
def test_masked_training_equals_truncated_training(length):
    """Losses after each of 50 steps agree to 1e-5. Invisible inputs are zeros, so their weights neither act nor learn.
    The visible weights start equal: each distance has its own key, and the scale follows the visible fan-in."""
    learner = dataclasses.replace(LEARNER, steps=50, evaluation_every=1, patience=None)
    (masked,) = learner.fit_runs(TASK, [Run(length, 500, 3)])
    (truncated,) = learner.fit_runs(Truncated(TASK.pairs, length), [Run(length, 500, 3)])
    assert len(masked.validation_losses) == 50
    np.testing.assert_allclose(masked.validation_losses, truncated.validation_losses, atol=1e-5)
    assert np.ptp(masked.validation_losses) > 1e-3


def test_an_epoch_visits_every_sample_once_and_epochs_differ():
    inputs = RunInputs(*map(jnp.int32, (3, 100, 0, 50)))
    epochs = []
    for epoch in range(2):
        seen = []
        for step in range(4 * epoch, 4 * epoch + 4):  # 100 samples in batches of 32: the fourth holds 4
            index, counted = batch_indices(inputs, jnp.int32(step), 32)
            assert counted.sum() == (32 if step % 4 < 3 else 4)
            seen += np.asarray(index)[np.asarray(counted)].tolist()
        assert sorted(seen) == list(range(100))
        epochs.append(seen)
    assert epochs[0] != epochs[1]


def test_a_batch_larger_than_the_data_set_holds_the_data_set():
    index, counted = batch_indices(RunInputs(*map(jnp.int32, (3, 5, 0, 50))), jnp.int32(9), 32)
    assert sorted(np.asarray(index)[np.asarray(counted)].tolist()) == [0, 1, 2, 3, 4]


def test_a_grid_compiles_once_whatever_its_lengths_sizes_and_seeds():
    """Length, size and seed are inputs of the program, so a second pass compiles nothing."""
    learner = dataclasses.replace(LEARNER, steps=110, learning_rate=0.0051)
    engine.train_chunk.clear_cache()
    runs = [Run(length, size, seed) for length in (0, 3, 10) for size in (40, 1000, 10**9) for seed in (0, 5)]
    assert len(list(learner.fit_runs(TASK, runs))) == 18
    assert engine.train_chunk._cache_size() == 1
    list(learner.fit_runs(TASK, runs[:3]))
    assert engine.train_chunk._cache_size() == 1


def test_runs_that_ended_make_way_for_waiting_ones():
    """24 runs share 16 slots, and most stop early: fewer chunks are trained than all runs to the end would take."""
    learner = dataclasses.replace(LEARNER, steps=3000, patience=2)
    runs = [Run(length, 60, seed) for seed in range(12) for length in (1, 9)]
    calls = []
    original = engine.train_chunk

    def counted(*arguments):
        calls.append(1)
        return original(*arguments)

    engine.train_chunk = counted
    try:
        fitted = list(learner.fit_runs(TASK, runs))
    finally:
        engine.train_chunk = original
    steps = [f.steps for f in fitted]
    assert {f.run for f in fitted} == set(runs)
    assert max(steps) < 3000
    assert len(calls) < sum(steps) / 100 / runs_per_device(learner, "cpu") + max(steps) / 100


def test_patience_counts_evaluations_without_improvement():
    (patient,) = dataclasses.replace(LEARNER, patience=None).fit_runs(TASK, [Run(9, 60, 0)])
    assert patient.steps == 300
    (impatient,) = dataclasses.replace(LEARNER, steps=10_000, patience=3, evaluation_every=10).fit_runs(
        TASK, [Run(9, 60, 0)]
    )
    losses = impatient.validation_losses
    assert impatient.steps == 10 * len(losses)
    assert impatient.steps < 10_000
    # The best so far, the untrained network's loss included, was not improved on by the last three.
    assert min(losses[-3:]) > min([*losses[:-3], 0.7])


def test_steps_need_not_be_a_multiple_of_the_evaluation_interval():
    (fitted,) = dataclasses.replace(LEARNER, steps=130, patience=None).fit_runs(TASK, [Run(3, 500, 0)])
    assert fitted.steps == 130
    assert len(fitted.validation_losses) == 2
    (same,) = dataclasses.replace(LEARNER, steps=130, patience=None, evaluation_every=130).fit_runs(
        TASK, [Run(3, 500, 0)]
    )
    assert same.validation_losses[-1] == pytest.approx(fitted.validation_losses[-1], abs=1e-6)


def test_epochs_are_passes_over_the_data():
    learner = dataclasses.replace(LEARNER, steps=None, epochs=3, patience=None)
    fitted = {f.run.dataset_size: f for f in learner.fit_runs(TASK, [Run(3, size, 0) for size in (32, 33, 320)])}
    assert {size: f.steps for size, f in fitted.items()} == {32: 3, 33: 6, 320: 30}
    assert all(len(f.validation_losses) == 3 for f in fitted.values())


def test_the_initial_parameters_stand_for_selection_too():
    """Every step makes this network worse. The initial parameters are kept, and the loss stays near ln 2."""
    hopeless = SparseParity(((12, 5),), 10)
    study = Study(hopeless, dataclasses.replace(LEARNER, learning_rate=0.03), (9,), (60,), seeds=2, test_size=2048)
    results = run(study, progress=False)
    assert np.all(results["loss"] < np.log(2) + 0.03)


def test_paper_selection_reports_the_minimum_over_validation():
    learner = dataclasses.replace(LEARNER, selection="paper")
    (fitted,) = learner.fit_runs(TASK, [Run(3, 500, 0)])
    assert fitted.reported_loss == min(fitted.validation_losses)
    results = run(Study(TASK, learner, (3,), (500,), seeds=1, test_size=512), progress=False)
    assert results["loss"].item() == fitted.reported_loss
    assert abs(results["test_loss"].item() - results["loss"].item()) > 1e-6


@pytest.mark.parametrize(("schedule", "half_way_down"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)])
def test_the_learning_rate_rises_and_falls_by_shares_of_the_run(schedule, half_way_down):
    """The peak is reached at a fifth of the run. Halfway from there to the end a falling rate is at half of it."""
    learner = dataclasses.replace(LEARNER, schedule=schedule, warmup=0.2, learning_rate=0.1)
    rate = jax.jit(lambda count, last: learner.learning_rate_at(last)(count))
    for last in (100, 1000):
        shares = np.array([rate(int(share * last), last) for share in (0.0, 0.1, 0.2, 0.6, 1.0 - 1 / last)]) / 0.1
        np.testing.assert_allclose(shares[:4], [0, 0.5, 1, half_way_down], atol=3 / last)
        assert schedule == "constant" or shares[4] < 1 / last


def test_a_schedule_shapes_the_training_and_none_is_a_constant():
    """A falling learning rate changes the run: its last steps hardly move the loss."""
    assert LEARNER.learning_rate_at(10) == LEARNER.learning_rate
    moved = {}
    for schedule in ("constant", "linear"):
        learner = dataclasses.replace(LEARNER, schedule=schedule, patience=None, evaluation_every=10)
        (fitted,) = learner.fit_runs(TASK, [Run(6, 200, 0)])
        moved[schedule] = np.abs(np.diff(fitted.validation_losses))
    assert moved["linear"][-1] < 0.2 * moved["constant"].mean()
    assert moved["linear"][:5].mean() > 0.5 * moved["constant"][:5].mean()


def test_the_paper_s_hyper_parameters():
    learner = GradientDescent.paper_v1()
    assert (learner.batch_size, learner.epochs, learner.patience, learner.validation_size) == (
        10_000,
        200,
        25,
        2_000_000,
    )
    assert (learner.learning_rate, learner.weight_decay, learner.gradient_clip) == (1e-3, 8e-4, 1.0)
    assert learner.selection == "paper"
    assert learner.chunk_steps(85_000) == 9
    assert learner.last_step(85_000) == 1800
    assert runs_per_device(learner, "cpu") == 1


def test_the_paper_s_settings_train_at_a_reduced_size():
    learner = dataclasses.replace(GradientDescent.paper_v1(), epochs=2, validation_size=10_000)
    (fitted,) = learner.fit_runs(SparseParity.paper_v1(), [Run(27, 20_000, 0)])
    assert fitted.steps == 4
    assert fitted.reported_loss == pytest.approx(np.log(2), abs=0.01)


def test_losses_and_gradients_are_the_same_in_pieces_or_at_once(monkeypatch):
    """A batch of 32 in seven pieces, the last one short, and validation in blocks of 142."""
    learner = dataclasses.replace(LEARNER, validation_size=1000, steps=20, evaluation_every=1)
    (whole,) = learner.fit_runs(TASK, [Run(3, 500, 0)])
    monkeypatch.setattr("simulator.training.step.pieces", lambda *arguments: 7)
    engine.train_chunk.clear_cache()
    (pieces,) = learner.fit_runs(TASK, [Run(3, 500, 0)])
    engine.train_chunk.clear_cache()
    np.testing.assert_allclose(pieces.validation_losses, whole.validation_losses, rtol=1e-5)
    assert np.ptp(whole.validation_losses) > 1e-3


PEAK = """
import resource, sys
from simulator.learners import GradientDescent
from simulator.models import MLP
from simulator.tasks import SparseParity
learner = GradientDescent(model=MLP(hidden_sizes=(16, 16)), steps=300, batch_size=64, validation_size=256)
learner.fit(SparseParity.pareto(8, 16, 2, 1.0), 8, int(sys.argv[1]), 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_a_billion_samples_cost_no_more_memory_than_ten_thousand():
    """Peak resident memory of whole processes, in MiB. Data are made from their index, so D is only a number."""
    peaks = [
        float(
            subprocess.run([sys.executable, "-c", PEAK, str(size)], capture_output=True, text=True, check=True).stdout
        )
        for size in (10**4, 10**9)
    ]
    assert peaks[1] - peaks[0] < 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of steps and epochs"),
        ({"steps": 10, "epochs": 1}, "exactly one of steps and epochs.*got steps=10, epochs=1"),
        ({"steps": 0}, "steps must be between 1 and .*; got 0"),
        ({"steps": 10, "batch_size": 0}, "batch_size must be between 1 and .*; got 0"),
        ({"steps": 10, "learning_rate": float("nan")}, "learning_rate must be a finite number; got nan"),
        ({"steps": 10, "learning_rate": 0.0}, "learning_rate must be a finite number above 0; got 0.0"),
        ({"steps": 10, "warmup": 1.0}, "warmup is a share of the steps, below 1; got 1.0"),
        ({"steps": 10, "weight_decay": -0.1}, "weight_decay must be .*0 or above; got -0.1"),
        ({"steps": 10, "gradient_clip": 0.0}, "gradient_clip must be .*above 0; got 0.0"),
        ({"steps": 10, "patience": 0}, "patience must be between 1 and .*; got 0"),
        ({"steps": 10, "validation_size": 0}, "validation_size must be between 1 and .*; got 0"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientDescent(**arguments)


def test_more_steps_than_can_be_counted_are_refused():
    learner = GradientDescent(epochs=2000, batch_size=1)
    with pytest.raises(ValueError, match="the number of steps of 2000 epochs over 1000000000 samples must be between"):
        learner.fit(TASK, 3, 10**9, 0)
