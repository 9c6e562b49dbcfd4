"""Needles at drawn distances among distractors: the answer needs all of them."""

import dataclasses
import functools
import math
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from simulator.random.draws import choose, thresholds, uniform_below
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.sampling import sample_keys
from theory.checks import Count, Positive, check_integer, integer, set_fields
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class Retrieval(ClassificationTask):
    r"""k needles, each with a value in 0..m-1, hidden at independent distances; the answer combines their values.

    Distances have the distribution function F(l) = P(distance <= l), l = 0..L:

        ``"uniform"``            l/L
        ``"pareto"``             1 - (nearest/l)^exponent for l >= nearest, else 0; a needle beyond L is never seen
        ``"position_weighted"``  1 - (1 - l/L)^(exponent+1), from the density (1 - x/L)^exponent of arXiv 2502.01481

    ``rule="sum"``: the answer is the sum of the values mod m (XOR for m = 2). Nothing is known until all are seen:

        R(l) = ln m (1 - F(l)^k).

    ``rule="and"`` (m = 2): one visible 0 settles the answer, j visible ones leave a probability 2^-(k-j) of a 1:

        R(l) = sum_j C(k,j) F^j (1-F)^(k-j) 2^-j h(2^-(k-j)),     h the entropy of a coin.

    Needles at the same distance share a token. It shows which needles they are, and their values combined. All
    other tokens are distractors without meaning.

    Worked example, two needles of a sum mod 2, context (oldest first)::

        distance   5    4    3    2    1
        context    #1  n0=1  #3  n1=1  #0      1 + 1 = 0 mod 2, known from l = 4 on

    ``intrinsic_dimension(l)`` is the expected number of needles in sight, k F(l), and ``intrinsic_entropy(l)`` the
    entropy of their values given which they are, k F(l) ln m.

    Attributes:
        n_needles: k.
        n_answers: m.
        max_context_length: L.
        distance_law: ``"uniform"``, ``"pareto"`` or ``"position_weighted"``.
        exponent: exponent of the law of distances; ``"uniform"`` ignores it.
        nearest: shortest distance under the Pareto law; the other laws ignore it.
        n_distractors: number of different distractors.
        rule: ``"sum"`` or ``"and"``.
    """

    n_needles: Annotated[int, integer(1, 12)]
    n_answers: Annotated[int, integer(2, 2**16 - 1)]
    max_context_length: Count
    distance_law: Literal["uniform", "pareto", "position_weighted"] = "uniform"
    exponent: Positive = 1.0
    nearest: int = 1
    n_distractors: Annotated[int, integer(1, 2**16 - 1)] = 4
    rule: Literal["sum", "and"] = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        k, m, L = self.n_needles, self.n_answers, self.max_context_length
        if k > L:
            raise ValueError(f"n_needles = {k} is more than the {L} positions of the context: take 1 to {min(L, 12)}")
        if self.rule == "and" and m != 2:
            raise ValueError(f"n_answers must be 2 for rule='and'; got {m}")
        set_fields(self, nearest=check_integer("nearest", self.nearest, 1, L))

    @property
    def form(self) -> TaskForm:
        """Tokens are the distractors, then one for each set of needles and each combined value."""
        n_tokens = self.n_distractors + (2**self.n_needles - 1) * self.n_answers
        return TaskForm(self.max_context_length, self.loss, n_tokens, self.n_answers)

    @property
    def risk_exponent(self) -> float | None:
        """The exponent of a Pareto law, whatever k: R/R(0) ~ k (nearest/l)^exponent."""
        return self.exponent if self.distance_law == "pareto" else None

    def visible_probability(self, context_length: Integer) -> float:
        """F(l), the probability that a needle is among the last l tokens."""
        self.check_length(context_length)
        return float(_distribution(self)[context_length])

    def bayes_risk(self, context_length: Integer) -> float:
        F, k = self.visible_probability(context_length), self.n_needles
        if self.rule == "sum":
            return math.log(self.n_answers) * (1 - F**k)
        return math.fsum(
            math.comb(k, j) * F**j * (1 - F) ** (k - j) * 2.0**-j * _coin_entropy(2.0 ** -(k - j)) for j in range(k)
        )

    def bayes_accuracy(self, context_length: Integer) -> float:
        """Best probability of the right answer: 1/m + (1 - 1/m) F(l)^k for a sum.

        For ``rule="and"`` the hidden ones are guessed to hold a 0, which fails with probability 2^-k whenever some
        needle is hidden: 1 - 2^-k (1 - F^k), and a tie for a single hidden one.
        """
        F, k = self.visible_probability(context_length), self.n_needles
        if self.rule == "sum":
            return 1 / self.n_answers + (1 - 1 / self.n_answers) * F**k
        return 1 - 2.0**-k * (1 - F**k)

    def intrinsic_dimension(self, context_length: Integer) -> float:
        return self.n_needles * self.visible_probability(context_length)

    def intrinsic_entropy(self, context_length: Integer) -> float:
        return self.intrinsic_dimension(context_length) * math.log(self.n_answers)

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L, k, m = self.max_context_length, self.n_needles, self.n_answers
        words = random_words(keys, L + 2 * k)
        distance = choose(words[:, L : L + k], thresholds(np.diff(_distribution(self), append=1.0)))
        values = uniform_below(words[:, L + k :], m)
        here = distance[:, :, None] == jnp.arange(L - 1, -1, -1)[None, None, :]
        mask = jnp.sum(jnp.where(here, (1 << jnp.arange(k))[None, :, None], 0), axis=1)
        combined = self._combine(values[:, :, None], here)
        needle = self.n_distractors + (mask - 1) * m + combined
        context = jnp.where(mask > 0, needle, uniform_below(words[:, :L], self.n_distractors))
        return Examples(context, jnp.zeros_like(index), self._combine(values, jnp.ones_like(values, bool)))

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B classes"]:
        self.check_length(context_length)
        self.check_examples(examples)
        L, k, m = self.max_context_length, self.n_needles, self.n_answers
        visible = jnp.arange(L) >= L - jnp.asarray(context_length, jnp.int32)
        shown = self.relevant_tokens(examples) & visible[None, :]
        code = jnp.where(shown, examples.context - self.n_distractors, 0)
        bits = ((code // m + 1)[:, :, None] >> jnp.arange(k)[None, None, :]) & 1
        found = jnp.sum(jnp.where(shown, jnp.sum(bits, axis=2), 0), axis=1)
        value = self._combine(code % m, shown)
        if self.rule == "sum":
            right = jnp.arange(m, dtype=value.dtype)[None, :] == value[:, None]
            known = jnp.where(right, jnp.float32(0), jnp.float32(-jnp.inf))
            return jnp.where((found == k)[:, None], known, jnp.float32(-math.log(m)))
        ones = [2.0 ** -(k - j) for j in range(k + 1)]
        one = jnp.where(value == 1, jnp.asarray(ones, jnp.float32)[found], jnp.float32(0))
        return jnp.log(jnp.stack([1 - one, one], axis=1))

    def relevant_tokens(self, examples: Examples) -> Bool[Array, "B L"]:
        """The needles."""
        return examples.context >= self.n_distractors

    def token_name(self, token: int) -> str:
        if token < self.n_distractors:
            return f"#{token}"
        mask, value = divmod(token - self.n_distractors, self.n_answers)
        return "+".join(f"n{j}" for j in range(self.n_needles) if (mask + 1) >> j & 1) + f"={value}"

    def _combine(self, values: Array, counted: Array) -> Array:
        """Sum mod m, or AND, of the values counted, over axis 1."""
        if self.rule == "sum":
            return jnp.sum(jnp.where(counted, values, 0), axis=1) % self.n_answers
        return jnp.min(jnp.where(counted, values, 1), axis=1)


def _coin_entropy(p: float) -> float:
    return -math.fsum(q * math.log(q) for q in (p, 1 - p) if q > 0)


@functools.lru_cache(maxsize=64)
def _distribution(task: Retrieval) -> Float[np.ndarray, "l"]:
    """F(l) for l = 0..L."""
    lengths = np.arange(task.max_context_length + 1.0)
    fraction = lengths / task.max_context_length
    if task.distance_law == "uniform":
        return fraction
    if task.distance_law == "position_weighted":
        return 1 - (1 - fraction) ** (task.exponent + 1)
    return 1 - (task.nearest / np.maximum(lengths, task.nearest)) ** task.exponent
