"""Asking after each token of a text: its exact risk, its Bayes prediction, and what is learned from it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator import Study
from simulator.inference import CacheCompression, evaluate_compressed
from simulator.learners import GradientDescent, LeastSquares
from simulator.learners.evaluation import evaluate
from simulator.models import GRU, MLP, Transformer
from simulator.specification import canonical_json, from_json
from simulator.tasks import (
    EXAMPLES,
    EveryPosition,
    GaussianLookBack,
    IrrelevantTokens,
    LagCopy,
    MarkovChain,
    Mixture,
)
from simulator.tasks.base import Examples
from simulator.tasks.worked_example import worked_example
from tests.simulator.compiled import BATCH, assert_risk_is_measured, predict, sample

BARE = [task for task in EXAMPLES if task.is_stationary_text]
each_text = pytest.mark.parametrize("bare", BARE, ids=lambda task: canonical_json(task)[:60])
CHAIN = MarkovChain.random(order=2, vocabulary_size=3, concentration=0.5, max_context_length=8)


def prefix(examples, position):
    """A text of L + 1 tokens up to a position, moved to the end of a context; what comes before it is random."""
    context, target = examples.context, examples.target
    text = np.concatenate([context, target[:, None].astype(context.dtype)], axis=1)
    moved = np.random.default_rng(0).permutation(context.ravel()).reshape(context.shape)
    if position:
        moved[:, -position:] = text[:, :position]
    return Examples(moved, examples.query, text[:, position].astype(target.dtype))


def test_the_stationary_texts_are_known():
    """Two kinds of Gaussian process, three chains and a renewal process."""
    assert {type(task).__name__ for task in BARE} == {
        "GaussianLookBack", "MarkovChain", "HiddenMarkov", "GraphWalk", "Renewal"
    }  # fmt: skip
    assert len(BARE) == 7


@functools.partial(jax.jit, static_argnums=0)
def measured(task, prediction, other, examples, length):
    return (
        task.pointwise_loss(prediction, examples, length),
        task.pointwise_divergence(prediction, other, examples, length),
    )


@each_text
def test_each_position_is_the_bare_task_on_the_text_up_to_it(bare):
    """Losses at l come from samples that show no more than l tokens. They are R(l) only if the text is stationary."""
    task, length, L = EveryPosition(bare), 5, bare.max_context_length
    examples = sample(task, seed=1)
    prediction = predict(task, examples, length)
    other = np.roll(prediction, 1, axis=0)
    losses, divergences = [], []
    for seen in range(length + 1):
        there, at = prefix(examples, L - length + seen), prediction[:, L - length + seen]
        np.testing.assert_allclose(at, predict(bare, there, seen), rtol=1e-5, atol=1e-6)
        loss, divergence = measured(bare, at, other[:, L - length + seen], there, seen)
        losses.append(loss)
        divergences.append(divergence)
    loss, divergence = measured(task, prediction, other, examples, length)
    np.testing.assert_allclose(loss, np.mean(losses, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(divergence, np.mean(divergences, axis=0), rtol=1e-4, atol=1e-6)
    assert_risk_is_measured(task, sample(task, 5 * BATCH, seed=1), (0, 3, L))


@pytest.mark.parametrize(
    ("bare", "model"), [(CHAIN, Transformer(depth=1, width=8, heads=2)), (BARE[0], GRU(depth=1, width=8))]
)
def test_a_model_answers_after_each_token_what_it_answers_to_the_text_up_to_it(bare, model):
    """Whether the length is known when compiling or not; the parameters are those of the bare task."""
    task, length, L = EveryPosition(bare), 5, bare.max_context_length
    parameters = model.init(task, jax.random.key(0), length)
    examples = jax.tree.map(lambda field: jnp.asarray(field[:4]), sample(task))
    known = jax.jit(lambda: model.apply(task, parameters, examples, length))()
    traced = jax.jit(lambda length: model.apply(task, parameters, examples, length))(jnp.int32(length))
    of_bare = jax.jit(lambda there, seen: model.apply(bare, parameters, there, seen))
    for seen in range(length + 1):
        expected = of_bare(prefix(examples, L - length + seen), jnp.int32(seen))
        for whole in (known, traced):
            np.testing.assert_allclose(whole[:, L - length + seen], expected, rtol=1e-4, atol=1e-5)


def test_what_is_learned_comes_near_the_risk_at_every_position_and_answers_the_bare_task():
    task = EveryPosition(CHAIN)
    learner = GradientDescent(GRU(depth=1, width=16), steps=300, learning_rate=1e-2, validation_size=512)
    study = Study(task, learner, (4,), (20_000,), seeds=1, test_size=4096)
    assert from_json(canonical_json(study)) == study
    predictor = learner.fit(task, 4, 20_000, 0)
    for asked in (task, CHAIN):
        found = evaluate(asked, dataclasses.replace(predictor, task=asked), 0, 4096)
        assert 0 < found.approximation_loss < 0.02
        assert (
            abs(asked.bayes_risk(4) + found.approximation_loss - found.test_loss) < 4 * found.test_loss_standard_error
        )


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: EveryPosition(LagCopy(3, 0.8, 0.2, 8)), "LagCopy is not"),
        (lambda: EveryPosition(GaussianLookBack.independent(0.5, 1.0, 0.6, 1.0, 8)), "GaussianLookBack is not"),
        (lambda: EveryPosition(GaussianLookBack.arfima(0.3, 8, n_steps=2)), "GaussianLookBack is not"),
        (lambda: EveryPosition(EveryPosition(CHAIN)), "EveryPosition is not"),
        (lambda: IrrelevantTokens(EveryPosition(CHAIN), 0.5), "asks at the end"),
        (lambda: Mixture((EveryPosition(CHAIN), CHAIN), (0.5, 0.5)), "ask at the end"),
        (lambda: worked_example(EveryPosition(CHAIN)), "shows what its bare task shows"),
        (lambda: EveryPosition(CHAIN).bayes_risk(9), "context_length"),
        (lambda: Study(EveryPosition(CHAIN), GradientDescent(MLP(), steps=1), (1,), (1,)), "MLP answers once"),
        (lambda: Study(EveryPosition(BARE[0]), LeastSquares(), (1,), (1,)), "LeastSquares"),
        (
            lambda: evaluate_compressed(
                GradientDescent(Transformer(width=8), steps=1).untrained(EveryPosition(CHAIN), 8),
                CacheCompression(2),
                np.ones((2, 4), bool),
            ),
            "give the predictor the bare task",
        ),
    ],
)
def test_what_cannot_be_is_refused(attempt, message):
    with pytest.raises((TypeError, ValueError), match=message):
        attempt()
