"""Variable tracking: a chain of assignments to be followed back through others like it."""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from simulator.random.draws import permutation, uniform_below
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.sampling import sample_keys
from theory.checks import Count, integer
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class VariableTracking(ClassificationTask):
    r"""c-step chains X = value, Y = X, Z = Y, ... shuffled together, each in its order; what is the last variable?

    A small analogue of RULER's variable tracking (arXiv 2404.06654). Each of the g chains takes c of the L = c g
    tokens, a random interleaving; its value is uniform on 0..m-1, the names of variables are shuffled. A chain tells
    nothing until its first assignment, the oldest, is in sight, so that

        R(l) = ln m (1 - C(l,c)/C(L,c)).

    Worked example, two chains of two steps, context (oldest first), the query d::

        context    a=3   c=5   b=a   d=c      d = c = 5, known from l = 3 on

    ``intrinsic_dimension(l)`` is the expected number of chains wholly in sight. ``intrinsic_entropy(l)`` is the entropy
    of their values, ln m times that number.

    Attributes:
        n_chains: g; all but the one asked for are distractors.
        chain_length: c; 1 is a plain look-up.
        n_values: m.
    """

    n_chains: Count
    chain_length: Count
    n_values: Annotated[int, integer(2, 2**16 - 1)]

    def __post_init__(self) -> None:
        super().__post_init__()
        L, n_tokens = self.form.max_context_length, self.form.vocabulary_size
        if n_tokens is not None and n_tokens >= 2**31:
            raise ValueError(
                f"n_chains = {self.n_chains} and chain_length = {self.chain_length} make {L} variables, and with "
                f"n_values = {self.n_values} {n_tokens} tokens: take fewer than 2^31"
            )

    @property
    def form(self) -> TaskForm:
        """A token for each variable on the left and value or variable on the right; a query for each variable."""
        L, m = self.n_chains * self.chain_length, self.n_values
        return TaskForm(L, self.loss, L * (m + L), m, n_queries=L)

    def visible_probability(self, context_length: Integer) -> float:
        """C(l,c)/C(L,c), the probability that a chain is wholly among the last l tokens."""
        self.check_length(context_length)
        c = self.chain_length
        return math.comb(int(context_length), c) / math.comb(self.max_context_length, c)

    def bayes_risk(self, context_length: Integer) -> float:
        return math.log(self.n_values) * (1 - self.visible_probability(context_length))

    def intrinsic_dimension(self, context_length: Integer) -> float:
        return self.n_chains * self.visible_probability(context_length)

    def intrinsic_entropy(self, context_length: Integer) -> float:
        return self.intrinsic_dimension(context_length) * math.log(self.n_values)

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L, c, g, m = self.max_context_length, self.chain_length, self.n_chains, self.n_values
        words = random_words(keys, 2 * L + g)
        chain = permutation(words[:, :L]) // c
        name = permutation(words[:, L : 2 * L])
        value = uniform_below(words[:, 2 * L :], m)

        def count(counts: Array, which: Array) -> tuple[Array, Array]:
            """The step of a token is the number of older tokens of its chain."""
            this = which[:, None] == jnp.arange(g)[None, :]
            return counts + this.astype(jnp.int32), jnp.sum(jnp.where(this, counts, 0), axis=1)

        _, step = jax.lax.scan(count, jnp.zeros((chain.shape[0], g), jnp.int32), chain.T)
        step = step.T
        place = chain * c + step
        left = jnp.take_along_axis(name, place, axis=1)
        variable = m + jnp.take_along_axis(name, jnp.maximum(place - 1, 0), axis=1)
        right = jnp.where(step == 0, jnp.take_along_axis(value, chain, axis=1), variable)
        # Names and values are exchangeable, so the first chain can be the one asked for.
        return Examples(left * (m + L) + right, name[:, c - 1], value[:, 0])

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B classes"]:
        self.check_length(context_length)
        self.check_examples(examples)
        L, m = self.max_context_length, self.n_values
        visible = jnp.arange(L) >= L - jnp.asarray(context_length, jnp.int32)
        # Either a value 0..m-1, or m + a variable still to be followed.
        found = m + examples.query
        for _ in range(self.chain_length):
            defines = (m + examples.context // (m + L) == found[:, None]) & visible[None, :]
            right = jnp.sum(jnp.where(defines, examples.context % (m + L), 0), axis=1)
            found = jnp.where(jnp.any(defines, axis=1), right, found)
        answer = jnp.arange(m, dtype=found.dtype)[None, :] == found[:, None]
        known = jnp.where(answer, jnp.float32(0), jnp.float32(-jnp.inf))
        return jnp.where((found < m)[:, None], known, jnp.float32(-math.log(m)))

    def relevant_tokens(self, examples: Examples) -> Bool[Array, "B L"]:
        """The chain asked for."""
        L, m = self.max_context_length, self.n_values
        chain = jnp.zeros(examples.context.shape, bool)
        variable = m + examples.query
        for _ in range(self.chain_length):
            defines = m + examples.context // (m + L) == variable[:, None]
            chain = chain | defines
            variable = jnp.sum(jnp.where(defines, examples.context % (m + L), 0), axis=1)
        return chain

    def token_name(self, token: int) -> str:
        left, right = divmod(token, self.n_values + self.max_context_length)
        return f"x{left}=" + (str(right) if right < self.n_values else f"x{right - self.n_values}")

    def query_name(self, query: int) -> str:
        return f"x{query}"
