"""Polynomial ridge against explicit monomials, refits without each sample, and its learning curve."""

import itertools

import numpy as np
import pytest

from simulator.learners import PolynomialRidge, Run
from simulator.learners.closed_form import training_samples
from simulator.learners.evaluation import evaluate
from simulator.tasks import GaussianLookBack, MarkovChain, SparseParity
from theory.learning_curves import parity_ridge_risk

BITS = SparseParity(((2, 1), (6, 3), (12, 2)), 10)
PAIR = SparseParity(((5, 2), (40, 3)), 36)


def explicit(task, length, degree, signs):
    """All products of visible bits, and their columns in the context."""
    L = task.max_context_length
    subsets = list(itertools.combinations(range(L - length, L), degree))
    return np.stack([np.prod(signs[:, subset], axis=1) for subset in subsets], axis=1), subsets


def of_query(samples, query):
    asked = samples.query == query
    return 1.0 - 2.0 * samples.context[asked], 1.0 - 2.0 * samples.target[asked]


@pytest.mark.parametrize(("degree", "length"), [(1, 10), (2, 2), (3, 10)])
def test_both_forms_give_the_ridge_solution_on_explicit_monomials(degree, length):
    """C(l, k) is from 1 to 120, and a query has 1 to 134 samples: more and fewer than monomials."""
    for size, penalty in itertools.product((5, 60, 400), (1e-3, 10.0)):
        samples = training_samples(BITS, 3, size)
        fitted = PolynomialRidge(degree, penalty).learn(BITS, samples, length)
        for query in range(3):
            signs, answers = of_query(samples, query)
            features, subsets = explicit(BITS, length, degree, signs)
            gram = features.T @ features + len(answers) * penalty * np.eye(len(subsets))
            np.testing.assert_allclose(fitted.weights[query], np.linalg.solve(gram, features.T @ answers), atol=1e-5)
            np.testing.assert_array_equal(fitted.monomials, subsets)


@pytest.mark.parametrize("degree", [1, 3])
def test_the_values_are_those_of_the_query_s_polynomial(degree):
    fitted = PolynomialRidge(degree, 0.1).fit(BITS, 8, 300, 0)
    examples = training_samples(BITS, 1, 32)
    features = explicit(BITS, 8, degree, 1.0 - 2.0 * np.asarray(examples.context))[0]
    expected = np.sum(features * np.asarray(fitted.weights)[examples.query], axis=1)
    np.testing.assert_allclose(fitted.values(examples), expected, atol=1e-5)


@pytest.mark.parametrize(("length", "degree"), [(4, 2), (9, 2), (7, 3)])
def test_log_odds_come_from_what_the_other_samples_predict_of_each(length, degree):
    """Every sample left out in turn, with the same penalty on the weights: 2 m / v of the values found for it."""
    samples, n, penalty = training_samples(BITS, 1, 90), 30, 0.2
    fitted = PolynomialRidge(degree, penalty).learn(BITS, samples, length)
    for query in range(3):
        signs, answers = of_query(samples, query)
        features = explicit(BITS, length, degree, signs)[0]
        values = []
        for i in range(n):
            others = np.delete(np.arange(n), i)
            gram = features[others].T @ features[others] + n * penalty * np.eye(features.shape[1])
            values.append(features[i] @ np.linalg.solve(gram, features[others].T @ answers[others]))
        mean = np.mean(answers * values)
        expected = 2 * max(mean, 0) / np.mean((values - mean * answers) ** 2)
        assert float(fitted.slope[query]) == pytest.approx(expected, rel=1e-4)
        assert float(fitted.most[query]) == pytest.approx(np.log(31))


def test_the_squared_error_agrees_with_the_curve_over_many_cells():
    """24 cells of 14 data sets, with a visible task and an invisible one: z-scores have a root mean square near one.

    Monomials are uncorrelated, so that a polynomial's error over all inputs is the distance of its weights.
    """
    z, lengths, sizes = [], (28, 36), (80, 240)
    for i, penalty in enumerate((0.1, 0.2, 0.5, 1.0, 2.0, 4.0)):
        learner, seeds = PolynomialRidge(2, penalty), range(14 * i, 14 * (i + 1))
        runs = [Run(length, size, seed) for length in lengths for size in sizes for seed in seeds]
        errors = {fitted.run: squared_error(fitted.predictor) for fitted in learner.fit_runs(PAIR, runs)}
        for length, size in itertools.product(lengths, sizes):
            cell = np.array([errors[Run(length, size, seed)] for seed in seeds])
            exact = learner.expected_squared_error(PAIR, length, size)
            z.append((cell.mean() - exact) / (cell.std(ddof=1) / np.sqrt(cell.size)))
    assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.35


