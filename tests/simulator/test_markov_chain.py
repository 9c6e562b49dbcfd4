"""Markov chains against closed forms."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.tasks.markov_chain import MarkovChain
from tests.simulator.compiled import BATCH, assert_risk_is_measured, sample

LN2 = math.log(2)
GOLDEN = (1 + math.sqrt(5)) / 2


def binary_entropy(p):
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


@pytest.mark.parametrize("stay", [0.75, 0.1, 0.5])
def test_two_symmetric_states_know_the_next_token_up_to_a_coin_of_their_own(stay):
    task = MarkovChain(((stay, 1 - stay), (1 - stay, stay)), 4)
    assert task.bayes_risk(0) == pytest.approx(LN2)
    for length in (1, 2, 4):
        assert task.bayes_risk(length) == pytest.approx(binary_entropy(stay))
        assert task.intrinsic_entropy(length) == pytest.approx(LN2)
        assert task.intrinsic_dimension(length) == (0 if stay == 0.5 else 1)
    assert task.entropy_rate == task.bayes_risk(1)


def test_the_golden_mean_shift_has_the_logarithm_of_the_golden_mean_as_entropy_rate():
    """No two ones in a row, and otherwise as random as can be: P(0 | 0) = 1/golden (Parry's measure)."""
    task = MarkovChain(((1 / GOLDEN, 1 - 1 / GOLDEN), (1, 0)), 3)
    assert task.entropy_rate == pytest.approx(math.log(GOLDEN), abs=1e-14)
    assert task.bayes_risk(0) == pytest.approx(binary_entropy(1 / (1 + GOLDEN**2)))


def test_equal_rows_make_tokens_independent_at_any_order():
    law = (0.2, 0.5, 0.3)
    for order in (0, 1, 2):
        task = MarkovChain((law,) * 3**order, 3)
        assert task.order == order
        for length in range(4):
            assert task.bayes_risk(length) == pytest.approx(-sum(p * math.log(p) for p in law))
            assert task.intrinsic_dimension(length) == 0
            assert task.intrinsic_entropy(length) == pytest.approx(min(length, order) * task.bayes_risk(0))


def test_the_oldest_token_of_a_word_is_the_most_significant():
    """The next token copies the one two back: rows 00 01 10 11 say 0 0 1 1, up to an error of 1/10."""
    task = MarkovChain(((0.9, 0.1), (0.9, 0.1), (0.1, 0.9), (0.1, 0.9)), 6)
    context = sample(task).context
    assert np.mean(context[:, 2:] == context[:, :-2]) == pytest.approx(0.9, abs=0.02)
    assert task.bayes_risk(1) == pytest.approx(LN2)
    assert task.bayes_risk(2) == pytest.approx(binary_entropy(0.9))
    assert [task.intrinsic_dimension(length) for length in range(4)] == [0, 0, 1, 1]


@given(st.permutations(range(3)), st.integers(0, 1000))
def test_renaming_the_tokens_changes_no_number(names, seed):
    task = MarkovChain.random(2, 3, 1.0, 3, seed)
    table = np.zeros((9, 3))
    for a, b, c in itertools.product(range(3), repeat=3):
        table[3 * names[a] + names[b], names[c]] = task.transition[3 * a + b][c]
    renamed = MarkovChain(tuple(map(tuple, table.tolist())), 3)
    for length in range(4):
        assert renamed.bayes_risk(length) == pytest.approx(task.bayes_risk(length), abs=1e-12)
        assert renamed.intrinsic_entropy(length) == pytest.approx(task.intrinsic_entropy(length), abs=1e-12)
        assert renamed.intrinsic_dimension(length) == task.intrinsic_dimension(length)


def test_a_periodic_chain_is_stationary_all_the_same():
    """Two tokens that take turns: fair at first sight, certain from one token on."""
    task = MarkovChain(((0, 1), (1, 0)), 3)
    assert task.bayes_risk(0) == pytest.approx(LN2)
    assert task.bayes_risk(1) == 0
    first = sample(task).context[:, 0]
    assert first.mean() == pytest.approx(0.5, abs=0.04)


def test_states_that_are_left_for_good_do_not_occur():
    task = MarkovChain(((0.5, 0.5, 0), (0.5, 0.5, 0), (1, 0, 0)), 4)
    assert task.bayes_risk(1) == pytest.approx(LN2)
    assert task.intrinsic_dimension(4) == 0
    assert sample(task).context.max() == 1


def test_a_context_shorter_than_the_order_is_allowed():
    deep, shallow = MarkovChain.random(4, 2, 1.0, 8, seed=3), MarkovChain.random(4, 2, 1.0, 2, seed=3)
    assert [shallow.bayes_risk(length) for length in range(3)] == [deep.bayes_risk(length) for length in range(3)]
    assert sample(shallow).context.shape == (BATCH, 2)
    assert_risk_is_measured(shallow, sample(shallow), [2])
    assert shallow.entropy_rate == deep.bayes_risk(4) < shallow.bayes_risk(2)


def test_rows_are_normalised_once_and_read_back_the_same():
    third = 0.3333333333
    task = MarkovChain(((third,) * 3,) * 3, 2)
    assert math.fsum(task.transition[0]) == pytest.approx(1, abs=1e-15)
    drawn = [MarkovChain.random(2, 3, 0.3, 4, seed) for seed in range(20)]
    for one in (task, *drawn):
        assert MarkovChain(one.transition, one.max_context_length) == one


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (((0.5, 0.5), (0.5, 0.5), (0.5, 0.5)), "transition must have v\\^m rows.*2 columns.*got 3"),
        (((0.5, 0.4), (0.5, 0.5)), "each row of transition must sum to 1 within 1e-9; row 0 sums to 0.9"),
        (((1.5, -0.5), (0.5, 0.5)), "an entry of transition must be a finite number, 0 or above; got -0.5"),
        (((1, 0), (0, 1)), "transition must have one stationary law; it has 2 closed classes"),
        (((1.0,),), "transition must have at least 2 columns.*got 1"),
        ((), "transition must have rows of one length"),
        (((0.5, 0.5), (1.0,)), "transition must have rows of one length.*lengths \\[1, 2\\]"),
        (((0.5, 0.5),) * 8192, "at most 4096; got 8192"),
    ],
)
def test_a_table_that_is_no_chain_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        MarkovChain(table, 3)


def test_bad_dials_of_a_random_chain_are_refused():
    for dials, message in [
        ((13, 2, 1.0, 4), "order must be between 0 and 12; got 13"),
        ((1, 1, 1.0, 4), "vocabulary_size must be between 2 and 4096; got 1"),
        ((1, 2, 0.0, 4), "concentration must be a finite number above 0; got 0.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            MarkovChain.random(*dials)
