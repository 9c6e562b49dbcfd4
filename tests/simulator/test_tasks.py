"""One battery over all tasks; adding a task to ``simulator.tasks.EXAMPLES`` tests it."""

import dataclasses
import functools
import hashlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator.specification import canonical_json, from_json
from simulator.tasks import EXAMPLES, InContextRegression, ManifoldTeacher
from simulator.tasks.sampling import sample_indices
from tests.simulator.compiled import (
    BATCH,
    MANY,
    assert_risk_is_measured,
    in_batches,
    predict,
    relevant_tokens,
    sample,
    sample_at,
    standard_error,
)

KEY = jax.random.key(7)
SAMPLES = (
    "d7990062fa149029c1302fb01f27b1e24afc99e3204b44b5b3e30bae988ddfd1a8efe25f478bfd27c59323eff74ca36b"
    "c96fb5841e6bb4f4e67e07b1030158808c4fe23f98193ca7f6d0de80"
)
IN_NUMBERS = [task for task in EXAMPLES if task.vocabulary_size is None]
TARGETS = (0.253042, 0.73512, 0.235481, 0.0733707, -0.217951, -0.399072, 1.97359, -0.563224, 0.0335745, 1.42539)
ROUNDED = [
    IN_NUMBERS[0],
    InContextRegression(3, 0.37, 5),
    ManifoldTeacher(5, noise_variance=0.37, ambient_dimension=2),
    IN_NUMBERS[-1],
]
"""Each way to draw real numbers. Noise whose variance is no power of two is rounded."""
each_task = pytest.mark.parametrize("task", EXAMPLES, ids=lambda task: canonical_json(task)[:60], scope="module")
one_of_each = pytest.mark.parametrize(
    "task", {type(t): t for t in EXAMPLES}.values(), ids=lambda t: type(t).__name__, scope="module"
)


def lengths(task):
    return range(task.max_context_length + 1)


def spread(task, number=6):
    return np.unique(np.linspace(0, task.max_context_length, number).astype(int))


def drawn(task, number=BATCH):
    return jax.tree.map(lambda field: field[:number], sample(task, seed=7))


@functools.partial(jax.jit, static_argnums=0)
def split(task, examples, length, bayes):
    """Loss of the Bayes prediction, loss of a wrong one that sees as much, and its divergence."""
    wrong = jax.nn.log_softmax(0.5 * jnp.maximum(bayes, -6.0)) if task.n_classes else 0.5 * bayes + 0.1
    return (
        task.pointwise_loss(bayes, examples, length),
        task.pointwise_loss(wrong, examples, length),
        task.pointwise_divergence(bayes, wrong, examples, length),
        task.pointwise_divergence(bayes, bayes, examples, length),
    )


@pytest.mark.optimised
@pytest.mark.parametrize("task", ROUNDED, ids=lambda task: type(task).__name__)
def test_real_numbers_are_rounded_alike_in_any_batch_with_and_without_jit(task):
    whole = sample_at(task, np.arange(512), seed=7)
    order = np.random.default_rng(0).permutation(512)[:37]
    for scattered, eager, field in zip(sample_at(task, order, 7), task.sample(KEY, range(200)), whole, strict=True):
        np.testing.assert_array_equal(scattered, field[order])
        np.testing.assert_array_equal(eager, field[:200])


@each_task
def test_sample_i_is_the_same_at_any_place_of_a_batch(task):
    order = np.random.default_rng(0).permutation(2 * BATCH)[:BATCH]
    for scattered, field in zip(sample_at(task, order, seed=7), sample(task, MANY, seed=7), strict=True):
        np.testing.assert_array_equal(scattered, field[order])


@one_of_each
def test_another_batch_size_and_a_plain_length_give_the_same(task):
    def both(key, index):
        examples = task.sample(key, index)
        return examples, task.bayes_prediction(examples, 3)

    examples, prediction = jax.jit(both)(KEY, jnp.arange(21))
    for some, field in zip(examples, drawn(task, 21), strict=True):
        np.testing.assert_allclose(some, field, rtol=1e-5 if field.dtype == np.float32 else 0, atol=1e-6)
    np.testing.assert_allclose(prediction, predict(task, drawn(task), 3)[:21], rtol=1e-4, atol=1e-5)


