"""Associative recall and variable tracking, beyond what enumeration checks."""

import math

import jax
import numpy as np
import pytest

from simulator.tasks import AssociativeRecall, VariableTracking


def test_even_lengths_hide_whole_pairs():
    task = AssociativeRecall(n_pairs=5, n_keys=7, n_values=4)
    assert [task.bayes_risk(2 * q) for q in range(6)] == pytest.approx([(1 - q / 5) * math.log(4) for q in range(6)])
    assert task.state_bits() == pytest.approx(math.log2(math.comb(7, 5) * 4**5))


def test_the_gap_of_the_pair_asked_for_has_its_power_law():
    task = AssociativeRecall(n_pairs=6, n_keys=6, n_values=2, gap_exponent=1.0)
    n = 60_000
    examples = jax.jit(task.sample)(jax.random.key(1), np.arange(n))
    place = np.argmax(np.asarray(examples.context)[:, ::2] == np.asarray(examples.query)[:, None], axis=1)
    shares = np.bincount(5 - place, minlength=6) / n
    expected = np.array([1 / j for j in range(1, 7)]) / sum(1 / j for j in range(1, 7))
    assert np.all(np.abs(shares - expected) < 5 * np.sqrt(expected / n))


def test_a_tracked_chain_is_read_back_by_hand():
    task = VariableTracking(n_chains=3, chain_length=3, n_values=4)
    examples = jax.jit(task.sample)(jax.random.key(2), np.arange(200))
    for context, query, target in zip(*map(np.asarray, examples), strict=True):
        rules = dict(name[1:].split("=") for name in map(task.token_name, context.tolist()))
        assert len(rules) == 9
        followed = str(query)
        for _ in range(3):
            followed = rules[followed].removeprefix("x")
        assert int(followed) == target


def test_tracking_a_single_step_is_a_look_up():
    task = VariableTracking(n_chains=8, chain_length=1, n_values=3)
    assert [task.bayes_risk(l) for l in range(9)] == pytest.approx([math.log(3) * (1 - l / 8) for l in range(9)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AssociativeRecall(4, 3, 2), "n_keys must be at least n_pairs = 4, for keys are distinct; got 3"),
        (lambda: AssociativeRecall(0, 3, 2), "n_pairs must be at least 1; got 0"),
        (lambda: AssociativeRecall(2, 3, 1), "n_values must be between 2 and 65535; got 1"),
        (lambda: AssociativeRecall(2, 3, 2, -0.5), "gap_exponent must be .*0 or above; got -0.5"),
        (lambda: VariableTracking(10_000, 10, 2), "n_chains = 10000 and chain_length = 10 make 100000 variables"),
        (lambda: VariableTracking(0, 2, 2), "n_chains must be at least 1; got 0"),
        (lambda: VariableTracking(2, 0, 2), "chain_length must be at least 1; got 0"),
        (lambda: VariableTracking(2, 2, 1), "n_values must be between 2 and 65535; got 1"),
    ],
)
def test_impossible_dials_are_refused_by_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
