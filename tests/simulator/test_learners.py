"""One battery over all learners; adding a learner to ``simulator.learners.EXAMPLES`` tests it."""

import jax
import numpy as np
import pytest

from simulator.learners import (
    EXAMPLES,
    ContextTable,
    CorrelationScreening,
    GradientDescent,
    LeastSquares,
    NearestNeighbour,
    ParityPosterior,
    PolynomialRidge,
    QuantaCounter,
    Ridge,
    Run,
)
from simulator.learners.evaluation import evaluate
from simulator.specification import canonical_json, from_json
from simulator.tasks import GaussianLookBack, ManifoldTeacher, MarkovChain, SparseParity, ZipfQuanta

pytestmark = pytest.mark.optimised

SERIES = GaussianLookBack.designed(1.0, 3.0, 1.0, 1.0, 8)
PARITY = SparseParity(((2, 1), (3, 1), (6, 2)), 6)
CHAIN = MarkovChain.random(3, 2, 0.5, 8)
MANIFOLD = ManifoldTeacher(
    8, gamma=12.0, noise_variance=0.0, dimension_profile=(1, 1, 1, 1, 2, 2, 2, 2), n_frequencies=1
)
FOLDED = ManifoldTeacher(3, ambient_dimension=2)
MANY_PARITIES = SparseParity.pareto(40, 8, 2, 1.0)
QUANTA = ZipfQuanta(60, 8, alpha=0.5, distance_exponent=1.0)
BITS = SparseParity(((2, 1), (3, 1), (4, 2), (8, 3)), 8)
TASKS = {
    LeastSquares: SERIES,
    GradientDescent: SERIES,
    NearestNeighbour: MANIFOLD,
    ContextTable: CHAIN,
    ParityPosterior: MANY_PARITIES,
    QuantaCounter: QUANTA,
    Ridge: SERIES,
    PolynomialRidge: BITS,
    CorrelationScreening: GaussianLookBack.independent(C0=0.5, C=1.0, gamma=1.0, b=1.0, max_context_length=8),
}
each_learner = pytest.mark.parametrize(
    ("learner", "task"), [(x, TASKS[type(x)]) for x in EXAMPLES], ids=[type(x).__name__ for x in EXAMPLES]
)


def leaves(predictor):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(predictor)]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


@each_learner
def test_a_run_is_the_same_to_the_bit_alone_or_in_any_company_and_order(learner, task):
    runs = [Run(length, size, seed) for seed in (0, 1) for size in (20, 5000) for length in (0, 1, 8)]
    together = {f.run: f.predictor for f in learner.fit_runs(task, runs)}
    shuffled = {f.run: f.predictor for f in learner.fit_runs(task, runs[::-1][3:])}
    assert set(together) == set(runs)
    assert all(same(shuffled[run], together[run]) for run in shuffled)
    for run in (runs[1], runs[-1]):
        assert same(learner.fit(task, run.context_length, run.dataset_size, run.seed), together[run])


@each_learner
def test_a_predictor_sees_its_own_context_only(learner, task):
    predictor = learner.fit(task, 3, 50, 0)
    examples = task.sample(jax.random.key(0), range(32))
    changed = examples._replace(context=examples.context.at[:, : task.max_context_length - 3].set(1))
    np.testing.assert_allclose(predictor(changed), predictor(examples), rtol=1e-6)
    assert predictor(examples).shape == task.bayes_prediction(examples, 3).shape


@each_learner
def test_the_loss_comes_near_the_bayes_risk_from_above_as_data_grow(learner, task):
    losses = [
        np.mean([evaluate(task, learner.fit(task, 4, size, s), s, 4096).approximation_loss for s in range(4)])
        for size in (30, 300, 10_000)
    ]
    assert np.all(np.diff(losses) < 0)
    assert losses[-1] < 0.1 * (task.bayes_risk(0) - task.bayes_risk(4))


