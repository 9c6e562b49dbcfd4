"""The Santa Fe process: facts with Zipf frequencies, stated at random, then asked for."""

import dataclasses
import functools
import math
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from simulator.random.draws import choose, thresholds
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.sampling import sample_keys
from theory.checks import Count, Number, integer, such_that
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class SantaFe(ClassificationTask):
    r"""Tokens (K_i, Z_{K_i}): fact number K_i ~ p_k, stated with its value, a fair bit; the query asks for one more.

    p_k is proportional to k^(-1/b), 0 < b < 1, for k = 1..n (Debowski 2011; the process behind Hilberg's law). The
    query is drawn from p too, and is answered if its fact has been stated within sight:

        R(l) = ln 2 sum_k p_k (1 - p_k)^l  ~  l^-(1-b)    (as long as rare facts remain: l << 1/p_n)

    ``facts="redrawn"``: every sample has facts of its own, which only the context tells. ``facts="fixed"``: the bits
    are drawn once, from ``seed``; then R(l) = 0 at every l, and context and weights compete in telling them.

    Worked example, three facts, context (oldest first) and the query 2::

        context    1:1  3:0  1:1  2:0  1:1      fact 2 is 0, known from l = 2 on

    ``intrinsic_dimension(l)`` is the expected number of distinct facts in sight, sum_k 1 - (1-p_k)^l, and
    ``intrinsic_entropy(l)`` is the entropy of their values, ln 2 times that number. Both are zero when facts are fixed:
    then the facts are no property of the context.

    Attributes:
        n_facts: n.
        b: exponent of the mutual information of past and future, between 0 and 1.
        max_context_length: L.
        facts: ``"redrawn"`` or ``"fixed"``.
        seed: seed of the fixed facts.
    """

    n_facts: Annotated[int, integer(1, 2**24)]
    b: Annotated[Number, such_that(lambda b: 0 < b < 1, "must lie between 0 and 1, both excluded")]
    max_context_length: Count
    facts: Literal["redrawn", "fixed"] = "redrawn"
    seed: Annotated[int, integer(0, 2**31 - 1)] = 0

    @property
    def form(self) -> TaskForm:
        """Token 2k states "fact k is 0", token 2k + 1 "fact k is 1"; every fact has a query."""
        return TaskForm(self.max_context_length, self.loss, 2 * self.n_facts, 2, n_queries=self.n_facts)

    @property
    def risk_exponent(self) -> float | None:
        """1 - b while rare facts remain; None for fixed facts."""
        return 1 - self.b if self.facts == "redrawn" else None

    def fact_probabilities(self) -> Float[np.ndarray, "facts"]:
        """p_k, most frequent first."""
        return _zipf(self.n_facts, self.b)

    def bayes_risk(self, context_length: Integer) -> float:
        self.check_length(context_length)
        if self.facts == "fixed":
            return 0.0
        p = self.fact_probabilities()
        return math.log(2) * float(np.sum(p * _unseen(p, context_length)))

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        if self.facts == "fixed":
            return 0.0
        return float(np.sum(1 - _unseen(self.fact_probabilities(), context_length)))

    def intrinsic_entropy(self, context_length: Integer) -> float:
        return math.log(2) * self.intrinsic_dimension(context_length)

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L = self.max_context_length
        numbers = choose(random_words(keys, L + 1), thresholds(self.fact_probabilities()))
        bits = _bits(keys if self.facts == "redrawn" else self._fixed_keys(index.shape), numbers)
        return Examples(2 * numbers[:, :L] + bits[:, :L], numbers[:, L], bits[:, L])

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B 2"]:
        self.check_length(context_length)
        self.check_examples(examples)
        if self.facts == "fixed":
            answer = _bits(self._fixed_keys(examples.query.shape), examples.query[:, None])[:, 0]
            return _certain(answer, jnp.ones_like(answer, bool))
        L = self.max_context_length
        visible = jnp.arange(L) >= L - jnp.asarray(context_length, jnp.int32)
        stated = (examples.context // 2 == examples.query[:, None]) & visible[None, :]
        answer = jnp.max(jnp.where(stated, examples.context % 2, 0), axis=1)
        return _certain(answer, jnp.any(stated, axis=1))

    def relevant_tokens(self, examples: Examples) -> Bool[Array, "B L"]:
        """The statements of the fact asked for; none if facts are fixed."""
        return (examples.context // 2 == examples.query[:, None]) & (self.facts == "redrawn")

    def token_name(self, token: int) -> str:
        return f"{token // 2}:{token % 2}"

    def _fixed_keys(self, shape: tuple[int, ...]) -> Key:
        return jnp.broadcast_to(jax.random.key(self.seed), shape)


def _bits(keys: Key, numbers: Int[Array, "B n"]) -> Int[Array, "B n"]:
    """The value of each fact: a hash of its number with the key."""
    salted = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
    words = jax.vmap(lambda key, row: jax.vmap(lambda number: jax.random.bits(jax.random.fold_in(key, number)))(row))(
        salted, numbers
    )
    return (words >> jnp.uint32(31)).astype(jnp.int32)


def _certain(answer: Array, known: Array) -> Float[Array, "B 2"]:
    """Log-probabilities of a bit that is known, or a fair coin."""
    right = jnp.arange(2, dtype=answer.dtype)[None, :] == answer[:, None]
    return jnp.where(known[:, None], jnp.where(right, jnp.float32(0), jnp.float32(-jnp.inf)), jnp.float32(-math.log(2)))


def _unseen(p: np.ndarray, context_length: Integer) -> np.ndarray:
    """(1 - p)^l."""
    with np.errstate(divide="ignore"):
        return np.exp(context_length * np.log1p(-p)) if context_length else np.ones_like(p)


@functools.lru_cache(maxsize=4)
def _zipf(n_facts: int, b: float) -> Float[np.ndarray, "facts"]:
    weights = np.arange(1.0, n_facts + 1) ** (-1 / b)
    return weights / weights.sum()
