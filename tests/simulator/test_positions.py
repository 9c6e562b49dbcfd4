"""Position rules: what rotary positions promise, and the divisors of every rule that stretches them."""

import jax.numpy as jnp
import numpy as np
import pytest

from simulator.models import RelativeRoPE, Transformer
from simulator.models.positions import (
    ALiBi,
    DynamicNTK,
    LearnedPositions,
    Llama3Scaling,
    NoPositions,
    NTKAware,
    PositionInterpolation,
    RoPE,
    YaRN,
    turned,
)
from simulator.specification import canonical_json, from_json
from simulator.tasks import SparseParity

K, L, S = 8, 256, 4.0
RULES = [
    RoPE(),
    RoPE(fraction=0.5),
    PositionInterpolation(scale=S),
    NTKAware(scale=S),
    DynamicNTK(trained_length=L),
    YaRN(scale=S, trained_length=L),
    YaRN(scale=S, trained_length=L, ramp="code", temperature=False),
    Llama3Scaling(scale=S, trained_length=L),
]
each_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


def scores(rule, queries, keys, shift):
    """q_m . k_n of every pair of positions, shifted."""
    positions = jnp.arange(queries.shape[1]) + shift
    frequencies = rule.frequencies(K, jnp.int32(L))
    q, k = (turned(x, positions, frequencies, rule.magnitude) for x in (queries, keys))
    return jnp.einsum("bmhk,bnhk->bhmn", q, k, precision="highest")


@each_rule
def test_scores_depend_on_the_difference_of_positions_only_and_norms_stay(rule, rng):
    """A turn by m - n whatever m and n are; the temperature multiplies norms."""
    x = jnp.asarray(rng.normal(size=(2, 16, 3, K)), jnp.float32)
    np.testing.assert_allclose(scores(rule, x, x[::-1], 0), scores(rule, x, x[::-1], 40), atol=2e-5)
    y = turned(x, jnp.arange(16), rule.frequencies(K, jnp.int32(L)), rule.magnitude)
    norms = jnp.linalg.norm(y, axis=-1) / jnp.linalg.norm(x, axis=-1)
    np.testing.assert_allclose(norms, rule.magnitude, rtol=1e-5)


def test_frequencies_and_turns_are_those_of_the_table():
    theta = RoPE().unstretched(K)
    np.testing.assert_allclose(theta, [1, 0.1, 0.01, 0.001])
    np.testing.assert_allclose(2 * np.pi / theta, [6.283, 62.83, 628.3, 6283], rtol=1e-4)
    np.testing.assert_allclose(YaRN(trained_length=L).turns(K), [40.7, 4.07, 0.407, 0.0407], rtol=2e-3)


@pytest.mark.parametrize(
    ("rule", "divisors"),
    [
        (RoPE(), [1, 1, 1, 1]),
        (PositionInterpolation(scale=S), [4, 4, 4, 4]),
        (NTKAware(scale=S), [1, 1.587, 2.520, 4]),
        (YaRN(scale=S, trained_length=L), [1, 3.08, 4, 4]),
        (YaRN(scale=S, trained_length=L, ramp="code"), [1, 1.6, 4, 4]),
        (Llama3Scaling(scale=S, trained_length=L), [1, 1, 4, 4]),
    ],
    ids=repr,
)
def test_divisors_are_those_of_the_table(rule, divisors):
    np.testing.assert_allclose(rule.divisors(K), divisors, rtol=1e-3)
    frequencies = rule.frequencies(K, jnp.int32(L))
    np.testing.assert_allclose(frequencies, RoPE().unstretched(K) / divisors, rtol=1e-3)


@pytest.mark.parametrize(("length", "scale"), [(1, 1.0), (L, 1.0), (2 * L, 2.0), (4 * L, 4.0)])
def test_dynamic_ntk_stretches_by_the_context_at_hand(length, scale):
    dynamic = DynamicNTK(trained_length=L).frequencies(K, jnp.int32(length))
    np.testing.assert_allclose(dynamic, NTKAware(scale=scale).frequencies(K, jnp.int32(L)), rtol=1e-5)


def test_the_temperature_of_yarn():
    assert YaRN(scale=S).magnitude == pytest.approx(1.1386, abs=5e-5)
    assert YaRN(scale=S).magnitude ** 2 == pytest.approx(1.2965, abs=1e-4)
    assert YaRN(scale=S, temperature=False).magnitude == 1.0


def test_p_rope_leaves_the_slowest_pairs_alone():
    np.testing.assert_allclose(RoPE(fraction=0.5).frequencies(K, jnp.int32(L)), [1, 0.1, 0, 0])


def test_slopes_of_alibi():
    np.testing.assert_allclose(ALiBi().slopes(8), [2.0**-h for h in range(1, 9)])
    np.testing.assert_allclose(ALiBi().slopes(2), [2.0**-4, 2.0**-8])


@pytest.mark.parametrize("rule", [*RULES, ALiBi(), NoPositions(), LearnedPositions(9)], ids=repr)
def test_a_rule_survives_json(rule):
    assert from_json(canonical_json(rule)) == rule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RoPE(base=1.0), "base > 1"),
        (lambda: RoPE(fraction=1.5), r"fraction in \(0, 1\]; got 10000.0 and 1.5"),
        (lambda: YaRN(scale=2.0, alpha=32.0, beta=1.0), "alpha must be below beta"),
        (lambda: Llama3Scaling(low=4.0, high=4.0), "low must be below high"),
        (lambda: RoPE().check(7, 2), "even width; got 7"),
        (lambda: NTKAware().check(2, 2), "width 4 or more; got 2"),
        (lambda: ALiBi().check(8, 6), "power of two of heads; got 6"),
    ],
)
def test_impossible_rules_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_settings_that_are_not_given_have_these_values():
    known = (RoPE(), PositionInterpolation(), NTKAware(), DynamicNTK(), YaRN(), Llama3Scaling(), RelativeRoPE())
    given = (
        RoPE(10_000.0, 1.0),
        PositionInterpolation(scale=1.0),
        NTKAware(scale=1.0),
        DynamicNTK(trained_length=1),
        YaRN(scale=1.0, trained_length=2048, alpha=1.0, beta=32.0, ramp="paper", temperature=True),
        Llama3Scaling(scale=1.0, trained_length=2048, low=1.0, high=4.0),
        RelativeRoPE(max_length=1024),
    )
    assert known == given
    assert LearnedPositions().n_learned == RelativeRoPE().n_distances == 1024


def test_too_few_distances_are_refused():
    with pytest.raises(ValueError, match="Transformer has 6 learned positions; SparseParity needs 7"):
        Transformer(width=16, positions=RelativeRoPE(max_length=6)).check_task(SparseParity(((2, 1),), 6))
