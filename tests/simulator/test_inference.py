"""Fixed models in use: compressed caches, the scores of heads, and the loss over visible context lengths."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator.inference import (
    CacheCompression,
    evaluate_compressed,
    kept_fraction,
    visible_context_sweep,
)
from simulator.inference.cache_compression import _CompressedPredictor, compress
from simulator.learners import GradientDescent, network_predictor
from simulator.learners.evaluation import evaluate
from simulator.measurement import attention_heads, echo_and_induction_scores, retrieval_heads
from simulator.models import MLP, ALiBi, NoPositions, Transformer
from simulator.models.attention import Cache
from simulator.tasks import GaussianLookBack, LagCopy, Retrieval

KEY = jax.random.key(2)
COPY, NEEDLE = LagCopy(3, 1.0, 0.3, 12), Retrieval(1, 3, 12, n_distractors=3)
SMALL = Transformer(width=16, heads=4, kv_heads=2)
NONE, ALL = np.zeros((2, 4), bool), np.ones((2, 4), bool)


def untrained(model=SMALL, task=COPY):
    return GradientDescent(model=model, steps=1).untrained(task, task.max_context_length)


def attention_and_cache(n=20, equal=()):
    """Random keys and values of which some keys are the same."""
    _, network = attention_heads.transformer_of(untrained())
    attention = network.blocks[0].mixer
    keys, values = (jax.random.normal(k, (3, n, 2, 4)) for k in jax.random.split(KEY))
    if len(equal):
        keys = keys.at[:, jnp.asarray(equal)].set(keys[:, :1])
    return attention, Cache(keys, values, jnp.arange(n))


def mixed(attention, cache, compression=None):
    x, at = jax.random.normal(jax.random.key(8), (3, 1, 16)), jnp.full(1, 20)
    if compression is None:
        return attention.mixed(x, attention.weights(x, at, cache, "float32"), cache.values, "float32")
    small = compress(cache, compression, np.zeros(2, bool))
    weights = attention.weights(x, at, small.cache, "float32", small.log_counts)
    return attention.mixed(x, weights, small.cache.values, "float32")


def test_the_compensation_token_is_exact_where_the_dropped_keys_are_equal():
    """n equal weights times a mean value are the sum of the weighted values."""
    compression = CacheCompression(window=5, sinks=2)
    attention, cache = attention_and_cache(equal=range(2, 15))
    np.testing.assert_allclose(mixed(attention, cache, compression), mixed(attention, cache), atol=1e-6)
    without = dataclasses.replace(compression, compensate=False)
    assert np.abs(mixed(attention, cache, without) - mixed(attention, cache)).max() > 1e-2


def test_the_compensation_token_counts_for_less_than_what_it_stands_for_otherwise():
    """e^x is convex: n e^mean <= the sum of e^each."""
    attention, cache = attention_and_cache()
    small = compress(cache, CacheCompression(window=5, sinks=2), np.zeros(2, bool))
    queries = jax.random.normal(jax.random.key(8), (3, 1, 4, 4))
    whole = np.exp(attention.logits(queries, jnp.full(1, 20), cache))[..., 2:15].sum(axis=-1)
    counts = np.exp(np.repeat(small.log_counts, 2, axis=1))
    one = (np.exp(attention.logits(queries, jnp.full(1, 20), small.cache))[..., 0, :] * counts)[..., -1:]
    assert np.all(one < whole)
    assert np.all(one > 0)
    np.testing.assert_allclose(counts[0, :, -1], 13)


def test_the_published_setting_keeps_a_third():
    """15 % of the heads whole, the others a fifth: 0.15 + 0.85/5 = 0.32."""
    protected = np.arange(100).reshape(2, 50) < 15
    n = 10**6
    assert kept_fraction(CacheCompression(window=n // 5), protected, n) == pytest.approx(0.32, abs=1e-5)
    assert kept_fraction(CacheCompression(window=n), protected, n) == 1
    assert CacheCompression(window=3, sinks=2).entries(10) == 6
    assert CacheCompression(window=3, sinks=2, compensate=False).entries(10) == 5
    assert CacheCompression(window=8, sinks=2).entries(10) == 10


@pytest.mark.parametrize("task", [COPY, NEEDLE], ids=["copy", "needle"])
@pytest.mark.parametrize(
    ("compression", "protected"), [(CacheCompression(window=50), NONE), (CacheCompression(window=1, sinks=0), ALL)]
)
def test_a_cache_of_which_nothing_is_dropped_is_the_whole_one(task, compression, protected):
    predictor = untrained(task=task)
    one = evaluate_compressed(predictor, compression, protected, test_size=256)
    other = evaluate(task, predictor, 0, 256)
    np.testing.assert_allclose(dataclasses.astuple(one), dataclasses.astuple(other), rtol=1e-5)


def test_what_is_dropped_without_compensation_has_no_part_in_the_prediction():
    """In one layer the last token sees what the window keeps, and nothing else."""
    predictor = untrained(Transformer(depth=1, width=16, heads=2, positions=NoPositions()))
    examples = COPY.sample(KEY, range(16))
    other = COPY.sample(jax.random.key(5), range(16)).context
    compressed = _CompressedPredictor(predictor, CacheCompression(4, 0, compensate=False), ((False, False),))
    # The last token is the asking one; four entries are kept of those before it.
    for n, alike in ((7, True), (8, False)):
        changed = examples._replace(context=jnp.concatenate([other[:, :n], examples.context[:, n:]], axis=1))
        assert np.array_equal(compressed(examples), compressed(changed)) == alike


@pytest.mark.parametrize("task", [COPY, NEEDLE], ids=["copy", "needle"])
def test_scores_tell_a_head_that_echoes_from_one_that_completes(task, monkeypatch):
    """Heads made by hand: one looks at the same token a period ago, one at its successor, two at the first token."""
    n, period = task.max_context_length, task.max_context_length // 4
    first = 0 if task.n_queries > 1 else 1  # a start token
    one = np.zeros((5, 4, n + 1, n + 1), np.float32)
    for i in range(n):
        one[:, 0, first + i, first + max(i - period, 0)] = 1
        one[:, 1, first + i, first + max(i - period + 1, 0)] = 1
    one[:, 2:, :, 0] = 1
    monkeypatch.setattr(attention_heads, "attention_weights", lambda *_: [jnp.asarray(one), jnp.asarray(one[:, ::-1])])
    echo, induction = echo_and_induction_scores(untrained(task=task), KEY)
    np.testing.assert_allclose(echo[0, :2], [1, 0])
    np.testing.assert_allclose(induction[1, 2:], [1, 0])
    assert echo[0, 1] == induction[0, 0] == 0
    chosen = retrieval_heads(untrained(task=task), KEY)
    np.testing.assert_array_equal(chosen, [[True, True, False, False], [False, False, True, True]])


def test_an_untrained_head_has_the_scores_of_chance():
    """Nearly uniform attention gives a token i a share 1/(i + 2) of each of those in sight."""
    model = dataclasses.replace(SMALL, positions=NoPositions())
    echo, induction = echo_and_induction_scores(untrained(model), KEY, n_texts=256)
    expected = np.mean([(i // 3) / (i + 2) for i in range(3, 12)])
    np.testing.assert_allclose(echo.mean(), expected, rtol=0.25)
    assert induction.shape == echo.shape == (2, 4)


def test_a_batch_too_large_for_memory_is_predicted_in_pieces(monkeypatch):
    """The same predictions, whatever is left over at the end."""
    predictor, examples = untrained(), COPY.sample(KEY, range(10))
    whole = predictor(examples)
    for rows in (1, 3, 4, 10):
        monkeypatch.setattr(
            network_predictor, "_PREDICTED_ACTIVATIONS", rows * SMALL.activations(COPY, COPY.max_context_length)
        )
        np.testing.assert_allclose(predictor(examples), whole, rtol=1e-6, atol=1e-6)


def test_a_sweep_is_an_evaluation_at_each_length():
    predictor = untrained()
    table = visible_context_sweep(predictor, (0, 3, 12), seed=1, test_size=300)
    for length in (0, 3, 12):
        at = evaluate(COPY, dataclasses.replace(predictor, context_length=np.int32(length)), 1, 300)
        assert table["approximation_loss"].sel(context_length=length) == at.approximation_loss
        assert table["bayes_risk"].sel(context_length=length) == COPY.bayes_risk(length)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CacheCompression(window=0), "window must be at least 1; got 0"),
        (lambda: CacheCompression(window=4, sinks=-1), "sinks must be at least 0; got -1"),
        (lambda: evaluate_compressed(untrained(MLP()), CacheCompression(4), NONE), "only a Transformer has heads"),
        (lambda: evaluate_compressed(untrained(), CacheCompression(4), NONE[:1]), r"2 layers and 4 heads.*\(1, 4\)"),
        (
            lambda: evaluate_compressed(untrained(Transformer(positions=ALiBi())), CacheCompression(4), NONE),
            "has no distance",
        ),
        (lambda: echo_and_induction_scores(untrained(), KEY, repeats=9), "too short to repeat two tokens 9 times"),
        (
            lambda: echo_and_induction_scores(untrained(task=GaussianLookBack.arfima(0.3, 9)), KEY),
            "GaussianLookBack has real ones",
        ),
        (lambda: retrieval_heads(untrained(), KEY, induction_share=1.5), r"shares.*\[0, 1\]; got 0.01 and 1.5"),
        (lambda: visible_context_sweep(untrained(), (13,)), "a context length must be between 0 and 12; got 13"),
        (lambda: visible_context_sweep(untrained(), ()), "at least one length"),
    ],
)
def test_impossible_questions_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
