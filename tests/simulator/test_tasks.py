"""One battery over all tasks; adding a task to ``simulator.tasks.EXAMPLES`` tests it."""

import dataclasses
import functools
import hashlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.specification import canonical_json, from_json
from simulator.tasks import EXAMPLES, Examples
from simulator.tasks.sampling import sample_indices

KEY = jax.random.key(7)
FEW, MANY = 256, 100_000
SAMPLES = (
    "d7990062fa149029c1302fb01f27b1e24afc99e3204b44b5b3e30bae988ddfd1a8efe25f478bfd27c59323eff74ca36b"
    "c96fb5841e6bb4f4e67e07b1030158808c4fe23f98193ca7f6d0de80"
)
each_task = pytest.mark.parametrize("task", EXAMPLES, ids=lambda task: canonical_json(task)[:60])


def lengths(task):
    return range(task.max_context_length + 1)


def spread(task, number=6):
    return np.unique(np.linspace(0, task.max_context_length, number).astype(int))


@functools.partial(jax.jit, static_argnums=0)
def sample(task, key, index):
    return task.sample(key, index)


@functools.partial(jax.jit, static_argnums=0)
def predict(task, examples, length):
    return task.bayes_prediction(examples, length)


@functools.partial(jax.jit, static_argnums=0)
def losses(task, examples, length):
    """Loss of the Bayes prediction, loss of a wrong one that sees as much, and its divergence."""
    bayes = task.bayes_prediction(examples, length)
    wrong = jax.nn.log_softmax(0.5 * jnp.maximum(bayes, -6.0)) if task.n_classes else 0.5 * bayes + 0.1
    return (
        task.pointwise_loss(bayes, examples, length),
        task.pointwise_loss(wrong, examples, length),
        task.pointwise_divergence(bayes, wrong, examples, length),
        task.pointwise_divergence(bayes, bayes, examples, length),
    )


@functools.lru_cache(maxsize=128)
def drawn(task, number, seed=7):
    return sample(task, jax.random.key(seed), jnp.arange(number))


def as_numpy(examples: Examples) -> list[np.ndarray]:
    return [np.asarray(field) for field in examples]


def standard_error(values):
    return values.std(ddof=1) / np.sqrt(values.size)


@pytest.mark.optimised
@each_task
def test_sample_i_is_the_same_in_any_batch_and_order(task):
    whole = as_numpy(drawn(task, FEW))
    order = np.random.default_rng(0).permutation(FEW)[:37]
    for scattered, field in zip(as_numpy(sample(task, KEY, jnp.asarray(order))), whole, strict=True):
        np.testing.assert_array_equal(scattered, field[order])


@pytest.mark.optimised
@pytest.mark.parametrize("task", [t for t in EXAMPLES if t.vocabulary_size is None], ids=lambda t: type(t).__name__)
def test_real_numbers_are_rounded_alike_with_and_without_jit(task):
    """Integers are exact either way."""
    for eager, field in zip(as_numpy(task.sample(KEY, range(37))), as_numpy(drawn(task, FEW)), strict=True):
        np.testing.assert_array_equal(eager, field[:37])


def test_samples_in_integers_are_those_that_stored_runs_were_trained_on():
    """The first digits of the SHA-256 of each task's samples: exact integers, the same on every machine."""
    names = []
    for task in EXAMPLES:
        if task.vocabulary_size is not None:
            fields = as_numpy(drawn(task, FEW))
            names.append(hashlib.sha256(b"".join(field.astype("<i4").tobytes() for field in fields)).hexdigest()[:8])
    assert "".join(names) == SAMPLES


@each_task
def test_samples_depend_on_the_key_and_the_index(task):
    context = np.asarray(drawn(task, FEW).context)
    assert len(np.unique(context, axis=0)) > FEW / 2
    assert not np.array_equal(context, drawn(task, FEW, seed=8).context)


@each_task
def test_large_indices_cost_no_more_and_are_samples_like_any_other(task):
    examples = sample(task, KEY, jnp.arange(2**31 - 37, 2**31))
    assert examples.context.shape[:2] == (37, task.max_context_length)
    assert not np.array_equal(examples.context, drawn(task, FEW).context[:37])


