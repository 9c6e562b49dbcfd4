"""Zipf quanta: sums term by term, simulation, known values and exponents; the skills of the multilinear model."""

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import zeta
from scipy.stats import binom

from theory.learning_curves import (
    few_shot_skill,
    fraction_beyond,
    gradient_flow_skill,
    multilinear_loss,
    quanta_risk,
    unlearned_asymptote,
    unlearned_fraction,
)

alphas = st.sampled_from([0.1, 0.4, 1.0, 2.5])


def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


@given(
    alphas,
    st.sampled_from([1, 40, 1001, 20_000]),
    st.sampled_from([0, 2, 50, 10**4, 10**6]),
    st.sampled_from([1, 2, 7]),
)
def test_the_unlearned_share_is_the_sum_over_all_quanta(alpha, n_quanta, size, threshold):
    p = np.arange(1.0, n_quanta + 1) ** -(1 + alpha)
    p /= p.sum()
    direct = np.sum(p * binom.cdf(threshold - 1, size, p))
    assert unlearned_fraction(size, alpha, threshold, n_quanta) == pytest.approx(direct, abs=1e-12)


@pytest.mark.parametrize("size", [3, 100, 10**4])
def test_endlessly_many_quanta_are_the_limit_of_many(size):
    """The quanta left out have the frequencies of the tail, and none of them is learned."""
    n = 2**52
    kept = 1 - fraction_beyond(n, 1.5)
    many = unlearned_fraction(size, 1.5, 2, n) * kept + (1 - kept)
    assert unlearned_fraction(size, 1.5, 2) == pytest.approx(many, abs=1e-12)


@given(alphas, st.sampled_from([1, 5]))
def test_the_asymptote_is_off_by_a_share_of_a_1_plus_a_over_2D(alpha, threshold):
    a, D = alpha / (1 + alpha), 10**5
    off = unlearned_fraction(D, alpha, threshold) / unlearned_asymptote(D, alpha, threshold) - 1
    assert off == pytest.approx(-a * (1 + a) / (2 * D), rel=1e-3)


@given(alphas, st.sampled_from([1, 3]))
def test_data_teach_with_exponent_alpha_over_one_plus_alpha_and_parameters_with_alpha(alpha, threshold):
    sizes = np.array([1e4, 1e6])
    assert slope(sizes, unlearned_fraction(sizes, alpha, threshold)) == pytest.approx(-alpha / (1 + alpha), abs=1e-4)
    assert slope(sizes, fraction_beyond(sizes, alpha)) == pytest.approx(-alpha, rel=1e-3)


def test_quanta_beyond_those_learned_are_the_tail_of_the_zeta_function():
    assert fraction_beyond(10**4, 0.4) == pytest.approx(0.020221, abs=5e-7)
    learned = np.cumsum(np.arange(1.0, 51) ** -1.4) / zeta(1.4)
    np.testing.assert_allclose(fraction_beyond(np.arange(51), 0.4), 1 - np.concatenate([[0.0], learned]), atol=1e-14)


def test_what_is_not_answered_is_what_a_simulation_finds(rng):
    """54 cells of 2000 data sets each; every query of the test is a quantum of its own."""
    f = np.arange(1.0, 31) ** -1.5
    f /= f.sum()
    far, z = rng.permutation(np.floor(3 * (30 / np.arange(1.0, 31)) ** 1.2)), []
    for length in (8, 20, 60):
        for size in (6, 12, 25, 50, 100, 200):
            for threshold in (1, 2, 4):
                counts = rng.multinomial(size, f, size=2000)
                queries = rng.choice(30, size=2000, p=f)
                missed = (far[queries] > length) | (counts[np.arange(2000), queries] < threshold)
                risk = quanta_risk(f, (far <= length).astype(float), size, threshold)
                z.append((missed.mean() - risk) / np.sqrt(risk * (1 - risk) / 2000))
    assert 0.8 < np.sqrt(np.mean(np.square(z))) < 1.25


@given(st.floats(0, 1), st.sampled_from([0, 3, 100]), st.sampled_from([1, 3]))
def test_independent_distances_make_two_factors(seen, size, threshold):
    f = np.arange(1.0, 21) ** -1.4
    f /= f.sum()
    unlearned = float(unlearned_fraction(size, 0.4, threshold, 20))
    assert quanta_risk(f, np.full(20, seen), size, threshold) == pytest.approx(1 - seen * (1 - unlearned), abs=1e-12)


@pytest.mark.parametrize(("frequency", "initial", "strength"), [(1.0, 0.01, 1.0), (0.2, 0.3, 2.0), (0.0, 0.1, 1.0)])
def test_a_skill_grows_as_the_flow_of_its_two_weights(frequency, initial, strength):
    """da/dt = f (S - a b) b and db/dt = f (S - a b) a, descent on f (S - a b)^2 / 2, integrated numerically."""

    def flow(t, weights):
        return frequency * (strength - weights[0] * weights[1]) * weights[::-1]

    times = np.linspace(0, 8, 9)
    solved = scipy.integrate.solve_ivp(flow, (0, 8), [initial**0.5] * 2, t_eval=times, rtol=1e-10, atol=1e-12)
    skill = gradient_flow_skill(frequency, times, initial, strength)
    np.testing.assert_allclose(skill, solved.y[0] * solved.y[1] / strength, rtol=1e-7)


def test_a_skill_seen_in_part_leaves_the_square_root_and_a_loss_linear_in_what_was_seen():
    np.testing.assert_allclose(few_shot_skill(np.array([0, 75, 100, 101, 1000]), 100), [0, 0.5, 1, 1, 1])
    f, seen = np.array([0.5, 0.3, 0.2]), np.array([150.0, 60.0, 20.0])
    loss = multilinear_loss(f, few_shot_skill(seen, 100), 2.0)
    assert loss == pytest.approx(2.0 * np.sum(f * np.array([0, 0.4, 0.8])))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: unlearned_fraction(-1, 0.4), "must not be negative.*got -1, 1"),
        (lambda: unlearned_fraction(10, 0.4, 1.5), "threshold an integer.*got 10, 1.5"),
        (lambda: unlearned_asymptote(10, 0.4, 0), "at least 1; got 10, 0"),
        (lambda: unlearned_fraction(10, 0.0), "alpha must be .*above 0; got 0"),
        (lambda: unlearned_fraction(10, 0.4, 1, 0), "n_quanta must be at least 1; got 0"),
        (lambda: fraction_beyond(-2, 0.4), "must not be negative; got -2"),
        (lambda: quanta_risk(np.array([0.5, 0.4]), np.ones(2), 5), "sum to one.*sum 0.9"),
        (lambda: quanta_risk(np.array([0.5, 0.5]), np.array([0.0, 1.5]), 5), "visible from 0 to 1.5"),
        (lambda: quanta_risk(np.array([1.0]), np.ones(1), 5, 0), "threshold must be at least 1; got 0"),
        (lambda: gradient_flow_skill(0.5, 1.0, 2.0), "initial must be at most the strength.*got 2.0, 1.0"),
        (lambda: gradient_flow_skill(0.5, -1.0, 0.1), "times not negative.*-1.0"),
        (lambda: few_shot_skill(-1, 5), "must not be negative; got -1"),
        (lambda: few_shot_skill(1, 0), "shots must be .*above 0; got 0"),
        (lambda: multilinear_loss(np.ones(1), np.ones(1), -1.0), "strength must be .*above 0; got -1"),
    ],
)
def test_impossible_arguments_are_refused_by_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
