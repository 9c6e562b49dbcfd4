"""Zipf quanta: exponents in the number of quanta and in the context length."""

import math

import numpy as np
import pytest

from simulator.tasks import ZipfQuanta


def test_unlearned_quanta_cost_their_frequencies():
    """With every task in sight L(n') = ln 2 sum_{k>n'} p_k, which falls like n'^-alpha."""
    task = ZipfQuanta(20_000, 10, alpha=0.4, distance_exponent=30.0)
    assert task.bayes_risk(10) == 0
    losses = [task.loss_with_quanta(n, 10) for n in (0, 10, 100, 20_000)]
    assert losses[0] == pytest.approx(math.log(2))
    assert losses[-1] == 0
    p = np.arange(1, 20_001) ** -1.4 / np.sum(np.arange(1, 20_001) ** -1.4)
    assert losses[1:3] == pytest.approx([math.log(2) * p[n:].sum() for n in (10, 100)])
    # The tasks beyond the 20,000th are missing: add them back to see the exponent of infinitely many.
    tail = 20_000.5**-0.4 / 0.4
    whole = [p[n:].sum() * np.sum(np.arange(1, 20_001) ** -1.4) + tail for n in (10, 100)]
    assert math.log10(whole[0] / whole[1]) == pytest.approx(0.4, abs=0.01)


def test_with_all_quanta_learned_the_loss_is_the_bayes_risk():
    task = ZipfQuanta(50, 32, alpha=0.7, distance_exponent=0.8)
    for length in (0, 5, 20, 32):
        assert task.loss_with_quanta(50, length) == pytest.approx(task.bayes_risk(length))
        assert task.loss_with_quanta(10, length) > task.bayes_risk(length)


def test_coupled_distances_multiply_the_exponents():
    """far_k ~ k^(1/a) and p_k ~ k^-(1+alpha) give R(l) ~ l^(-a alpha), here 0.5: seen in differences, the tail cut."""
    task = ZipfQuanta(50_000, 2048, alpha=0.5, distance_exponent=1.0, nearest=2, distances="coupled")
    drops = [task.bayes_risk(length) - task.bayes_risk(2 * length) for length in (64, 512)]
    assert math.log(drops[0] / drops[1]) / math.log(8) == pytest.approx(0.5, abs=0.01)
    assert task.risk_exponent == 0.5


def test_independent_distances_have_their_own_exponent_on_average():
    """R(l)/R(0) averaged over seeds is (nearest/l)^a."""
    shares = [
        ZipfQuanta(200, 64, alpha=0.4, distance_exponent=0.9, seed=seed).bayes_risk(24) / math.log(2)
        for seed in range(200)
    ]
    assert np.mean(shares) == pytest.approx((3 / 24) ** 0.9, abs=4 * np.std(shares) / math.sqrt(200) + 0.005)


def test_every_subset_has_its_bits_nearer_than_the_far_one():
    task = ZipfQuanta(300, 40, alpha=0.4, distance_exponent=1.0, nearest=4, bits_per_task=4)
    for subset in task.subsets():
        assert len(set(subset)) == 4
        assert list(subset) == sorted(subset, reverse=True)
        assert subset[-1] >= 1


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"distance_exponent": 0.01}, "distance_exponent = 0.01 places a far bit beyond 2\\^62"),
        ({"nearest": 1}, "nearest must be at least 2; got 1"),
    ],
)
def test_impossible_dials_are_refused_by_value(dials, message):
    with pytest.raises(ValueError, match=message):
        ZipfQuanta(**{"n_tasks": 5, "max_context_length": 8, "alpha": 0.4, "distance_exponent": 1.0} | dials)
