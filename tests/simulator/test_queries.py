"""Several queries of each context at once: what the model, the task and the measurement say of them one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator.learners import NetworkPredictor
from simulator.learners.evaluation import divergence_of_queries
from simulator.models import MLP, ALiBi, LearnedPositions, RelativeRoPE, RoPE, Transformer, TwoBranchMLP
from simulator.random.streams import stream_key
from simulator.tasks import Examples, Retrieval, SparseParity
from tests.simulator.parameters import drawn_for

PARITY = SparseParity(((2, 1), (4, 1), (5, 3), (9, 2)), 6, (4.0, 3.0, 2.0, 1.0))
ONE_BLOCK = Transformer(depth=1, width=16, heads=2, positions=RelativeRoPE(base=100.0, max_length=7))
TWO_BLOCKS = Transformer(depth=2, width=16, heads=4, kv_heads=2, positions=RelativeRoPE(max_length=9))
CASES = [
    (ONE_BLOCK, PARITY),
    (TWO_BLOCKS, PARITY),
    (Transformer(depth=1, width=16, heads=4, kv_heads=1, positions=ALiBi(), window=3, log_length=True), PARITY),
    (Transformer(depth=1, width=16, heads=2, positions=LearnedPositions(7)), PARITY),
    (Transformer(depth=1, width=16, heads=2, positions=RoPE()), Retrieval(1, 3, 6, n_distractors=2)),
    (TwoBranchMLP(16, 8, 12), PARITY),
    (MLP(hidden_sizes=(8,)), PARITY),
]


N = 32
EVERY = np.arange(4, dtype=np.int32)


@functools.partial(jax.jit, static_argnums=(0, 1, 6))
def alone(model, task, parameters, context, length, query, precision="float32"):
    asked = jnp.full(context.shape[0], query)
    return model.apply(task, parameters, Examples(context, asked, asked), length, precision)


def one_by_one(model, task, parameters, context, length):
    """What the model's own ``apply`` says of each query."""
    queries = range(task.n_queries)
    return np.stack([alone(model, task, parameters, context, np.int32(length), np.int32(q)) for q in queries], axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1, 7))
def together(model, task, parameters, context, length, queries, shown=None, precision="float32"):
    return model.apply_to_queries(task, parameters, context, length, queries, shown, precision)


@functools.cache
def contexts(task):
    sample = jax.jit(lambda: task.sample(stream_key(3, "test"), jnp.arange(N, dtype=jnp.int32)))
    return sample().context


@pytest.mark.parametrize(("model", "task"), CASES, ids=repr)
def test_queries_asked_together_are_answered_as_one_by_one(model, task):
    """The same network and another order of the same sums, whatever the rule of positions and the visible length."""
    parameters, context = drawn_for(model, task), contexts(task)
    every = np.arange(task.n_queries, dtype=np.int32)
    for length, queries in ((0, every), (3, every), (6, every), (6, every[::-1] // 2)):
        found = together(model, task, parameters, context, np.int32(length), queries)
        expected = one_by_one(model, task, parameters, context, length)[:, queries]
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_length_known_when_compiling_and_mixed_precision_are_those_of_apply():
    parameters, context, asked = drawn_for(ONE_BLOCK, PARITY), contexts(PARITY), jnp.int32(EVERY)
    together = jax.jit(lambda p: ONE_BLOCK.apply_to_queries(PARITY, p, context, 4, asked, None, "mixed"))(parameters)
    for query in EVERY:
        expected = alone(ONE_BLOCK, PARITY, parameters, context, np.int32(4), query, "mixed")
        np.testing.assert_allclose(together[:, query], expected, atol=1e-2)


@pytest.mark.parametrize(("model", "shape"), [(ONE_BLOCK, (N, 4, 6)), (TWO_BLOCKS, (N, 6))], ids=["one", "two"])
def test_what_is_not_shown_is_as_absent_as_what_is_out_of_sight(model, shape):
    """The newest tokens shown are a shorter visible length: these positions count distances only."""
    parameters, context = drawn_for(model, PARITY), contexts(PARITY)
    for length in (0, 4):
        shown = np.broadcast_to(np.arange(6) >= 6 - length, shape)
        found = together(model, PARITY, parameters, context, np.int32(6), EVERY, shown)
        expected = one_by_one(model, PARITY, parameters, context, length)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_each_query_may_be_shown_its_own_tokens(rng):
    parameters, context = drawn_for(ONE_BLOCK, PARITY), contexts(PARITY)
    shown = rng.random((N, PARITY.n_queries, 6)) < 0.5
    found = np.asarray(together(ONE_BLOCK, PARITY, parameters, context, np.int32(6), EVERY, shown))
    for query in EVERY:
        same = np.repeat(shown[:, [query]], PARITY.n_queries, axis=1)
        alike = together(ONE_BLOCK, PARITY, parameters, context, np.int32(6), EVERY, same)
        np.testing.assert_allclose(found[:, query], alike[:, query], atol=1e-5)
    other = np.where(shown[:, 1], context, 1 - context)
    changed = together(ONE_BLOCK, PARITY, parameters, other, np.int32(6), EVERY, shown)
    np.testing.assert_array_equal(changed[:, 1], found[:, 1])
    assert np.abs(changed - found).max() > 1e-3


def test_models_that_cannot_hide_tokens_say_so():
    for model, message in (
        (TwoBranchMLP(16, 8, 12), "TwoBranchMLP cannot hide single tokens: leave shown None"),
        (TWO_BLOCKS, "by one block only; got depth 2: take depth=1, or show all queries of a context the same"),
    ):
        with pytest.raises(ValueError, match=message):
            together(
                model, PARITY, drawn_for(model, PARITY), contexts(PARITY), np.int32(6), EVERY, np.zeros((N, 4, 6), bool)
            )


def bayes_of(context, query, length):
    examples = Examples(context, jnp.full(N, query, jnp.int32), jnp.full(N, query, jnp.int32))
    return examples, PARITY.bayes_prediction(examples, length)


def test_answers_are_the_bayes_predictor_s_and_coins_beyond_the_context(rng):
    context, coins = contexts(PARITY), jnp.asarray(rng.integers(2, size=(N, 4)), jnp.int32)
    answers = PARITY.answers(context, coins)
    for query, (far, _) in enumerate(PARITY.pairs):
        expected = coins[:, query] if far > 6 else np.argmax(bayes_of(context, query, 6)[1], axis=1)
        np.testing.assert_array_equal(answers[:, query], expected)


def test_the_divergence_of_queries_is_the_divergence_of_each(monkeypatch):
    """Also where contexts pass the network a few at a time."""
    parameters, context = drawn_for(ONE_BLOCK, PARITY), contexts(PARITY)
    monkeypatch.setattr("simulator.learners.network_predictor._PREDICTED_ACTIVATIONS", 2**14)
    for length in (2, 6):
        predictor = NetworkPredictor(PARITY, ONE_BLOCK, parameters, np.int32(length))
        assert 1 < predictor.rows_at_a_time // PARITY.n_queries < N
        found = divergence_of_queries(PARITY, predictor, 3, N)
        predictions = one_by_one(ONE_BLOCK, PARITY, parameters, context, length)
        for query in EVERY:
            examples, bayes = bayes_of(context, query, length)
            expected = PARITY.pointwise_divergence(bayes, jnp.asarray(predictions[:, query]), examples, length)
            np.testing.assert_allclose(found[:, query], expected, atol=2e-5)
