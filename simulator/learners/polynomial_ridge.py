"""Ridge regression on all products of k bits: what a kernel learns of parities, with its learning curve."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, Int
from scipy.special import comb

from simulator.grid import Cost, KnownSteps, Run
from simulator.learners.closed_form import ClosedForm
from simulator.tasks.base import Examples, Task
from simulator.tasks.parity import MultitaskParity, subsets_in_sight
from theory.checks import Count, Positive
from theory.learning_curves import parity_ridge_risk
from theory.types import Integer

_MOST_WEIGHTS = 2**24
_BLOCK = 1024
"""Monomials written out at once where there are more of them than samples."""

_SMALLEST_SPREAD = 1e-12
"""Variance of predictions below which they are rounding."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PolynomialPredictor:
    """A polynomial in +-1 bits for each query, and the log-odds that its value stands for.

    Attributes:
        weights: w_{q,S}; shape (queries, monomials).
        monomials: columns of the context in each monomial S; shape (monomials, k).
        slope: log-odds of answer 0 per unit of the polynomial, for each query.
        most: the largest log-odds given, for each query.
        context_length: l.
    """

    weights: Float[Array, "queries monomials"]
    monomials: Int[Array, "monomials degree"]
    slope: Float[Array, "queries"]
    most: Float[Array, "queries"]
    context_length: Any

    def values(self, examples: Examples) -> Float[Array, "B"]:
        """f_q(x): the expected answer, +1 for 0 and -1 for 1."""

        def value(example: tuple[Array, Array]) -> Array:
            bits, query = example
            signs = jnp.float32(1) - jnp.float32(2) * bits.astype(jnp.float32)
            return jnp.sum(self.weights[query] * jnp.prod(signs[self.monomials], axis=1))

        return jax.lax.map(value, (examples.context, examples.query))

    def __call__(self, examples: Examples) -> Float[Array, "B 2"]:
        most = self.most[examples.query]
        odds = jnp.clip(self.slope[examples.query] * self.values(examples), -most, most)
        return jax.nn.log_sigmoid(jnp.stack([odds, -odds], axis=1))


