"""Sparse parity against published numbers and against enumeration of every bit string."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.tasks import EXAMPLES, SparseParity
from tests.simulator.compiled import BATCH, sample

LN2 = math.log(2)
PUBLISHED = {
    20: (0, 0.69315), 21: (3, 0.65156), 22: (6, 0.60997), 25: (12, 0.52679), 27: (16, 0.47134), 30: (20, 0.41589),
    32: (22, 0.38816), 36: (26, 0.33271), 40: (29, 0.29112), 43: (31, 0.26340), 47: (33, 0.23567), 50: (34, 0.22181),
    55: (36, 0.19408), 63: (38, 0.16636), 71: (40, 0.13863), 77: (41, 0.12477), 84: (42, 0.11090), 93: (43, 0.09704),
    100: (43, 0.09704),
}  # fmt: skip


@st.composite
def tasks(draw):
    L = draw(st.integers(1, 7))
    far = draw(st.lists(st.integers(2, 9), min_size=1, max_size=6))
    pairs = tuple((f, draw(st.integers(1, f - 1))) for f in far)
    frequencies = draw(st.none() | st.tuples(*[st.floats(0.1, 3)] * len(pairs)))
    return SparseParity(pairs, L, frequencies)


def test_the_published_pairs_have_the_published_bayes_risk():
    task = SparseParity.paper_v1()
    assert {length: task.solvable_tasks(length) for length in PUBLISHED} == {l: n for l, (n, _) in PUBLISHED.items()}
    risks = [task.bayes_risk(length) for length in PUBLISHED]
    assert risks == pytest.approx([risk for _, risk in PUBLISHED.values()], abs=5.1e-6)


def test_the_published_far_bits_are_pareto_quantiles():
    task = SparseParity.paper_v1()
    assert [far for far, _ in task.pairs] == [far for far, _ in SparseParity.pareto(50, 100, 20, 1.2).pairs]
    assert len(task.pairs) == len(set(task.pairs)) == 50
    assert len({near for _, near in task.pairs}) == 40


def test_the_published_pairs_are_a_forest_so_entropy_is_ln_2_per_solvable_task():
    """R = ln 2 - S(P_l)/50: the paper's linear entropy relation with k exactly 1/50."""
    task = SparseParity.paper_v1()
    for length in range(101):
        assert task.intrinsic_entropy(length) == pytest.approx(LN2 * task.solvable_tasks(length))
        assert task.bayes_risk(length) == pytest.approx(LN2 - task.intrinsic_entropy(length) / 50)


def test_the_inferred_v4_frequencies_give_both_published_values():
    task = SparseParity.paper_v4()
    assert round(task.bayes_risk(17), 4) == 0.4643
    assert round(task.bayes_risk(50), 4) == 0.0612
    assert task.bayes_risk(10) == pytest.approx(LN2)
    assert task.bayes_risk(60) == 0
    assert task.n_queries == 100
    assert len(set(task.pairs)) == 100


@given(tasks())
def test_entropy_equals_the_entropy_of_the_visible_answers_by_enumeration(task):
    strings = np.array(list(itertools.product((0, 1), repeat=9)))
    for length in range(task.max_context_length + 1):
        visible = [(f - 1, n - 1) for f, n in task.pairs if f <= length]
        answers = np.array([strings[:, f] ^ strings[:, n] for f, n in visible] or [0 * strings[:, 0]]).T
        counts = np.unique(answers, axis=0, return_counts=True)[1] / len(strings)
        assert task.intrinsic_entropy(length) == pytest.approx(-float(np.sum(counts * np.log(counts))))
        # The linear dimension: rank of the answers as +-1 features.
        rank = np.linalg.matrix_rank(1.0 - 2.0 * answers) if visible else 0.0
        assert task.intrinsic_dimension(length) == rank


@given(st.integers(1, 80), st.integers(1, 30), st.floats(0.3, 3), st.integers(0, 5))
def test_pareto_placement_follows_its_power_law(n, nearest, exponent, seed):
    task = SparseParity.pareto(n, 64, nearest, exponent, seed)
    assert task == SparseParity.pareto(n, 64, nearest, exponent, seed)
    assert all(far > nearest for far, _ in task.pairs)
    for length in range(nearest, 65):
        hidden = task.bayes_risk(length) / LN2
        # A quantile rule is off by at most one task, and far bits are rounded up to whole positions.
        assert (nearest / (length + 1)) ** exponent - 1 / n - 1e-9 <= hidden <= (nearest / length) ** exponent + 1 / n


@given(st.integers(1, 40), st.integers(0, 5))
def test_pairs_repeat_only_where_no_other_pair_is_left(n, seed):
    task = SparseParity.pareto(n, 32, 2, 1.0, seed)
    for far in {far for far, _ in task.pairs}:
        near = [b for a, b in task.pairs if a == far]
        assert len(set(near)) == min(len(near), far - 1)


def test_answers_out_of_the_context_are_fair_coins():
    task = EXAMPLES[1]
    context, query, target = sample(task, 5 * BATCH)
    (far, near), coins = task.pairs[4], query == 4
    assert far > task.max_context_length >= near
    error = 0.5 / np.sqrt(coins.sum())
    assert abs(target[coins].mean() - 0.5) < 4 * error
    for column in context.T:
        assert abs(np.mean(target[coins] == column[coins]) - 0.5) < 4 * error


def test_equal_frequencies_are_exact_and_others_are_drawn():
    np.testing.assert_array_equal(sample(EXAMPLES[0]).query, np.arange(BATCH) % 12)
    counts = np.bincount(sample(EXAMPLES[1], 5 * BATCH).query)
    expected = np.array(EXAMPLES[1].frequencies) * 5 * BATCH
    assert np.sum((counts - expected) ** 2 / expected) < 23.5  # chi-square with 4 degrees of freedom, p = 1e-4


def test_tasks_longer_than_a_word_use_every_bit():
    correlation = np.corrcoef(sample(SparseParity(((70, 1),), 70)).context.T)
    assert np.abs(correlation - np.eye(70)).max() < 5 / np.sqrt(BATCH)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SparseParity((), 4), "at least one"),
        (lambda: SparseParity(((2, 2),), 4), r"near < far; got \(2, 2\)"),
        (lambda: SparseParity(((1, 3),), 4), r"near < far; got \(1, 3\)"),
        (lambda: SparseParity(((3, 1),), 4, (0.5, 0.5)), "1 pairs need as many frequencies; got 2"),
        (lambda: SparseParity.pareto(50, 4, 2, 1e-3), "exponent = 0.001 places a far bit beyond"),
    ],
)
def test_an_impossible_task_is_refused_by_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
