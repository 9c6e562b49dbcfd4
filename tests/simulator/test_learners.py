"""One battery over all learners; adding a learner to ``simulator.learners.EXAMPLES`` tests it."""

import functools

import jax
import jax.numpy as jnp
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
    Tuned,
)
from simulator.learners.closed_form import ClosedForm, training_samples
from simulator.specification import canonical_json, from_json
from simulator.tasks import GaussianLookBack, ManifoldTeacher, MarkovChain, SparseParity, ZipfQuanta

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
    Tuned: SERIES,
}
each_learner = pytest.mark.parametrize(
    ("learner", "task"), [(x, TASKS[type(x)]) for x in EXAMPLES], ids=[type(x).__name__ for x in EXAMPLES]
)


CURVE = [Run(4, size, seed) for size in (30, 300, 10_000) for seed in range(4)]
RUNS = [*CURVE, Run(0, 300, 0), Run(8, 300, 0), Run(4, 301, 0)]


@functools.cache
def together(learner):
    """What is learned in all runs, made at once."""
    return {f.run: f.predictor for f in learner.fit_runs(TASKS[type(learner)], RUNS)}


@functools.partial(jax.jit, static_argnums=0)
def looked_at(task, predictor, examples):
    """Predictions of a predictor and of Bayes' rule, the divergence, and the loss of each example."""
    length = predictor.context_length
    bayes, found = task.bayes_prediction(examples, length), predictor(examples)
    divergence = task.pointwise_divergence(bayes, found, examples, length)
    return found, bayes, divergence, task.pointwise_loss(found, examples, length)


@functools.cache
def fresh(task, seed):
    """Samples that were not learned from."""
    return jax.tree.map(lambda field: jnp.asarray(field[:1024]), training_samples(task, 9 + seed, 4096))


@functools.cache
def losses(learner, run):
    """Divergences and losses of the test samples."""
    task = TASKS[type(learner)]
    return [np.asarray(a) for a in looked_at(task, together(learner)[run], fresh(task, run.seed))[2:]]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@each_learner
def test_a_run_says_why_it_stopped_and_when_it_was_best(learner, task):
    """What training leaves out of these cannot be known later; a closed form has nothing to say."""
    (fitted,) = learner.fit_runs(task, [Run(4, 300, 0)])
    if isinstance(learner, GradientDescent | Tuned):
        assert fitted.stopped_by in ("patience", "last step")
        assert len(fitted.evaluation_steps) == len(fitted.validation_losses) > 0
        assert fitted.evaluation_steps[-1] == fitted.steps
        assert fitted.best_step in (0, *fitted.evaluation_steps)
    else:
        assert (fitted.stopped_by, fitted.evaluation_steps, fitted.best_step) == ("solved", (), 0)


@pytest.mark.optimised
@each_learner
def test_a_run_is_the_same_to_the_bit_alone_or_in_any_company_and_order(learner, task):
    assert set(together(learner)) == set(RUNS)
    for fitted in learner.fit_runs(task, RUNS[:2:-1]):
        assert same(fitted.predictor, together(learner)[fitted.run])
    run = RUNS[-2]
    assert same(learner.fit(task, run.context_length, run.dataset_size, run.seed), together(learner)[run])


@each_learner
def test_seeds_and_dataset_sizes_make_a_difference(learner, task):
    for run in (Run(4, 300, 1), Run(4, 301, 0)):
        assert not same(together(learner)[run], together(learner)[Run(4, 300, 0)])


@each_learner
def test_a_predictor_sees_its_own_context_only(learner, task):
    predictor, examples = together(learner)[Run(4, 300, 0)], fresh(task, 0)
    contexts = np.array(examples.context)
    contexts[:, : task.max_context_length - 4] = 1
    predictions, bayes, *_ = looked_at(task, predictor, examples)
    changed = looked_at(task, predictor, examples._replace(context=jnp.asarray(contexts)))[0]
    np.testing.assert_allclose(changed, predictions, rtol=1e-6)
    assert predictions.shape == bayes.shape


@pytest.mark.parametrize("learner", [x for x in EXAMPLES if isinstance(x, ClosedForm)], ids=lambda x: type(x).__name__)
def test_a_closed_form_learns_from_its_own_context_only(learner):
    task = TASKS[type(learner)]
    samples = training_samples(task, 0, 300)
    contexts = samples.context.copy()
    contexts[:, : task.max_context_length - 4] = 1
    changed = samples._replace(context=contexts)
    assert same(*(learner.learn(task, seen, 4) for seen in (samples, changed)))


@each_learner
def test_the_loss_comes_near_the_bayes_risk_from_above_as_data_grow(learner, task):
    means = np.reshape([losses(learner, run)[0].mean() for run in CURVE], (3, 4)).mean(axis=1)
    assert np.all(np.diff(means) < 0)
    assert means[-1] < 0.1 * (task.bayes_risk(0) - task.bayes_risk(4))


@each_learner
def test_no_learner_beats_the_bayes_risk(learner, task):
    for run in (Run(0, 300, 0), Run(4, 10_000, 0), Run(8, 300, 0)):
        divergence, loss = losses(learner, run)
        assert loss.mean() > task.bayes_risk(run.context_length) - 5 * loss.std() / np.sqrt(len(loss))
        assert divergence.mean() >= 0


@each_learner
def test_an_untrained_predictor_has_the_shape_of_a_trained_one(learner, task):
    examples, trained, structures = fresh(task, 0), together(learner)[Run(4, 30, 0)], []

    def predict(examples):
        predictor = learner.untrained(task, 4)
        structures.append(jax.tree.structure(predictor))
        return predictor(examples), trained(examples)

    of_untrained, of_trained = jax.eval_shape(predict, examples)
    assert structures == [jax.tree.structure(trained)]
    assert of_untrained.shape == of_trained.shape


@each_learner
def test_a_learner_survives_json(learner, task):
    assert from_json(canonical_json(learner)) == learner


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        ((9, 10, 0), ValueError, "context_length must be between 0 and 8; got 9"),
        ((-1, 10, 0), ValueError, "context_length must be between 0 and 8; got -1"),
        ((2, 0, 0), ValueError, "dataset_size must be between 1 and .*; got 0"),
        ((2, 2**31, 0), ValueError, "dataset_size must be between 1 and .*; got 2147483648"),
        ((2, 10, -1), ValueError, "seed must be between 0 and .*; got -1"),
        ((2.5, 10, 0), TypeError, "2.5"),
    ],
)
def test_an_impossible_run_is_refused_by_value(run, error, message):
    with pytest.raises(error, match=message):
        LeastSquares().fit(SERIES, *run)


@pytest.mark.parametrize(
    ("learner", "task", "message"),
    [
        (LeastSquares(), PARITY, r"LeastSquares needs real-valued tokens.*SparseParity.*Use GradientDescent"),
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