@dataclasses.dataclass(frozen=True)
class PolynomialRidge(ClosedForm):
    r"""f_q = argmin (1/n) sum_i (f(x_i) - y_i)^2 + penalty |w|^2,  f(x) = sum_{|S|=k} w_S prod_{i in S} x_i.

    Bits and answers are +-1 (+1 for 0); the polynomial of the l visible bits has C(l, k) weights of its own for each
    query, learned from that query's n samples. The XOR of k bits is one of its monomials. Of the two forms of the
    solution the smaller is solved: the C(l, k) normal equations, or those of the n x n Gram matrix, whose entries are
    the elementary symmetric polynomial e_k of the products x_i x'_i and depend on the number of differing bits alone.

    The loss of the tasks is in nats, so f has to be read as a probability. Of a task that can be learned
    f = m y + many small uncorrelated terms, close to normal with a variance v whatever y is, and so

        ln P(y = 1 | f) / P(y = -1 | f) = 2 m f / v.

    m and v are the means of y f and (f - m y)^2 over the training samples, each predicted by the others (in closed form
    for ridge); a negative m counts as 0, the answer of a task without pattern. n samples without an error are no
    certainty: the log-odds are cut at +-ln(n + 1), Laplace's rule of succession. Nothing is tuned, no truth is used.

    Attributes:
        degree: k.
        penalty: above 0, of mean squared error; the same at every D.
    """

    degree: Count
    penalty: Positive

    def check_task(self, task: Task) -> None:
        if task.vocabulary_size != 2 or task.n_classes != 2 or task.every_position:
            raise ValueError(
                f"PolynomialRidge needs a context of bits and one answer, 0 or 1; got {task!r:.100}. Use "
                "GradientDescent for it"
            )

    def learn(self, task: Task, samples: Examples, context_length: int) -> PolynomialPredictor:
        empty = self.untrained(task, context_length)
        monomials = np.asarray(empty.monomials)
        weights, slope, most = np.zeros(empty.weights.shape), np.zeros(task.n_queries), np.zeros(task.n_queries)
        for query in np.unique(samples.query) if len(monomials) else ():
            asked = samples.query == query
            signs, answers = (1.0 - 2.0 * np.asarray(bits)[asked] for bits in (samples.context, samples.target))
            weights[query], left_out = self._solve(signs, answers, monomials, context_length)
            slope[query], most[query] = _log_odds(left_out, answers), math.log(len(answers) + 1)
        weights, slope, most = (jnp.asarray(values, jnp.float32) for values in (weights, slope, most))
        return PolynomialPredictor(weights, empty.monomials, slope, most, context_length)

    def untrained(self, task: Task, context_length: Integer) -> PolynomialPredictor:
        length = int(context_length)
        n_monomials = math.comb(length, self.degree)
        if task.n_queries * n_monomials > _MOST_WEIGHTS:
            raise ValueError(
                f"{task.n_queries} queries and {n_monomials} products of {self.degree} of {length} bits are more than "
                f"{_MOST_WEIGHTS} weights: take context lengths below {length}, or a lower degree"
            )
        monomials = subsets_in_sight(task.max_context_length, length, self.degree)
        zeros = jnp.zeros(task.n_queries)
        weights = jnp.zeros((task.n_queries, n_monomials))
        return PolynomialPredictor(weights, jnp.asarray(monomials), zeros, zeros, length)

    def expected_squared_error(self, task: Task, context_length: Integer, dataset_size: Integer) -> float:
        """Expected (f - y)^2 of +-1 answers over data sets: the mean of the tasks' learning curves, at large n.

        :func:`theory.learning_curves.parity_ridge_risk`; a task of frequency f_k has n = D f_k samples, and is solvable
        if it XORs k bits that are all in sight.

        Raises:
            ValueError: a task that is no multitask parity.
        """
        if not isinstance(task, MultitaskParity):
            raise ValueError(f"the expected squared error is known for multitask parities; got {task!r:.100}")
        task.check_length(context_length)
        frequencies = task.task_frequencies()
        solvable = [len(subset) == self.degree and subset[0] <= context_length for subset in task.subsets()]
        samples = frequencies * dataset_size
        risk = parity_ridge_risk(np.array(solvable, float), context_length, self.penalty, samples, self.degree)
        return float(frequencies @ risk.total)

    def work(self, task: Task, run: Run) -> float:
        samples = run.dataset_size / task.n_queries
        smaller = min(samples, math.comb(run.context_length, self.degree))
        # A query costs as much as some 10^7 products before the first of them.
        return task.n_queries * (1e7 + samples * smaller**2)

    def cost(self, task: Task, runs: Sequence[Run], known_steps: KnownSteps) -> Cost:
        bare = super().cost(task, runs, known_steps)
        samples = max((run.dataset_size for run in runs), default=1) / task.n_queries
        largest = min(samples, math.comb(task.max_context_length, self.degree))
        return dataclasses.replace(bare, memory_bytes=int(bare.memory_bytes + 24 * samples * largest))

    def _solve(
        self,
        signs: Float[np.ndarray, "n L"],
        answers: Float[np.ndarray, "n"],
        monomials: Int[np.ndarray, "monomials degree"],
        context_length: int,
    ) -> tuple[Float[np.ndarray, "monomials"], Float[np.ndarray, "n"]]:
        """The weights, and the value at each sample of the polynomial that the others give."""
        n, p = len(answers), len(monomials)
        ridge = n * self.penalty
        if p <= n:
            features = _products(signs, monomials)
            factor = scipy.linalg.cholesky(features.T @ features + ridge * np.eye(p), lower=True, check_finite=False)
            whitened = scipy.linalg.solve_triangular(factor, features.T, lower=True, check_finite=False)
            projected = np.einsum("pn,n->p", whitened, answers)
            weights = scipy.linalg.solve_triangular(factor, projected, lower=True, trans=1, check_finite=False)
            errors = answers - np.einsum("pn,p->n", whitened, projected)
            return weights, answers - errors / (1 - np.sum(whitened**2, axis=0))
        gram = _gram(signs[:, signs.shape[1] - context_length :], self.degree)
        factor = scipy.linalg.cholesky(gram + ridge * np.eye(n), lower=True, check_finite=False)
        inverse = scipy.linalg.solve_triangular(factor, np.eye(n), lower=True, check_finite=False)
        dual = np.einsum("mn,m->n", inverse, np.einsum("mn,n->m", inverse, answers))
        blocks = (monomials[start : start + _BLOCK] for start in range(0, p, _BLOCK))
        weights = [np.einsum("nm,n->m", _products(signs, block), dual) for block in blocks]
        return np.concatenate(weights), answers - dual / np.sum(inverse**2, axis=0)


def _products(
    signs: Float[np.ndarray, "n L"], monomials: Int[np.ndarray, "monomials degree"]
) -> Float[np.ndarray, "n monomials"]:
    values = signs[:, monomials[:, 0]]
    for column in monomials.T[1:]:
        values *= signs[:, column]
    return values


def _gram(signs: Float[np.ndarray, "n l"], degree: int) -> Float[np.ndarray, "n n"]:
    """sum_{|S|=k} prod_{i in S} x_i x'_i = sum_i (-1)^i C(j, i) C(l-j, k-i), j the number of bits that differ."""
    length = signs.shape[1]
    differing = np.arange(length + 1)[:, None]
    i = np.arange(degree + 1)
    table = np.sum((-1.0) ** i * comb(differing, i) * comb(length - differing, degree - i), axis=1)
    return table[((length - signs @ signs.T) / 2).astype(np.intp)]


def _log_odds(values: Float[np.ndarray, "n"], answers: Float[np.ndarray, "n"]) -> float:
    """2 m / v of the values that samples get from the others."""
    mean = float(np.mean(answers * values))
    square = float(np.mean(values**2))
    return 2 * max(mean, 0.0) / max(square - mean**2, 1e-6 * square, _SMALLEST_SPREAD)
