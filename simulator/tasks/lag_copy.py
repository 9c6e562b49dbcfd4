"""Copying from a random lag: the memory law of the data is the exponent of one power law."""

import dataclasses
import functools
import math
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from simulator.random.draws import choose, thresholds, uniform_below
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.sampling import sample_keys
from theory.checks import Count, Positive, integer
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class LagCopy(ClassificationTask):
    r"""L tokens uniform over v symbols; the next one copies the token n back with probability p_n, else is uniform.

    With p_n = c n^-beta for n = 1..L and A_l = p_1 + ... + p_l <= 1,

        P_l(y | x) = (1 - A_l)/v + sum_{n<=l} p_n 1[x_n = y].

    Every P_l(y) has the law of q = (1 - A_l)/v + sum_n p_n B_n, B_n independent and 1 with probability 1/v, so that
    R(l) = -v E[q ln q]. From ln q = int_0^inf (e^-t - e^-tq)/t dt follows, for any v and l,

        R(l) = v int_0^inf (E[q e^-tq] - e^-t/v) / t dt,
        E[e^-tq] = e^(-t(1-A_l)/v) prod_n (1 - 1/v + e^(-t p_n)/v),

    one smooth integral, taken by the trapezoidal rule in ln t to rounding. To second order in p,
    R(l) = ln v - (v-1)/2 sum_{n<=l} p_n^2: gamma = 2 beta - 1 as long as v p_1 is small, while the covariance of two
    tokens n apart has norm p_n/v, the correlation exponent beta of arXiv 2602.07488.

    Worked example, v = 2, p = (0.5, 0.25), context (oldest first) 1 0::

        distance   2 1
        context    1 0
        l = 0      . .    P(1) = 1/2
        l = 1      . 0    P(1) = (1 - 0.5)/2 = 0.25
        l = 2      1 0    P(1) = (1 - 0.75)/2 + 0.25 = 0.375

    ``intrinsic_dimension(l)`` is the number of visible tokens, all of which bear on the answer;
    ``intrinsic_entropy(l)`` is theirs, l ln v.

    Attributes:
        vocabulary_size: v.
        beta: exponent of p_n, above 0.
        first_probability: c = p_1.
        max_context_length: L.
    """

    vocabulary_size: Annotated[int, integer(2, 2**16 - 1)]
    beta: Positive
    first_probability: Positive
    max_context_length: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        steepest = 600 / math.log(max(self.max_context_length, 2))
        if self.beta > steepest or self.first_probability < 1e-20:
            raise ValueError(
                f"beta must be at most {steepest:.4g} and first_probability at least 1e-20, for all copy probabilities "
                f"to be numbers above 1e-280; got {self.beta} and {self.first_probability}"
            )
        largest = 1 / math.fsum(n**-self.beta for n in range(1, self.max_context_length + 1))
        if self.first_probability > largest * (1 + 1e-12):
            raise ValueError(
                f"first_probability = {self.first_probability} makes the copy probabilities of "
                f"{self.max_context_length} lags sum to {self.first_probability / largest:.6g}; "
                f"at beta = {self.beta} it may be at most {largest:.6g}"
            )

    @property
    def form(self) -> TaskForm:
        """Answers are tokens."""
        return TaskForm(self.max_context_length, self.loss, self.vocabulary_size, self.vocabulary_size)

    @property
    def correlation_exponent(self) -> float:
        """beta: the covariance of tokens n apart falls as n^-beta."""
        return self.beta

    @property
    def risk_exponent(self) -> float | None:
        """2 beta - 1, the exponent at small v p_n; lags are finite, so R(l) itself ends at R(L)."""
        return 2 * self.beta - 1 if self.beta > 0.5 else None

    def copy_probabilities(self) -> Float[np.ndarray, "L"]:
        """p_n for n = 1..L."""
        return self.first_probability * np.arange(1.0, self.max_context_length + 1) ** -self.beta

    def bayes_risk(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(_risks(self)[context_length])

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(context_length)

    def intrinsic_entropy(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return context_length * math.log(self.vocabulary_size)

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L = self.max_context_length
        words = random_words(keys, L + 2)
        symbols = uniform_below(words[:, : L + 1], self.vocabulary_size)
        p = self.copy_probabilities()
        lag = choose(words[:, L + 1], thresholds(np.append(p, max(1 - p.sum(), 0.0))))
        # The last outcome is "no copy", and the last symbol a fresh one.
        source = jnp.where(lag < L, L - 1 - lag, L)
        target = jnp.take_along_axis(symbols, source[:, None], axis=1)[:, 0]
        return Examples(symbols[:, :L], jnp.zeros_like(index), target)

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B classes"]:
        self.check_length(context_length)
        self.check_examples(examples)
        L, v = self.max_context_length, self.vocabulary_size
        oldest_first = self.copy_probabilities()[::-1]
        visible = jnp.arange(L) >= L - jnp.asarray(context_length, jnp.int32)
        p = jnp.where(visible, jnp.asarray(oldest_first, jnp.float32), jnp.float32(0))
        unseen = 1 - np.concatenate([[0.0], np.cumsum(self.copy_probabilities())])
        rest = jnp.asarray(np.maximum(unseen, 0.0) / v, jnp.float32)[context_length]
        return jnp.log(rest + _mass_of_symbols(examples.context, p, v))


def _mass_of_symbols(context: Array, weights: Array, vocabulary_size: int) -> Float[Array, "B v"]:
    """Sum over tokens of weight times one-hot token."""
    same: Bool[Array, "B v L"] = context[:, None, :] == jnp.arange(vocabulary_size, dtype=context.dtype)[None, :, None]
    return jnp.sum(jnp.where(same, weights[None, None, :], jnp.float32(0)), axis=2)


@functools.lru_cache(maxsize=64)
def _risks(task: LagCopy) -> Float[np.ndarray, "lengths"]:
    """R(0), ..., R(L). A further token cannot raise the risk, so neither may rounding."""
    v, p = task.vocabulary_size, task.copy_probabilities()
    rest = np.maximum(1 - np.cumsum(np.append(0.0, p)), 0.0) / v
    rest[rest < 1e-15] = 0.0
    # With t = e^u the integrand is analytic in a strip of half-width pi/2 and falls exponentially both ways.
    step = 0.2
    smallest = min(part[part > 0].min() for part in (p, rest))
    t = np.exp(np.arange(-40.0, math.log(800 / smallest), step))
    log_product, copied_mean = np.zeros_like(t), np.zeros_like(t)
    risks = [math.log(v)]
    for weight, left in zip(p, rest[1:], strict=True):
        copied = np.exp(-t * weight)
        log_product += np.log1p((copied - 1) / v)
        copied_mean += weight * copied / (v - 1 + copied)
        integrand = np.exp(log_product - t * left) * (copied_mean + left) - np.exp(-t) / v
        risks.append(v * step * math.fsum(integrand))
    return np.minimum.accumulate(np.maximum(risks, 0.0))
