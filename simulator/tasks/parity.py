"""What all multitask parities have in common: fair bits, and a query that names the subset to be XORed."""

import abc
import bisect
import functools
import itertools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from simulator.random.draws import choose, thresholds
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.sampling import sample_keys
from theory.types import Integer


def subsets_in_sight(
    max_context_length: Integer, context_length: Integer, size: Integer
) -> Int[np.ndarray, "subsets size"]:
    """Columns of the context, oldest first, of each set of ``size`` bits among the last l."""
    L, l, k = int(max_context_length), int(context_length), int(size)
    columns = itertools.chain.from_iterable(itertools.combinations(range(L - l, L), k))
    return np.fromiter(columns, np.int32, math.comb(l, k) * k).reshape(-1, k)


class MultitaskParity(ClassificationTask):
    """L fair bits, numbered by distance; task k asks for the XOR of its subset, known once its far bit is in sight.

    With f_k the frequency of task k and far_k its largest bit, R(l) = ln 2 * sum over {k : far_k > l} of f_k.
    """

    max_context_length: int

    @abc.abstractmethod
    def subsets(self) -> Sequence[tuple[int, ...]]:
        """The bits of every task, far bit first. All tasks have equally many bits; bits beyond L are never seen."""

    @abc.abstractmethod
    def relative_frequencies(self) -> Sequence[float] | None:
        """Weight of every task. With None, tasks are equally frequent: sample i asks task i mod n."""

    @property
    def form(self) -> TaskForm:
        """Tokens and answers are bits; every task has a query."""
        return TaskForm(self.max_context_length, self.loss, 2, 2, n_queries=len(self.subsets()))

    def task_frequencies(self) -> Float[np.ndarray, "tasks"]:
        """f_k, summing to one."""
        weights = self._weights()
        return weights / weights.sum()

    def samples_in_turn(self, dataset_size: int) -> Int[np.ndarray, "tasks"]:
        """How many of the first D samples ask each task, where tasks have no frequencies and take turns."""
        return dataset_size // self.n_queries + (np.arange(self.n_queries) < dataset_size % self.n_queries)

    def solvable_tasks(self, context_length: Integer) -> int:
        """Number of tasks whose far bit is among the last l."""
        return len(self._visible(context_length))

    def _weights(self) -> np.ndarray:
        weights = self.relative_frequencies()
        return np.ones(len(self.subsets())) if weights is None else np.array(weights) / max(weights)

    def _visible(self, context_length: Integer) -> list[tuple[int, ...]]:
        self.check_length(context_length)
        return [subset for subset in self.subsets() if subset[0] <= context_length]

    def bayes_risk(self, context_length: Integer) -> float:
        self.check_length(context_length)
        weights = self._weights()
        hidden = math.fsum(w for w, s in zip(weights, self.subsets(), strict=True) if s[0] > context_length)
        return math.log(2) * hidden / math.fsum(weights)

    def intrinsic_dimension(self, context_length: Integer) -> float:
        return float(len(set(self._visible(context_length))))

    def intrinsic_entropy(self, context_length: Integer) -> float:
        self.check_length(context_length)
        far_bits, ranks = _ranks(self)
        return math.log(2) * ranks[bisect.bisect_right(far_bits, int(context_length))]

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L = self.max_context_length
        n_words = -(-L // 32)
        words = random_words(keys, n_words + 2)
        shifts = jnp.arange(32, dtype=jnp.uint32)
        bits = (words[:, :n_words, None] >> shifts[None, None, :]) & jnp.uint32(1)
        context = bits.reshape(index.shape[0], n_words * 32)[:, :L].astype(jnp.int32)
        coin = (words[:, n_words] & jnp.uint32(1)).astype(jnp.int32)
        if self.relative_frequencies() is None:
            query = index % jnp.int32(self.n_queries)
        else:
            query = choose(words[:, n_words + 1], thresholds(self.task_frequencies()))
        return Examples(context, query, jnp.where(self._far(query) <= L, self._xor(context, query), coin))

    def answers(self, context: Int[Array, "B L"], coins: Int[Array, "B tasks"]) -> Int[Array, "B tasks"]:
        """The answer to every query of each context. A query whose far bit is beyond L is answered by its coin."""
        in_context = np.array([subset[0] <= self.max_context_length for subset in self.subsets()])
        return jnp.where(in_context[None], jnp.sum(context[:, self._columns()], axis=2) % 2, coins)

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B 2"]:
        self.check_length(context_length)
        self.check_examples(examples)
        answer = self._xor(examples.context, examples.query)
        right = jnp.arange(2, dtype=answer.dtype)[None, :] == answer[:, None]
        visible = self._far(examples.query) <= jnp.asarray(context_length, jnp.int32)
        known = jnp.where(right, jnp.float32(0), jnp.float32(-jnp.inf))
        return jnp.where(visible[:, None], known, jnp.float32(-math.log(2)))

    def relevant_tokens(self, examples: Examples) -> Bool[Array, "B L"]:
        """The bits of the task asked for; none if its far bit is beyond L."""
        L = self.max_context_length
        table = np.zeros((self.n_queries, L), bool)
        for row, subset in zip(table, self.subsets(), strict=True):
            if subset[0] <= L:
                row[[L - bit for bit in subset]] = True
        return jnp.asarray(table)[examples.query]

    def _far(self, query: Array) -> Array:
        # Everything beyond L is alike, and clipping keeps any far bit within int32.
        far = [min(subset[0], self.max_context_length + 1) for subset in self.subsets()]
        return jnp.asarray(far, jnp.int32)[query]

    def _xor(self, context: Array, query: Array) -> Array:
        """XOR of the subset; the oldest bit stands in for one beyond L (the caller discards the answer)."""
        chosen = jnp.take_along_axis(context, jnp.asarray(self._columns())[query], axis=1)
        return jnp.sum(chosen, axis=1) % 2

    def _columns(self) -> Int[np.ndarray, "tasks bits"]:
        """Where the bits of each task stand in the context; a bit beyond L is given the place of the oldest."""
        L = self.max_context_length
        return np.array([[max(L - bit, 0) for bit in subset] for subset in self.subsets()], np.int32)


@functools.lru_cache(maxsize=64)
def _ranks(task: MultitaskParity) -> tuple[list[int], list[int]]:
    """Far bits of the tasks with all bits within L, nearest first, and the rank of the first 0, 1, 2, ... of them."""
    subsets = sorted(subset for subset in task.subsets() if subset[0] <= task.max_context_length)
    basis: dict[int, int] = {}
    ranks = [0]
    for subset in subsets:
        # Gaussian elimination: each subset is an integer with its bits set.
        row = sum(1 << bit for bit in subset)
        while row and row.bit_length() in basis:
            row ^= basis[row.bit_length()]
        if row:
            basis[row.bit_length()] = row
        ranks.append(len(basis))
    return [subset[0] for subset in subsets], ranks
