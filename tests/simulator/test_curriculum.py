"""Curricula: what a stage shows, and that training uses nothing else."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import Study, run
from simulator.learners import GradientDescent, Ramp, RandomContext, ShortContext, Stage
from simulator.models import MLP, LearnedPositions, PositionInterpolation, RoPE, Transformer
from simulator.random.streams import stream_key
from simulator.random.threefry import fold_in
from simulator.specification import canonical_json, from_json
from simulator.tasks import LagCopy
from simulator.training import step as single
from simulator.training.step import RunInputs, batch_gradient, batch_indices

TASK = LagCopy(3, 0.8, 0.3, 8)
SMALL = Transformer(depth=1, width=4, heads=1)
LEARNER = GradientDescent(SMALL, steps=8, batch_size=4, validation_size=64, evaluation_every=4)
INPUTS = RunInputs(jnp.int32(8), jnp.int32(50), jnp.int32(3), jnp.int32(8))
NETWORK = dataclasses.replace(LEARNER, model=MLP(hidden_sizes=(8,)))


@functools.partial(jax.jit, static_argnums=0)
def initial(model):
    return model.init(TASK, jax.random.key(1), 8)


@functools.partial(jax.jit, static_argnums=0)
def gradient_of(learner, step, context_length):
    """Gradient of a step, at parameters that no run starts from."""
    inputs = INPUTS._replace(context_length=context_length)
    return batch_gradient(TASK, learner, "cpu", learner.model.init(TASK, jax.random.key(1), 8), inputs, step)


def assert_close(first, second):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@given(longest=st.integers(0, 20), shortest=st.integers(0, 20), known=st.booleans())
def test_a_ramp_rises_to_the_whole_context(longest, shortest, known):
    key, length = jax.random.key(0), longest if known else jnp.int32(longest)
    ramp, short = Ramp(shortest=shortest), ShortContext(context_length=shortest)
    seen = [int(ramp.visible(length, jnp.float32(p), key, 1)) for p in (0.0, 0.2, 0.5, 0.8, 0.999)]
    assert seen[0] == min(shortest, longest)
    assert seen == sorted(seen)
    assert seen[-1] == longest
    assert int(short.visible(length, jnp.float32(0.5), key, 1)) == min(shortest, longest)


def test_a_random_context_is_whole_for_its_share_and_else_uniform():
    n = 2**16
    seen = np.asarray(RandomContext(shortest=10, whole=0.25).visible(60, jnp.float32(0), jax.random.key(0), n))
    assert not np.any(RandomContext(shortest=10).visible(0, jnp.float32(0), jax.random.key(0), n))
    expected = np.full(51, 0.75 / 51)
    expected[-1] += 0.25
    counts = np.bincount(seen - 10, minlength=51)
    assert counts.size == 51
    assert np.sum((counts - n * expected) ** 2 / (n * expected)) < 50 + 4 * np.sqrt(2 * 50)  # chi squared, 50 degrees


def test_a_step_trains_on_its_stages_context_and_positions():
    """It equals a step of a run on that context. The predictor keeps the positions of the last stage."""
    longer = PositionInterpolation(scale=4.0)
    curriculum = (ShortContext(0.25, context_length=2), Ramp(0.25, shortest=2), Stage(0.5, positions=longer))
    learner = dataclasses.replace(LEARNER, curriculum=curriculum)
    stretched = dataclasses.replace(LEARNER, model=dataclasses.replace(SMALL, positions=longer))
    kinds = [(LEARNER, 2), (LEARNER, 3), (LEARNER, 7), (stretched, 8)]
    for step, kind in ((1, 0), (2, 1), (3, 2), (4, 3), (7, 3)):
        step = jnp.int32(step)
        actual = gradient_of(learner, step, jnp.int32(8))
        alone = [gradient_of(one, step, jnp.int32(length)) for one, length in kinds]
        assert_close(actual, alone[kind])
        for other in alone[:kind] + alone[kind + 1 :]:
            assert not all(map(np.allclose, jax.tree.leaves(other), jax.tree.leaves(actual)))
    assert learner.tested_model == stretched.model
    assert learner.untrained(TASK, 8).model == stretched.model


def test_the_gradient_of_random_contexts_is_a_mean_over_samples():
    stage, step = RandomContext(shortest=2), 5
    key = fold_in(stream_key(INPUTS.seed, "visible"), step)
    lengths = np.asarray(stage.visible(8, jnp.float32(0), key, 4)).tolist()
    assert len(set(lengths)) > 1
    index, _ = batch_indices(INPUTS, jnp.int32(step), 4)

    def loss(parameters):
        total = 0.0
        for i, length in zip(index, lengths, strict=True):
            examples = TASK.sample(stream_key(INPUTS.seed, "train"), i)
            prediction = NETWORK.model.apply(TASK, parameters, examples, length)
            total += TASK.pointwise_loss(prediction, examples, length)[0] / 4
        return total

    expected = jax.jit(jax.grad(loss))(initial(NETWORK.model))
    in_stage = dataclasses.replace(NETWORK, curriculum=(stage,))
    assert_close(gradient_of(in_stage, jnp.int32(step), jnp.int32(8)), expected)


def test_patience_begins_with_the_last_stage(monkeypatch):
    """Nothing is learned, and still the first stage is trained to its end."""
    monkeypatch.setattr(
        single, "batch_gradient", lambda _, learner, *__: jax.tree.map(jnp.zeros_like, start.parameters)
    )
    monkeypatch.setattr(single, "validation_loss", lambda *_: jnp.float32(1))
    hopeless = dataclasses.replace(NETWORK, steps=40, patience=2)
    inputs = INPUTS._replace(last_step=jnp.int32(40))
    start = jax.jit(lambda: single.start(TASK, hopeless, inputs))()
    for curriculum, evaluations in (((Stage(),), 3), ((ShortContext(0.5, context_length=3), Stage(0.5)), 7)):
        learner, state, finished = dataclasses.replace(hopeless, curriculum=curriculum), start, []
        advance = jax.jit(lambda state, of=learner: single.advance(TASK, of, "cpu", inputs, state, jnp.int32(4)))
        while not any(finished):
            state, _, done = advance(state)
            finished.append(bool(done))
        assert len(finished) == evaluations


def test_a_study_with_a_curriculum_is_run_like_any_other():
    """No program has a shape that depends on the length, whatever the stage. The spec is kept as text."""
    curriculum = (ShortContext(0.25, context_length=3), Ramp(0.25, shortest=2), RandomContext(0.5))
    learner = dataclasses.replace(NETWORK, curriculum=curriculum)
    study = Study(TASK, learner, (0, 3, 8), (50,), seeds=1, test_size=64)
    assert from_json(canonical_json(study)) == study
    assert np.isfinite(run(study, progress=False)["loss"]).all()


@pytest.mark.parametrize(
    ("curriculum", "model", "message"),
    [
        ((), MLP(), "curriculum must be stages"),
        ((Stage(0.5), Stage(0.4)), MLP(), "add up to 1; got 0.9"),
        ((Stage(positions=RoPE()),), MLP(), "MLP has no rule of positions"),
        (
            (Stage(positions=LearnedPositions(9)),),
            Transformer(),
            "LearnedPositions has 9 vectors of positions and 0 of distances, and RoPE",
        ),
    ],
)
def test_an_impossible_curriculum_is_refused(curriculum, model, message):
    with pytest.raises((TypeError, ValueError), match=message):
        GradientDescent(model, steps=1, curriculum=curriculum)


def test_an_impossible_stage_is_refused():
    with pytest.raises(ValueError, match=r"whole is a share of the samples, at most 1; got 1.5"):
        RandomContext(whole=1.5)