def test_samples_are_those_that_stored_runs_were_trained_on():
    """The first digits of the SHA-256 of integers, which are exact on every machine; one target of real numbers."""
    names = []
    for task in EXAMPLES:
        if task.vocabulary_size is not None:
            data = b"".join(field.astype("<i4").tobytes() for field in drawn(task, 256))
            names.append(hashlib.sha256(data).hexdigest()[:8])
    assert "".join(names) == SAMPLES
    assert [drawn(task).target[5].flat[0] for task in IN_NUMBERS] == pytest.approx(TARGETS, rel=1e-4)


@each_task
def test_samples_depend_on_the_key_and_the_index(task):
    context = drawn(task).context
    assert len(np.unique(context[:256], axis=0)) > 128
    later = sample(task, MANY, seed=7).context[2**16 : 2**16 + BATCH]
    last = sample_at(task, np.arange(2**31 - BATCH, 2**31), seed=7).context
    for other in (sample(task, seed=8).context, later, last):
        assert len(np.unique(other[:256], axis=0)) > 128
        assert np.mean(other == context) < 0.99


@each_task
def test_shapes_and_values_are_those_of_the_contract(task):
    examples = drawn(task)
    channels = (task.n_channels,) if task.n_channels > 1 else ()
    steps = (task.n_steps,) if task.n_steps > 1 else ()
    assert examples.context.shape == (BATCH, task.max_context_length, *channels)
    assert examples.query.shape == (BATCH,)
    assert examples.target.shape == (BATCH, *steps)
    prediction = predict(task, examples, 1)
    task.check_examples(examples)  # vocabulary and queries
    if task.n_classes is None:
        assert prediction.shape == examples.target.shape
    else:
        assert prediction.shape == (BATCH, task.n_classes)
        assert np.all((examples.target >= 0) & (examples.target < task.n_classes))
        np.testing.assert_allclose(np.exp(prediction).sum(axis=1), 1, atol=1e-5)
    relevant = relevant_tokens(task, examples)
    assert relevant.dtype == bool
    assert relevant.shape == (BATCH, task.max_context_length)
    if task.vocabulary_size is not None:
        assert all(task.token_name(token) for token in range(min(task.vocabulary_size, 40)))
    assert task.query_name(task.n_queries - 1)


@each_task
def test_the_risk_never_rises_and_dimension_and_entropy_never_fall(task):
    risks = [task.bayes_risk(length) for length in lengths(task)]
    assert all(type(risk) is float for risk in risks)
    assert np.all(np.diff(risks) <= 1e-15)
    assert np.all(np.diff([task.intrinsic_dimension(length) for length in lengths(task)]) >= 0)
    entropies = [task.intrinsic_entropy(length) for length in lengths(task)]
    assert len({entropy is None for entropy in entropies}) == 1
    if entropies[0] is not None:
        assert np.all(np.diff(entropies) >= 0)


@each_task
def test_the_bayes_predictor_measures_its_bayes_risk(task):
    assert_risk_is_measured(task, sample(task, MANY, seed=7), spread(task))


