"""Training: what a run depends on, what it costs, and how it ends."""

import dataclasses
import functools
import heapq
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simulator import Study, run
from simulator.learners import GradientDescent, Run
from simulator.models import MLP
from simulator.tasks import Examples, SparseParity
from simulator.training import step as single
from simulator.training import sweep as engine
from simulator.training.batching import runs_per_device, shared_by_slots
from simulator.training.step import RunInputs

TASK = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)
LEARNER = GradientDescent(
    model=MLP(hidden_sizes=(8, 8)), steps=205, evaluation_every=10, patience=3, batch_size=32, validation_size=256,
    learning_rate=0.02,
)  # fmt: skip
RUNS = [Run(length, size, seed) for length in (0, 3, 10) for size in (40, 1000, 10**9) for seed in (0, 5)]


@functools.cache
def trained():
    """The runs by name, and the number of programs that were compiled."""
    engine.train_chunk.clear_cache()
    return {f.run: f for f in LEARNER.fit_runs(TASK, RUNS)}, engine.train_chunk._cache_size()


@functools.partial(jax.jit, static_argnums=0)
def untrained(recipe, inputs):
    """Initial parameters and their validation loss."""
    parameters = single.start(TASK, recipe, inputs).parameters
    return parameters, single.validation_loss(TASK, recipe, "cpu", parameters, inputs)


def inputs_of(run):
    return RunInputs(*map(np.int32, (run.context_length, run.dataset_size, run.seed, LEARNER.steps)))


def close(first, second):
    return all(map(functools.partial(np.allclose, rtol=1e-5, atol=1e-7), *map(jax.tree.leaves, (first, second))))


def test_a_grid_compiles_once_whatever_its_lengths_sizes_and_seeds():
    """Length, size and seed are inputs of the program, so a second pass compiles nothing."""
    fitted, programs = trained()
    assert set(fitted) == set(RUNS)
    list(LEARNER.fit_runs(TASK, RUNS[:3]))
    assert programs == engine.train_chunk._cache_size() == 1


def test_a_run_ends_when_patience_or_its_steps_run_out_and_keeps_its_best_parameters():
    """The untrained network counts among the evaluations. Where every step made it worse, it is kept."""
    kept = []
    for fitted in trained()[0].values():
        initial, best = untrained(LEARNER, inputs_of(fitted.run))
        best, losses, waited = float(best), fitted.validation_losses, 0
        kept.append(min(losses) > best)
        assert close(fitted.predictor.parameters, initial) == kept[-1]
        at = 0
        for n, loss in enumerate(losses, 1):
            waited, at, best = (0, min(10 * n, 205), loss) if loss < best else (waited + 1, at, best)
            assert (waited == 3 or 10 * n >= 205) == (n == len(losses))
        assert fitted.steps == min(10 * len(losses), 205)
        assert fitted.evaluation_steps == (*range(10, fitted.steps, 10), fitted.steps)
        assert fitted.best_step == at
        assert fitted.stopped_by == ("last step" if fitted.steps == 205 else "patience")
    assert 0 < sum(kept) < len(RUNS)
    assert {f.steps == 205 for f in trained()[0].values()} == {True, False}


def test_no_step_is_taken_beyond_the_last():
    """The steps of a run need not be a multiple of the evaluation interval."""
    mesh = engine.device_mesh()

    def loss(last_step, steps):
        inputs = engine.as_inputs(LEARNER, [RUNS[0]] * 16)._replace(last_step=np.full(16, last_step, np.int32))
        states = engine.empty_states(mesh, TASK, LEARNER, inputs)
        fresh = np.ones(16, bool)
        return float(engine.train_chunk(mesh, TASK, LEARNER, None, states, inputs, fresh, np.int32(steps))[1][0])

    assert loss(5, 10) == loss(5, 5) != loss(10, 10)


@dataclasses.dataclass(frozen=True)
class Truncated(SparseParity):
    """The same task whose samples are cut to their newest tokens: a network of its own size for every length."""

    whole_length: int = 10

    def sample(self, key, index):
        examples = SparseParity(self.pairs, self.whole_length, self.frequencies).sample(key, index)
        return Examples(examples.context[:, self.whole_length - self.max_context_length :], *examples[1:])


