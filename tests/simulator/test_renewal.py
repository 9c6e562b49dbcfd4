"""The renewal process against published numbers, closed forms and its asymptotic exponent."""

import math

import numpy as np
import pytest

from simulator.tasks.markov_chain import MarkovChain
from simulator.tasks.renewal import Renewal

LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128)


@pytest.fixture(scope="module")
def reference():
    return Renewal(1.5, 512, max_gap=2_000_000)


def test_the_risks_of_exponent_three_halves(reference):
    assert reference.bayes_risk(0) == pytest.approx(0.692767, abs=5.1e-7)
    assert reference.entropy_rate == pytest.approx(0.521821, abs=5.1e-7)
    excess = [reference.bayes_risk(length) - reference.entropy_rate for length in LENGTHS]
    expected = (0.052747, 0.026404, 0.011302, 0.004397, 0.001627, 0.000587, 0.000209, 0.000074)
    assert excess == pytest.approx(expected, abs=5.1e-7)
    exponents = -np.diff(np.log2(excess))
    assert exponents == pytest.approx((1.00, 1.22, 1.36, 1.43, 1.47, 1.49, 1.50), abs=5.1e-3)


def test_the_entropies_of_exponent_three_halves(reference):
    expected = (0.6928, 0.9759, 1.2560, 1.5087, 1.7249, 1.9038, 2.0486, 2.1640)
    assert [reference.intrinsic_entropy(length) for length in LENGTHS] == pytest.approx(expected, abs=5.1e-5)


def local_exponent(task, length):
    return math.log2((task.bayes_risk(length) - task.entropy_rate) / (task.bayes_risk(2 * length) - task.entropy_rate))


@pytest.mark.parametrize(("exponent", "tolerance"), [(1.5, 0.03), (3.0, 0.01)])
def test_the_excess_risk_falls_with_the_exponent_of_the_gaps(exponent, tolerance):
    task = Renewal(exponent, 2000, max_gap=10_000_000)
    assert local_exponent(task, 1000) == pytest.approx(exponent, abs=tolerance)
    assert task.risk_exponent == exponent


def test_the_longest_gap_steepens_the_fall_when_the_exponent_is_near_one():
    """The missing share of the ages' tail, (l / max_gap)^(a - 1), is slow to vanish."""
    found = [local_exponent(Renewal(1.2, 200, max_gap=gap), 100) for gap in (10**4, 10**5, 10**6)]
    assert np.all(np.diff(found) < 0)
    assert 1.2 < found[-1] < 1.29


def test_the_law_of_ages_is_that_of_a_chain_over_ages():
    """max_gap 3: a Markov chain of order 2 on words (00 -> 1, 01 and 11 -> just had one, 10 -> one zero since)."""
    law = np.array([1.0, 2**-2.5, 3**-2.5])
    law /= law.sum()
    fresh, one_zero = law[0], law[1] / (law[1] + law[2])
    table = ((0.0, 1.0), (1 - fresh, fresh), (1 - one_zero, one_zero), (1 - fresh, fresh))
    chain, task = MarkovChain(table, 6), Renewal(1.5, 6, max_gap=3)
    for length in range(7):
        assert task.bayes_risk(length) == pytest.approx(chain.bayes_risk(length), abs=1e-14)
    assert task.entropy_rate == pytest.approx(chain.entropy_rate, abs=1e-14)


def test_beyond_the_longest_gap_nothing_is_left_to_learn():
    task = Renewal(1.5, 12, max_gap=5)
    assert [task.intrinsic_dimension(length) for length in (0, 1, 4, 5, 12)] == [0, 1, 4, 4, 4]
    assert task.bayes_risk(4) == pytest.approx(task.entropy_rate, abs=1e-15)
    assert task.bayes_risk(12) == pytest.approx(task.entropy_rate, abs=1e-15)
    assert task.intrinsic_entropy(12) == pytest.approx(task.intrinsic_entropy(4), abs=1e-15)


def test_bad_dials_are_refused():
    for dials, message in [
        ((1.0, 8), "exponent must be above 1, for gaps with a mean; got 1.0"),
        ((2000.0, 8, 10), "exponent must be at most 298.7, for gaps up to max_gap = 10 .*; got 2000.0"),
        ((1.5, 8, 1), "max_gap must be between 2 and 100000000; got 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            Renewal(*dials)
