"""One battery over all tasks; adding a task to ``simulator.tasks.EXAMPLES`` tests it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.specification import canonical_json, from_json
from simulator.tasks import EXAMPLES, Examples

KEY = jax.random.key(7)
each_task = pytest.mark.parametrize("task", EXAMPLES, ids=lambda task: canonical_json(task)[:60])


def lengths(task):
    return range(task.max_context_length + 1)


def as_numpy(examples: Examples) -> list[np.ndarray]:
    return [np.asarray(field) for field in examples]


@each_task
def test_sample_i_is_the_same_in_any_batch_order_and_chunk_jitted_or_not(task):
    whole = as_numpy(task.sample(KEY, range(100)))
    order = np.random.default_rng(0).permutation(100)[:37]
    for scattered, field in zip(as_numpy(jax.jit(task.sample)(KEY, jnp.asarray(order))), whole, strict=True):
        np.testing.assert_array_equal(scattered, field[order])
    for single, field in zip(as_numpy(task.sample(KEY, 41)), whole, strict=True):
        np.testing.assert_array_equal(single[0], field[41])


@each_task
def test_samples_depend_on_the_key_and_the_index(task):
    context = np.asarray(task.sample(KEY, range(200)).context)
    assert len(np.unique(context, axis=0)) > 100
    assert not np.array_equal(context, task.sample(jax.random.key(8), range(200)).context)


@each_task
def test_large_indices_cost_no_more_and_are_samples_like_any_other(task):
    examples = task.sample(KEY, [0, 10**9, 2**31 - 1])
    assert examples.context.shape == (3, task.max_context_length)
    assert not np.array_equal(examples.context[0], examples.context[1])


@each_task
def test_shapes_are_those_of_the_contract(task):
    examples = task.sample(KEY, range(5))
    assert examples.context.shape == (5, task.max_context_length)
    assert examples.query.shape == examples.target.shape == (5,)
    assert np.all((examples.query >= 0) & (examples.query < task.n_queries))
    prediction = task.bayes_prediction(examples, 1)
    assert prediction.shape == ((5,) if task.n_classes is None else (5, task.n_classes))


@each_task
def test_bayes_risk_never_rises(task):
    risks = [task.bayes_risk(length) for length in lengths(task)]
    assert np.all(np.diff(risks) <= 1e-15)


@each_task
def test_dimension_and_entropy_never_fall(task):
    assert np.all(np.diff([task.intrinsic_dimension(length) for length in lengths(task)]) >= 0)
    entropies = [task.intrinsic_entropy(length) for length in lengths(task)]
    if entropies[0] is not None:
        assert np.all(np.diff(entropies) >= 0)


@each_task
def test_the_bayes_predictor_measures_its_bayes_risk(task):
    """100,000 fresh samples at a spread of lengths, within 4 standard errors."""
    examples = jax.jit(task.sample)(jax.random.key(11), jnp.arange(100_000))
    for length in np.unique(np.linspace(0, task.max_context_length, 6).astype(int)):
        losses = np.asarray(task.pointwise_loss(task.bayes_prediction(examples, length), examples, length), float)
        error = losses.std(ddof=1) / np.sqrt(losses.size)
        # Losses that are the same for every sample are known to rounding.
        assert abs(losses.mean() - task.bayes_risk(int(length))) < 4 * error + 1e-6


@each_task
def test_the_bayes_predictor_ignores_what_is_out_of_sight(task):
    examples = task.sample(KEY, range(64))
    for length in (0, 1, task.max_context_length // 2):
        hidden = task.max_context_length - length
        other = task.sample(jax.random.key(9), range(64)).context
        changed = examples._replace(context=jnp.concatenate([other[:, :hidden], examples.context[:, hidden:]], axis=1))
        np.testing.assert_array_equal(task.bayes_prediction(changed, length), task.bayes_prediction(examples, length))


@each_task
def test_no_prediction_beats_the_bayes_prediction(task):
    """The divergence is zero for P_l itself and positive for the prediction of any other length."""
    examples = task.sample(KEY, range(512))
    length = task.max_context_length // 2
    bayes = task.bayes_prediction(examples, length)
    assert not np.asarray(task.pointwise_divergence(bayes, bayes, examples, length)).any()
    other = jax.tree.map(lambda x: 0.3 * x + 0.1, task.bayes_prediction(examples, 0))
    if task.n_classes is not None:
        other = jax.nn.log_softmax(other)
    assert np.mean(task.pointwise_divergence(bayes, other, examples, length)) > 0


@each_task
def test_loss_splits_into_bayes_risk_and_divergence(task):
    """E[loss(Q)] - E[loss(P_l)] = E[KL(P_l || Q)] on the same samples, for a wrong predictor Q that sees l tokens."""
    length = task.max_context_length // 2
    examples = jax.jit(task.sample)(jax.random.key(12), jnp.arange(100_000))
    bayes, base = task.bayes_prediction(examples, length), task.bayes_prediction(examples, 1)
    wrong = jax.nn.log_softmax(0.5 * base) if task.n_classes is not None else 0.5 * base + 0.1
    wrong = jnp.where(jnp.isfinite(wrong), wrong, -3.0)
    difference = np.asarray(
        task.pointwise_loss(wrong, examples, length)
        - task.pointwise_loss(bayes, examples, length)
        - task.pointwise_divergence(bayes, wrong, examples, length),
        float,
    )
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / np.sqrt(difference.size) + 1e-6


@each_task
def test_a_traced_length_gives_what_a_plain_one_gives(task):
    examples = task.sample(KEY, range(16))
    traced = jax.jit(task.bayes_prediction)(examples, jnp.int32(3))
    np.testing.assert_allclose(traced, task.bayes_prediction(examples, 3), rtol=1e-6)


@each_task
def test_a_task_survives_json_and_is_hashable(task):
    again = from_json(canonical_json(task))
    assert again == task
    assert hash(again) == hash(task)


@each_task
@pytest.mark.parametrize("length", [-1, 10**6, np.int64(-3)])
def test_a_context_length_outside_the_task_is_refused_by_value(task, length):
    message = rf"context_length must be between 0 and {task.max_context_length}; got {length}"
    for call in (task.bayes_risk, task.intrinsic_dimension, task.intrinsic_entropy):
        with pytest.raises(ValueError, match=message):
            call(length)
    with pytest.raises(ValueError, match=message):
        task.bayes_prediction(task.sample(KEY, range(2)), length)


@each_task
@pytest.mark.parametrize("length", [2.0, "3", None])
def test_a_context_length_that_is_no_integer_is_refused(task, length):
    for call in (task.bayes_risk, task.intrinsic_dimension, task.intrinsic_entropy):
        with pytest.raises(TypeError, match=repr(length)):
            call(length)


@each_task
def test_examples_of_another_length_are_refused(task):
    examples = task.sample(KEY, range(4))
    with pytest.raises(ValueError, match=rf"shape \(4, {task.max_context_length - 1}\).*pass the whole context"):
        task.bayes_prediction(examples._replace(context=examples.context[:, 1:]), 1)


@each_task
@pytest.mark.parametrize("index", [-1, [0, -3], 2**31, 1.5, [[1, 2]]])
def test_an_impossible_index_is_refused(task, index):
    with pytest.raises((ValueError, TypeError), match="sample indices must be"):
        task.sample(KEY, index)


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**20))
def test_streams_of_different_keys_do_not_meet(seed, index):
    task = EXAMPLES[0]
    a, b = (task.sample(jax.random.fold_in(jax.random.key(seed), i), range(index, index + 8)).context for i in (1, 2))
    assert not np.array_equal(a, b)


def test_every_task_is_frozen():
    for task in EXAMPLES:
        with pytest.raises(dataclasses.FrozenInstanceError):
            task.max_context_length = 3


def test_examples_that_are_none_are_refused():
    task = EXAMPLES[0]
    examples = task.sample(KEY, range(4))
    with pytest.raises(ValueError, match=r"examples.context must hold integers in \[0, 2\); got -1 to 1"):
        task.bayes_prediction(examples._replace(context=2 * examples.context - 1), 3)
    with pytest.raises(ValueError, match=r"examples.query must hold integers in \[0, 12\); got 99 to 99"):
        task.bayes_prediction(examples._replace(query=0 * examples.query + 99), 3)
    with pytest.raises((TypeError, ValueError), match="query"):
        task.bayes_prediction(examples._replace(query=examples.query[:2]), 3)
    with pytest.raises(TypeError, match="indices must be integers"):
        task.sample(KEY, jnp.array([1.5]))
    with pytest.raises(ValueError, match="must be in"):
        task.sample(KEY, jnp.array([-1]))
