"""Tasks whose tokens and targets are jointly Gaussian: everything exact follows from one covariance."""

import abc
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from simulator.random.threefry import random_normals
from simulator.tasks.base import ContextLength, Examples, Index, Key, Task
from simulator.tasks.sampling import in_whole_vectors, sample_keys
from theory.types import Integer


class GaussianTask(Task):
    r"""Predict S Gaussian values, the next of a sequence, from its last l values; samples are independent.

    The best predictor of each value y_s is linear, m_{l,s} = sum_{i<=l} a_{l,i,s} x_{t-i}, and its squared error is the
    variance V_s(l) of y_s given the last l values. With U U^T the covariance of (nearest token, ..., oldest token,
    y_1, ..., y_S), U lower triangular, V_s(l) = sum_{j>l} U_{L+s,j}^2: one factorisation gives every l. The loss is the
    mean over s. With ``loss="log_loss"`` the prediction is the mean of a Gaussian of the exact variance V_s(l), so that

        R(l) = mean_s (1/2) ln(2 pi e V_s(l)),      KL(P_l || Q_l) = mean_s E (m_s - m_{l,s})^2 / (2 V_s(l)):

    a predictor is charged for its mean alone.

    Channel 0 of a token is the sequence; any further channels are independent standard normal noise that bears on
    nothing. ``intrinsic_dimension(l)`` is l, the rank of the covariance of the visible values that bear on the answer:
    the number of weights of the best predictor. There is no ``intrinsic_entropy``: the state is continuous.
    """

    @abc.abstractmethod
    def joint_covariance(self) -> Float[np.ndarray, "n n"]:
        """Covariance of (oldest token, ..., newest token, y_1, ..., y_S)."""

    def sampling_factor(self) -> Float[np.ndarray, "n n"]:
        """Cholesky factor of :meth:`joint_covariance`; numpy's LinAlgError if it is singular to working precision."""
        return _factor(self)

    def prediction_errors(self, context_length: Integer) -> Float[np.ndarray, "S"]:
        """V_1(l) .. V_S(l): mean squared error of the best predictor of each value."""
        self.check_length(context_length)
        return self._all_errors()[context_length]

    def prediction_weights(self, context_length: Integer) -> Float[np.ndarray, "l S"]:
        """a_{l,i,s}: weights of the best predictor, nearest token first."""
        self.check_length(context_length)
        return _linear_prediction(self)[1][context_length, :context_length]

    def _all_errors(self) -> Float[np.ndarray, "l S"]:
        return _linear_prediction(self)[0]

    def bayes_risk(self, context_length: Integer) -> float:
        errors = self.prediction_errors(context_length)
        if self.loss == "squared_error":
            return float(errors.mean())
        return math.fsum(0.5 * math.log(2 * math.pi * math.e * error) for error in errors) / len(errors)

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(context_length)

    def intrinsic_entropy(self, context_length: Integer) -> None:
        self.check_length(context_length)

    @in_whole_vectors
    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L, S, m = self.max_context_length, self.n_steps, self.n_channels - 1
        noise = random_normals(keys, (L + S,))
        values = _times(noise, jnp.asarray(self.sampling_factor(), jnp.float32))
        context, target = values[:, :L], values[:, L] if S == 1 else values[:, L:]
        if m:
            # A key of its own: the sequence is the same with any number of channels.
            other = random_normals(jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1), (L, m))
            context = jnp.concatenate([context[:, :, None], other], axis=2)
        return Examples(context, jnp.zeros_like(index), target)

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B *steps"]:
        self.check_length(context_length)
        self.check_examples(examples)
        values = examples.context if self.n_channels == 1 else examples.context[:, :, 0]
        weights = jnp.asarray(_oldest_first(self))[context_length]
        return jnp.matmul(values, weights[:, 0] if self.n_steps == 1 else weights, precision="highest")

    def pointwise_loss(
        self, prediction: Float[Array, "B *steps"], examples: Examples, context_length: ContextLength
    ) -> Float[Array, "B"]:
        return self._in_unit((examples.target - prediction) ** 2, context_length, normalised=True)

    def pointwise_divergence(
        self,
        bayes: Float[Array, "B *steps"],
        prediction: Float[Array, "B *steps"],
        examples: Examples,
        context_length: ContextLength,
    ) -> Float[Array, "B"]:
        return self._in_unit((prediction - bayes) ** 2, context_length, normalised=False)

    def _in_unit(self, squares: Array, context_length: ContextLength, *, normalised: bool) -> Float[Array, "B"]:
        squares = squares.reshape(squares.shape[0], self.n_steps)
        if self.loss == "log_loss":
            errors = jnp.asarray(self._all_errors(), jnp.float32)[context_length][None, :]
            constant = jnp.log(2 * jnp.pi * errors) if normalised else jnp.float32(0)
            squares = 0.5 * (constant + squares / errors)
        return squares[:, 0] if self.n_steps == 1 else jnp.mean(squares, axis=1)


def _times(noise: Float[Array, "B n"], factor: Float[Array, "n n"]) -> Float[Array, "B n"]:
    """noise @ factor.T, every entry summed in one order: a matrix product's bits depend on the size of the batch."""

    def add(total: Array, column: tuple[Array, Array]) -> tuple[Array, None]:
        return total + column[0][:, None] * column[1][None, :], None

    return jax.lax.scan(add, jnp.zeros_like(noise), (noise.T, factor.T))[0]


@functools.lru_cache(maxsize=16)
def _factor(task: GaussianTask) -> Float[np.ndarray, "n n"]:
    """Cholesky factor of the joint covariance."""
    return np.linalg.cholesky(task.joint_covariance())


@functools.lru_cache(maxsize=16)
def _linear_prediction(task: GaussianTask) -> tuple[Float[np.ndarray, "l S"], Float[np.ndarray, "l k S"]]:
    """V_s(l), and the weights a_{l,i,s}, nearest token first; for l = 0..L."""
    L, S = task.max_context_length, task.n_steps
    nearest_first = [*range(L - 1, -1, -1), *range(L, L + S)]
    factor = np.linalg.cholesky(task.joint_covariance()[np.ix_(nearest_first, nearest_first)])
    tokens, targets = factor[:L, :L], factor[L:]
    # Summed from the far end, nothing cancels: V_s never rises, to the last bit.
    errors = np.cumsum(targets[:, ::-1] ** 2, axis=1)[:, ::-1][:, : L + 1].T
    inverse = scipy.linalg.solve_triangular(tokens, np.eye(L), lower=True, check_finite=False)
    weights = np.zeros((L + 1, L, S))
    np.cumsum(inverse[:, :, None] * targets[:, :L].T[:, None, :], axis=0, out=weights[1:])
    return errors, weights


@functools.lru_cache(maxsize=16)
def _oldest_first(task: GaussianTask) -> Float[np.ndarray, "l k S"]:
    """Row l: the weights of the best predictor in the order of ``Examples.context``."""
    return np.ascontiguousarray(_linear_prediction(task)[1][:, ::-1].astype(np.float32))
