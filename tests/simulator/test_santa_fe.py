"""The Santa Fe process against its published exponents."""

import math

import numpy as np
import pytest

from simulator.tasks import SantaFe
from tests.simulator.compiled import sample


def test_the_risk_falls_with_exponent_one_minus_b():
    """Values and slopes at b = 1/2 (a million facts stand for infinitely many)."""
    task = SantaFe(n_facts=1_000_000, b=0.5, max_context_length=10_000)
    risks = [task.bayes_risk(length) for length in (10, 100, 1000, 10_000)]
    np.testing.assert_allclose(risks, [0.14623, 0.04772, 0.01514, 0.00479], atol=5.1e-6)
    np.testing.assert_allclose(np.diff(np.log10(risks)), [-0.486, -0.499, -0.500], atol=5e-4)
    assert task.risk_exponent == 0.5


def test_the_entropy_of_the_facts_in_sight_grows_with_exponent_b():
    task = SantaFe(n_facts=1_000_000, b=0.5, max_context_length=10_000)
    counts = [task.intrinsic_dimension(length) for length in (1000, 10_000)]
    assert math.log10(counts[1] / counts[0]) == pytest.approx(0.5, abs=0.01)
    assert task.intrinsic_entropy(1000) == pytest.approx(math.log(2) * counts[0])


def test_fixed_facts_are_the_same_in_every_document_and_leave_nothing_to_the_context():
    task = SantaFe(n_facts=50, b=0.8, max_context_length=30, facts="fixed")
    tokens = {int(t) for seed in (0, 1) for t in np.unique(sample(task, seed=seed).context)}
    assert len({token // 2 for token in tokens}) == len(tokens)
    assert {t % 2 for t in tokens} == {0, 1}
    other = SantaFe(n_facts=50, b=0.8, max_context_length=30, facts="fixed", seed=1)
    assert set(np.unique(sample(other).context).tolist()) != tokens
    assert [task.bayes_risk(length) for length in (0, 30)] == [0.0, 0.0]


def test_exponents_outside_their_range_are_refused():
    for b in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"b must lie between 0 and 1, both excluded; got {b}"):
            SantaFe(10, b, 8)
