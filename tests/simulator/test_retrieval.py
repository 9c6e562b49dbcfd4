"""Needles against the closed forms of their distance laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.tasks import EXAMPLES, Retrieval
from tests.simulator.compiled import BATCH, predict, sample

LAWS = {
    "uniform": lambda l, L, g, x0: l / L,
    "pareto": lambda l, L, g, x0: 1 - (x0 / l) ** g if l > x0 else 0.0,
    "position_weighted": lambda l, L, g, x0: 1 - (1 - l / L) ** (g + 1),
}


@given(
    st.integers(1, 6), st.integers(2, 9), st.sampled_from([6, 20, 100]), st.sampled_from(list(LAWS)), st.floats(0.1, 4)
)
def test_the_risk_of_a_sum_is_one_minus_the_kth_power_of_the_distance_law(k, m, L, law, exponent):
    """R(l) = R(0) (1 - F(l)^k), and accuracy rises from chance 1/m with the same F^k."""
    task = Retrieval(k, m, L, law, exponent, nearest=2)
    for length in range(0, L + 1, max(L // 7, 1)):
        F = LAWS[law](length, L, exponent, 2)
        assert task.bayes_risk(length) == pytest.approx(math.log(m) * (1 - F**k), abs=1e-12)
        assert task.bayes_accuracy(length) == pytest.approx(1 / m + (1 - 1 / m) * F**k, abs=1e-12)
        assert task.intrinsic_entropy(length) == pytest.approx(k * F * math.log(m), abs=1e-12)


def test_more_needles_change_the_constant_of_a_pareto_law_and_not_its_exponent():
    """R/R(0) ~ k (nearest/l)^a."""
    for k in (1, 2, 3):
        task = Retrieval(k, 2, 100_000, "pareto", 0.8, nearest=3)
        far = [task.bayes_risk(length) / math.log(2) for length in (10_000, 100_000)]
        assert math.log10(far[0] / far[1]) == pytest.approx(0.8, abs=2e-3)
        assert far[1] == pytest.approx(k * (3 / 100_000) ** 0.8, rel=1e-3)


@pytest.mark.parametrize("task", [EXAMPLES[19], EXAMPLES[20]])
def test_accuracy_is_that_of_the_bayes_prediction(task):
    n = 10 * BATCH
    examples = sample(task, n)
    for length in (0, 3, 8):
        prediction = predict(task, examples, length)
        # Ties are broken by lot: average over the best answers.
        best = prediction >= prediction.max(axis=1, keepdims=True) - 1e-6
        right = (best / best.sum(axis=1, keepdims=True))[np.arange(n), examples.target]
        assert abs(right.mean() - task.bayes_accuracy(length)) < 4 * right.std() / math.sqrt(n) + 1e-6


def test_a_token_names_its_needles():
    task = Retrieval(2, 3, 8, n_distractors=2)
    names = [task.token_name(token) for token in range(task.vocabulary_size)]
    assert names == ["#0", "#1", *[f"{who}={a}" for who in ("n0", "n1", "n0+n1") for a in range(3)]]


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"n_needles": 9}, "n_needles = 9 is more than the 8 positions of the context: take 1 to 8"),
        ({"n_answers": 3, "rule": "and"}, "n_answers must be 2 for rule='and'; got 3"),
        ({"nearest": 9}, "nearest must be between 1 and 8; got 9"),
    ],
)
def test_impossible_dials_are_refused_by_value(dials, message):
    with pytest.raises(ValueError, match=message):
        Retrieval(**{"n_needles": 2, "n_answers": 2, "max_context_length": 8} | dials)
