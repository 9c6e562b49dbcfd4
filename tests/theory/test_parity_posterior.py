"""The posterior over parities: enumeration, simulation of every pair, a sum rule of information, and known totals."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.learning_curves import parity_posterior_risk

LN2 = math.log(2)


def posterior_losses(parities, answers, noise_prior):
    """-ln Q of the last answer; parities (data sets, n + 1, M) of every subset, answers (data sets, n + 1)."""
    agrees = parities == answers[..., None]
    survives = agrees[:, :-1].all(axis=1)
    each, coin = (1 - noise_prior) / parities.shape[2], noise_prior * 2.0 ** -(parities.shape[1] - 1)
    right = each * (survives & agrees[:, -1]).sum(axis=1) + coin / 2
    return -np.log(right / (each * survives.sum(axis=1) + coin))


def parities_of(bits, size):
    subsets = np.array(list(itertools.combinations(range(bits.shape[-1]), size)))
    return bits[..., subsets].sum(axis=-1) % 2


@pytest.mark.parametrize(("n_bits", "size"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("samples", [0, 1, 2])
@pytest.mark.parametrize("noise_prior", [0.5, 0.03])
def test_the_risk_is_the_mean_over_every_data_set(n_bits, size, samples, noise_prior):
    """Where parities are linearly independent the binomial laws are exact: all bits and all coins are enumerated."""
    rows = samples + 1
    bits = np.array(list(itertools.product((0, 1), repeat=rows * n_bits))).reshape(-1, rows, n_bits)
    parities = parities_of(bits, size)
    M = parities.shape[2]
    risk = parity_posterior_risk(M, samples, True, noise_prior)
    assert risk == pytest.approx(posterior_losses(parities, parities[:, :, 0], noise_prior).mean(), abs=1e-12)
    if (n_bits, size) != (3, 2):  # three pairs of three bits add up to zero: independent of one another in twos only
        coins = list(itertools.product((0, 1), repeat=rows))
        losses = [posterior_losses(parities, np.tile(coin, (len(bits), 1)), noise_prior) for coin in coins]
        assert parity_posterior_risk(M, samples, False, noise_prior) == pytest.approx(np.mean(losses), abs=1e-12)


def test_the_risk_is_that_of_the_posterior_over_all_pairs(rng):
    """60 cells of 2000 data sets each, the pairs of 6, 9 and 12 bits written out: no binomial law is used."""
    z = []
    for n_bits, samples, solvable in itertools.product((6, 9, 12), range(10), (True, False)):
        parities = parities_of(rng.integers(0, 2, (2000, samples + 1, n_bits), np.int8), 2)
        answers = parities[:, :, 3] if solvable else rng.integers(0, 2, parities.shape[:2], np.int8)
        losses = posterior_losses(parities, answers, 0.5)
        expected = parity_posterior_risk(math.comb(n_bits, 2), samples, solvable)
        z.append((losses.mean() - expected) / (losses.std(ddof=1) / np.sqrt(len(losses))))
    assert 0.8 < np.sqrt(np.mean(np.square(z))) < 1.25


@given(st.sampled_from([1, 2, 3, 45, 4371]), st.sampled_from([0.01, 0.5, 0.9]))
def test_what_is_lost_in_all_is_the_entropy_of_the_prior(n_subsets, noise_prior):
    """The loss above a known hypothesis's is information on it, and in the end all of it is known:
    sum_n (1 - pi0) R_solvable(n) + pi0 (R_unsolvable(n) - ln 2) = H(pi0) + (1 - pi0) ln M."""
    n = np.arange(200)
    known, coin = (parity_posterior_risk(n_subsets, n, solvable, noise_prior) for solvable in (True, False))
    lost = (1 - noise_prior) * known + noise_prior * (coin - LN2)
    entropy = -noise_prior * math.log(noise_prior) - (1 - noise_prior) * math.log((1 - noise_prior) / n_subsets)
    assert np.sum(lost) == pytest.approx(entropy, rel=1e-10)
    assert np.all(np.diff(lost) <= 1e-12)


def test_a_little_risk_is_exact_to_the_last_survivor():
    """At large n, R ~ 2^-n [(M - 1) (ln 2)/2 + M pi0 / (2 (1 - pi0))]: one survivor, or the coin's share."""
    n, M, pi0 = np.array([30, 60, 300, 900]), 4371, 0.2
    expected = 2.0**-n * ((M - 1) * LN2 / 2 + M * pi0 / (1 - pi0) / 2)
    np.testing.assert_allclose(parity_posterior_risk(M, n, True, pi0), expected, rtol=1e-5)
    assert parity_posterior_risk(M, 10**6, False, pi0) == pytest.approx(LN2, abs=1e-12)
    assert parity_posterior_risk(M, 10**6, True, pi0) < 1e-290


def test_no_subset_in_sight_leaves_the_coin():
    np.testing.assert_allclose(parity_posterior_risk(0, np.array([0, 3, 2000]), False), LN2, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, -1, True, 0.5), "must not be negative.*; got -1, 10"),
        ((0, 5, True, 0.5), "1 where the task is solvable; got 5, 0"),
        ((-1, 5, False, 0.5), "not below 0.*; got 5, -1"),
        ((10, 5, True, 0.0), "noise_prior must be above 0 and below 1; got 0"),
        ((10, 5, True, 1.0), "noise_prior must be above 0 and below 1; got 1"),
        ((10, 5, True, float("nan")), "noise_prior must be a finite number; got nan"),
    ],
)
def test_impossible_arguments_are_refused_by_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        parity_posterior_risk(*arguments)
