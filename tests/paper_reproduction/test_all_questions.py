"""Every question asked of each context: the same networks as everywhere, another order of the same sums."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper_reproduction.all_questions import TransformerTraining, TwoBranchTraining, draw, with_blocks_underneath
from paper_reproduction.log_odds import divergences, losses, transformer_log_odds, two_branch_log_odds
from paper_reproduction.transformer_v4.make import divergence
from simulator.learners import NetworkPredictor
from simulator.models import ALiBi, LearnedPositions, RelativeRoPE, RoPE, Transformer, TwoBranchMLP
from simulator.random.streams import stream_key
from simulator.tasks import Examples, SparseParity

TASK = SparseParity(((2, 1), (4, 1), (5, 3), (9, 2)), 6, (4.0, 3.0, 2.0, 1.0))
KEY = jax.random.key(5)
EVERY = jnp.arange(4)
TRANSFORMERS = [
    Transformer(depth=1, width=16, heads=2, positions=RelativeRoPE(base=100.0, max_length=7)),
    Transformer(depth=2, width=16, heads=4, positions=RoPE()),
    Transformer(depth=3, width=16, heads=2, positions=RelativeRoPE(max_length=9)),
]


@functools.partial(jax.jit, static_argnums=0)
def one_by_one(model, parameters, context, length):
    """Log-odds of each question by the model's own ``apply``."""

    def of_question(question):
        query = jnp.full(context.shape[0], question, jnp.int32)
        log_probability = model.apply(TASK, parameters, Examples(context, query, query), length)
        return log_probability[:, 1] - log_probability[:, 0]

    return jax.vmap(of_question, out_axes=1)(jnp.arange(TASK.n_queries))


@functools.partial(jax.jit, static_argnums=0)
def together(model, parameters, context, shown):
    return transformer_log_odds(model.merged(TASK, parameters), context, shown)


@functools.partial(jax.jit, static_argnums=0)
def initial(model, length):
    return model.init(TASK, KEY, length)


CONTEXT, ANSWERS = jax.jit(lambda: draw(TASK, KEY, 64))()


@pytest.mark.parametrize("model", TRANSFORMERS, ids=repr)
def test_a_transformer_says_what_it_says_one_by_one(model):
    parameters = initial(model, 6)
    for length in (0, 3, 6):
        shown = jnp.broadcast_to(jnp.arange(6) >= 6 - length, CONTEXT.shape)
        expected = one_by_one(model, parameters, CONTEXT, np.int32(length))
        np.testing.assert_allclose(together(model, parameters, CONTEXT, shown), expected, atol=2e-5)


def test_each_question_may_be_shown_its_own_bits():
    model = TRANSFORMERS[0]
    parameters = initial(model, 6)
    shown = jax.random.bernoulli(KEY, shape=(64, TASK.n_queries, 6))
    found = together(model, parameters, CONTEXT, shown)
    for question in range(TASK.n_queries):
        alone = together(model, parameters, CONTEXT, shown[:, question])[:, question]
        np.testing.assert_allclose(found[:, question], alone, atol=1e-5)
    some = jax.jit(lambda p: transformer_log_odds(model.merged(TASK, p), CONTEXT, shown[:, 1:3], EVERY[1:3]))(
        parameters
    )
    np.testing.assert_allclose(some, found[:, 1:3], atol=1e-5)
    hidden = jnp.where(shown[:, 1], CONTEXT, 1 - CONTEXT)
    np.testing.assert_array_equal(together(model, parameters, hidden, shown)[:, 1], found[:, 1])


def test_table_1_is_the_divergence_of_the_questions_one_by_one():
    model, key = TRANSFORMERS[0], stream_key(3, "test")
    parameters = initial(model, 6)
    context, answers = draw(TASK, key, 16)
    for length in (2, 6):
        log_odds = one_by_one(model, parameters, context, np.int32(length))
        expected = np.asarray(divergences(TASK, log_odds, answers, length)) @ TASK.task_frequencies()
        found = divergence(NetworkPredictor(TASK, model, parameters, np.int32(6)), length, 16, 3)
        np.testing.assert_allclose(found[:2], (expected.mean(), expected.std(ddof=1) / 4), atol=2e-5)


@pytest.mark.parametrize("length", [1, 4, 6])
def test_a_two_branch_network_says_what_it_says_one_by_one(length):
    model = TwoBranchMLP(16, 8, 12)
    parameters = initial(model, length)
    found = jax.jit(lambda p: two_branch_log_odds(model.merged(TASK, p), CONTEXT, length))(parameters)
    np.testing.assert_allclose(found, one_by_one(model, parameters, CONTEXT, np.int32(length)), atol=2e-5)


def test_answers_and_divergences_are_the_task_s():
    log_odds = 2 * jax.random.normal(KEY, ANSWERS.shape)

    @jax.jit
    def of_task(question, length):
        examples = Examples(CONTEXT, jnp.full(64, question, jnp.int32), ANSWERS[:, question])
        bayes = TASK.bayes_prediction(examples, length)
        prediction = jax.nn.log_sigmoid(jnp.stack([-log_odds, log_odds], axis=-1)[:, question])
        divergence = TASK.pointwise_divergence(bayes, prediction, examples, length)
        return bayes, divergence, TASK.pointwise_loss(prediction, examples, length)

    for length in (0, 4, 6):
        found = divergences(TASK, log_odds, ANSWERS, length)
        for question, (far, _) in enumerate(TASK.pairs):
            bayes, divergence, loss = of_task(question, length)
            if far <= length:
                np.testing.assert_array_equal(np.argmax(bayes, axis=1), ANSWERS[:, question])
            np.testing.assert_allclose(found[:, question], divergence, atol=1e-5)
            np.testing.assert_allclose(losses(log_odds, ANSWERS)[:, question], loss, atol=1e-5)
    assert 0.2 < ANSWERS[:, 3].mean() < 0.8, "beyond L the answer is a fair coin"


