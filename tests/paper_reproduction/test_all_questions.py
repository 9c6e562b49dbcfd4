"""Every question asked of each context: the same networks as everywhere, another order of the same sums."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper_reproduction.all_questions import (
    TransformerTraining,
    TwoBranchTraining,
    draw,
    mean_losses,
    with_blocks_underneath,
)
from simulator.models import RelativeRoPE, RoPE, Transformer, TwoBranchMLP
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
def together(model, parameters):
    return model.apply_to_queries(TASK, parameters, CONTEXT, 6, EVERY)


@functools.partial(jax.jit, static_argnums=(0, 1))
def initial(model, length):
    return model.init(TASK, KEY, length)


@functools.partial(jax.jit, static_argnums=0)
def shown(training, progress=0.0):
    return training.shown(KEY, progress, EVERY)


CONTEXT, ANSWERS = jax.jit(lambda: draw(TASK, KEY, 64))()


def test_questions_are_asked_of_the_task_s_own_contexts():
    """Its samples answer as the draw does, except where a coin answers."""
    examples = jax.tree.map(np.asarray, jax.jit(TASK.sample)(KEY, jnp.arange(64, dtype=jnp.int32)))
    np.testing.assert_array_equal(CONTEXT, examples.context)
    can_be_known = examples.query < 3
    assert can_be_known.sum() > 32
    of_samples = np.asarray(ANSWERS)[np.arange(64), examples.query]
    np.testing.assert_array_equal(of_samples[can_be_known], examples.target[can_be_known])
    assert 0.2 < np.mean(np.asarray(ANSWERS)[:, 3]) < 0.8, "beyond L the answer is a fair coin"


def test_the_loss_is_the_task_s_of_each_question():
    predictions = jax.nn.log_softmax(jax.random.normal(KEY, (64, 4, 2)))
    found = mean_losses(predictions, ANSWERS)
    for question in range(4):
        examples = Examples(CONTEXT, jnp.full(64, question, jnp.int32), ANSWERS[:, question])
        expected = TASK.pointwise_loss(predictions[:, question], examples, 6).mean()
        np.testing.assert_allclose(found[question], expected, atol=1e-6)


def test_new_blocks_underneath_change_nothing_at_first():
    model = TRANSFORMERS[0]
    parameters = initial(model, 6)
    deeper = dataclasses.replace(model, depth=2)
    models = []

    def with_more(parameters):
        models.append(with_blocks_underneath(TASK, model, parameters, 2, KEY))
        return models[0][1]

    more = jax.jit(with_more)(parameters)
    assert models[0][0] == deeper
    before, after = (together(m, p) for m, p in ((model, parameters), (deeper, more)))
    np.testing.assert_allclose(after, before, atol=2e-5)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(together(deeper, p) ** 2)))(more)
    of_output = gradient["blocks"][0]["mixer"]["output"]["kernel"][...]
    assert jnp.abs(of_output).max() > 0, "and are trained from then on"


@pytest.mark.parametrize("name", ["easy_until", "edge_share"])
def test_bits_of_a_question_s_own_need_a_single_block(name):
    with pytest.raises(ValueError, match=rf"{name} must be 0 where there are several blocks; got 0\.3"):
        TransformerTraining(TASK, TRANSFORMERS[1], 10, 1e-3, 4, **{name: 0.3})


def test_what_is_shown_follows_the_recipe():
    """Own bits always while questions are easy; else the newest bits, no fewer than the shortest, all to one half."""
    training = TransformerTraining(TASK, TRANSFORMERS[0], 10, 1e-3, 500, shortest=3, easy_until=0.5, easy_share=1.0)
    easy = np.asarray(shown(training, 0.1))
    for question, pair in enumerate(TASK.pairs[:3]):
        assert easy[:, question, [6 - bit for bit in pair]].all()
    assert 0.2 < easy[:, 3].mean() < 0.5, "a bit is shown with the mean of u^2, a third"
    for newest in map(np.asarray, (shown(training, 0.9), shown(dataclasses.replace(training, easy_until=0.0)))):
        number = newest.sum(axis=-1)
        np.testing.assert_array_equal(newest, np.arange(6) >= 6 - number[..., None])
        assert number.min() == 3
        assert abs((number == 6).mean() - (0.5 + 0.5 / 4)) < 0.06
        assert (number[:, 0] != number[:, 1]).any(), "each question its own"
    deeper = TransformerTraining(TASK, TRANSFORMERS[1], 10, 1e-3, 500, shortest=3)
    assert shown(deeper).shape == (500, 6), "of several blocks one for all"


def test_edges_of_far_bits_are_shown_more_often():
    """Where not all is shown: two bits less than the far one to one more, a fourth each, no less than the shortest."""
    training = TransformerTraining(TASK, TRANSFORMERS[0], 10, 1e-3, 4000, shortest=1, edge_share=1.0)
    number = np.asarray(shown(training)).sum(axis=-1)
    for question, eighths in enumerate(((2, 1, 1, 0, 0, 4), (0, 1, 1, 1, 1, 4), (0, 0, 1, 1, 1, 5))):
        shares = np.bincount(number[:, question], minlength=7)[1:] / 4000
        np.testing.assert_allclose(shares, np.asarray(eighths) / 8, atol=0.03)
    assert (number[:, 3] == 6).all(), "the far bit lies beyond L"


@pytest.mark.parametrize(
    "training",
    [
        pytest.param(
            TransformerTraining(
                TASK, TRANSFORMERS[0], 300, 1e-2, 16, warmup=10, easy_until=0.3, frequencies_from=0.5, shortest=5
            ),
            marks=pytest.mark.slow,
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
    before, after = (jax.jit(training.loss)(p, KEY, jnp.float32(1)) for p in (parameters, found))
    assert before > 0.5
    assert after < TASK.bayes_risk(5) + 0.05