@each_task
def test_shapes_and_values_are_those_of_the_contract(task):
    examples = drawn(task, FEW)
    channels = (task.n_channels,) if task.n_channels > 1 else ()
    steps = (task.n_steps,) if task.n_steps > 1 else ()
    assert examples.context.shape == (FEW, task.max_context_length, *channels)
    assert examples.query.shape == (FEW,)
    assert examples.target.shape == (FEW, *steps)
    prediction = predict(task, examples, 1)
    task.check_examples(examples)  # vocabulary and queries
    if task.n_classes is None:
        assert prediction.shape == examples.target.shape
    else:
        assert prediction.shape == (FEW, task.n_classes)
        assert np.all((examples.target >= 0) & (examples.target < task.n_classes))
        np.testing.assert_allclose(np.exp(prediction).sum(axis=1), 1, atol=1e-5)
    relevant = np.asarray(task.relevant_tokens(examples))
    assert relevant.dtype == bool
    assert relevant.shape == (FEW, task.max_context_length)
    if task.vocabulary_size is not None:
        assert all(task.token_name(token) for token in range(min(task.vocabulary_size, 40)))
    assert task.query_name(task.n_queries - 1)


@each_task
def test_bayes_risk_never_rises(task):
    risks = [task.bayes_risk(length) for length in lengths(task)]
    assert all(type(risk) is float for risk in risks)
    assert np.all(np.diff(risks) <= 1e-15)


@each_task
def test_dimension_and_entropy_never_fall(task):
    assert np.all(np.diff([task.intrinsic_dimension(length) for length in lengths(task)]) >= 0)
    entropies = [task.intrinsic_entropy(length) for length in lengths(task)]
    assert len({entropy is None for entropy in entropies}) == 1
    if entropies[0] is not None:
        assert np.all(np.diff(entropies) >= 0)


@each_task
def test_without_context_the_risk_is_the_entropy_or_variance_of_the_target(task):
    """Measured on the targets alone, for tasks that ask one thing."""
    target = np.asarray(drawn(task, MANY, seed=11).target, float)
    if task.n_classes is not None and task.n_queries == 1:
        shares = np.bincount(target.astype(int)) / MANY
        surprise = -np.log(shares[target.astype(int)])
        # The entropy of observed shares is too low by (classes - 1)/(2 n) on average.
        assert abs(surprise.mean() - task.bayes_risk(0)) < 5 * standard_error(surprise) + task.n_classes / MANY
    elif task.n_classes is None and task.loss == "squared_error":
        squares = (target**2).reshape(MANY, -1).mean(axis=1)
        assert abs(squares.mean() - task.bayes_risk(0)) < 5 * standard_error(squares)


@each_task
def test_the_bayes_predictor_measures_its_bayes_risk(task):
    """100,000 fresh samples at a spread of lengths, within 4 standard errors."""
    examples = drawn(task, MANY, seed=11)
    for length in spread(task):
        loss = np.asarray(losses(task, examples, length)[0], float)
        # Losses that are the same for every sample are known to rounding.
        assert abs(loss.mean() - task.bayes_risk(int(length))) < 4 * standard_error(loss) + 1e-6, length