def test_masked_training_equals_truncated_training():
    """Losses of the first 50 steps agree to 1e-5. Invisible inputs are zeros, so their weights neither act nor learn.
    The visible weights start equal: each distance has its own key, and the scale follows the visible fan-in."""
    for truncated in LEARNER.fit_runs(Truncated(TASK.pairs, 3), [Run(3, 1000, seed) for seed in (0, 5)]):
        losses = trained()[0][truncated.run].validation_losses[:5]
        np.testing.assert_allclose(losses, truncated.validation_losses[:5], atol=1e-5)
        assert np.ptp(losses) > 1e-3


batch_indices = jax.jit(single.batch_indices, static_argnums=2)


def test_an_epoch_visits_every_sample_once_and_epochs_differ():
    epochs = []
    for epoch in range(2):
        seen = []
        for step in range(4 * epoch, 4 * epoch + 4):  # 100 samples in batches of 32: the fourth holds 4
            index, counted = batch_indices(RunInputs(*map(np.int32, (3, 100, 0, 50))), np.int32(step), 32)
            assert counted.sum() == (32 if step % 4 < 3 else 4)
            seen += np.asarray(index)[np.asarray(counted)].tolist()
        assert sorted(seen) == list(range(100))
        epochs.append(seen)
    assert epochs[0] != epochs[1]


def test_a_batch_larger_than_the_data_set_holds_the_data_set():
    index, counted = batch_indices(RunInputs(*map(np.int32, (3, 5, 0, 50))), np.int32(9), 32)
    assert sorted(np.asarray(index)[np.asarray(counted)].tolist()) == [0, 1, 2, 3, 4]


def scheduled(monkeypatch, recipe, runs):
    """Histories of the runs, and the number of chunks. In place of training, steps are counted, and a run ends after
    as many evaluations as its seed says."""
    chunks = []

    def train_chunk(mesh, task, recipe, length, states, inputs, fresh, steps):
        chunks.append(int(steps))
        done = np.minimum(np.where(fresh, 0, states.step) + steps, inputs.last_step)
        waited = np.where(fresh, 0, states.waiting.evaluations) + 1
        states = states._replace(step=done, waiting=states.waiting._replace(evaluations=waited))
        return states, waited.astype(float), (waited >= inputs.seed) | (done >= inputs.last_step)

    monkeypatch.setattr(engine, "train_chunk", train_chunk)
    return {run: (int(state.step), history) for run, state, history in engine.sweep(TASK, recipe, runs)}, chunks


def test_runs_that_ended_make_way_for_waiting_ones(monkeypatch):
    """24 runs share 16 slots: each takes the place of the first that ends."""
    runs = [Run(3, 100, evaluations) for evaluations in range(1, 25)]
    histories, chunks = scheduled(monkeypatch, dataclasses.replace(LEARNER, steps=1000), runs)
    assert histories == {run: (10 * run.seed, [*range(1, run.seed + 1)]) for run in runs}
    ends = [0] * runs_per_device(LEARNER, "cpu")
    for run_ in runs:
        heapq.heapreplace(ends, ends[0] + run_.seed)
    assert len(chunks) == max(ends)


def test_epochs_are_passes_over_the_data(monkeypatch):
    """Runs that are evaluated after different numbers of steps are not trained together."""
    recipe = dataclasses.replace(LEARNER, steps=None, epochs=3, evaluation_every=None)
    runs = [Run(3, size, 100) for size in (320, 33, 32, 31)]
    histories, chunks = scheduled(monkeypatch, recipe, runs)
    assert {run: steps for run, (steps, _) in histories.items()} == dict(zip(runs, (30, 6, 3, 3), strict=True))
    assert chunks == [10] * 3 + [2] * 3 + [1] * 3


