"""A hidden Markov model: every token sharpens the belief about the state, and the gain dies out exponentially."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from simulator.random.draws import choose, thresholds
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.markov_chain import checked_laws, conditional_entropy, random_laws, stationary_law
from simulator.tasks.sampling import sample_keys
from theory.checks import Count, check_integer, check_number
from theory.types import Integer, Scalar

_MOST_NUMBERS = 2**23
"""Numbers in the largest table of words (words x first state x state or token)."""
_CLOSED = 1e-12
"""The risk has reached the entropy rate once the two bounds are as near as this, in nats."""

_Laws = tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class HiddenMarkov(ClassificationTask):
    r"""A hidden chain of states, each of which shows one token; the answer is the next token.

    S_t is a stationary chain, pi its law; token X_t is drawn from the emission law of S_t. The Bayes predictor is the
    filter started from pi: for each visible token x, oldest first, the belief b about the state becomes

        b'(s') proportional to sum over s of b(s) emission[s, x] transition[s, s'],

    and P(next = x) = sum over s of b(s) emission[s, x]. R(l) = H(X_l | X_0 ... X_(l-1)) is summed over all words of l
    tokens. It falls to the entropy rate h exponentially, no power law, and knowing the state at the window's start
    bounds h from below:

        H(X_l | X_0 ... X_(l-1), S_0)  <=  h  <=  R(l).

    Where the words of L tokens are too many to list, the task is refused unless the bounds have met within 1e-12 by
    then; from there on R(l) is taken as constant.

    Worked example, :meth:`symmetric` with 2 states that stay and show themselves with probability 9/10::

        state    0 0 0 1 1 1      stay 9/10
        token    0 0 1 1 1 1      the third token is an error
        R(0) = ln 2 = 0.6931,  R(1) = 0.5556,  R(2) = 0.5370,  ...,  h = 0.5314

    ``intrinsic_dimension(l)`` is the dimension of the smallest flat space that holds every belief reachable with l
    tokens: at most the number of states less one. ``intrinsic_entropy`` is None: what bears on the answer is the
    belief, a point of a continuum that nearly every word reaches at a place of its own, so that its entropy is only
    that of the words and has no limit.

    Attributes:
        transition: n rows of n probabilities: from each state, the law of the next.
        emission: n rows of v probabilities: the law of the token each state shows.
        max_context_length: L.
    """

    transition: Annotated[Sequence[Sequence[float]], checked_laws]
    emission: Annotated[Sequence[Sequence[float]], checked_laws]
    max_context_length: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        n, v, length = len(self.transition), len(self.emission[0]), self.max_context_length
        if len(self.transition[0]) != n:
            raise ValueError(f"transition must be square; got {n} rows of {len(self.transition[0])}")
        if len(self.emission) != n:
            raise ValueError(f"emission must have a row for each of the {n} states; got {len(self.emission)}")
        if v < 2:
            raise ValueError("emission must have at least 2 columns, one for each token; got 1")
        exact = _bounds(self.transition, self.emission, length)
        largest = len(exact.upper) - 1
        if largest < length and exact.upper[-1] - exact.lower[-1] >= _CLOSED:
            raise ValueError(
                f"max_context_length must be at most {largest} for {n} states and {v} tokens; got {length}: longer "
                f"words are too many to list, and R({largest}) = {exact.upper[-1]:.9f} may still be "
                f"{exact.upper[-1] - exact.lower[-1]:.1e} above the entropy rate"
            )

    @classmethod
    def random(
        cls,
        n_states: Integer,
        vocabulary_size: Integer,
        concentration: Scalar,
        max_context_length: Integer,
        seed: Integer = 0,
    ) -> "HiddenMarkov":
        """Transition and emission rows drawn from the symmetric Dirichlet law.

        Args:
            n_states: n.
            vocabulary_size: v.
            concentration: parameter of the Dirichlet law; far below 1 rows are nearly certain.
            max_context_length: L.
            seed: seed of the rows.
        """
        n, v = check_integer("n_states", n_states, 1), check_integer("vocabulary_size", vocabulary_size, 2)
        rng = np.random.default_rng(check_integer("seed", seed, 0))
        transition = random_laws(n, n, concentration, rng)
        return cls(
            transition,
            random_laws(n, v, concentration, rng),
            check_integer("max_context_length", max_context_length, 1),
        )

    @classmethod
    def symmetric(
        cls, n_states: Integer, stay: Scalar, accuracy: Scalar, max_context_length: Integer
    ) -> "HiddenMarkov":
        """States all alike, as many tokens as states.

        With 3 states it is the Mess3 process of Shai et al. 2024, accuracy being their alpha and (1 - stay)/2 their x.

        Args:
            n_states: n = v, at least 2.
            stay: probability, in [0, 1), to stay in the state; else one of the others, uniformly.
            accuracy: probability, in [0, 1], that the token is the state; else one of the others, uniformly.
            max_context_length: L.
        """
        n = check_integer("n_states", n_states, 2)
        for name, value in (("stay", stay), ("accuracy", accuracy)):
            if not 0 <= check_number(name, value) <= 1 or (name == "stay" and value == 1):
                raise ValueError(f"{name} must be in [0, 1{')' if name == 'stay' else ']'}; got {value!r}")

        def table(p: Scalar) -> _Laws:
            return tuple(tuple(float(p) if i == j else (1 - float(p)) / (n - 1) for j in range(n)) for i in range(n))

        return cls(table(stay), table(accuracy), check_integer("max_context_length", max_context_length, 1))

    @property
    def form(self) -> TaskForm:
        v = len(self.emission[0])
        return TaskForm(self.max_context_length, self.loss, v, v, is_stationary_text=True)

    def entropy_rate_bounds(self, context_length: Integer) -> tuple[float, float]:
        """(lower, upper) bounds of the entropy rate from words of l tokens; the upper one is R(l)."""
        self.check_length(context_length)
        exact = _bounds(self.transition, self.emission, self.max_context_length)
        length = min(context_length, len(exact.upper) - 1)
        return float(exact.lower[length]), float(exact.upper[length])

    def bayes_risk(self, context_length: Integer) -> float:
        return self.entropy_rate_bounds(context_length)[1]

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        dimensions = _dimensions(self.transition, self.emission)
        return float(dimensions[min(context_length, len(dimensions) - 1)])

    def intrinsic_entropy(self, context_length: Integer) -> None:
        self.check_length(context_length)

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L = self.max_context_length
        words = random_words(keys, 2 * (L + 1)).reshape(-1, L + 1, 2)
        transition, emission = (jnp.asarray(thresholds(np.array(laws))) for laws in (self.transition, self.emission))
        first = choose(words[:, 0, 0], thresholds(_stationary_states(self.transition)))

        def step(state, fresh):
            return choose(fresh[0], transition[state]), choose(fresh[1], emission[state])

        # Row t holds the word that picks state t + 1 and the word that picks token t; no state follows the last.
        moves = jnp.roll(words[:, :, 0], -1, axis=1)
        _, tokens = jax.lax.scan(step, first, jnp.stack([moves, words[:, :, 1]], axis=1).transpose(2, 1, 0))
        return Examples(tokens[:L].T, jnp.zeros_like(index), tokens[L])

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[jax.Array, "B v"]:
        self.check_length(context_length)
        self.check_examples(examples)
        L = self.max_context_length
        transition, emission = (jnp.asarray(laws, jnp.float32) for laws in (self.transition, self.emission))
        prior = jnp.asarray(_stationary_states(self.transition), jnp.float32)
        visible = jnp.arange(L, dtype=jnp.int32) >= L - jnp.asarray(context_length, jnp.int32)
        high = jax.lax.Precision.HIGHEST

        def step(belief, column):
            token, seen = column
            weight = belief * emission.T[token]
            total = jnp.sum(weight, axis=1, keepdims=True)
            # A word that cannot occur leaves no belief; starting anew keeps every number finite.
            state = jnp.where(total > 0, weight / jnp.where(total > 0, total, 1), prior[None, :])
            following = jnp.matmul(state, transition, precision=high)
            return jnp.where(seen, following, belief), None

        start = jnp.broadcast_to(prior, (examples.context.shape[0], prior.shape[0]))
        belief, _ = jax.lax.scan(step, start, (examples.context.T, visible))
        return jnp.log(jnp.matmul(belief, emission, precision=high))


class _Bounds(NamedTuple):
    lower: Float[np.ndarray, "lengths"]
    upper: Float[np.ndarray, "lengths"]


@functools.lru_cache(maxsize=64)
def _stationary_states(transition: _Laws) -> Float[np.ndarray, "n"]:
    return stationary_law("transition", np.array(transition))


@functools.lru_cache(maxsize=64)
def _bounds(transition: _Laws, emission: _Laws, most: int) -> _Bounds:
    """The bounds of the entropy rate at l = 0, 1, ...: up to ``most``, to where they meet, or as far as words go."""
    move, show = np.array(transition), np.array(emission)
    n, v = show.shape
    weight = np.diag(_stationary_states(transition))[None]  # P(word, S_0, S_l), axes (word, first state, state)
    lower, upper = [], []
    while True:
        joint = weight @ show
        lower.append(conditional_entropy(joint))
        upper.append(conditional_entropy(joint.sum(axis=1)))
        done = len(upper) > most or upper[-1] - lower[-1] < _CLOSED
        if done or len(weight) * v * n * max(n, v) > _MOST_NUMBERS:
            # Knowing more cannot raise an upper bound nor lower a lower one, so neither may rounding.
            return _Bounds(np.maximum.accumulate(lower), np.minimum.accumulate(upper))
        longer = (weight[:, None] * show.T[None, :, None, :]).reshape(-1, n, n) @ move
        weight = longer[longer.any(axis=(1, 2))]


@functools.lru_cache(maxsize=64)
def _dimensions(transition: _Laws, emission: _Laws) -> tuple[int, ...]:
    """Dimension of the beliefs after 0, 1, ... tokens, until it grows no more.

    Beliefs are the vectors b A_x ... A_z up to scale, A_x = diag(emission[:, x]) transition and b = pi: the space they
    span after l + 1 tokens is the sum of the images, under every A_x, of that after l, and holds it, as b = sum b A_x.
    """
    move, show = np.array(transition), np.array(emission)
    space = _stationary_states(transition)[None]
    dimensions = [0]
    while True:
        images = [space] + [space * show[:, x] @ move for x in range(show.shape[1])]
        _, scale, rows = np.linalg.svd(np.concatenate(images), full_matrices=False)
        space = rows[scale > 1e-9 * scale[0]]
        if len(space) - 1 <= dimensions[-1]:
            return tuple(dimensions)
        dimensions.append(len(space) - 1)
