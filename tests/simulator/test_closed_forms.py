"""Learners in closed form against their exact learning curves."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from simulator.learners import (
    ContextTable,
    CorrelationScreening,
    NearestNeighbour,
    ParityPosterior,
    QuantaCounter,
    Run,
)
from simulator.learners.closed_form import training_samples
from simulator.tasks import Examples, GaussianLookBack, ManifoldTeacher, MarkovChain, SparseParity, ZipfQuanta
from theory.learning_curves import nearest_neighbour_distance, parity_posterior_risk

CHAIN = MarkovChain.random(4, 2, 0.7, 7)


def test_the_joint_law_of_a_chain_is_consistent_between_lengths():
    for length in range(7):
        longer, shorter = CHAIN.joint_law(length + 1), CHAIN.joint_law(length)
        np.testing.assert_allclose(longer.reshape(2, -1, 2).sum(axis=0), shorter, atol=1e-14)
        conditional = longer / longer.sum(axis=1, keepdims=True)
        assert -np.sum(longer * np.log(conditional)) == pytest.approx(CHAIN.bayes_risk(length + 1), abs=1e-12)


def test_counting_loses_what_its_learning_curve_says():
    """20 cells of 24 data sets each; the loss of each is summed over all contexts, without a test set."""
    learner, lengths, sizes = ContextTable(0.5), (0, 2, 5, 7), (3, 10, 30, 300, 3000)
    seeds = {length: range(24 * length, 24 * (length + 1)) for length in lengths}
    runs = [Run(length, size, seed) for length in lengths for seed in seeds[length] for size in sizes]
    excess = {
        f.run: exact_excess(f.predictor.log_probabilities[0], f.run.context_length)
        for f in learner.fit_runs(CHAIN, runs)
    }
    z = []
    for size in sizes:
        for length in lengths:
            measured = np.array([excess[Run(length, size, seed)] for seed in seeds[length]])
            expected = learner.expected_risk(CHAIN, length, size) - CHAIN.bayes_risk(length)
            z.append((measured.mean() - expected) / (measured.std(ddof=1) / np.sqrt(24)))
    assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.35


def exact_excess(log_probabilities, length):
    """KL(P_l || Q_l), summed over every context: no test set."""
    joint = CHAIN.joint_law(length)
    return float(np.sum(joint * (np.log(joint / joint.sum(axis=1, keepdims=True)) - np.asarray(log_probabilities))))


@pytest.mark.parametrize(
    "dimension", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_the_nearest_neighbour_learns_with_exponent_two_over_dimension(dimension):
    """To first order m(x_j) - m(x) = grad m . (x_j - x), and the displacement is isotropic. So the error is
    E|grad m|^2 E|x_j - x|^2 / d. The cube [-1, 1]^d has sides of 2; its boundary adds a little."""
    teacher = ManifoldTeacher(dimension, gamma=1.0, noise_variance=0.0, n_frequencies=1)
    samples, test = (training_samples(teacher, seed, size) for seed, size in ((0, 16_000), (1, 4096)))

    def answer(context):
        examples = Examples(context[None], jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.float32))
        return teacher.bayes_prediction(examples, dimension)[0]

    answers, slopes = jax.jit(jax.vmap(jax.value_and_grad(answer)))(test.context)
    learner = NearestNeighbour(labels="bayes")
    sizes, errors = np.array([2000.0, 8000.0, 16_000.0]), []
    for size in sizes:
        few = Examples(*(field[: int(size)] for field in samples))
        predictor = learner.learn(teacher, few, dimension)
        errors.append(float(np.mean((predictor(test) - answers) ** 2)))
    predicted = (
        float(np.mean(np.sum(np.square(slopes), axis=1))) / dimension * 4 * nearest_neighbour_distance(dimension, sizes)
    )
    assert errors == pytest.approx(predicted, rel=0.12)
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(-2 / dimension, rel=0.05)


def test_screening_loses_what_its_learning_curve_says():
    """24 cells of 16 data sets each, none shared. With white tokens the loss is a sum over weights, without a test
    set."""
    task, n_sets, start, z = GaussianLookBack.independent(0.5, 1.0, 0.5, 1.0, 32), 16, 0, []
    weights, samples = task.process.weights(32)[::-1], training_samples(task, 0, 12 * n_sets * (512 + 2048))
    for threshold, length, size in itertools.product((1.0, 2.0, 3.0, 5.0), (1, 10, 32), (512, 2048)):
        learner, errors = CorrelationScreening(threshold), []
        for _ in range(n_sets):
            seen = Examples(*(field[start : start + size] for field in samples))
            errors.append(np.sum((learner.learn(task, seen, length).weights - weights) ** 2))
            start += size
        expected = learner.expected_risk(task, length, size) - task.bayes_risk(32)
        z.append((np.mean(errors) - expected) / (np.std(errors, ddof=1) / 4))
    assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.35


def test_what_is_learned_of_parities_loses_what_its_learning_curve_says():
    """Pairs are asked in turn, triples by frequency. Each has 12 cells (l, D) of 16 data sets and test sets."""
    in_turn = z_scores(ParityPosterior(), SparseParity.pareto(6, 14, 3, 1.0), (8, 12, 14))
    by_frequency = z_scores(ParityPosterior(3, 0.2), ZipfQuanta(6, 10, alpha=0.3, distance_exponent=0.8), (4, 8, 10))
    assert 0.7 < np.sqrt(np.mean(np.square(in_turn + by_frequency))) < 1.35


def z_scores(learner, task, lengths, n_sets=16):
    cells, z = [(length, size) for length in lengths for size in (6, 18, 28, 43)], []
    drawn = training_samples(task, 0, len(cells) * n_sets * 96)
    # Of every 96 samples the first D are seen and the last 48 asked: turns begin anew with either half.
    sets = jax.tree.map(lambda field: field.reshape(len(cells), n_sets, 96, *field.shape[1:]), drawn)
    for i, (length, size) in enumerate(cells):
        seen = [Examples(*(field[i, j, :size] for field in sets)) for j in range(n_sets)]
        asked = [Examples(*(field[i, j, 48:] for field in sets)) for j in range(n_sets)]
        learned = [answer(learner.learn(task, x, length), y) for x, y in zip(seen, asked, strict=True)]
        together = jax.tree.map(lambda *fields: np.concatenate(fields), *asked)
        excess = divergence(task, np.concatenate(learned), together, length).reshape(n_sets, -1).mean(axis=1)
        expected = learner.expected_risk(task, length, size) - task.bayes_risk(length)
        z.append((np.mean(excess) - expected) / (np.std(excess, ddof=1) / np.sqrt(n_sets)))
    return z


@pytest.mark.parametrize("size", [40, 1000])
def test_the_risk_of_a_task_asked_by_frequency_is_a_binomial_mean(size):
    """The mean is summed over every n up to D."""
    task, n = ZipfQuanta(3, 12, alpha=0.5, distance_exponent=0.8), np.arange(size + 1)
    direct = 0.0
    for f, subset in zip(task.task_frequencies(), task.subsets(), strict=True):
        direct += f * binom.pmf(n, size, f) @ parity_posterior_risk(math.comb(9, 3), n, subset[0] <= 9)
    assert ParityPosterior(3).expected_risk(task, 9, size) == pytest.approx(direct, abs=1e-12)


def test_the_published_tasks_ask_for_more_context_as_data_grow():
    task, lengths = SparseParity.paper_v1(), (27, 43, 63, 94)
    risks = np.array([[ParityPosterior().expected_risk(task, x, size) for x in lengths] for size in (250, 600, 1500)])
    known = [[0.6899, 0.6865, 0.6890, 0.6909], [0.5448, 0.3981, 0.3973, 0.4696], [0.4713, 0.2634, 0.1664, 0.0970]]
    np.testing.assert_allclose(risks, known, atol=5e-4)
    assert [lengths[i] for i in np.argmin(risks, axis=1)] == [43, 63, 94]


@jax.jit
def answer(predictor, examples):
    return predictor(examples)


@functools.partial(jax.jit, static_argnums=0)
def divergence(task, prediction, examples, length):
    bayes = task.bayes_prediction(examples, length)
    return task.pointwise_divergence(bayes, prediction, examples, length)


def test_counting_quanta_loses_what_its_learning_curve_says():
    """20 cells (l, D) of 20 data sets each, which no two cells share. One example of each quantum gives its loss."""
    task, learner = ZipfQuanta(20, 24, alpha=0.5, distance_exponent=0.8), QuantaCounter(threshold=2)
    lengths, sizes, n_sets = (6, 12, 18, 24), (6, 24, 48, 120, 200), 20
    samples = training_samples(task, 0, len(lengths) * n_sets * sum(sizes))
    examples = training_samples(task, 1, 20)._replace(query=np.arange(20, dtype=np.int32))
    start, z, f = 0, [], task.task_frequencies()
    for length in lengths:
        for size in sizes:
            excess = []
            for begin in range(start, start + n_sets * size, size):
                predictor = learner.learn(task, Examples(*(field[begin : begin + size] for field in samples)), length)
                excess.append(f @ divergence(task, answer(predictor, examples), examples, length))
            start += n_sets * size
            expected = learner.expected_risk(task, length, size) - task.bayes_risk(length)
            z.append((np.mean(excess) - expected) / (np.std(excess, ddof=1) / np.sqrt(n_sets)))
    assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.35


def test_quanta_asked_in_turn_are_learned_in_turn():
    """Sample i asks task i mod n. With 4 tasks, 6 samples ask two tasks twice and two once."""
    task = SparseParity(((2, 1), (3, 1), (4, 1), (9, 1)), 8)
    for length, learned in ((8, 2), (2, 1), (1, 0)):
        assert QuantaCounter(2).expected_risk(task, length, 6) == pytest.approx(np.log(2) * (1 - learned / 4))
    predictor = QuantaCounter(2).learn(task, training_samples(task, 0, 6), 8)
    assert predictor.counts.tolist() == task.samples_in_turn(6).tolist() == [2, 2, 1, 1]
