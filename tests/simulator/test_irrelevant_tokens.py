"""Irrelevant tokens around every other task."""

import dataclasses
import itertools
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.specification import canonical_json
from simulator.tasks import EXAMPLES, GaussianLookBack, IrrelevantTokens, LagCopy, Mixture, Retrieval, SparseParity
from simulator.tasks.sampling import other_stream
from tests.simulator.compiled import BATCH, assert_risk_is_measured, predict, relevant_tokens, sample

BARE = [task for task in EXAMPLES if not isinstance(task, IrrelevantTokens)]
KINDS, PLACEMENTS = ("noise", "distractor", "repeat"), ("first", "last", "middle", "random")
VARIANTS = list(itertools.product(KINDS, PLACEMENTS, ("visible", "hidden")))
LAGS, NEEDLE = LagCopy(2, 1.0, 0.3, 6), Retrieval(1, 2, 6, n_distractors=2)
NUMBERS = EXAMPLES[3]


@pytest.mark.parametrize(
    "task",
    [
        IrrelevantTokens(EXAMPLES[1], 0.6, "noise", "first", "visible"),
        IrrelevantTokens(EXAMPLES[5], 0.6, "repeat", "random", "visible"),
        IrrelevantTokens(EXAMPLES[6], 0.6, "distractor", "last", "visible"),
        IrrelevantTokens(EXAMPLES[8], 0.6, "noise", "random", "visible"),
        IrrelevantTokens(EXAMPLES[21], 0.6, "repeat", "random", "hidden"),
        IrrelevantTokens(
            IrrelevantTokens(LAGS, 0.5, "noise", "random", "visible"), 0.5, "distractor", "random", "visible"
        ),
        IrrelevantTokens(
            Mixture((Mixture((LAGS, NEEDLE), (1, 2)), NEEDLE), (1, 1)), 0.5, "repeat", "random", "visible"
        ),
        Mixture(
            (IrrelevantTokens(LAGS, 0.5, relevance="visible"), IrrelevantTokens(NEEDLE, 0.5, "distractor")), (1, 1)
        ),
    ],
    ids=lambda task: canonical_json(task)[:60],
)
def test_the_risk_of_padded_and_nested_tasks_is_what_their_bayes_predictor_measures(task):
    """Queries, log-loss of numbers, several channels and steps; tasks made of tasks made of tasks."""
    lengths = np.linspace(0, task.max_context_length, 4).astype(int)
    assert_risk_is_measured(task, sample(task, 8 * BATCH), lengths)


@pytest.mark.parametrize(("bare", "kind", "relevance"), [(NUMBERS, "noise", "visible"), (LAGS, "distractor", "hidden")])
def test_with_nothing_irrelevant_the_bare_task_is_left_to_the_bit(bare, kind, relevance):
    task = IrrelevantTokens(bare, 1.0, kind, "random", relevance)
    assert task.form == dataclasses.replace(bare.form, is_stationary_text=False)
    for got, field in zip(sample(task), sample(bare), strict=True):
        assert got.dtype == field.dtype
        np.testing.assert_array_equal(got, field)
    for length in (0, 1, bare.max_context_length):
        assert task.bayes_risk(length) == bare.bayes_risk(length)
        assert task.intrinsic_dimension(length) == bare.intrinsic_dimension(length)
    np.testing.assert_array_equal(*(predict(t, sample(bare), 2) for t in (task, bare)))


@given(st.sampled_from(BARE[:12]), st.floats(0.15, 1), st.sampled_from(VARIANTS), st.integers(0, 100))
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


def test_redrawn_positions_are_uniform():
    """Among all placements of 4 relevant tokens among 8."""
    task = IrrelevantTokens(SparseParity(((2, 1), (3, 1)), 4), 0.5, relevance="visible")
    n = 8 * BATCH
    masks = sample(task, n).context < 2
    assert np.all(masks.sum(axis=1) == 4)
    codes, counts = np.unique(masks @ (1 << np.arange(8)), return_counts=True)
    assert len(codes) == 70
    assert np.abs(counts / n - 1 / 70).max() < 5 * math.sqrt(1 / 70 / n)


