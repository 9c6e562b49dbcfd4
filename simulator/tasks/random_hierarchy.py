"""The Random Hierarchy Model: a random grammar in which each further level of the tree explains a little more."""

import dataclasses
import functools
import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from simulator.random.draws import uniform_below
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.markov_chain import affine_dimension, conditional_entropy
from simulator.tasks.sampling import sample_keys
from theory.checks import Count, integer
from theory.types import Integer

_MOST_NUMBERS = 2**24
"""Numbers in a table of evidence."""
_MOST_RULES = 2**20
_MOST_TOKENS = 2**12


@dataclasses.dataclass(frozen=True)
class RandomHierarchy(ClassificationTask):
    r"""A symbol is rewritten level by level into s^n tokens; the answer is the last token, the context all before it.

    The top symbol is uniform over v; a symbol of any level is rewritten as one of its m tuples of s symbols of the
    level below, uniformly; no two symbols of a level share a tuple. The tuples of each level are drawn from ``seed``.
    A subtree whose leaves are all visible tells its symbol, one that is partly visible a likelihood of its symbols, and
    the Bayes prediction is belief propagation up the tree.

    Worked example, v = 3, m = 2, s = 2, two levels, both with the rules 0 -> 00, 12;  1 -> 01, 20;  2 -> 02, 10::

                  0              0 0 is a 0: with b = 0, 1, 2 beside it, it is a 0, a 1 or a 2
               /     \           the third token, 1, begins 1 2, which is a b = 0, or 1 0, which is a b = 2
             0         b         so the answer is 2 or 0, equally likely, and never 1
            / \       / \
           0   0     1   ?

    R(l) is summed over the evidence that l tokens can give: for each node on the path from the last token up, the
    symbols of the siblings seen whole, the likelihood from the one seen in part, and that from the child on the path;
    evidence of proportional likelihoods is one. R is a staircase: flat where l = s^k - 1 has completed the subtree of
    level k, for the first tokens of the next say little.
    With f = m / v^(s-1) < 1, the fraction of all tuples in use, Cagnetta & Wyart 2024 (arXiv 2406.00048) estimate

        R(s^k) about ln 1/(1 - f) + v f^k,   so that the fall has gamma = ln(1/f) / ln s,
        correlations of tokens at distance s^k about m^-k,   so that beta = ln m / ln s.

    On average over rules, exact falls from step to step do shrink by f; the floor lies below their ln 1/(1 - f), the
    logarithm of a mean where the risk is a mean of logarithms (v = 8, m = s = 2: 0.15 for 0.29).

    ``intrinsic_dimension(l)`` is the dimension of the smallest flat space that holds every predictive law: at most
    v - 1. ``intrinsic_entropy`` is None: evidence is a likelihood, and which of it counts as the same is not given.

    Attributes:
        vocabulary_size: v, the number of symbols at every level.
        n_synonyms: m, tuples per symbol; m v <= v^s.
        branching: s >= 2.
        n_levels: n >= 1; L = s^n - 1.
        seed: seed of the rules.
    """

    vocabulary_size: Annotated[int, integer(2, 2**10)]
    n_synonyms: Count
    branching: Annotated[int, integer(2, 16)]
    n_levels: Annotated[int, integer(1, 12)]
    seed: Annotated[int, integer(0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        v, m, s, n = self.vocabulary_size, self.n_synonyms, self.branching, self.n_levels
        if m > v ** (s - 1):
            raise ValueError(
                f"n_synonyms must be between 1 and {v ** (s - 1)} = vocabulary_size^(branching - 1), so that the {v} "
                f"symbols need not share tuples; got {m}"
            )
        if m * v * s > _MOST_RULES:
            raise ValueError(f"n_synonyms must be at most {_MOST_RULES // (v * s)}, for {v} symbols; got {m}")
        if v**s >= 2**62:
            raise ValueError(f"branching must be below {62 / math.log2(v):.1f} = 62 / log2(vocabulary_size); got {s}")
        if s**n > _MOST_TOKENS:
            largest = int(math.log(_MOST_TOKENS) / math.log(s) + 1e-9)
            raise ValueError(f"n_levels must be at most {largest}, for {_MOST_TOKENS} tokens; got {n}")
        _risks(self)

    @property
    def form(self) -> TaskForm:
        """L = s^n - 1; answers are tokens."""
        return TaskForm(self.branching**self.n_levels - 1, self.loss, self.vocabulary_size, self.vocabulary_size)

    @property
    def correlation_exponent(self) -> float:
        """beta = ln m / ln s: correlations of tokens fall as distance^-beta."""
        return math.log(self.n_synonyms) / math.log(self.branching)

    @property
    def risk_exponent(self) -> float | None:
        """gamma = ln(1/f) / ln s, f = m / v^(s-1), on average over rules; None where every tuple is in use."""
        fraction = self.n_synonyms / self.vocabulary_size ** (self.branching - 1)
        return None if fraction >= 1 else -math.log(fraction) / math.log(self.branching)

    def rules(self) -> tuple[Int[np.ndarray, "v m s"], ...]:
        """For each level, the lowest first, the tuples of every symbol: the symbols of its children."""
        return _rules(self)

    def bayes_risk(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(_risks(self)[context_length])

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(_dimensions(self)[context_length])

    def intrinsic_entropy(self, context_length: Integer) -> None:
        self.check_length(context_length)

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        s, n_tokens = self.branching, self.max_context_length + 1
        words = random_words(keys, 1 + (n_tokens - 1) // (s - 1))
        symbols = uniform_below(words[:, :1], self.vocabulary_size)
        used = 1
        for rule in reversed(self.rules()):
            nodes = symbols.shape[1]
            synonym = uniform_below(words[:, used : used + nodes], self.n_synonyms)
            used += nodes
            symbols = jnp.asarray(rule, jnp.int32)[symbols, synonym].reshape(-1, nodes * s)
        return Examples(symbols[:, :-1], jnp.zeros_like(index), symbols[:, -1])

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B v"]:
        self.check_length(context_length)
        self.check_examples(examples)
        v, s, L = self.vocabulary_size, self.branching, self.max_context_length
        visible = jnp.arange(L, dtype=jnp.int32) >= L - jnp.asarray(context_length, jnp.int32)
        leaves = jax.nn.one_hot(examples.context, v, dtype=jnp.float32)
        # Likelihood of each symbol at the nodes off the path, and of each (symbol, answer) at the one on it.
        others = jnp.where(visible[None, :, None], leaves, jnp.float32(1))
        path = jnp.broadcast_to(jnp.eye(v, dtype=jnp.float32), (leaves.shape[0], v, v))
        for rule in self.rules():
            tuples = jnp.asarray(rule, jnp.int32)
            left = _product(others[:, -(s - 1) :], tuples)
            path = jnp.mean(left[..., None] * path[:, tuples[:, :, s - 1]], axis=2)
            path = path / _positive(jnp.sum(path, axis=(1, 2), keepdims=True))
            n_blocks = others.shape[1] // s
            blocks = others[:, : n_blocks * s].reshape(leaves.shape[0] * n_blocks, s, v)
            whole = jnp.mean(_product(blocks, tuples), axis=2)
            whole = whole / _positive(jnp.sum(whole, axis=1, keepdims=True))
            others = whole.reshape(leaves.shape[0], n_blocks, v)
        answer = jnp.sum(path, axis=1)
        total = jnp.sum(answer, axis=1, keepdims=True)
        return jnp.log(jnp.where(total > 0, answer / _positive(total), 1 / v))


def _product(messages: Float[Array, "B children v"], tuples: Int[Array, "v m s"]) -> Float[Array, "B v m"]:
    """Likelihood of each tuple: the product over the given children of that of the symbol it gives them."""
    product = jnp.ones((messages.shape[0], *tuples.shape[:2]), jnp.float32)
    for child in range(messages.shape[1]):
        product = product * messages[:, child][:, tuples[:, :, child]]
    return product


def _positive(total: Array) -> Array:
    return jnp.where(total > 0, total, 1)


@functools.lru_cache(maxsize=64)
def _rules(task: RandomHierarchy) -> tuple[Int[np.ndarray, "v m s"], ...]:
    v, m, s = task.vocabulary_size, task.n_synonyms, task.branching
    rng = np.random.default_rng(task.seed)
    places = v ** np.arange(s - 1, -1, -1)
    codes = [rng.choice(v**s, size=(v, m), replace=False) for _ in range(task.n_levels)]
    return tuple(code[:, :, None] // places % v for code in codes)


def _merged(rows: Float[np.ndarray, "n K"]) -> Float[np.ndarray, "merged K"]:
    """Rows that are proportional to each other (to 12 digits) added up, rows of zeros dropped."""
    rows = rows[rows.any(axis=1)]
    shape = np.round(rows / rows.max(axis=1, keepdims=True), 12)
    _, group = np.unique(shape, axis=0, return_inverse=True)
    merged = np.zeros((group.max() + 1, rows.shape[1]))
    np.add.at(merged, group, rows)
    return merged


class _Evidence:
    """What visible leaves can say: tables of likelihoods, one row for each outcome that can be told from the others."""

    def __init__(self, task: RandomHierarchy) -> None:
        self.task, self.rules = task, task.rules()
        self.v, self.m, self.s, self.n = task.vocabulary_size, task.n_synonyms, task.branching, task.n_levels
        self.known: dict[tuple[int, int], Float[np.ndarray, "outcomes v"]] = {}
        # The law of the symbol at each level of the path from the root to the answer.
        self.laws = [np.full(self.v, 1 / self.v)]
        for rule in reversed(self.rules):
            weights = np.repeat(self.laws[0] / self.m, self.m)
            self.laws.insert(0, np.bincount(rule[:, :, -1].ravel(), weights, minlength=self.v))
        # P(all of the context below, answer | symbol), axes (outcome, symbol, answer), for the node of each level.
        self.paths = [np.eye(self.v)[None]]
        for level in range(1, self.n):
            rule = self.rules[level - 1]
            pairs = np.arange(self.v)[:, None] * self.v + rule[:, :, -1]
            seen = self.seen(level, (self.s - 1) * self.s ** (level - 1), self.s - 1, pairs, self.v**2)
            self.check(len(seen) * self.paths[-1].size)
            table = np.einsum("cab,eby->ceay", seen.reshape(-1, self.v, self.v), self.paths[-1])
            self.paths.append(_merged(table.reshape(-1, self.v**2)).reshape(-1, self.v, self.v))

    def joint(self, length: int) -> Float[np.ndarray, "outcomes v"]:
        """P(evidence of the last l tokens of the context, answer)."""
        if length == 0:
            return self.laws[0][None]
        level = next(k for k in range(1, self.n + 1) if length < self.s**k)
        path = self.paths[level - 1]
        leaves = length + 1 - self.s ** (level - 1)
        seen = self.seen(level, leaves, self.s - 1, self.rules[level - 1][:, :, -1], self.v, self.laws[level])
        self.check(len(seen) * path.shape[0] * self.v)
        return np.einsum("cb,eby->cey", seen, path).reshape(-1, self.v)

    def suffix(self, level: int, leaves: int) -> Float[np.ndarray, "outcomes v"]:
        """P(evidence of the last leaves of a subtree | its symbol); all of its leaves tell the symbol itself."""
        if leaves == 0:
            return np.ones((1, self.v))
        if leaves == self.s**level:
            return np.eye(self.v)
        if (level, leaves) not in self.known:
            symbols = np.repeat(np.arange(self.v)[:, None], self.m, axis=1)
            self.known[level, leaves] = self.seen(level, leaves, self.s, symbols, self.v)
        return self.known[level, leaves]

    def seen(
        self,
        level: int,
        leaves: int,
        end: int,
        column: Int[np.ndarray, "v m"],
        n_columns: int,
        law: Float[np.ndarray, "v"] | float = 1.0,
    ) -> Float[np.ndarray, "outcomes columns"]:
        """Evidence of the last leaves of a node's children 0..end-1, summed over its tuples into their columns."""
        rule = self.rules[level - 1]
        whole, part = divmod(leaves, self.s ** (level - 1))
        first = end - whole
        # Children seen whole are known symbols, the one before them has a likelihood (all ones if it is not seen).
        places = self.v ** np.arange(whole, dtype=np.int64)
        outcomes, outcome = np.unique(np.sum(rule[:, :, first:end] * places, axis=2).ravel(), return_inverse=True)
        below = self.suffix(level - 1, part)
        self.check(len(below) * max(len(outcomes) * n_columns, self.v * self.m))
        likelihood = below[:, rule[:, :, first - 1]] / self.m
        likelihood = likelihood * np.broadcast_to(law, self.v)[None, :, None]
        table = np.zeros((len(outcomes), n_columns, len(likelihood)))
        np.add.at(table, (outcome, column.ravel()), likelihood.reshape(len(likelihood), -1).T)
        return _merged(table.transpose(0, 2, 1).reshape(-1, n_columns))

    def check(self, size: int) -> None:
        """Refuse tables too large to hold."""
        if size > _MOST_NUMBERS:
            raise ValueError(
                f"n_levels = {self.n} asks for a table of {size} numbers to sum over all evidence; it may have "
                f"{_MOST_NUMBERS}: take fewer levels, or a smaller vocabulary_size, n_synonyms or branching"
            )


@functools.lru_cache(maxsize=2)
def _evidence(task: RandomHierarchy) -> _Evidence:
    return _Evidence(task)


@functools.lru_cache(maxsize=64)
def _risks(task: RandomHierarchy) -> Float[np.ndarray, "lengths"]:
    """R(0), ..., R(L); a further token cannot raise the risk, so neither may rounding."""
    evidence = _evidence(task)
    return np.minimum.accumulate([conditional_entropy(evidence.joint(l)) for l in range(task.max_context_length + 1)])


@functools.lru_cache(maxsize=64)
def _dimensions(task: RandomHierarchy) -> tuple[int, ...]:
    """Dimensions at l = 0, ..., L; predictive laws at l are mixtures of those at l + 1, so they cannot fall."""
    dimensions = [0]
    for length in range(1, task.max_context_length + 1):
        if dimensions[-1] < task.vocabulary_size - 1:
            joint = _evidence(task).joint(length)
            joint = joint[joint.any(axis=1)]
            dimensions.append(max(dimensions[-1], affine_dimension(joint / joint.sum(axis=1, keepdims=True))))
        else:
            dimensions.append(dimensions[-1])
    return tuple(dimensions)
