"""A Markov chain of order m: context beyond the last m tokens does not lower the risk."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Float

from simulator.random.draws import choose, thresholds
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.sampling import sample_keys
from theory.checks import Count, check_integer, check_non_negative, check_positive, check_sequence
from theory.types import Integer, Scalar

_MOST_WORDS = 4096
"""Words of m tokens: the stationary law is solved for by dense elimination."""


def checked_laws(name: str, table: Any) -> tuple[tuple[float, ...], ...]:
    """A table of probabilities as nested tuples whose rows sum to one up to rounding.

    Raises:
        ValueError: no rows, rows of different lengths, a negative entry, or a sum further than 1e-9 from one.
    """
    rows = tuple(
        tuple(check_non_negative(f"an entry of {name}", entry) for entry in check_sequence(f"a row of {name}", row))
        for row in check_sequence(name, table)
    )
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        lengths = sorted({len(row) for row in rows})
        raise ValueError(f"{name} must have rows of one length, at least one; got rows of lengths {lengths}")
    sums = [math.fsum(row) for row in rows]
    for number, total in enumerate(sums):
        if abs(total - 1) > 1e-9:
            raise ValueError(f"each row of {name} must sum to 1 within 1e-9; row {number} sums to {total!r}")
    # Divided once, a row sums to one within 1e-15 and is left alone the next time: a spec read back is the same spec.
    return tuple(
        row if abs(total - 1) <= 1e-15 else tuple(entry / total for entry in row)
        for row, total in zip(rows, sums, strict=True)
    )


@dataclasses.dataclass(frozen=True)
class MarkovChain(ClassificationTask):
    r"""Each token is drawn from a law that depends on the m tokens before it; the answer is the next token.

    The chain is stationary: its words of m tokens w have the law pi with pi(w') = sum of pi(w) P(x | w) over the w, x
    whose last m tokens are w'. With u the last l tokens,

        R(l) = - sum over u, x of P(u, x) ln P(x | u)     for l < m,
        R(l) = entropy rate                               for l >= m.

    Worked example, order 1 on two tokens that repeat with probability 3/4::

        transition      0    1        context  1 1 0 0 0 1     P(next = 1) = 3/4 from l = 1 on
        after 0       3/4  1/4
        after 1       1/4  3/4        R(0) = ln 2 = 0.6931,   R(1) = R(2) = ... = H(3/4, 1/4) = 0.5623

    ``intrinsic_dimension(l)`` is the dimension of the smallest flat space that holds every predictive law
    P(. | last l tokens), a point in the simplex of laws over v tokens: 0 where context does not matter, at most v - 1.
    ``intrinsic_entropy(l)`` is the entropy of the last min(l, m) tokens.

    Attributes:
        transition: v^m rows of v probabilities; the row of a word is its m tokens read as a number to base v, the
            oldest most significant. The number of rows sets the order m; with one row tokens are independent.
        max_context_length: L; it may be below m.
    """

    transition: Annotated[Sequence[Sequence[float]], checked_laws]
    max_context_length: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        rows, v = len(self.transition), len(self.transition[0])
        if v < 2:
            raise ValueError("transition must have at least 2 columns, one for each token; got 1")
        if rows > _MOST_WORDS or rows not in [v**m for m in range(13)]:
            raise ValueError(
                f"transition must have v^m rows, a power of its {v} columns and at most {_MOST_WORDS}; got {rows}"
            )
        _stationary_words(self.transition)

    @classmethod
    def random(
        cls,
        order: Integer,
        vocabulary_size: Integer,
        concentration: Scalar,
        max_context_length: Integer,
        seed: Integer = 0,
    ) -> "MarkovChain":
        """Rows drawn from the symmetric Dirichlet law: nearly certain below concentration 1, nearly uniform far above.

        Args:
            order: m; v^m is at most 4096.
            vocabulary_size: v.
            concentration: parameter of the Dirichlet law.
            max_context_length: L.
            seed: seed of the rows.
        """
        v = check_integer("vocabulary_size", vocabulary_size, 2, _MOST_WORDS)
        order = check_integer("order", order, 0, int(math.log(_MOST_WORDS) / math.log(v) + 1e-9))
        rng = np.random.default_rng(check_integer("seed", seed, 0))
        length = check_integer("max_context_length", max_context_length, 1)
        return cls(random_laws(v**order, v, concentration, rng), length)

    @property
    def form(self) -> TaskForm:
        v = self.vocabulary_size
        return TaskForm(self.max_context_length, self.loss, v, v, is_stationary_text=True)

    @property
    def vocabulary_size(self) -> int:
        """v."""
        return len(self.transition[0])

    @property
    def order(self) -> int:
        """m."""
        return round(math.log(len(self.transition)) / math.log(self.vocabulary_size))

    @property
    def entropy_rate(self) -> float:
        """R(l) for l >= m, in nats per token."""
        return float(_risks(self.transition)[-1])

    def bayes_risk(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(_risks(self.transition)[min(context_length, self.order)])

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(_dimensions(self.transition)[min(context_length, self.order)])

    def intrinsic_entropy(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(_block_entropies(self.transition)[min(context_length, self.order)])

    def joint_law(self, context_length: Integer) -> Float[np.ndarray, "contexts v"]:
        """P(last l tokens, next token): a row for each of the v^l contexts, read as a number to base v."""
        self.check_length(context_length)
        joint, table = _joint_laws(self.transition)[min(context_length, self.order)], np.array(self.transition)
        for _ in range(self.order, int(context_length)):
            # The next token becomes the context's newest, and the law after it depends on the last m tokens.
            joint = joint.reshape(-1, 1) * np.tile(table, (joint.size // len(table), 1))
        return joint

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L, m, v = self.max_context_length, self.order, self.vocabulary_size
        words = random_words(keys, 1 + max(L + 1 - m, 0))
        first = choose(words[:, 0], thresholds(_stationary_words(self.transition)))
        powers = jnp.asarray(v ** np.arange(m - 1, -1, -1), jnp.int32)
        start = (first[:, None] // powers[None, :]) % v
        edges = jnp.asarray(thresholds(np.array(self.transition)))

        def step(word, fresh):
            token = choose(fresh, edges[word])
            return (word * v + token) % v**m, token

        _, rest = jax.lax.scan(step, first, words[:, 1:].T)
        tokens = jnp.concatenate([start, rest.T], axis=1)
        return Examples(tokens[:, :L], jnp.zeros_like(index), tokens[:, L])

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[jax.Array, "B v"]:
        self.check_length(context_length)
        self.check_examples(examples)
        v, k = self.vocabulary_size, min(self.order, self.max_context_length)
        laws = _predictive_laws(self.transition)
        # The laws after no token, after one, after two, ... stand one below the other.
        first_rows = jnp.asarray(np.cumsum([0, *(len(law) for law in laws[:-1])]), jnp.int32)
        seen = jnp.minimum(jnp.asarray(context_length, jnp.int32), k)
        distance = jnp.arange(k, 0, -1, dtype=jnp.int32)
        values = jnp.where(distance <= seen, jnp.asarray(v ** np.arange(k - 1, -1, -1), jnp.int32), 0)
        newest = examples.context[:, self.max_context_length - k :].astype(jnp.int32)
        rows = first_rows[seen] + jnp.sum(newest * values[None, :], axis=1, dtype=jnp.int32)
        with np.errstate(divide="ignore"):
            table = np.log(np.concatenate(laws))
        return jnp.asarray(table, jnp.float32)[rows]


def random_laws(
    n_laws: int, n_outcomes: int, concentration: Scalar, rng: np.random.Generator
) -> tuple[tuple[float, ...], ...]:
    """Laws drawn from the symmetric Dirichlet law."""
    if not 1e-3 <= check_positive("concentration", concentration) <= 1e9:
        raise ValueError(f"concentration must be between 0.001 and 1e9; got {concentration}")
    rows = rng.dirichlet(np.full(n_outcomes, float(concentration)), size=n_laws)
    return tuple(map(tuple, (rows / rows.sum(axis=1, keepdims=True)).tolist()))


def stationary_law(name: str, matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n"]:
    """The law pi = pi @ matrix, of a chain that forgets where it started.

    Raises:
        ValueError: there are several such laws: the chain has more than one class of states it never leaves.
    """
    _, label = scipy.sparse.csgraph.connected_components(scipy.sparse.csr_matrix(matrix), connection="strong")
    leaves = {int(label[i]) for i, j in np.argwhere(matrix > 0) if label[i] != label[j]}
    closed = sorted(set(label.tolist()) - leaves)
    if len(closed) > 1:
        classes = [np.flatnonzero(label == c).tolist()[:3] for c in closed[:2]]
        raise ValueError(
            f"{name} must have one stationary law; it has {len(closed)} closed classes of states, two of them holding "
            f"{classes[0]} and {classes[1]}: join them by a positive probability"
        )
    inside = np.flatnonzero(label == closed[0])
    flow = matrix[np.ix_(inside, inside)]
    weights = np.ones(inside.size)
    # One weight is set to 1 and its equation dropped: the others are then determined.
    weights[1:] = np.linalg.solve(np.eye(inside.size - 1) - flow[1:, 1:].T, flow[0, 1:])
    law = np.zeros(len(matrix))
    law[inside] = weights / weights.sum()
    return law


def entropy(weights: Float[np.ndarray, "..."]) -> float:
    """- sum of p ln p, with 0 ln 0 = 0."""
    positive = weights[weights > 0]
    return float(-np.sum(positive * np.log(positive)))


def conditional_entropy(joint: Float[np.ndarray, "... K"]) -> float:
    """Entropy of the last axis given the others: - sum of P(u, x) ln P(x | u)."""
    total = np.broadcast_to(joint.sum(axis=-1, keepdims=True), joint.shape)
    possible = joint > 0
    return float(np.sum(joint[possible] * np.log(total[possible] / joint[possible])))


def affine_dimension(laws: Float[np.ndarray, "n K"]) -> int:
    """Dimension of the smallest flat space through all the laws: their rank less one, for each sums to one."""
    return int(np.linalg.matrix_rank(laws, tol=1e-9)) - 1


@functools.lru_cache(maxsize=64)
def _stationary_words(transition: tuple[tuple[float, ...], ...]) -> Float[np.ndarray, "words"]:
    table = np.array(transition)
    words, v = table.shape
    flow = np.zeros((words, words))
    following = (np.arange(words)[:, None] * v + np.arange(v)[None, :]) % words
    np.add.at(flow, (np.broadcast_to(np.arange(words)[:, None], following.shape), following), table)
    return stationary_law("transition", flow)


@functools.lru_cache(maxsize=64)
def _joint_laws(transition: tuple[tuple[float, ...], ...]) -> tuple[Float[np.ndarray, "words v"], ...]:
    """P(last k tokens, next token) for k = 0..m."""
    table = np.array(transition)
    joint = _stationary_words(transition)[:, None] * table
    laws = [joint]
    while len(laws[-1]) > 1:
        laws.append(laws[-1].reshape(table.shape[1], -1, table.shape[1]).sum(axis=0))
    return tuple(reversed(laws))


@functools.lru_cache(maxsize=64)
def _predictive_laws(transition: tuple[tuple[float, ...], ...]) -> tuple[Float[np.ndarray, "words v"], ...]:
    """P(next token | last k tokens) for k = 0..m; uniform after words that never occur."""
    laws = []
    for joint in _joint_laws(transition):
        total = np.broadcast_to(joint.sum(axis=1, keepdims=True), joint.shape)
        laws.append(np.divide(joint, total, out=np.full_like(joint, 1 / joint.shape[1]), where=total > 0))
    return tuple(laws)


@functools.lru_cache(maxsize=64)
def _risks(transition: tuple[tuple[float, ...], ...]) -> Float[np.ndarray, "lengths"]:
    """R(0), ..., R(m); a further token cannot raise the risk, so neither may rounding."""
    return np.minimum.accumulate([conditional_entropy(joint) for joint in _joint_laws(transition)])


@functools.lru_cache(maxsize=64)
def _dimensions(transition: tuple[tuple[float, ...], ...]) -> np.ndarray:
    pairs = zip(_predictive_laws(transition), _joint_laws(transition), strict=True)
    return np.maximum.accumulate([affine_dimension(laws[joint.sum(axis=1) > 0]) for laws, joint in pairs])


@functools.lru_cache(maxsize=64)
def _block_entropies(transition: tuple[tuple[float, ...], ...]) -> Float[np.ndarray, "lengths"]:
    return np.maximum.accumulate([entropy(joint.sum(axis=1)) for joint in _joint_laws(transition)])
