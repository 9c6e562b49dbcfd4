"""The Random Hierarchy Model against brute force over derivations, closed forms and its asymptotic exponent."""

import math

import numpy as np
import pytest

from simulator.tasks.random_hierarchy import RandomHierarchy
from tests.simulator.compiled import BATCH, assert_risk_is_measured, sample

BIGGER = RandomHierarchy(8, 2, 2, 4)


@pytest.mark.parametrize("dials", [(2, 2, 2, 5), (3, 3, 2, 4), (2, 4, 3, 2)])
def test_with_every_tuple_in_use_tokens_are_independent_and_uniform(dials):
    """f = 1: a uniform symbol makes a uniform tuple, and so on down; context is worth nothing."""
    task = RandomHierarchy(*dials)
    assert task.risk_exponent is None
    for length in range(task.max_context_length + 1):
        assert task.bayes_risk(length) == pytest.approx(math.log(dials[0]), abs=1e-12)
        assert task.intrinsic_dimension(length) == 0
        assert task.intrinsic_entropy(length) is None


def test_no_two_symbols_of_a_level_share_a_tuple():
    for rule in RandomHierarchy(5, 4, 2, 3, seed=1).rules():
        assert rule.shape == (5, 4, 2)
        assert len(np.unique(rule.reshape(-1, 2), axis=0)) == 20


@pytest.mark.parametrize("task", [BIGGER, RandomHierarchy(6, 4, 3, 2, seed=2)], ids=["pairs", "triples"])
def test_belief_propagation_measures_the_exact_risk_where_strings_are_too_many_to_list(task):
    """Two computations that share nothing but the rules: messages on samples, and tables of evidence."""
    assert_risk_is_measured(task, sample(task, 4 * BATCH), (1, 3, 5, 7, task.max_context_length))


@pytest.mark.parametrize(("v", "m", "s", "n"), [(8, 4, 2, 4), (4, 4, 3, 3), (8, 8, 3, 2)])
def test_the_risk_is_a_staircase(v, m, s, n):
    """On average over rules, the token next to a complete subtree of s^k tokens tells less than any nearer one."""
    L = s**n - 1
    falls = np.mean(
        [-np.diff([RandomHierarchy(v, m, s, n, seed).bayes_risk(l) for l in range(L + 1)]) for seed in range(8)], axis=0
    )
    for k in range(1, n):
        assert falls[s**k - 1] == falls[: s**k].min()


def test_falls_shrink_by_the_fraction_of_tuples_in_use_from_level_to_level():
    """gamma = ln(1/f)/ln s, on average over rules, and a floor below the estimate ln 1/(1 - f)."""
    tasks = [RandomHierarchy(8, 2, 2, 5, seed) for seed in range(20)]
    risks = np.mean([[task.bayes_risk(2**k - 1) for k in range(6)] for task in tasks], axis=0)
    falls = -np.diff(risks)
    assert falls[3:] / falls[2:-1] == pytest.approx((0.25, 0.25), abs=0.03)
    assert tasks[0].risk_exponent == pytest.approx(2.0)
    assert 0.1 < risks[-1] < math.log(4 / 3)


def test_the_exponents_are_those_of_the_dials():
    task = RandomHierarchy(8, 4, 2, 2)
    assert task.correlation_exponent == pytest.approx(2.0)
    assert task.risk_exponent == pytest.approx(1.0)
    assert RandomHierarchy(4, 4, 3, 2).risk_exponent == pytest.approx(math.log(4) / math.log(3))
    assert RandomHierarchy(3, 1, 2, 3).correlation_exponent == 0


def test_the_seed_is_the_rules():
    one, same, other = (RandomHierarchy(6, 3, 2, 3, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one.rules(), same.rules(), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one.rules(), other.rules(), strict=True))
    assert not np.array_equal(*one.rules()[:2])


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ((3, 4, 2, 2), r"n_synonyms must be between 1 and 3 = vocabulary_size\^\(branching - 1\).*got 4"),
        ((1024, 1000, 2, 2), "n_synonyms must be at most 512, for 1024 symbols; got 1000"),
        ((64, 2, 11, 1), r"branching must be below 10.3 = 62 / log2\(vocabulary_size\); got 11"),
        ((2, 1, 8, 5), "n_levels must be at most 4, for 4096 tokens; got 5"),
        ((32, 8, 2, 4), "n_levels = 4 asks for a table of .* numbers.*take fewer levels"),
    ],
)
def test_bad_dials_are_refused(dials, message):
    with pytest.raises(ValueError, match=message):
        RandomHierarchy(*dials)