def test_new_blocks_underneath_change_nothing_at_first():
    model = TRANSFORMERS[0]
    parameters = initial(model, 6)
    deeper, more = with_blocks_underneath(TASK, model, parameters, 3, KEY)
    assert deeper == dataclasses.replace(model, depth=3)
    before, after = (one_by_one(m, p, CONTEXT, np.int32(6)) for m, p in ((model, parameters), (deeper, more)))
    np.testing.assert_allclose(after, before, atol=2e-5)
    everything = jnp.ones(CONTEXT.shape, bool)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(together(deeper, p, CONTEXT, everything) ** 2)))(more)
    of_output = gradient["blocks"][0]["mixer"]["output"]["kernel"][...]
    assert jnp.abs(of_output).max() > 0, "and are trained from then on"


@pytest.mark.parametrize(
    "other",
    [{"positions": ALiBi()}, {"positions": LearnedPositions(7)}, {"window": 3}, {"log_length": True}, {"kv_heads": 1}],
)
def test_networks_that_would_be_asked_wrongly_are_refused(other):
    model = Transformer(depth=1, width=16, heads=2, **other)
    with pytest.raises(ValueError, match="every question is asked of Transformers with rotary positions"):
        together(model, initial(model, 6), CONTEXT, jnp.ones(CONTEXT.shape, bool))


@pytest.mark.parametrize("name", ["easy_until", "edge_share"])
def test_bits_of_a_question_s_own_need_a_single_block(name):
    with pytest.raises(ValueError, match=rf"{name} must be 0 where there are several blocks; got 0\.3"):
        TransformerTraining(TASK, TRANSFORMERS[1], 10, 1e-3, 4, **{name: 0.3})


def test_what_is_shown_follows_the_recipe():
    """Own bits always while questions are easy; else the newest bits, no fewer than the shortest, all to one half."""
    training = TransformerTraining(TASK, TRANSFORMERS[0], 10, 1e-3, 500, shortest=3, easy_until=0.5, easy_share=1.0)
    easy = training.shown(KEY, jnp.float32(0.1), EVERY)
    for question, pair in enumerate(TASK.pairs[:3]):
        assert easy[:, question, [6 - bit for bit in pair]].all()
    assert 0.2 < easy[:, 3].mean() < 0.5, "a bit is shown with the mean of u^2, a third"
    for shown in (
        training.shown(KEY, jnp.float32(0.9), EVERY),
        dataclasses.replace(training, easy_until=0.0).shown(KEY, jnp.float32(0), EVERY),
    ):
        number = shown.sum(axis=-1)
        np.testing.assert_array_equal(shown, np.arange(6) >= 6 - np.asarray(number)[..., None])
        assert number.min() == 3
        assert abs((number == 6).mean() - (0.5 + 0.5 / 4)) < 0.06
        assert (number[:, 0] != number[:, 1]).any(), "each question its own"
    deeper = TransformerTraining(TASK, TRANSFORMERS[1], 10, 1e-3, 500, shortest=3)
    assert deeper.shown(KEY, jnp.float32(0), EVERY).shape == (500, 6), "of several blocks one for all"


def test_edges_of_far_bits_are_shown_more_often():
    """Where not all is shown: two bits less than the far one to one more, a fourth each, no less than the shortest."""
    training = TransformerTraining(TASK, TRANSFORMERS[0], 10, 1e-3, 4000, shortest=1, edge_share=1.0)
    number = np.asarray(training.shown(KEY, jnp.float32(0), EVERY).sum(axis=-1))
    for question, eighths in enumerate(((2, 1, 1, 0, 0, 4), (0, 1, 1, 1, 1, 4), (0, 0, 1, 1, 1, 5))):
        shares = np.bincount(number[:, question], minlength=7)[1:] / 4000
        np.testing.assert_allclose(shares, np.asarray(eighths) / 8, atol=0.03)
    assert (number[:, 3] == 6).all(), "the far bit lies beyond L"


@pytest.mark.parametrize(
    "training",
    [
        TransformerTraining(
            TASK, TRANSFORMERS[0], 300, 1e-2, 16, warmup=10, easy_until=0.3, frequencies_from=0.5, shortest=5
        ),
        TwoBranchTraining(TASK, TwoBranchMLP(32, 8, 16), 300, 1e-2, 64, warmup=10, context_length=5),
    ],
    ids=lambda training: type(training).__name__,
)
def test_training_learns_what_can_be_known(training):
    """The same to the bit each time; of the four questions three are answered by five bits."""
    parameters = initial(training.model, 5)
    found = training.run(parameters, 1)
    again = training.run(parameters, 1)
    jax.tree.map(np.testing.assert_array_equal, found, again)
    before, after = (training.loss(p, KEY, jnp.float32(1)) for p in (parameters, found))
    assert before > 0.5
    assert after < TASK.bayes_risk(5) + 0.05
