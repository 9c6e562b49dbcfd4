"""Associative recall and variable tracking, beyond what enumeration checks."""

import math

import pytest

from simulator.tasks import EXAMPLES, AssociativeRecall, VariableTracking
from tests.simulator.compiled import sample


def test_even_lengths_hide_whole_pairs():
    task = AssociativeRecall(n_pairs=5, n_keys=7, n_values=4)
    assert [task.bayes_risk(2 * q) for q in range(6)] == pytest.approx([(1 - q / 5) * math.log(4) for q in range(6)])
    assert task.state_bits() == pytest.approx(math.log2(math.comb(7, 5) * 4**5))


def test_a_tracked_chain_is_read_back_by_hand():
    task = EXAMPLES[22]
    for context, query, target in zip(*(field[:200] for field in sample(task)), strict=True):
        rules = dict(name[1:].split("=") for name in map(task.token_name, context.tolist()))
        assert len(rules) == 12
        followed = str(query)
        for _ in range(3):
            followed = rules[followed].removeprefix("x")
        assert int(followed) == target


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AssociativeRecall(4, 3, 2), "n_keys must be at least n_pairs = 4, for keys are distinct; got 3"),
        (lambda: VariableTracking(10_000, 10, 2), "n_chains = 10000 and chain_length = 10 make 100000 variables"),
    ],
)
def test_impossible_dials_are_refused_by_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
