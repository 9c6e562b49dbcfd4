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

PARITY = SparseParity(((2, 1), (4, 1), (5, 3), (9, 2)), 6, (4.0, 3.0, 2.0, 1.0))
KEY = jax.random.key(5)
ONE_BLOCK = Transformer(depth=1, width=16, heads=2, positions=RelativeRoPE(base=100.0, max_length=7))
THREE_BLOCKS = Transformer(depth=3, width=16, heads=4, kv_heads=2, positions=RelativeRoPE(max_length=9))
CASES = [
    (ONE_BLOCK, PARITY),
    (THREE_BLOCKS, PARITY),
    (Transformer(depth=2, width=16, heads=4, kv_heads=1, positions=ALiBi(), window=3, log_length=True), PARITY),
    (Transformer(depth=2, width=16, heads=2, positions=LearnedPositions(7)), PARITY),
    (Transformer(depth=2, width=16, heads=2, positions=RoPE()), Retrieval(1, 3, 6, n_distractors=2)),
    (TwoBranchMLP(16, 8, 12), PARITY),
    (MLP(hidden_sizes=(8,)), PARITY),
]


@functools.partial(jax.jit, static_argnums=(0, 1, 5))
def one_by_one(model, task, parameters, context, length, precision="float32"):
    """What the model's own ``apply`` says of each query."""
    every = [jnp.full(context.shape[0], query, jnp.int32) for query in range(task.n_queries)]
    answers = [model.apply(task, parameters, Examples(context, q, q), length, precision) for q in every]
    return jnp.stack(answers, axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1, 7))
def together(model, task, parameters, context, length, queries, shown=None, precision="float32"):
    return model.apply_to_queries(task, parameters, context, length, queries, shown, precision)


@functools.partial(jax.jit, static_argnums=(0, 1))
def initial(model, task):
    return model.init(task, KEY, task.max_context_length)


@functools.partial(jax.jit, static_argnums=(0, 1))
def contexts(task, number):
    return task.sample(stream_key(3, "test"), jnp.arange(number, dtype=jnp.int32)).context


def every(task):
    return jnp.arange(task.n_queries, dtype=jnp.int32)


@pytest.mark.parametrize(("model", "task"), CASES, ids=repr)
def test_queries_asked_together_are_answered_as_one_by_one(model, task):
    """The same network and another order of the same sums, whatever the rule of positions and the visible length."""
    parameters, context = initial(model, task), contexts(task, 32)
    for length in (0, 3, 6):
        expected = one_by_one(model, task, parameters, context, np.int32(length))
        found = together(model, task, parameters, context, np.int32(length), every(task))
        np.testing.assert_allclose(found, expected, atol=2e-5)
    some = together(model, task, parameters, context, np.int32(6), every(task)[2:0:-1])
    np.testing.assert_allclose(some, expected[:, 2:0:-1], atol=2e-5)


@pytest.mark.parametrize("model", [ONE_BLOCK, TwoBranchMLP(16, 8, 12)], ids=repr)
def test_a_length_known_when_compiling_and_mixed_precision_are_those_of_apply(model):
    parameters, context = initial(model, PARITY), contexts(PARITY, 32)
    expected, found = (
        jax.jit(lambda p, ask=ask: ask(p, context))(parameters)
        for ask in (
            lambda p, c: one_by_one.__wrapped__(model, PARITY, p, c, 4, "mixed"),
            lambda p, c: together.__wrapped__(model, PARITY, p, c, 4, every(PARITY), None, "mixed"),
        )
    )
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("model", [ONE_BLOCK, THREE_BLOCKS], ids=repr)
def test_what_is_not_shown_is_as_absent_as_what_is_out_of_sight(model):
    """The newest tokens shown are a shorter visible length: these positions count distances only."""
    parameters, context = initial(model, PARITY), contexts(PARITY, 32)
    for length in (0, 4):
        shown = jnp.broadcast_to(jnp.arange(6) >= 6 - length, context.shape)
        found = together(model, PARITY, parameters, context, np.int32(6), every(PARITY), shown)
        np.testing.assert_allclose(
            found, together(model, PARITY, parameters, context, np.int32(length), every(PARITY)), atol=2e-5
        )


def test_each_query_may_be_shown_its_own_tokens():
    parameters, context = initial(ONE_BLOCK, PARITY), contexts(PARITY, 64)
    shown = jax.random.bernoulli(KEY, shape=(64, PARITY.n_queries, 6))
    found = together(ONE_BLOCK, PARITY, parameters, context, np.int32(6), every(PARITY), shown)
    for query in range(PARITY.n_queries):
        alone = together(ONE_BLOCK, PARITY, parameters, context, np.int32(6), every(PARITY), shown[:, query])
        np.testing.assert_allclose(found[:, query], alone[:, query], atol=1e-5)
    other = jnp.where(shown[:, 1], context, 1 - context)
    changed = together(ONE_BLOCK, PARITY, parameters, other, np.int32(6), every(PARITY), shown)
    np.testing.assert_array_equal(changed[:, 1], found[:, 1])
    assert np.abs(changed - found).max() > 1e-3


def test_models_that_cannot_hide_tokens_say_so():
    context, nothing = contexts(PARITY, 4), jnp.zeros((4, 4, 6), bool)
    for model, message in (
        (TwoBranchMLP(16, 8, 12), "TwoBranchMLP cannot hide single tokens: leave shown None"),
        (THREE_BLOCKS, "by one block only; got depth 3: take depth=1, or show all queries of a context the same"),
    ):
        with pytest.raises(ValueError, match=message):
            together(model, PARITY, initial(model, PARITY), context, np.int32(6), every(PARITY), nothing)


def test_answers_are_the_bayes_predictor_s_and_coins_beyond_the_context():
    context, coins = contexts(PARITY, 64), jax.random.bernoulli(KEY, shape=(64, 4)).astype(jnp.int32)
    answers = PARITY.answers(context, coins)
    for query, (far, _) in enumerate(PARITY.pairs):
        if far > 6:
            np.testing.assert_array_equal(answers[:, query], coins[:, query])
        else:
            asked = jnp.full(64, query, jnp.int32)
            bayes = PARITY.bayes_prediction(Examples(context, asked, asked), 6)
            np.testing.assert_array_equal(answers[:, query], np.argmax(bayes, axis=1))


def test_the_divergence_of_queries_is_the_divergence_of_each(monkeypatch):
    """Also where contexts pass the network a few at a time."""
    parameters, context = initial(ONE_BLOCK, PARITY), contexts(PARITY, 20)
    monkeypatch.setattr("simulator.learners.network_predictor._PREDICTED_ACTIVATIONS", 2**14)
    for length in (2, 6):
        predictor = NetworkPredictor(PARITY, ONE_BLOCK, parameters, np.int32(length))
        assert 1 < predictor.rows_at_a_time // PARITY.n_queries < 20
        found = divergence_of_queries(PARITY, predictor, 3, 20)
        predictions = one_by_one(ONE_BLOCK, PARITY, parameters, context, np.int32(length))
        for query in range(PARITY.n_queries):
            asked = jnp.full(20, query, jnp.int32)
            examples = Examples(context, asked, asked)
            bayes = PARITY.bayes_prediction(examples, length)
            expected = PARITY.pointwise_divergence(bayes, predictions[:, query], examples, length)
            np.testing.assert_allclose(found[:, query], expected, atol=2e-5)