def test_paper_selection_reports_the_minimum_over_validation():
    """The untrained network is not among the evaluations, although every step makes it worse here."""
    paper = GradientDescent.paper_v1()
    learner = dataclasses.replace(
        paper, model=dataclasses.replace(paper.model, hidden_sizes=(8, 4, 8)), epochs=4, batch_size=10,
        learning_rate=0.03, validation_size=256,
    )  # fmt: skip
    (fitted,) = learner.fit_runs(TASK, [Run(1, 40, 0)])
    assert untrained(learner, inputs_of(fitted.run))[1] < fitted.reported_loss == min(fitted.validation_losses)
    results = run(Study(TASK, learner, (1,), (40,), seeds=1, test_size=512), progress=False)
    assert results["loss"].item() == fitted.reported_loss
    assert abs(results["test_loss"].item() - results["loss"].item()) > 1e-6


@pytest.mark.parametrize(("schedule", "half_way_down"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)])
def test_updates_are_those_of_adamw_at_a_rate_that_rises_and_falls_by_shares_of_the_run(schedule, half_way_down):
    """The peak is reached at a fifth of the run. Halfway from there to the end a falling rate is at half of it.

    Under a constant gradient Adam moves by the rate, against its sign, and decay by 0.1 of the parameters.
    """
    assert LEARNER.learning_rate_at(10) == 0.02
    learner, start = dataclasses.replace(LEARNER, schedule=schedule, warmup=0.2), jnp.array([3.0, -2.0])
    for last in (100, 1000):
        optimizer = learner.optimizer(last)

        def update(state, _, optimizer=optimizer):
            return optimizer.update(jnp.array([1e6, -1e6]), state, start)[::-1]

        with jax.numpy_dtype_promotion("standard"):
            state, updates = jax.jit(lambda: jax.lax.scan(update, optimizer.init(start), length=last))()  # noqa: B023
        rates = np.asarray(updates) / -0.02 / np.array([1.0 + 0.3, -1.0 - 0.2])
        np.testing.assert_allclose(rates[:, 0], rates[:, 1], rtol=1e-4)
        shares = rates[[int(share * last) for share in (0.0, 0.1, 0.2, 0.6)], 0]
        np.testing.assert_allclose(shares, [0, 0.5, 1, half_way_down], atol=3 / last)
        assert schedule == "constant" or rates[-1, 0] < 1 / last
        assert np.abs(optax.tree.get(state, "mu")).max() < 1, "clipped"


def test_the_paper_s_hyper_parameters():
    learner = GradientDescent.paper_v1()
    sizes = (learner.batch_size, learner.epochs, learner.patience, learner.validation_size)
    assert sizes == (10_000, 200, 25, 2_000_000)
    assert (learner.learning_rate, learner.weight_decay, learner.gradient_clip) == (1e-3, 8e-4, 1.0)
    assert learner.selection == "paper"
    assert shared_by_slots(learner, "cpu", Run(5, 85_000, 0)) == (5, 9)
    assert shared_by_slots(LEARNER, "cpu", Run(5, 85_000, 0)) == (None, 10)
    assert learner.last_step(85_000) == 1800
    assert runs_per_device(learner, "cpu") == 1


def test_losses_and_gradients_are_the_same_in_pieces_or_at_once(monkeypatch):
    """A batch of 20 in seven pieces, the last ones empty, and validation in blocks of 36."""
    inputs = RunInputs(*map(jnp.int32, (3, 500, 0, 50)))
    parameters, _ = untrained(LEARNER, inputs)

    def losses_and_gradients():
        def both(parameters):
            gradient = single.batch_gradient(TASK, LEARNER, "cpu", parameters, inputs, jnp.int32(15))
            return single.validation_loss(TASK, LEARNER, "cpu", parameters, inputs), gradient

        return jax.jit(both)(parameters)

    whole = losses_and_gradients()
    monkeypatch.setattr(single, "pieces", lambda *arguments: 7)
    for a, b in zip(*map(jax.tree.leaves, (losses_and_gradients(), whole)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


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
        ({"steps": 10, "learning_rate": float("nan")}, "learning_rate must be a finite number; got nan"),
        ({"steps": 10, "warmup": 1.0}, "warmup is a share of the steps, below 1; got 1.0"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientDescent(**arguments)


def test_more_steps_than_can_be_counted_are_refused():
    learner = GradientDescent(epochs=2000, batch_size=1)
    with pytest.raises(ValueError, match="the number of steps of 2000 epochs over 1000000000 samples must be between"):
        learner.fit(TASK, 3, 10**9, 0)
