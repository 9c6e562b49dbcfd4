"""Learners in closed form against their exact learning curves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator.learners import ContextTable, NearestNeighbour, Run
from simulator.learners.closed_form import training_samples
from simulator.tasks import Examples, ManifoldTeacher, MarkovChain
from theory.learning_curves import nearest_neighbour_distance

CHAIN = MarkovChain.random(4, 2, 0.7, 7)


def test_the_joint_law_of_a_chain_is_that_of_its_samples_and_sums_to_that_of_shorter_contexts():
    for length in range(7):
        longer, shorter = CHAIN.joint_law(length + 1), CHAIN.joint_law(length)
        np.testing.assert_allclose(longer.reshape(2, -1, 2).sum(axis=0), shorter, atol=1e-14)
        conditional = longer / longer.sum(axis=1, keepdims=True)
        assert -np.sum(longer * np.log(conditional)) == pytest.approx(CHAIN.bayes_risk(length + 1), abs=1e-12)


def test_counting_loses_what_its_learning_curve_says():
    """56 cells of 64 data sets each; the loss of each is summed over all contexts, without a test set."""
    learner, sizes = ContextTable(0.5), (3, 10, 30, 100, 300, 1000, 3000)
    seeds = {length: range(64 * length, 64 * (length + 1)) for length in range(8)}
    runs = [Run(length, size, seed) for length in range(8) for seed in seeds[length] for size in sizes]
    excess = {
        f.run: exact_excess(f.predictor.log_probabilities[0], f.run.context_length)
        for f in learner.fit_runs(CHAIN, runs)
    }
    z = []
    for size in sizes:
        for length in range(8):
            measured = np.array([excess[Run(length, size, seed)] for seed in seeds[length]])
            expected = learner.expected_risk(CHAIN, length, size) - CHAIN.bayes_risk(length)
            z.append((measured.mean() - expected) / (measured.std(ddof=1) / 8))
    assert 0.8 < np.sqrt(np.mean(np.square(z))) < 1.25


def exact_excess(log_probabilities, length):
    """KL(P_l || Q_l), summed over every context: no test set."""
    joint = CHAIN.joint_law(length)
    return float(np.sum(joint * (np.log(joint / joint.sum(axis=1, keepdims=True)) - np.asarray(log_probabilities))))


def test_the_best_context_of_a_table_grows_by_a_token_as_data_grow_v_fold():
    """KL is about v^l (v-1) / (2 D): v times the data pay for one token more, and l* rises with ln D / ln v."""
    order = 10
    tokens = (np.arange(2**order)[:, None] >> np.arange(order)) % 2  # newest first
    one = 0.5 + (tokens - 0.5) @ (0.4 * np.arange(1.0, order + 1) ** -0.75 / np.sum(np.arange(1.0, order + 1) ** -0.75))
    chain, learner = MarkovChain(np.stack([1 - one, one], axis=1).tolist(), order), ContextTable(0.5)
    sizes = 2 ** np.arange(10, 21)
    best = [
        int(np.argmin([learner.expected_risk(chain, length, size) for length in range(order + 1)])) for size in sizes
    ]
    risks = np.array([chain.bayes_risk(length) for length in range(order + 1)])
    predicted = [int(np.argmin(risks + 2.0 ** np.arange(order + 1) / (2 * size))) for size in sizes]
    assert np.max(np.abs(np.subtract(best, predicted))) <= 1
    assert set(np.diff(best)) == {0, 1}
    assert best[-1] - best[0] >= 6


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_nearest_neighbour_learns_with_exponent_two_over_dimension(dimension):
    """To first order m(x_j) - m(x) = grad m . (x_j - x), and all directions of the displacement are alike: the error is
    E|grad m|^2 E|x_j - x|^2 / d. The cube [-1, 1]^d has sides of 2, and a boundary, which adds a little."""
    teacher = ManifoldTeacher(dimension, gamma=1.0, noise_variance=0.0, n_frequencies=1)
    samples = training_samples(teacher, 0, 16_000)
    test = teacher.sample(jax.random.key(7), range(2048))

    def answer(context):
        examples = Examples(context[None], jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.float32))
        return teacher.bayes_prediction(examples, dimension)[0]

    slopes = jax.vmap(jax.grad(answer))(test.context)
    noiseless = samples._replace(target=np.asarray(jax.vmap(answer)(jnp.asarray(samples.context))))
    sizes, errors = np.array([2000.0, 8000.0, 16_000.0]), []
    for size in sizes:
        few = Examples(*(field[: int(size)] for field in noiseless))
        predictor = NearestNeighbour().learn(teacher, few, dimension)
        errors.append(float(np.mean((predictor(test) - jax.vmap(answer)(test.context)) ** 2)))
    predicted = float(np.mean(np.sum(slopes**2, axis=1))) / dimension * 4 * nearest_neighbour_distance(dimension, sizes)
    assert errors == pytest.approx(predicted, rel=0.12)
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(-2 / dimension, rel=0.05)
