"""Training in a random subspace: for linear regression its end is known exactly."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from simulator.learners import GradientDescent
from simulator.models import MLP, RandomSubspace
from simulator.tasks import EXAMPLES as TASKS
from simulator.tasks import GaussianLookBack
from theory.learning_curves.random_subspace import remaining_loss, remaining_loss_within

SERIES = GaussianLookBack.independent(0.5, 1.0, 0.5, 1.0, 24)
LINEAR = MLP(hidden_sizes=())


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def initial(model, task, key, length):
    return model.init(task, key, length)


@functools.partial(jax.jit, static_argnums=0)
def flat(model, parameters):
    """theta as one vector."""
    return ravel_pytree(model.moved(parameters))[0]


@functools.partial(jax.jit, static_argnums=0)
def jacobian(model, parameters):
    """P, column by column, as the derivative along each coordinate."""
    return jax.jacfwd(lambda z: flat(model, parameters._replace(coordinates=z)))(parameters.coordinates)


@pytest.mark.parametrize(("projection", "layer_scales"), [("dense", False), ("fastfood", True)])
def test_parameters_move_linearly_along_directions_of_length_one(projection, layer_scales, rng):
    model, task = RandomSubspace(MLP((16,)), 30, projection, layer_scales), TASKS[2]
    parameters = initial(model, task, jax.random.key(0), 3)
    arrays = jax.tree.leaves(parameters.start)
    assert parameters.scales.size == layer_scales * len(arrays) == 30 - parameters.coordinates.size
    P = np.asarray(jacobian(model, parameters), np.float64)
    lengths = np.linalg.norm(P, axis=0)
    np.testing.assert_allclose(lengths, 1, atol=1e-5 if projection == "dense" else 0.35)
    across = (P / lengths).T @ (P / lengths) - np.eye(P.shape[1])
    assert np.sqrt(np.mean(across**2)) == pytest.approx(len(P) ** -0.5, rel=0.4)

    z = rng.normal(size=P.shape[1])
    scales = rng.uniform(1, 2, size=parameters.scales.size)
    moved = flat(model, parameters._replace(coordinates=jnp.float32(z), scales=jnp.float32(scales)))
    factors = np.repeat(scales, [a.size for a in arrays]) if layer_scales else 1.0
    expected = np.asarray(ravel_pytree(parameters.start)[0]) + factors * (P @ z)
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    np.testing.assert_array_equal(flat(model, parameters), ravel_pytree(parameters.start)[0])
    trained = model.with_trained(parameters, jax.tree.map(np.ones_like, model.trained(parameters)))
    for part in (trained.coordinates, trained.scales):
        np.testing.assert_array_equal(part, 1)
    assert all(getattr(trained, part) is getattr(parameters, part) for part in ("start", "directions"))


def test_fastfood_is_the_product_of_its_five_matrices():
    model, task = RandomSubspace(MLP((4,)), 9, "fastfood"), TASKS[2]
    parameters = initial(model, task, jax.random.key(1), 3)
    signs, order, gaussians = (np.asarray(part) for part in parameters.directions)
    n = len(signs)
    hadamard = np.array([[1]])
    while len(hadamard) < n:
        hadamard = np.kron([[1, 1], [1, -1]], hadamard)
    product = hadamard @ np.diag(gaussians) @ np.eye(n)[order] @ hadamard @ np.diag(signs)
    P = np.asarray(jacobian(model, parameters), np.float64)
    np.testing.assert_allclose(P, product[: len(P), :9], atol=1e-5)
    assert sorted(order) == list(range(n))


def test_linear_regression_ends_where_its_subspace_comes_nearest():
    """Least squares on white inputs is sum_i (theta_i - theta*_i)^2 over the l visible weights and the bias.

    The weights of invisible tokens have eigenvalue 0. The expected end comes from numpy's least squares on P.
    """
    task, length = SERIES, 12
    # Predictions from one-hot contexts are the coefficients.
    one_hot = task.sample(jax.random.key(0), range(24))._replace(context=jnp.eye(24))
    optimum = np.asarray(task.bayes_prediction(one_hot, length), np.float64)
    learner = GradientDescent(
        RandomSubspace(LINEAR, 4, "fastfood"), steps=300, learning_rate=0.1, schedule="cosine", weight_decay=0.0,
        gradient_clip=None, patience=None, batch_size=512, side_by_side=1,
    )  # fmt: skip
    trained = learner.fit(task, length, 2_000_000, 0).parameters
    P = np.asarray(jacobian(learner.model, trained), np.float64)
    start = np.concatenate([np.ravel(trained.start[name][...]) for name in ("context_kernel", "first_bias")])
    np.testing.assert_array_equal(start, ravel_pytree(trained.start)[0][: len(start)])
    delta = np.append(optimum, 0.0) - start
    eigenvalues = np.append(np.arange(task.max_context_length) >= task.max_context_length - length, 1.0)
    left = eigenvalues @ (delta - P @ np.asarray(trained.coordinates)) ** 2 / (eigenvalues @ delta**2)
    assert left == pytest.approx(remaining_loss_within(P, eigenvalues, delta), abs=0.01)
    assert 0.02 < left < 0.98


def test_the_loss_left_falls_as_one_minus_d_over_the_weights_in_sight():
    """Over 40 seeds: the mean is 1 - d/k, k = l + 1, and so d_90 = 0.9 (l + 1) grows with context length."""
    d, k, n = 3, 6, 40
    left, model, eigenvalues = [], RandomSubspace(LINEAR, d), np.append(np.arange(24) >= 24 - (k - 1), 1.0)
    for seed in range(n):
        parameters = initial(model, SERIES, jax.random.key(seed), k - 1)
        left.append(remaining_loss_within(np.asarray(parameters.directions, np.float64), eigenvalues, np.ones(25)))
    error = np.sqrt(2 * d * (k - d) / (k**2 * (k + 2)) / n)
    assert abs(np.mean(left) - remaining_loss(d, k)) < 4 * error


def test_impossible_subspaces_are_refused():
    with pytest.raises(ValueError, match=r"subspace of 26 dimensions does not fit: MLP has 25\s+parameters"):
        GradientDescent(RandomSubspace(LINEAR, 26), steps=1).check_task(SERIES)
    with pytest.raises(ValueError, match=r"scales of 3 arrays are taken out of the dimension.*got 3"):
        GradientDescent(RandomSubspace(LINEAR, 3, layer_scales=True), steps=1).check_task(SERIES)
    with pytest.raises(TypeError, match="trains all of its parameters"):
        RandomSubspace(RandomSubspace(LINEAR, 3), 2)
    with pytest.raises(TypeError, match="layer_scales"):
        RandomSubspace(LINEAR, 3, layer_scales=1)
    with pytest.raises(ValueError, match=r"dimension must be between 1 and .*; got 0"):
        RandomSubspace(LINEAR, 0)
    with pytest.raises((TypeError, ValueError), match="projection"):  # with checks of types, or without
        RandomSubspace(LINEAR, 3, "sparse")
    assert dataclasses.replace(RandomSubspace(LINEAR, 3), dimension=4).parameter_count(SERIES) == 4
