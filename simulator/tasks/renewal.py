"""A renewal process with heavy-tailed gaps: a stationary binary source whose risk falls as a power of the context."""

import dataclasses
import functools
import math
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from simulator.random.draws import choose, thresholds
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.sampling import sample_keys
from theory.checks import Count, Positive, integer, such_that
from theory.types import Integer, Scalar


@dataclasses.dataclass(frozen=True)
class Renewal(ClassificationTask):
    r"""Events (token 1) are separated by independent gaps T; the answer is whether the next token is an event.

    P(T = t) is proportional to t^-(1 + a) for t = 1..max_gap. All that matters of the past is the age: the number of
    zeros since the last event. Its stationary law and its hazard are

        pi(age) = P(T > age) / E[T],        q(age) = P(T = age + 1) / P(T > age),

    and a context of l tokens tells the age exactly if it is below l, else only that it is not. With h(q) the entropy of
    a coin,

        R(l) = sum over age < l of pi(age) h(q(age)) + P(age >= l) h(E[q | age >= l]),
        R(l) - R(infinity) ~ l^-a.

    Worked example, gaps 2 and 4, L = 8::

        distance   8 7 6 5 4 3 2 1
        token      0 1 0 1 0 0 0 1 ?      age 0 from l = 1 on; the gap just closed was 4
        token      1 0 1 0 1 0 0 0 ?      age 3 from l = 4 on; with 3 tokens: "3 or more"

    ``intrinsic_dimension(l)`` is the number of ages that l tokens tell apart, less one: the ages 0..l-1 and "l or
    more" make l, until max_gap - 1. ``intrinsic_entropy(l)`` is the entropy of the age so told.

    Attributes:
        exponent: a > 1, the tail exponent of the gaps.
        max_context_length: L.
        max_gap: longest gap; the power law of the risk holds where (l / max_gap)^(a - 1) is small.
    """

    exponent: Annotated[Positive, such_that(lambda a: a > 1, "must be above 1, for gaps with a mean")]
    max_context_length: Count
    max_gap: Annotated[int, integer(2, 10**8)] = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        steepest = 690 / math.log(self.max_gap) - 1
        if self.exponent > steepest:
            raise ValueError(
                f"exponent must be at most {steepest:.4g}, for gaps up to max_gap = {self.max_gap} to have a "
                f"probability above 1e-300; got {self.exponent}"
            )

    @property
    def form(self) -> TaskForm:
        return TaskForm(self.max_context_length, self.loss, 2, 2, is_stationary_text=True)

    @property
    def risk_exponent(self) -> float:
        """a."""
        return self.exponent

    @property
    def entropy_rate(self) -> float:
        """R(l) for l >= max_gap, in nats per token."""
        return _exact(self.exponent, self.max_gap, self.max_context_length).entropy_rate

    def bayes_risk(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(_exact(self.exponent, self.max_gap, self.max_context_length).risks[context_length])

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(min(context_length, self.max_gap - 1))

    def intrinsic_entropy(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(_exact(self.exponent, self.max_gap, self.max_context_length).entropies[context_length])

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L = self.max_context_length
        exact = _exact(self.exponent, self.max_gap, L)
        words = random_words(keys, L + 2)
        # The wait for the first event has the law of the age; an L + 1 stands for any longer wait.
        wait = choose(words[:, 0], thresholds(np.append(exact.age_law, exact.tail_law[-1])))
        hazards = jnp.asarray(thresholds(np.stack([exact.hazards, 1 - exact.hazards], axis=1)))

        def step(carry, column):
            age, to_wait = carry
            event = jnp.where(to_wait >= 0, to_wait == 0, choose(column, hazards[age]) == 0)
            following = jnp.where(event | (to_wait > 0), 0, age + 1)
            return (following, to_wait - 1), event.astype(jnp.int32)

        _, tokens = jax.lax.scan(step, (jnp.zeros_like(wait), wait), words[:, 1:].T)
        return Examples(tokens[:L].T, jnp.zeros_like(index), tokens[L])

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[jax.Array, "B 2"]:
        self.check_length(context_length)
        self.check_examples(examples)
        L = self.max_context_length
        exact = _exact(self.exponent, self.max_gap, L)
        length = jnp.asarray(context_length, jnp.int32)
        distance = jnp.arange(L - 1, -1, -1, dtype=jnp.int32)
        age = jnp.min(jnp.where(examples.context == 1, distance[None, :], L), axis=1)
        with np.errstate(divide="ignore"):
            known, pooled = (
                jnp.asarray(np.log(np.stack([1 - q, q], axis=1)), jnp.float32)
                for q in (exact.hazards, exact.pooled_hazards)
            )
        return jnp.where((age < length)[:, None], known[age], pooled[length][None, :])


class _Exact(NamedTuple):
    """The first L + 1 ages, and what is beyond them; a hazard that no sequence meets is 1/2."""

    age_law: Float[np.ndarray, "ages"]
    tail_law: Float[np.ndarray, "lengths"]
    """P(age >= l) for l = 0..L+1."""
    hazards: Float[np.ndarray, "ages"]
    pooled_hazards: Float[np.ndarray, "lengths"]
    """E[q | age >= l]."""
    risks: Float[np.ndarray, "lengths"]
    entropies: Float[np.ndarray, "lengths"]
    entropy_rate: float


def _coin_entropy(q: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    total = np.zeros_like(q)
    for p in (q, 1 - q):
        total -= p * np.log(p, out=np.zeros_like(p), where=p > 0)
    return total


@functools.lru_cache(maxsize=16)
def _exact(exponent: Scalar, max_gap: int, max_context_length: int) -> _Exact:
    n = max_context_length + 2
    gap_law = np.arange(1.0, max_gap + 1) ** -(1 + exponent)
    # Sums from the far end keep the small numbers of the tail exact.
    survival = np.cumsum(gap_law[::-1])[::-1]  # P(T > age) up to the norm
    gap_law, survival = gap_law / survival[0], survival / survival[0]
    mean = math.fsum(survival)
    tail = np.cumsum(survival[::-1])[::-1] / mean
    hazards = gap_law / survival
    entropy_rate = math.fsum(survival * _coin_entropy(hazards)) / mean

    def first(values: np.ndarray, beyond: float) -> np.ndarray:
        return np.append(values[:n], np.full(max(n - max_gap, 0), beyond))

    age_law, tail_law, q = first(survival / mean, 0.0), first(tail, 0.0), first(hazards, 0.5)
    pooled = first(np.minimum(survival / mean / tail, 1.0), 0.5)  # sum of pi q over age >= l is P(T > l) / E[T]
    known = np.cumsum(np.append(0.0, age_law * _coin_entropy(q)))[:n]
    told = np.cumsum(np.append(0.0, -age_law * np.log(age_law, out=np.zeros(n), where=age_law > 0)))[:n]
    untold = -tail_law * np.log(tail_law, out=np.zeros(n), where=tail_law > 0)
    # A further token tells more, or nothing: the risk cannot rise nor the entropy fall, and rounding must not either.
    risks = np.minimum.accumulate(known + tail_law * _coin_entropy(pooled))
    entropies = np.maximum.accumulate(told + untold)
    return _Exact(age_law[:-1], tail_law, q[:-1], pooled, risks, entropies, entropy_rate)
