"""Associative recall: key-value pairs, then the question for one key."""

import dataclasses
import math
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from simulator.random.draws import choose, permutation, thresholds, uniform_below
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.sampling import sample_keys
from theory.checks import Count, NonNegative, integer
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class AssociativeRecall(ClassificationTask):
    r"""n pairs "key value" of distinct keys and independent values; the query names a key, the answer is its value.

    After Zoology's multi-query associative recall (arXiv 2312.04927), one query a sample: the j-th newest pair is asked
    for with probability w_j ~ j^-gap_exponent, the power-law gaps of the original (0: all alike). With q = l // 2 pairs
    in sight and W_q = sum_{j>q} w_j,

        R(2q) = W_q ln m.

    An odd l shows one value more, without its key. It is the answer with probability r = w_{q+1}/W_q if the key asked
    for is not in sight, so that

        R(2q+1) = W_q H(r),   H(r) the entropy of P(y) = (1-r)/m + r 1[y = that value].

    Worked example, context (oldest first), keys a b c, values 0..9, the query b::

        context    c 7  b 4  a 4      4, known from l = 4 on; at l = 3 a value 4 without key is in sight

    ``intrinsic_dimension(l)`` is the number of pairs in sight, the number of facts to be held. ``intrinsic_entropy(l)``
    is the entropy of the values in sight, given their keys. :meth:`state_bits` counts the bits, keys included, that a
    recurrent state must hold at the end.

    Attributes:
        n_pairs: n; the context has L = 2n tokens.
        n_keys: number of keys, at least n.
        n_values: m.
        gap_exponent: exponent of the distance of the pair asked for.
    """

    n_pairs: Count
    n_keys: Count
    n_values: Annotated[int, integer(2, 2**16 - 1)]
    gap_exponent: NonNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_keys < self.n_pairs:
            raise ValueError(
                f"n_keys must be at least n_pairs = {self.n_pairs}, for keys are distinct; got {self.n_keys}"
            )

    @property
    def form(self) -> TaskForm:
        """Tokens are the keys, then the values; every key has a query."""
        return TaskForm(2 * self.n_pairs, self.loss, self.n_keys + self.n_values, self.n_values, n_queries=self.n_keys)

    def gap_probabilities(self) -> Float[np.ndarray, "pairs"]:
        """w_j, newest pair first."""
        weights = np.arange(1.0, self.n_pairs + 1) ** -self.gap_exponent
        return weights / weights.sum()

    def _hidden(self) -> np.ndarray:
        """W_q for q = 0..n."""
        return np.append(np.cumsum(self.gap_probabilities()[::-1])[::-1], 0.0)

    def _orphan_probabilities(self) -> np.ndarray:
        """r for q = 0..n: the value without key is the answer, given that no key in sight is the one asked for."""
        return np.append(self.gap_probabilities() / self._hidden()[:-1], 0.0)

    def bayes_risk(self, context_length: Integer) -> float:
        self.check_length(context_length)
        pairs, m = int(context_length) // 2, self.n_values
        hidden = float(self._hidden()[pairs])
        if context_length % 2 == 0:
            return hidden * math.log(m)
        r = float(self._orphan_probabilities()[pairs])
        law = [(1 - r) / m + r, *[(1 - r) / m] * (m - 1)]
        return -hidden * math.fsum(p * math.log(p) for p in law if p > 0)

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(context_length // 2)

    def intrinsic_entropy(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return (context_length + 1) // 2 * math.log(self.n_values)

    def state_bits(self) -> float:
        """Bits to answer every query from a state: log2 of the number of maps from n of the keys to values."""
        n, K = self.n_pairs, self.n_keys
        return math.log2(math.comb(K, n)) + n * math.log2(self.n_values)

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        n, K = self.n_pairs, self.n_keys
        words = random_words(keys, K + n + 1)
        named = permutation(words[:, :K])[:, :n]
        values = uniform_below(words[:, K : K + n], self.n_values)
        context = jnp.stack([named, self.n_keys + values], axis=2).reshape(index.shape[0], 2 * n)
        asked = n - 1 - choose(words[:, K + n], thresholds(self.gap_probabilities()))[:, None]
        query, target = (jnp.take_along_axis(what, asked, axis=1)[:, 0] for what in (named, values))
        return Examples(context, query, target)

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B classes"]:
        self.check_length(context_length)
        self.check_examples(examples)
        n, m = self.n_pairs, self.n_values
        length = jnp.asarray(context_length, jnp.int32)
        named, values = examples.context[:, ::2], examples.context[:, 1::2] - self.n_keys
        shown = jnp.arange(n) >= n - length // 2
        asked = (named == examples.query[:, None]) & shown[None, :]
        # The value whose key is just out of sight stands at pair number n - 1 - q.
        orphan = jnp.arange(n) == n - 1 - length // 2
        r = jnp.asarray(self._orphan_probabilities(), jnp.float32)[length // 2]
        r = jnp.where(length % 2 == 1, r, jnp.float32(0))
        found = jnp.any(asked, axis=1)
        chosen = jnp.where(found[:, None], asked, orphan[None, :])
        value = jnp.sum(jnp.where(chosen, values, 0), axis=1)
        confidence = jnp.where(found, jnp.float32(1), r)[:, None]
        right = jnp.arange(m, dtype=value.dtype)[None, :] == value[:, None]
        return jnp.log((1 - confidence) / m + jnp.where(right, confidence, jnp.float32(0)))

    def token_name(self, token: int) -> str:
        return f"k{token}" if token < self.n_keys else f"={token - self.n_keys}"

    def query_name(self, query: int) -> str:
        return f"k{query}"
