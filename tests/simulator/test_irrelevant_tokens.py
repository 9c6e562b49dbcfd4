"""Irrelevant tokens around every other task."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.specification import canonical_json
from simulator.tasks import EXAMPLES, GaussianLookBack, IrrelevantTokens, LagCopy, Mixture, Retrieval, SparseParity
from simulator.tasks.sampling import other_stream

BARE = [task for task in EXAMPLES if not isinstance(task, IrrelevantTokens)]
SOME_FAST = [task if i % 5 == 0 else pytest.param(task, marks=pytest.mark.slow) for i, task in enumerate(BARE)]
KINDS, PLACEMENTS = ("noise", "distractor", "repeat"), ("first", "last", "middle", "random")
VARIANTS = list(itertools.product(KINDS, PLACEMENTS, ("visible", "hidden")))


@functools.partial(jax.jit, static_argnums=0)
def sample(task, key, index):
    return task.sample(key, index)


@functools.partial(jax.jit, static_argnums=0)
def loss(task, examples, length):
    return task.pointwise_loss(task.bayes_prediction(examples, length), examples, length)


@pytest.mark.parametrize(("number", "bare"), list(enumerate(BARE)), ids=[canonical_json(task)[:50] for task in BARE])
def test_the_risk_of_any_padded_task_is_what_its_bayes_predictor_measures(number, bare):
    """Each task with another way of padding; 20,000 samples at three lengths, within 4 standard errors."""
    kind, placement, relevance = VARIANTS[7 * number % len(VARIANTS)]
    task = IrrelevantTokens(bare, 0.6, kind, placement, relevance, seed=number)
    examples = sample(task, jax.random.key(number), jnp.arange(20_000))
    for length in (0, task.max_context_length // 2, task.max_context_length):
        losses = np.asarray(loss(task, examples, length), float)
        error = losses.std(ddof=1) / math.sqrt(losses.size)
        assert abs(losses.mean() - task.bayes_risk(length)) < 4 * error + 1e-6, (kind, placement, relevance, length)


@pytest.mark.parametrize("bare", SOME_FAST, ids=lambda task: canonical_json(task)[:50])
def test_with_nothing_irrelevant_the_bare_task_is_left_to_the_bit(bare):
    expected = sample(bare, jax.random.key(3), jnp.arange(64))
    for kind, relevance in (("noise", "visible"), ("distractor", "hidden")):
        task = IrrelevantTokens(bare, 1.0, kind, "random", relevance)
        assert (task.vocabulary_size, task.n_channels) == (bare.vocabulary_size, bare.n_channels)
        for got, field in zip(sample(task, jax.random.key(3), jnp.arange(64)), expected, strict=True):
            assert got.dtype == field.dtype
            np.testing.assert_array_equal(got, field)
        for length in (0, 1, bare.max_context_length):
            assert task.bayes_risk(length) == bare.bayes_risk(length)
            assert task.intrinsic_dimension(length) == bare.intrinsic_dimension(length)
        predictions = (t.bayes_prediction(expected, 2) for t in (task, bare))
        np.testing.assert_array_equal(*predictions)


@given(
    st.sampled_from(BARE[:12]),
    st.floats(0.15, 1),
    st.sampled_from(VARIANTS),
    st.integers(0, 100),
)
def test_padding_never_lowers_the_risk(bare, fraction, variant, seed):
    task = IrrelevantTokens(bare, fraction, *variant, seed)
    L, n = task.max_context_length, bare.max_context_length
    assert round(n / fraction) == L
    assert task.bayes_risk(0) == pytest.approx(bare.bayes_risk(0), abs=1e-14)
    assert task.bayes_risk(L) == pytest.approx(bare.bayes_risk(n), abs=1e-14)
    for length in range(0, L + 1, max(L // 6, 1)):
        seen = task.relevant_in_sight(length)
        assert math.fsum(seen.values()) == pytest.approx(1)
        assert all(max(0, n + length - L) <= k <= min(n, length) for k in seen)
        assert task.bayes_risk(length) >= bare.bayes_risk(min(length, n)) - 1e-14


def test_where_the_relevant_tokens_are_decides_when_they_are_seen():
    bare = SparseParity(((2, 1), (3, 1)), 4)
    padded = {p: IrrelevantTokens(bare, 0.5, placement=p) for p in PLACEMENTS}
    assert [padded["first"].bayes_risk(l) for l in range(9)] == [bare.bayes_risk(max(l - 4, 0)) for l in range(9)]
    assert [padded["last"].bayes_risk(l) for l in range(9)] == [bare.bayes_risk(min(l, 4)) for l in range(9)]
    assert [padded["middle"].bayes_risk(l) for l in range(9)] == [
        bare.bayes_risk(min(max(l - 2, 0), 4)) for l in range(9)
    ]


def test_redrawn_positions_are_hypergeometric():
    """By counting all placements of 4 relevant tokens among 8."""
    bare = SparseParity(((2, 1), (3, 1)), 4)
    task = IrrelevantTokens(bare, 0.5, relevance="visible")
    subsets = list(itertools.combinations(range(1, 9), 4))
    for length in range(9):
        counted = np.mean([bare.bayes_risk(sum(d <= length for d in subset)) for subset in subsets])
        assert task.bayes_risk(length) == pytest.approx(counted, abs=1e-14)
    masks = np.asarray(sample(task, jax.random.key(0), jnp.arange(30_000)).context) < 2
    assert np.all(masks.sum(axis=1) == 4)
    codes, counts = np.unique(masks @ (1 << np.arange(8)), return_counts=True)
    assert len(codes) == 70
    assert np.abs(counts / 30_000 - 1 / 70).max() < 5 * math.sqrt(1 / 70 / 30_000)


def test_a_hidden_random_placement_is_a_rule_drawn_from_its_seed():
    bare = LagCopy(3, 0.8, 0.2, 5)
    tasks = [IrrelevantTokens(bare, 0.5, seed=seed) for seed in range(20)]
    assert len({tuple(task.bayes_risk(l) for l in range(11)) for task in tasks}) > 10
    examples = sample(tasks[0], jax.random.key(0), jnp.arange(64))
    relevant = np.asarray(tasks[0].relevant_tokens(examples))
    assert np.all(relevant == relevant[0])
    inner = sample(bare, other_stream(jax.random.key(0), 0), jnp.arange(64))
    np.testing.assert_array_equal(np.asarray(examples.context)[:, relevant[0]], inner.context)


def test_what_the_kinds_are():
    bare = Retrieval(1, 2, 6, n_distractors=3)
    index = jnp.arange(4000)
    frequencies = {}
    for kind in ("noise", "distractor"):
        task = IrrelevantTokens(bare, 0.5, kind, "first")
        others = np.asarray(sample(task, jax.random.key(1), index).context)[:, 6:]
        frequencies[kind] = np.bincount(others.ravel(), minlength=5) / others.size
    assert np.abs(frequencies["noise"] - 1 / 5).max() < 0.02
    assert np.abs(frequencies["distractor"] - [5 / 18, 5 / 18, 5 / 18, 1 / 12, 1 / 12]).max() < 0.02
    task = IrrelevantTokens(bare, 0.5, "repeat", "last")
    context = np.asarray(sample(task, jax.random.key(1), index).context)
    assert np.all(context[:, :6] == context[:, 6:7])


def test_marks_of_vectors_are_one_more_channel():
    bare = GaussianLookBack.arfima(0.3, 4)
    task = IrrelevantTokens(bare, 0.5, placement="middle", relevance="visible")
    assert task.n_channels == 2
    context = np.asarray(sample(task, jax.random.key(1), jnp.arange(16)).context)
    np.testing.assert_array_equal(context[:, :, 1], np.tile([0, 0, 1, 1, 1, 1, 0, 0], (16, 1)))
    np.testing.assert_array_equal(
        context[:, 2:6, 0], sample(bare, other_stream(jax.random.key(1), 0), jnp.arange(16)).context
    )


@pytest.mark.parametrize(
    ("dials", "error", "message"),
    [
        ({"relevant_fraction": 0.0}, ValueError, "relevant_fraction must be above 0 and at most 1; got 0.0"),
        ({"relevant_fraction": 1.2}, ValueError, "relevant_fraction must be above 0 and at most 1; got 1.2"),
        ({"relevant_fraction": float("nan")}, ValueError, "relevant_fraction must be a finite number; got nan"),
        ({"relevant_fraction": 1e-9}, ValueError, "must be at least 3.81e-06, for 1048576 tokens in all; got 1e-09"),
        ({"seed": -1}, ValueError, "seed must be at least 0; got -1"),
        ({"relevant_fraction": "half"}, TypeError, "half"),
    ],
)
def test_impossible_dials_are_refused_by_value(dials, error, message):
    with pytest.raises(error, match=message):
        IrrelevantTokens(**{"task": LagCopy(2, 1.0, 0.2, 4), "relevant_fraction": 0.5} | dials)


def test_an_unknown_kind_is_refused_by_name():
    for dial in ("kind", "placement", "relevance"):
        with pytest.raises(Exception, match="sideways"):
            IrrelevantTokens(LagCopy(2, 1.0, 0.2, 4), 0.5, **{dial: "sideways"})


LAGS, NEEDLE = LagCopy(2, 1.0, 0.3, 6), Retrieval(1, 2, 6, n_distractors=2)
COMPOSED = [
    IrrelevantTokens(Mixture((LAGS, NEEDLE), (1, 1)), 0.5, "repeat", "random", "visible"),
    IrrelevantTokens(IrrelevantTokens(LAGS, 0.5, "noise", "random", "visible"), 0.5, "distractor", "random", "visible"),
    IrrelevantTokens(Mixture((Mixture((LAGS, NEEDLE), (1, 2)), NEEDLE), (1, 1)), 0.5, "distractor", "last"),
    Mixture((IrrelevantTokens(LAGS, 0.5, relevance="visible"), IrrelevantTokens(NEEDLE, 0.5, "distractor")), (1, 1)),
]


@pytest.mark.parametrize("task", COMPOSED, ids=lambda task: canonical_json(task)[:60])
def test_tasks_made_of_tasks_made_of_tasks_keep_their_exact_risk(task):
    examples = sample(task, jax.random.key(5), jnp.arange(100_000))
    for length in np.linspace(0, task.max_context_length, 5).astype(int):
        losses = np.asarray(loss(task, examples, length), float)
        error = losses.std(ddof=1) / math.sqrt(losses.size)
        assert abs(losses.mean() - task.bayes_risk(int(length))) < 4 * error + 1e-6, length


@pytest.mark.parametrize("kind", ["noise", "distractor"])
@pytest.mark.parametrize(
    "bare", [Mixture((LagCopy(4, 0.5, 0.1, 4),), (1,)), IrrelevantTokens(LAGS, 0.5, placement="last")]
)
def test_padding_is_independent_of_what_it_pads(bare, kind):
    """However deep tasks are nested, no two draws share a random word: noise tells neither tokens nor the answer."""
    task = IrrelevantTokens(bare, 0.25, kind, "last")
    examples = sample(task, jax.random.key(0), jnp.arange(20_000))
    context, v = np.asarray(examples.context), task.vocabulary_size
    noise = context[:, : task.n_irrelevant]
    for known in (np.asarray(examples.target), *context[:, task.n_irrelevant :].T):
        tokens, values = noise[:, :, None, None] == np.arange(v)[:, None], known[:, None] == np.arange(v)
        joint = np.mean(tokens & values[:, None, None, :], axis=0)
        product = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
        assert np.abs(joint - product).max() < 5 * 0.5 / math.sqrt(20_000)