@each_task
def test_loss_splits_into_bayes_risk_and_divergence(task):
    """E[loss(Q)] - E[loss(P_l)] = E[KL(P_l || Q)] on the same samples, for a wrong predictor Q that sees l tokens."""
    bayes, wrong, divergence, none = (
        np.asarray(part, float) for part in losses(task, drawn(task, MANY, seed=11), task.max_context_length // 2)
    )
    difference = wrong - bayes - divergence
    assert abs(difference.mean()) < 4 * standard_error(difference) + 1e-6
    assert not none.any()
    assert divergence.min() >= 0
    assert divergence.mean() > 0


@each_task
def test_the_bayes_predictor_ignores_what_is_out_of_sight(task):
    examples, other = drawn(task, FEW), drawn(task, FEW, seed=9).context
    for length in (0, 1, task.max_context_length // 2):
        hidden = task.max_context_length - length
        changed = examples._replace(context=jnp.concatenate([other[:, :hidden], examples.context[:, hidden:]], axis=1))
        np.testing.assert_array_equal(predict(task, changed, length), predict(task, examples, length))


@each_task
def test_the_bayes_predictor_ignores_irrelevant_tokens(task):
    """Irrelevant tokens are taken from another sample: where they stay irrelevant, no prediction changes."""
    examples, other = drawn(task, FEW), drawn(task, FEW, seed=9)
    relevant = np.asarray(task.relevant_tokens(examples))
    foreign = np.asarray(task.relevant_tokens(examples._replace(context=other.context)))
    exchanged = (~relevant & ~foreign).reshape(*relevant.shape, *[1] * (examples.context.ndim - 2))
    changed = examples._replace(context=jnp.where(exchanged, other.context, examples.context))
    same = np.all(np.asarray(task.relevant_tokens(changed)) == relevant, axis=1)
    assert same.sum() >= 5
    for length in spread(task, 3):
        before, after = (np.asarray(predict(task, x, length))[same] for x in (examples, changed))
        np.testing.assert_array_equal(after, before)


@each_task
def test_a_plain_length_gives_what_a_traced_one_gives(task):
    examples = jax.tree.map(lambda x: x[:8], drawn(task, FEW))
    traced = predict(task, drawn(task, FEW), 3)[:8]
    plain = jax.jit(lambda some: task.bayes_prediction(some, 3))(examples)
    np.testing.assert_allclose(plain, traced, rtol=1e-4, atol=1e-5)


@each_task
def test_a_task_survives_json_and_is_hashable(task):
    again = from_json(canonical_json(task))
    assert again == task
    assert hash(again) == hash(task)


def asks(task):
    """The four methods that take a context length."""
    return (
        task.bayes_risk,
        task.intrinsic_dimension,
        task.intrinsic_entropy,
        lambda length: task.bayes_prediction(drawn(task, FEW), length),
    )


@each_task
def test_a_context_longer_than_the_task_is_refused(task):
    L = task.max_context_length
    for ask in asks(task):
        with pytest.raises(ValueError, match=f"context_length must be between 0 and {L}; got {L + 1}"):
            ask(L + 1)


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


@each_task
def test_examples_of_another_length_and_negative_indices_are_refused(task):
    examples = drawn(task, FEW)
    with pytest.raises(ValueError, match=rf"shape \({FEW}, {task.max_context_length - 1}[,)].*pass the whole context"):
        task.bayes_prediction(examples._replace(context=examples.context[:, 1:]), 1)
    with pytest.raises(ValueError, match=r"sample indices must be in \[0, 2\^31\); got -1 to -1"):
        task.sample(KEY, -1)


@pytest.mark.parametrize("index", [[0, -3], 2**31, 1.5, [[1, 2]], jnp.array([1.5]), jnp.array([-1])])
def test_an_impossible_index_is_refused(index):
    with pytest.raises((ValueError, TypeError), match="sample indices must be"):
        sample_indices(index)


@pytest.mark.parametrize("index", [3, range(2, 5), np.array([0, 2**31 - 1]), jnp.arange(2), np.arange(0)])
def test_indices_are_kept_as_they_are(index):
    assert sample_indices(index).tolist() == np.atleast_1d(np.array(index, int)).tolist()


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**20))
def test_streams_of_different_keys_do_not_meet(seed, index):
    keys = [jax.random.fold_in(jax.random.key(seed), i) for i in (1, 2)]
    a, b = (sample(EXAMPLES[0], key, index + jnp.arange(8)).context for key in keys)
    assert not np.array_equal(a, b)


def test_every_task_is_frozen():
    for task in EXAMPLES:
        with pytest.raises(dataclasses.FrozenInstanceError):
            task.max_context_length = 3


def test_examples_that_are_none_are_refused():
    task = EXAMPLES[0]
    examples = drawn(task, FEW)
    with pytest.raises(ValueError, match=r"examples.context must hold integers in \[0, 2\); got -1 to 1"):
        task.bayes_prediction(examples._replace(context=2 * examples.context - 1), 3)
    with pytest.raises(ValueError, match=r"examples.query must hold integers in \[0, 12\); got 99 to 99"):
        task.bayes_prediction(examples._replace(query=0 * examples.query + 99), 3)
    with pytest.raises(TypeError, match=r"examples\.context must hold integers; got float32"):
        task.check_examples(examples._replace(context=examples.context.astype(jnp.float32)))
    with pytest.raises(ValueError, match=f"shape \\(2,\\); {FEW} contexts need as many queries"):
        task.check_examples(examples._replace(query=examples.query[:2]))
