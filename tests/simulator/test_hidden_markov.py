"""Hidden Markov models against chains that are not hidden, and against the bounds of their entropy rate."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.tasks import Examples
from simulator.tasks.hidden_markov import HiddenMarkov
from simulator.tasks.markov_chain import MarkovChain
from tests.simulator.compiled import predict, sample


def test_states_that_show_themselves_make_a_markov_chain():
    """And the bounds meet after one token, so that any context length is allowed."""
    chain = MarkovChain.random(1, 3, 1.0, 40, seed=2)
    identity = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    task = HiddenMarkov(chain.transition, identity, 40)
    examples = sample(chain)
    for length in (0, 1, 2, 5, 40):
        assert task.bayes_risk(length) == pytest.approx(chain.bayes_risk(length), abs=1e-14)
        assert task.intrinsic_dimension(length) == chain.intrinsic_dimension(length)
        np.testing.assert_allclose(predict(task, examples, length), predict(chain, examples, length), rtol=1e-5)
    assert task.entropy_rate_bounds(40) == pytest.approx((chain.entropy_rate,) * 2)


@pytest.mark.parametrize(
    "task",
    [
        HiddenMarkov(((0.9, 0.1), (0.2, 0.8)), ((0.3, 0.7), (0.3, 0.7)), 30),
        HiddenMarkov(((0.3, 0.7), (0.3, 0.7)), ((1, 0), (0, 1)), 30),
        HiddenMarkov(((1.0,),), ((0.3, 0.7),), 30),
    ],
    ids=["states look alike", "states are independent", "one state"],
)
def test_context_is_worth_nothing_where_tokens_tell_nothing_of_the_next(task):
    expected = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    for length in (0, 1, 30):
        assert task.bayes_risk(length) == pytest.approx(expected, abs=1e-12)
        assert task.intrinsic_entropy(length) is None
    assert task.intrinsic_dimension(0) == 0


def test_mess3_has_beliefs_in_a_triangle_and_bounds_that_close_exponentially():
    task = HiddenMarkov.symmetric(3, stay=0.9, accuracy=0.85, max_context_length=10)
    assert task.bayes_risk(0) == pytest.approx(math.log(3))
    assert [task.intrinsic_dimension(length) for length in range(4)] == [0, 2, 2, 2]
    bounds = np.array([task.entropy_rate_bounds(length) for length in range(11)])
    assert np.all(np.diff(bounds[:, 0]) >= 0)
    assert np.all(np.diff(bounds[:, 1]) <= 0)
    gaps = bounds[:, 1] - bounds[:, 0]
    assert np.all(gaps > 0)
    assert np.all(np.diff(np.log(gaps[1:])) < -1)
    # After one token the belief is a row of show (columns sum to one too), moved once, shown once.
    move = 0.9 * np.eye(3) + 0.05 * (1 - np.eye(3))
    show = 0.85 * np.eye(3) + 0.075 * (1 - np.eye(3))
    law = (show @ move @ show)[0]
    assert task.bayes_risk(1) == pytest.approx(-np.sum(law * np.log(law)), abs=1e-14)


def test_the_worked_example_is_right():
    task = HiddenMarkov.symmetric(2, 0.9, 0.9, 16)
    assert [round(task.bayes_risk(length), 4) for length in (0, 1, 2)] == [0.6931, 0.5556, 0.5370]
    assert [round(bound, 4) for bound in task.entropy_rate_bounds(16)] == [0.5314, 0.5314]


@given(st.permutations(range(3)), st.permutations(range(2)), st.integers(0, 1000))
def test_renaming_states_and_tokens_changes_no_number(states, tokens, seed):
    task = HiddenMarkov.random(3, 2, 1.0, 4, seed)
    move, show = np.array(task.transition), np.array(task.emission)
    renamed = HiddenMarkov(
        tuple(map(tuple, move[np.ix_(states, states)].tolist())),
        tuple(map(tuple, show[np.ix_(states, tokens)].tolist())),
        4,
    )
    for length in range(5):
        assert renamed.entropy_rate_bounds(length) == pytest.approx(task.entropy_rate_bounds(length), abs=1e-12)
        assert renamed.intrinsic_dimension(length) == task.intrinsic_dimension(length)


def test_a_dimension_may_grow_token_by_token():
    """States in a ring that is turned one step at a time, where one alone shows a token of its own."""
    n = 5
    ring = tuple(tuple(0.8 * (j == (i + 1) % n) + 0.2 * (j == i) for j in range(n)) for i in range(n))
    task = HiddenMarkov(ring, tuple((float(i == 0), float(i != 0)) for i in range(n)), 6)
    assert [task.intrinsic_dimension(length) for length in range(7)] == [0, 1, 2, 3, 4, 4, 4]


def test_a_dimension_is_counted_however_little_the_tokens_tell():
    task = HiddenMarkov(((0.9, 0.1), (0.2, 0.8)), ((0.5, 0.5), (0.5001, 0.4999)), 3)
    assert [task.intrinsic_dimension(length) for length in range(4)] == [0, 1, 1, 1]


def test_a_word_that_cannot_occur_gets_a_finite_answer():
    task = HiddenMarkov(((0, 1), (1, 0)), ((1, 0), (0, 1)), 4)
    impossible = Examples(np.zeros((2, 4), np.int32), np.zeros(2, np.int32), np.zeros(2, np.int32))
    assert not np.isnan(predict(task, impossible, 4)).any()


def test_a_length_that_cannot_be_computed_is_refused_by_value():
    message = r"max_context_length must be at most 12 for 3 states and 3 tokens; got 13.*above the entropy rate"
    with pytest.raises(ValueError, match=message):
        HiddenMarkov.symmetric(3, stay=0.9, accuracy=0.85, max_context_length=13)
    assert HiddenMarkov.symmetric(3, stay=0.9, accuracy=1.0, max_context_length=1000).bayes_risk(1000) > 0


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ((((1, 0), (0, 1)), ((1, 0), (0, 1))), "transition must have one stationary law"),
        ((((0.5, 0.5),), ((1, 0),)), "transition must be square; got 1 rows of 2"),
        ((((0.5, 0.5), (0.5, 0.5)), ((1, 0),)), "emission must have a row for each of the 2 states; got 1"),
        ((((0.5, 0.5), (0.5, 0.5)), ((1,), (1,))), "emission must have at least 2 columns.*got 1"),
        ((((0.5, 0.5), (0.5, 0.5)), ((1, 0), (0.4, 0.5))), "each row of emission must sum to 1.*row 1 sums to 0.9"),
    ],
)
def test_tables_that_are_no_model_are_refused(tables, message):
    with pytest.raises(ValueError, match=message):
        HiddenMarkov(*tables, 3)


def test_bad_dials_are_refused():
    for dials, message in [
        ((1, 0.5, 0.5, 3), "n_states must be at least 2; got 1"),
        ((3, 1, 0.5, 3), r"stay must be in \[0, 1\); got 1"),
        ((3, 0.5, 1.1, 3), r"accuracy must be in \[0, 1\]; got 1.1"),
    ]:
        with pytest.raises(ValueError, match=message):
            HiddenMarkov.symmetric(*dials)