@each_learner
def test_no_learner_beats_the_bayes_risk(learner, task):
    for length in (0, 2, 8):
        measured = evaluate(task, learner.fit(task, length, 3000, 1), 1, 8192)
        assert measured.test_loss > task.bayes_risk(length) - 5 * measured.test_loss_standard_error
        assert measured.approximation_loss >= 0


@each_learner
def test_seeds_and_dataset_sizes_make_a_difference(learner, task):
    base = learner.fit(task, 3, 50, 0)
    assert not same(learner.fit(task, 3, 50, 1), base)
    assert not same(learner.fit(task, 3, 51, 0), base)


@each_learner
def test_a_learner_survives_json(learner, task):
    assert from_json(canonical_json(learner)) == learner


@each_learner
@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        ((9, 10, 0), ValueError, "context_length must be between 0 and 8; got 9"),
        ((-1, 10, 0), ValueError, "context_length must be between 0 and 8; got -1"),
        ((2, 0, 0), ValueError, "dataset_size must be between 1 and .*; got 0"),
        ((2, -5, 0), ValueError, "dataset_size must be between 1 and .*; got -5"),
        ((2, 2**31, 0), ValueError, "dataset_size must be between 1 and .*; got 2147483648"),
        ((2, 10, -1), ValueError, "seed must be between 0 and .*; got -1"),
        ((2.5, 10, 0), TypeError, "2.5"),
        ((2, "10", 0), TypeError, "10"),
    ],
)
def test_an_impossible_run_is_refused_by_value(learner, task, run, error, message):
    with pytest.raises(error, match=message):
        learner.fit(task, *run)


@each_learner
def test_an_untrained_predictor_has_the_shape_of_a_trained_one(learner, task):
    trained, untrained = learner.fit(task, 3, 50, 0), learner.untrained(task, 3)
    assert jax.tree.structure(trained) == jax.tree.structure(untrained)
    examples = task.sample(jax.random.key(0), range(5))
    assert trained(examples).shape == untrained(examples).shape


def test_least_squares_refuses_a_classification_task():
    with pytest.raises(ValueError, match=r"LeastSquares needs real-valued tokens.*SparseParity.*Use GradientDescent"):
        LeastSquares().fit(PARITY, 2, 100, 0)


@pytest.mark.parametrize(
    ("learner", "task", "message"),
    [
        (NearestNeighbour(), PARITY, r"NearestNeighbour needs real-valued tokens.*SparseParity.*Use GradientDescent"),
        (CorrelationScreening(), PARITY, r"needs tokens and one answer that are one real number each.*SparseParity"),
        (CorrelationScreening(), FOLDED, r"needs tokens and one answer that are one real number each.*ManifoldTeacher"),
        (ContextTable(), SERIES, r"ContextTable counts tokens.*GaussianLookBack.*Use GradientDescent"),
        (ParityPosterior(), SERIES, r"ParityPosterior needs a task of parities.*GaussianLookBack.*Use GradientDescent"),
        (ParityPosterior(3), PARITY, r"looks for parities of 3 bits, the task's have 2: take size=2"),
        (ParityPosterior(8), ZipfQuanta(2, 30, 0.4, 1.0, 8, 8), r"2 queries with C\(30, 8\) subsets.*take a shorter"),
        (QuantaCounter(), SERIES, r"QuantaCounter guesses among the classes.*GaussianLookBack.*Use GradientDescent"),
        (ContextTable(), SparseParity(((2, 1),), 60), r"1 queries, 2\^30 contexts.*take context lengths below 30"),
    ],
)
def test_closed_forms_refuse_what_they_cannot_learn(learner, task, message):
    with pytest.raises(ValueError, match=message):
        learner.fit(task, min(task.max_context_length, 30), 10, 0)


@pytest.mark.parametrize(
    "learner", [x for x in EXAMPLES if hasattr(x, "expected_risk")], ids=lambda learner: type(learner).__name__
)
def test_an_expected_risk_that_is_not_known_is_refused(learner):
    with pytest.raises(ValueError, match="got ManifoldTeacher"):
        learner.expected_risk(FOLDED, 2, 100)