def squared_error(predictor):
    """Mean over both tasks of PAIR of E (f - y)^2: the first is the product of bits 5 and 2, the second a coin."""
    truth = np.all(np.asarray(predictor.monomials) == [36 - 5, 36 - 2], axis=1)
    assert truth.sum() == 1
    weights = np.asarray(predictor.weights, float)
    return (np.sum((weights[0] - truth) ** 2) + 1 + np.sum(weights[1] ** 2)) / 2


def test_the_expected_squared_error_weights_tasks_by_frequency():
    task = SparseParity(((2, 1), (6, 3), (12, 2)), 10, (1.0, 2.0, 1.0))
    for length, solvable in ((1, (0, 0, 0)), (5, (1, 0, 0)), (10, (1, 1, 0))):
        each = parity_ridge_risk(np.array(solvable, float), length, 0.3, np.array([25.0, 50.0, 25.0])).total
        expected = PolynomialRidge(2, 0.3).expected_squared_error(task, length, 100)
        assert expected == pytest.approx(each @ [0.25, 0.5, 0.25], rel=1e-14)
    assert PolynomialRidge(3, 0.3).expected_squared_error(task, 10, 100) > 1


def test_short_contexts_learn_sooner():
    """Far bits 5 and 40: at l = 6 the 15 products take tens of samples, at l = 30 the 435 take hundreds."""
    gaps = {
        (length, size): evaluate(PAIR, PolynomialRidge(2, 0.1).fit(PAIR, length, size, 0), 0, 2048).approximation_loss
        for length in (6, 30)
        for size in (60, 1600)
    }
    assert gaps[6, 60] < 0.25 * gaps[30, 60]
    assert gaps[30, 60] > 20 * gaps[30, 1600]
    assert gaps[6, 1600] < 0.01


def test_what_cannot_be_learned_is_answered_by_a_coin():
    examples = training_samples(BITS, 1, 9)
    learner = PolynomialRidge(2, 0.1)
    # One sample: the first query's, which no other sample tells anything of; the other queries have none.
    for predictor in (learner.fit(BITS, 1, 300, 0), learner.fit(BITS, 8, 1, 0)):
        np.testing.assert_allclose(predictor(examples), -np.log(2), atol=1e-6)


def test_work_is_cubic_in_samples_until_they_outnumber_the_monomials():
    few, many = (PolynomialRidge(8, 0.1).work(PAIR, Run(36, size, 0)) for size in (20_000, 80_000))
    assert many / few == pytest.approx(64, rel=1e-3)
    few, many = (PolynomialRidge(1, 0.1).work(PAIR, Run(36, size, 0)) for size in (2 * 10**6, 8 * 10**6))
    assert many / few == pytest.approx(4, rel=1e-2)


@pytest.mark.parametrize("task", [GaussianLookBack.arfima(0.3, 8), MarkovChain.random(2, 3, 0.5, 8)])
def test_what_is_no_bit_is_refused(task):
    with pytest.raises(ValueError, match="needs a context of bits and one answer, 0 or 1; got"):
        PolynomialRidge(2, 0.1).fit(task, 2, 10, 0)


def test_impossible_penalties_sizes_and_tasks_are_refused_by_value():
    with pytest.raises(ValueError, match="penalty must be a finite number above 0; got 0"):
        PolynomialRidge(2, 0.0)
    with pytest.raises(ValueError, match=r"50 queries and 3921225 products of 4 of 100 bits .* lengths below 100"):
        PolynomialRidge(4, 0.1).fit(SparseParity.paper_v1(), 100, 10, 0)
    with pytest.raises(ValueError, match="known for multitask parities"):
        PolynomialRidge(2, 0.1).expected_squared_error(GaussianLookBack.arfima(0.3, 8), 2, 10)
