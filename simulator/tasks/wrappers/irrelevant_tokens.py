"""Padding any task with irrelevant tokens, so that relevant and irrelevant context length can be set apart."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Bool, Float

from simulator.random.draws import permutation, uniform_below
from simulator.random.threefry import random_normals, random_words
from simulator.tasks.base import ContextLength, Examples, Index, Key, Task, TaskForm
from simulator.tasks.sampling import in_whole_vectors, other_stream, sample_keys, take_tokens, where_tokens
from theory.checks import Number, integer, such_that
from theory.types import Integer

_LONGEST = 2**20  # tokens, relevant and others


@dataclasses.dataclass(frozen=True)
class IrrelevantTokens(Task):
    r"""A task's n relevant tokens, in their order, among others: L = round(n / relevant_fraction) tokens in all.

    With R_task the risk of the bare task and k the number of relevant tokens among the last l,

        R(l) = sum_k P(k; l) R_task(k),

    and likewise ``intrinsic_dimension`` and ``intrinsic_entropy``. Where positions are a rule of the task, k(l) is
    certain; where they are redrawn, P is hypergeometric, C(n,k) C(L-n,l-k) / C(L,l). Padding never lowers R: any rise
    of a learner's loss beyond that of R(l) is approximation loss.

    ``kind`` says what the irrelevant tokens are. ``"noise"`` is uniform on the vocabulary, or standard normal numbers.
    ``"distractor"`` takes the tokens of independent samples of the same task. ``"repeat"`` copies the next newer
    relevant token, or one noise token where there is none. So no token out of sight is repeated in sight.

    ``placement`` says where the relevant tokens stand: ``"first"`` (the oldest places), ``"last"`` (the newest),
    ``"middle"`` (in between, an odd token being on the old side) or ``"random"``.

    ``relevance="visible"``: every token shows whether it is relevant: an irrelevant token t appears as t + v, v the
    bare task's vocabulary, and vectors of numbers carry one more, 1 if relevant, else 0. Random positions are then
    redrawn for every sample. ``relevance="hidden"``: nothing shows; random positions are drawn once from ``seed`` and
    are a rule that has to be learned. (Positions both hidden and redrawn would make a different task, whose Bayes
    risk is no function of R_task.)

    Worked example, bare context (oldest first) 1 0, fraction 1/2, noise placed first and last::

        first     1 0 # #    l = 0..4 sees 0 0 0 1 2 relevant tokens
        last      # # 1 0    l = 0..4 sees 0 1 2 2 2

    At relevant_fraction = 1 nothing is added, and samples are those of the bare task to the bit; below, the bare task
    draws from a stream of its own.

    Attributes:
        task: the bare task.
        relevant_fraction: share of relevant tokens, above 0 and at most 1.
        kind: ``"noise"``, ``"distractor"`` or ``"repeat"``.
        placement: ``"first"``, ``"last"``, ``"middle"`` or ``"random"``.
        relevance: ``"visible"`` or ``"hidden"``.
        seed: seed of a hidden random placement.
    """

    task: Task
    relevant_fraction: Annotated[Number, such_that(lambda f: 0 < f <= 1, "must be above 0 and at most 1")]
    kind: Literal["noise", "distractor", "repeat"] = "noise"
    placement: Literal["first", "last", "middle", "random"] = "random"
    relevance: Literal["visible", "hidden"] = "hidden"
    seed: Annotated[int, integer(0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.task, Task) or self.task.every_position:
            raise TypeError(f"task must be a task that asks at the end of its context; got {self.task!r}")
        least = self.task.max_context_length / _LONGEST
        if self.relevant_fraction < least:
            raise ValueError(
                f"relevant_fraction must be at least {least:.3g}, for {_LONGEST} tokens in all; "
                f"got {self.relevant_fraction!r}"
            )
        if (self.vocabulary_size or 0) > 2**31:
            raise ValueError(
                f"relevance must be 'hidden' for a task of {self.task.vocabulary_size} tokens: marks double them, and "
                f"there may be 2^31; got {self.relevance!r}"
            )

    @property
    def max_context_length(self) -> int:
        """L, relevant tokens and others."""
        return max(round(self.task.max_context_length / self.relevant_fraction), self.task.max_context_length)

    @property
    def n_irrelevant(self) -> int:
        """Number of tokens added."""
        return self.max_context_length - self.task.max_context_length

    @property
    def _marked(self) -> bool:
        return self.relevance == "visible" and self.n_irrelevant > 0

    @property
    def _redrawn(self) -> bool:
        return self._marked and self.placement == "random"

    @property
    def form(self) -> TaskForm:
        """The bare task's, but longer; marks double a vocabulary, and are one more channel of real-valued tokens."""
        bare = self.task.form
        longer = dataclasses.replace(bare, max_context_length=self.max_context_length, is_stationary_text=False)
        if not self._marked:
            return longer
        if bare.vocabulary_size is None:
            return dataclasses.replace(longer, n_channels=bare.n_channels + 1)
        return dataclasses.replace(longer, vocabulary_size=2 * bare.vocabulary_size)

    @property
    def risk_exponent(self) -> float | None:
        """The bare task's exponent, where the relevant tokens are spread over the context or are its newest."""
        return self.task.risk_exponent if self.placement in ("random", "last") else None

    def relevant_in_sight(self, context_length: Integer) -> dict[int, float]:
        """P(k; l): the probability of each number k of relevant tokens among the last l."""
        self.check_length(context_length)
        if not self._redrawn:
            return {int(_placed(self)[self.max_context_length - int(context_length) :].sum()): 1.0}
        n, L, l = self.task.max_context_length, self.max_context_length, int(context_length)
        possible = range(max(0, n + l - L), min(n, l) + 1)
        law = scipy.stats.hypergeom.pmf(list(possible), L, n, l)
        return dict(zip(possible, (law / law.sum()).tolist(), strict=True))

    def bayes_risk(self, context_length: Integer) -> float:
        return self._mean(context_length, "bayes_risk")

    def intrinsic_dimension(self, context_length: Integer) -> float:
        return self._mean(context_length, "intrinsic_dimension")

    def intrinsic_entropy(self, context_length: Integer) -> float | None:
        self.check_length(context_length)
        if self.task.intrinsic_entropy(0) is None:
            return None
        return self._mean(context_length, "intrinsic_entropy")

    def _mean(self, context_length: Integer, quantity: str) -> float:
        return math.fsum(
            p * _bare_value(self.task, quantity, k) for k, p in self.relevant_in_sight(context_length).items()
        )

    @in_whole_vectors
    def sample(self, key: Key, index: Index) -> Examples:
        if not self.n_irrelevant:
            return self.task.sample(key, index)
        # A stream for each purpose, and one for the bare task, which may itself be made of tasks with streams.
        bare = self.task.sample(other_stream(key, 0), index)
        keys, index = sample_keys(other_stream(key, 1), index)
        B, L, n = index.shape[0], self.max_context_length, self.task.max_context_length
        if self._redrawn:
            relevant = permutation(random_words(keys, L)) < n
            number = jnp.cumsum(relevant, axis=1, dtype=jnp.int32)
        else:
            placed = _placed(self)
            relevant, number = (jnp.broadcast_to(row, (B, L)) for row in (placed, np.cumsum(placed, dtype=np.int32)))
        filling = self._filling(key, index, bare.context)
        if self.kind == "repeat":
            # number - 1 is the newest relevant token not newer than here, so number is the next newer one.
            other = take_tokens(jnp.concatenate([bare.context, filling[:, :1]], axis=1), number)
        else:
            other = take_tokens(filling, jnp.maximum(jnp.arange(L)[None, :] - number, 0))
        context = where_tokens(relevant, take_tokens(bare.context, jnp.maximum(number - 1, 0)), other)
        return bare._replace(context=self._with_marks(context, relevant))

    def _filling(self, key: Key, index: Array, context: Array) -> Array:
        """Irrelevant tokens, as many as are needed."""
        number = self.n_irrelevant
        if self.kind == "distractor":
            copies = range(-(-number // self.task.max_context_length))
            drawn = [self.task.sample(other_stream(key, 3 + copy), index).context for copy in copies]
            return jnp.concatenate(drawn, axis=1)[:, :number]
        keys, _ = sample_keys(other_stream(key, 2), index)
        if self.task.vocabulary_size is None:
            return random_normals(keys, (number, *context.shape[2:]))
        return uniform_below(random_words(keys, number), self.task.vocabulary_size)

    def _with_marks(self, context: Array, relevant: Array) -> Array:
        if not self._marked:
            return context
        if self.task.vocabulary_size is not None:
            return jnp.where(relevant, context, context + self.task.vocabulary_size)
        values = context.reshape(*context.shape[:2], -1)
        return jnp.concatenate([values, relevant[:, :, None].astype(jnp.float32)], axis=2)

    def _bare(self, examples: Examples) -> tuple[Examples, Bool[Array, "B L"]]:
        """The bare task's examples, recovered, and which tokens are relevant."""
        context, relevant = examples.context, jnp.asarray(_placed(self))
        relevant = jnp.broadcast_to(relevant, context.shape[:2])
        if self._marked and self.task.vocabulary_size is not None:
            relevant = context < self.task.vocabulary_size
            context = context % self.task.vocabulary_size
        elif self._marked:
            relevant = context[:, :, -1] > 0.5
            context = context[:, :, 0] if self.task.n_channels == 1 else context[:, :, :-1]
        # The newest n relevant tokens, so that marks out of sight do not matter.
        places = jnp.argsort(relevant, axis=1, stable=True)[:, self.n_irrelevant :]
        return examples._replace(context=take_tokens(context, places)), relevant

    def _in_sight(self, relevant: Bool[Array, "B L"], context_length: ContextLength) -> Array:
        """Number of relevant tokens among the last l, of every sample."""
        L = self.max_context_length
        visible = jnp.arange(L) >= L - jnp.asarray(context_length, jnp.int32)
        return jnp.sum(relevant & visible[None, :], axis=1, dtype=jnp.int32)

    def _asked(self, ask: Callable, examples: Examples, context_length: ContextLength, *arrays: Array) -> Array:
        """What the bare task says of the bare examples, each at its own context length."""
        bare, relevant = self._bare(examples)
        lengths = self._in_sight(relevant, context_length)
        if not self._redrawn:
            counts = np.append(0, np.cumsum(_placed(self)[::-1]))
            return ask(*arrays, bare, jnp.asarray(counts, jnp.int32)[context_length])

        def ask_one(length: Array, one: Examples, *parts: Array) -> Array:
            batch = jax.tree.map(lambda x: x[None], (parts, one))
            return ask(*batch[0], batch[1], length)[0]

        return jax.vmap(ask_one)(lengths, bare, *arrays)

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B *outputs"]:
        self.check_length(context_length)
        self.check_examples(examples)
        return self._asked(self.task.bayes_prediction, examples, context_length)

    def pointwise_loss(
        self, prediction: Float[Array, "B *outputs"], examples: Examples, context_length: ContextLength
    ) -> Float[Array, "B"]:
        """The value that the bare task gives for the bare examples."""
        return self._asked(self.task.pointwise_loss, examples, context_length, prediction)

    def pointwise_divergence(
        self,
        bayes: Float[Array, "B *outputs"],
        prediction: Float[Array, "B *outputs"],
        examples: Examples,
        context_length: ContextLength,
    ) -> Float[Array, "B"]:
        """The value that the bare task gives for the bare examples."""
        return self._asked(self.task.pointwise_divergence, examples, context_length, bayes, prediction)

    def relevant_tokens(self, examples: Examples) -> Bool[Array, "B L"]:
        """The bare task's relevant tokens, in their places."""
        bare, relevant = self._bare(examples)
        number = jnp.cumsum(relevant, axis=1, dtype=jnp.int32)
        return relevant & take_tokens(self.task.relevant_tokens(bare), jnp.maximum(number - 1, 0))

    def token_name(self, token: int) -> str:
        irrelevant, bare = divmod(token, self.task.vocabulary_size or 1)
        return f"({self.task.token_name(bare)})" if irrelevant else self.task.token_name(bare)

    def query_name(self, query: int) -> str:
        return self.task.query_name(query)


@functools.lru_cache(maxsize=65536)
def _bare_value(task: Task, quantity: str, context_length: int) -> float:
    """R, dim or S of the bare task, kept: the mean at every l asks for nearly all of them."""
    return getattr(task, quantity)(context_length)


@functools.lru_cache(maxsize=64)
def _placed(task: IrrelevantTokens) -> Bool[np.ndarray, "L"]:
    """Which tokens are relevant, oldest first, where that is a rule of the task."""
    n, L = task.task.max_context_length, task.max_context_length
    if task.placement == "random":
        places = np.random.default_rng(task.seed).permutation(L)[:n]
    else:
        start = {"first": 0, "last": L - n, "middle": (L - n + 1) // 2}[task.placement]
        places = np.arange(start, start + n)
    return np.isin(np.arange(L), places)
