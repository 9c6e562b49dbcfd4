"""Trained models in use: compressed caches, scores of heads, and the loss against the visible context length."""

import dataclasses
import functools

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
from simulator.learners.evaluation import evaluate
from simulator.learners.network_predictor import NetworkPredictor
from simulator.measurement import attention_heads, echo_and_induction_scores, retrieval_heads
from simulator.models import MLP, ALiBi, NoPositions, Transformer
from simulator.models.attention import Cache
from simulator.tasks import GaussianLookBack, LagCopy, Retrieval
from tests.simulator.parameters import drawn_for

KEY = jax.random.key(2)
COPY, NEEDLE = LagCopy(3, 1.0, 0.3, 12), Retrieval(1, 3, 12, n_distractors=3)
SMALL = Transformer(width=16, heads=4, kv_heads=2)
NONE, ALL = np.zeros((2, 4), bool), np.ones((2, 4), bool)


@functools.cache
def untrained(model=SMALL, task=COPY):
    """A network with small random parameters."""
    return NetworkPredictor(task, model, drawn_for(model, task, 0.2), np.int32(task.max_context_length))


@functools.cache
def samples(seed=2):
    return jax.jit(lambda key: COPY.sample(key, range(16)))(jax.random.key(seed))


def cache_of(n=20, equal=()):
    """Return random keys and values. The keys at the given places are equal."""
    keys, values = (jax.random.normal(k, (3, n, 2, 4)) for k in jax.random.split(KEY))
    if len(equal):
        keys = keys.at[:, jnp.asarray(equal)].set(keys[:, :1])
    return Cache(keys, values, jnp.arange(n))


def weights_and_outputs(cache, compression=None):
    """What one token gives to each entry, before normalisation, and reads from the whole or the compressed cache."""
    return _weights_and_outputs(untrained(), cache, compression)


@functools.partial(jax.jit, static_argnames="compression")
def _weights_and_outputs(predictor, cache, compression):
    attention = attention_heads.transformer_of(predictor)[1].blocks[0].mixer
    x, at, logs = jax.random.normal(jax.random.key(8), (3, 1, 16)), jnp.full(1, 20), None
    if compression is not None:
        cache, logs = compress(cache, compression, np.zeros(2, bool))
    weights = attention.weights(x, at, cache, "float32", logs)
    logits = attention.logits(attention.query(x, "float32").reshape(3, 1, 4, 4), at, cache)
    return jnp.exp(logits), attention.mixed(x, weights, cache.values, "float32"), logs


def test_the_compensation_token_is_exact_where_the_dropped_keys_are_equal():
    """n equal weights times a mean value are the sum of the weighted values."""
    compression = CacheCompression(window=5, sinks=2)
    cache = cache_of(equal=range(2, 15))
    whole = weights_and_outputs(cache)[1]
    np.testing.assert_allclose(weights_and_outputs(cache, compression)[1], whole, atol=1e-6)
    without = dataclasses.replace(compression, compensate=False)
    assert np.abs(weights_and_outputs(cache, without)[1] - whole).max() > 1e-2


def test_the_compensation_token_never_exceeds_the_weights_it_replaces():
    """e^x is convex: n e^mean <= the sum of e^each."""
    cache = cache_of()
    each = weights_and_outputs(cache)[0][..., 2:15]
    entries, _, logs = weights_and_outputs(cache, CacheCompression(window=5, sinks=2))
    np.testing.assert_allclose(np.exp(logs[0, :, -1]), 13, rtol=1e-6)
    np.testing.assert_allclose(entries[..., -1], np.exp(np.log(each).mean(axis=-1)), rtol=1e-4)
    assert np.all(13 * entries[..., -1] < each.sum(axis=-1))


def test_the_published_setting_keeps_a_third():
    """15 % of the heads keep everything and the others a fifth: 0.15 + 0.85/5 = 0.32."""
    protected = np.arange(100).reshape(2, 50) < 15
    n = 10**6
    assert kept_fraction(CacheCompression(window=n // 5), protected, n) == pytest.approx(0.32, abs=1e-5)
    assert kept_fraction(CacheCompression(window=n), protected, n) == 1
    assert CacheCompression(window=3, sinks=2).entries(10) == 6
    assert CacheCompression(window=3, sinks=2, compensate=False).entries(10) == 5
    assert CacheCompression(window=8, sinks=2).entries(10) == 10
    assert CacheCompression(window=3) == CacheCompression(window=3, sinks=4, compensate=True)


@pytest.mark.parametrize(
    ("task", "compression", "protected"),
    [(COPY, CacheCompression(window=50), NONE), (NEEDLE, CacheCompression(window=1, sinks=0), ALL)],
    ids=["copy", "needle"],
)
def test_a_cache_of_which_nothing_is_dropped_is_the_whole_one(task, compression, protected):
    predictor = untrained(task=task)
    one = evaluate_compressed(predictor, compression, protected, test_size=256)
    other = evaluate(task, predictor, 0, 256)
    np.testing.assert_allclose(dataclasses.astuple(one), dataclasses.astuple(other), rtol=1e-5)


def test_what_is_dropped_without_compensation_has_no_part_in_the_prediction():
    """In one layer the last token sees only what the window keeps."""
    predictor = untrained(Transformer(depth=1, width=16, heads=2, positions=NoPositions()))
    examples, other = samples(), samples(5).context
    compressed = _CompressedPredictor(predictor, CacheCompression(4, 0, compensate=False), ((False, False),))
    predict = jax.jit(lambda examples: compressed(examples))
    # The last token is the asking one; four entries are kept of those before it.
    for n, same in ((7, True), (8, False)):
        changed = examples._replace(context=jnp.concatenate([other[:, :n], examples.context[:, n:]], axis=1))
        assert np.array_equal(predict(examples), predict(changed)) == same


@pytest.mark.parametrize("task", [COPY, NEEDLE], ids=["copy", "needle"])
def test_scores_tell_a_head_that_echoes_from_one_that_completes(task, monkeypatch):
    """One head looks at the same token a period ago, one at its successor, and two at the first token."""
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


def test_an_untrained_head_has_the_scores_of_chance(monkeypatch):
    """Nearly uniform attention gives a token i a share 1/(i + 2) of each of those in sight."""
    monkeypatch.setattr(attention_heads, "attention_weights", jax.jit(attention_heads.attention_weights))
    model = dataclasses.replace(SMALL, positions=NoPositions())
    echo, induction = echo_and_induction_scores(untrained(model), KEY, n_texts=256)
    expected = np.mean([(i // 3) / (i + 2) for i in range(3, 12)])
    np.testing.assert_allclose(echo.mean(), expected, rtol=0.25)
    assert induction.shape == echo.shape == (2, 4)


def test_a_sweep_is_an_evaluation_at_each_length():
    predictor = untrained()
    table = visible_context_sweep(predictor, (0, 3, 12), seed=1, test_size=256)
    for length in (0, 3, 12):
        at = evaluate(COPY, dataclasses.replace(predictor, context_length=np.int32(length)), 1, 256)
        assert table["approximation_loss"].sel(context_length=length) == at.approximation_loss
        assert table["bayes_risk"].sel(context_length=length) == COPY.bayes_risk(length)


@pytest.mark.parametrize(
    ("make", "message"),
    [
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