@each_task
def test_loss_splits_into_bayes_risk_and_divergence(task):
    """E[loss(Q)] - E[loss(P_l)] = E[KL(P_l || Q)] on the same samples, for a wrong predictor Q that sees l tokens."""
    examples, length = sample(task, MANY, seed=7), jnp.int32(task.max_context_length // 2)
    parts = in_batches(lambda some, bayes: split(task, some, length, bayes), examples, predict(task, examples, length))
    bayes, wrong, divergence, none = (part.astype(float) for part in parts)
    difference = wrong - bayes - divergence
    assert abs(difference.mean()) < 4 * standard_error(difference) + 1e-6
    assert not none.any()
    assert divergence.min() >= 0
    assert divergence.mean() > 0


@each_task
def test_the_bayes_predictor_ignores_what_is_out_of_sight(task):
    examples, other = drawn(task), sample(task, seed=8).context
    for length in (0, 1, task.max_context_length // 2):
        hidden = task.max_context_length - length
        changed = examples._replace(context=np.concatenate([other[:, :hidden], examples.context[:, hidden:]], axis=1))
        np.testing.assert_array_equal(predict(task, changed, length), predict(task, examples, length))


@each_task
def test_the_bayes_predictor_ignores_irrelevant_tokens(task):
    """Irrelevant tokens are taken from another sample: where they stay irrelevant, no prediction changes."""
    examples, other = drawn(task), sample(task, seed=8)
    relevant = relevant_tokens(task, examples)
    foreign = relevant_tokens(task, examples._replace(context=other.context))
    exchanged = (~relevant & ~foreign).reshape(*relevant.shape, *[1] * (examples.context.ndim - 2))
    changed = examples._replace(context=np.where(exchanged, other.context, examples.context))
    same = np.all(relevant_tokens(task, changed) == relevant, axis=1)
    assert same.sum() >= 5
    for length in spread(task, 3):
        before, after = (predict(task, x, length)[same] for x in (examples, changed))
        np.testing.assert_array_equal(after, before)


@each_task
def test_a_task_survives_json_and_is_frozen_and_hashable(task):
    again = from_json(canonical_json(task))
    assert again == task
    assert hash(again) == hash(task)
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.max_context_length = 3


@each_task
def test_what_is_out_of_range_is_refused(task):
    """Lengths beyond the context, examples of another length, and negative indices."""
    L, examples = task.max_context_length, drawn(task, 8)
    asks = [task.bayes_risk, task.intrinsic_dimension, task.intrinsic_entropy]
    for ask in (*asks, lambda length: task.bayes_prediction(examples, length)):
        with pytest.raises(ValueError, match=f"context_length must be between 0 and {L}; got {L + 1}"):
            ask(L + 1)
    with pytest.raises(ValueError, match=rf"shape \(8, {L - 1}[,)].*pass the whole context"):
        task.bayes_prediction(examples._replace(context=examples.context[:, 1:]), 1)
    with pytest.raises(ValueError, match=r"sample indices must be in \[0, 2\^31\); got -1 to -1"):
        task.sample(KEY, -1)


@pytest.mark.parametrize(
    ("length", "error"),
    [(-1, ValueError), (np.int64(-3), ValueError), (2.0, TypeError), ("3", TypeError), (None, TypeError)],
)
def test_what_is_no_context_length_is_refused_by_value(length, error):
    with pytest.raises(error, match=re.escape(f"{length!r}" if error is TypeError else f"got {length}")):
        EXAMPLES[0].check_length(length)
    with pytest.raises(ValueError, match="between 0 and 16; got 17"):
        EXAMPLES[0].check_length(jnp.int32(17))
    jax.jit(EXAMPLES[0].check_length)(jnp.int32(17))  # a traced value is not known


@pytest.mark.parametrize("index", [[0, -3], 2**31, 1.5, [[1, 2]], jnp.array([1.5]), jnp.array([-1])])
def test_an_impossible_index_is_refused(index):
    with pytest.raises((ValueError, TypeError), match="sample indices must be"):
        sample_indices(index)


@pytest.mark.parametrize("index", [3, range(2, 5), np.array([0, 2**31 - 1]), jnp.arange(2), np.arange(0)])
def test_indices_are_kept_as_they_are(index):
    assert sample_indices(index).tolist() == np.atleast_1d(np.array(index, int)).tolist()


def test_examples_that_are_none_are_refused():
    task = EXAMPLES[0]
    examples = drawn(task, 8)
    with pytest.raises(ValueError, match=r"examples.context must hold integers in \[0, 2\); got -1 to 1"):
        task.bayes_prediction(examples._replace(context=2 * examples.context - 1), 3)
    with pytest.raises(ValueError, match=r"examples.query must hold integers in \[0, 12\); got 99 to 99"):
        task.bayes_prediction(examples._replace(query=0 * examples.query + 99), 3)
    with pytest.raises(TypeError, match=r"examples\.context must hold integers; got float32"):
        task.check_examples(examples._replace(context=examples.context.astype(np.float32)))
    with pytest.raises(ValueError, match="shape \\(2,\\); 8 contexts need as many queries"):
        task.check_examples(examples._replace(query=examples.query[:2]))
