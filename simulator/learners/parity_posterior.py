"""The exact posterior over parities: the best that can be learned of a sparse parity from its samples."""

import dataclasses
import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.stats import binom

from simulator.learners.closed_form import ClosedForm
from simulator.tasks.base import Examples, Task
from simulator.tasks.parity import MultitaskParity, subsets_in_sight
from theory.checks import Count, Number, check_integer, such_that
from theory.learning_curves import parity_posterior_risk
from theory.types import Integer

_MOST_ENTRIES = 2**24
"""Numbers in a predictor before any data, when every subset survives for every query."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PosteriorPredictor:
    """ln Q_l(. | query, context): a mixture of the subsets that fit all samples of the query, and a fair coin.

    Attributes:
        survivors: columns of the context that make up each surviving subset; shape (queries, most, size), the rows
            beyond a query's number of survivors unused.
        n_survivors: K of each query.
        log_each: ln of the posterior probability of each survivor.
        log_coin: ln of half that of the coin.
        context_length: l.
    """

    survivors: Int[Array, "queries most size"]
    n_survivors: Int[Array, "queries"]
    log_each: Float[Array, "queries"]
    log_coin: Float[Array, "queries"]
    context_length: Any

    def __call__(self, examples: Examples) -> Float[Array, "B 2"]:
        place = jnp.arange(self.survivors.shape[1])

        def answer(example: tuple[Array, Array]) -> Array:
            bits, query = example
            parities = jnp.sum(bits[self.survivors[query]], axis=1) % 2
            survives = place < self.n_survivors[query]
            votes = jnp.stack([jnp.sum(survives & (parities == y)) for y in (0, 1)]).astype(jnp.float32)
            return jnp.logaddexp(jnp.log(votes) + self.log_each[query], self.log_coin[query])

        return jax.lax.map(answer, (examples.context, examples.query))


@dataclasses.dataclass(frozen=True)
class ParityPosterior(ClosedForm):
    """Bayes' rule for each query: its answer is the XOR of one of the C(l, k) subsets in sight, or a fair coin.

    Each subset has prior (1 - pi0) / C(l, k), the coin pi0. After the n samples of a query each of the K subsets that
    fit all of them has weight (1 - pi0) / C(l, k), the coin pi0 2^-n, and every other subset none. The Bayes predictor
    when nothing is known of the subsets but their size; expected loss:
    :func:`theory.learning_curves.parity_posterior_risk`. A subset of k bits is told from the others after about
    log2 C(l, k) samples, so a longer context asks for more data, and l* grows with D.

    Attributes:
        size: k, bits of a subset, at least one.
        noise_prior: pi0 in (0, 1).
    """

    size: Count = 2
    noise_prior: Annotated[Number, such_that(lambda pi: 0 < pi < 1, "must be above 0 and below 1")] = 0.5

    def check_task(self, task: Task) -> None:
        if not isinstance(task, MultitaskParity):
            raise ValueError(
                f"ParityPosterior needs a task of parities, such as SparseParity or ZipfQuanta; got {task!r:.100}. "
                "Use GradientDescent for it"
            )
        size = len(task.subsets()[0])
        if size != self.size:
            raise ValueError(
                f"ParityPosterior(size={self.size}) looks for parities of {self.size} bits, the task's have {size}: "
                f"take size={size}"
            )

    def learn(self, task: Task, samples: Examples, context_length: int) -> PosteriorPredictor:
        candidates = self._subsets(task, context_length)
        counts = np.bincount(samples.query, minlength=task.n_queries)
        by_query = np.argsort(samples.query, kind="stable")
        survivors = []
        for rows in np.split(by_query, np.cumsum(counts)[:-1]):
            left = candidates
            # Eight samples to the byte; the last byte is filled up with zeros, which fit any parity.
            bits, answers = (np.packbits(x[rows].astype(bool), axis=0) for x in (samples.context, samples.target))
            for row, answer in zip(bits, answers, strict=True):
                left = left[np.bitwise_xor.reduce(row[left], axis=1) == answer]
            survivors.append(left)
        return self._predictor(survivors, counts, len(candidates), context_length)

    def untrained(self, task: Task, context_length: Integer) -> PosteriorPredictor:
        candidates = self._subsets(task, int(context_length))
        unseen = np.zeros(task.n_queries, np.int64)
        return self._predictor([candidates] * task.n_queries, unseen, len(candidates), int(context_length))

    def expected_risk(self, task: Task, context_length: Integer, dataset_size: Integer) -> float:
        """Expected loss over data sets in nats, as exact as :func:`theory.learning_curves.parity_posterior_risk`.

        A task asked in turn has D/n samples, to one; a task of frequency f_k has Binomial(D, f_k) many.
        """
        self.check_task(task)
        assert isinstance(task, MultitaskParity)
        task.check_length(context_length)
        length, D = int(context_length), check_integer("dataset_size", dataset_size, 1)
        n_subsets = math.comb(length, self.size)
        visible = np.array([subset[0] <= length for subset in task.subsets()])
        if task.relative_frequencies() is None:
            samples = task.samples_in_turn(D)
            return float(np.mean(parity_posterior_risk(n_subsets, samples, visible, self.noise_prior)))
        # By then a survivor by chance is rarer than rounding, and the risk has settled.
        samples = np.arange(min(D, 60 + n_subsets.bit_length()) + 1)
        frequencies = task.task_frequencies()
        law = binom.pmf(samples, D, frequencies[:, None])
        law[:, -1] = binom.sf(samples[-1] - 1, D, frequencies)
        kinds, kind = np.unique(visible, return_inverse=True)
        curves = parity_posterior_risk(n_subsets, samples[None, :], kinds[:, None], self.noise_prior)
        return float(frequencies @ np.sum(law * curves[kind], axis=1))

    def _subsets(self, task: Task, context_length: int) -> Int[np.ndarray, "M size"]:
        """Columns of the context that make up each subset of the last l bits."""
        number = math.comb(context_length, self.size)
        if task.n_queries * number * self.size > _MOST_ENTRIES:
            raise ValueError(
                f"{task.n_queries} queries with C({context_length}, {self.size}) subsets each have more than "
                f"{_MOST_ENTRIES} bits between them: take a shorter context length, or fewer tasks"
            )
        return subsets_in_sight(task.max_context_length, context_length, self.size)

    def _predictor(
        self, survivors: list[np.ndarray], samples: Int[np.ndarray, "queries"], n_subsets: int, context_length: int
    ) -> PosteriorPredictor:
        K = np.array([len(left) for left in survivors])
        # A power of 16, so that few shapes are compiled.
        most = 16 ** -(-(int(K.max(initial=1)) - 1).bit_length() // 4)
        padded = np.zeros((len(K), most, self.size), np.int32)
        for row, left in zip(padded, survivors, strict=True):
            row[: len(left)] = left
        log_coin = np.log(max(n_subsets, 1) * self.noise_prior / (1 - self.noise_prior)) - samples * math.log(2)
        log_all = np.where(K > 0, np.logaddexp(np.log(np.maximum(K, 1)), log_coin), log_coin)
        return PosteriorPredictor(
            jnp.asarray(padded),
            jnp.asarray(K, jnp.int32),
            jnp.asarray(-log_all, jnp.float32),
            jnp.asarray(log_coin - log_all - math.log(2), jnp.float32),
            context_length,
        )