def test_a_hidden_random_placement_is_a_rule_drawn_from_its_seed():
    bare = LagCopy(3, 0.8, 0.2, 5)
    tasks = [IrrelevantTokens(bare, 0.5, seed=seed) for seed in range(20)]
    assert len({tuple(task.bayes_risk(l) for l in range(11)) for task in tasks}) > 10
    examples = sample(tasks[0])
    relevant = relevant_tokens(tasks[0], examples)
    assert np.all(relevant == relevant[0])
    inner = jax.jit(bare.sample)(other_stream(jax.random.key(0), 0), np.arange(64))
    np.testing.assert_array_equal(examples.context[:64, relevant[0]], inner.context)


def test_what_the_kinds_are():
    bare = Retrieval(1, 2, 6, n_distractors=3)
    frequencies = {}
    for kind in ("noise", "distractor"):
        others = sample(IrrelevantTokens(bare, 0.3, kind, "first")).context[:, 6:]
        assert np.mean(others[:, :6] == others[:, 6:12]) < 0.5
        frequencies[kind] = np.bincount(others.ravel(), minlength=5) / others.size
    assert np.abs(frequencies["noise"] - 1 / 5).max() < 0.02
    assert np.abs(frequencies["distractor"] - [5 / 18, 5 / 18, 5 / 18, 1 / 12, 1 / 12]).max() < 0.02
    context = sample(IrrelevantTokens(bare, 0.5, "repeat", "middle")).context
    np.testing.assert_array_equal(context[:, :3], np.repeat(context[:, 3:4], 3, axis=1))
    np.testing.assert_array_equal(context[:, 9:11], context[:, 10:])  # nothing relevant is newer: one token of noise
    assert np.mean(context[:, 9] == context[:, 8]) < 0.5


def test_marks_of_vectors_are_one_more_channel():
    bare = GaussianLookBack.arfima(0.3, 4)
    task = IrrelevantTokens(bare, 0.5, placement="middle", relevance="visible")
    assert task.n_channels == 2
    context = sample(task).context[:16]
    np.testing.assert_array_equal(context[:, :, 1], np.tile([0, 0, 1, 1, 1, 1, 0, 0], (16, 1)))
    inner = jax.jit(bare.sample)(other_stream(jax.random.key(0), 0), np.arange(16))
    np.testing.assert_array_equal(context[:, 2:6, 0], inner.context)


def test_an_impossible_fraction_is_refused_by_value():
    with pytest.raises(ValueError, match=r"relevant_fraction must be above 0 and at most 1; got 0\.0"):
        IrrelevantTokens(LAGS, 0.0)
    with pytest.raises(ValueError, match=r"must be at least 5\.72e-06, for 1048576 tokens in all; got 1e-09"):
        IrrelevantTokens(LAGS, 1e-9)


@pytest.mark.parametrize(
    ("bare", "kind"),
    [
        (Mixture((LagCopy(4, 0.5, 0.1, 4),) * 2, (1, 1)), "noise"),
        (IrrelevantTokens(LAGS, 0.5, "distractor", "last"), "distractor"),
    ],
)
def test_padding_is_independent_of_what_it_pads(bare, kind):
    """However deep tasks are nested, no two draws share a random word: noise tells neither tokens nor the answer."""
    task = IrrelevantTokens(bare, 0.4, kind, "last")
    context, _, target = sample(task)
    noise, v = context[:, : task.n_irrelevant], task.vocabulary_size
    for known in (target, *context[:, task.n_irrelevant :].T):
        tokens, values = noise[:, :, None, None] == np.arange(v)[:, None], known[:, None] == np.arange(v)
        joint = np.mean(tokens & values[:, None, None, :], axis=0)
        product = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
        assert np.abs(joint - product).max() < 5 * 0.5 / math.sqrt(BATCH)
