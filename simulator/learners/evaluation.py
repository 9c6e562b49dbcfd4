"""What a predictor loses, measured against the exact Bayes predictor on the same contexts."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from simulator.learners.base import Predictor
from simulator.learners.network_predictor import NetworkPredictor
from simulator.random.streams import stream_key
from simulator.tasks.base import Examples, Key, Task


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Losses on a test set that no training or selection has seen.

    Attributes:
        approximation_loss: mean of KL(P_l(.|x) || Q_l(.|x)), or of the excess squared error (m - m_l)^2, over test
            contexts; summed over outcomes, so free of the noise of sampled targets.
        approximation_loss_standard_error: standard error of ``approximation_loss``.
        test_loss: mean loss on the sampled targets.
        test_loss_standard_error: standard error of ``test_loss``.
    """

    approximation_loss: float
    approximation_loss_standard_error: float
    test_loss: float
    test_loss_standard_error: float


def evaluate(task: Task, predictor: Predictor, seed: int, test_size: int) -> Evaluation:
    """Measure a predictor on the first ``test_size`` samples of the seed's test stream, block by block."""
    blocks = []
    for start in range(0, test_size, _BLOCK):
        blocks.append(_pointwise(task, predictor, _test_examples(task, seed, start, min(_BLOCK, test_size - start))))
    divergence, loss = (np.concatenate(parts).astype(np.float64) for parts in zip(*blocks, strict=True))
    return Evaluation(*_mean_and_error(divergence), *_mean_and_error(loss))


def divergence_of_queries(
    task: Task, predictor: NetworkPredictor, seed: int, contexts: int
) -> Float[np.ndarray, "contexts queries"]:
    """KL(P_l || Q_l), or the excess squared error, of every query in each of the seed's first test contexts."""
    context = _test_examples(task, seed, 0, contexts).context
    return np.asarray(_divergence_of_queries(task, predictor, context), np.float64)


@functools.partial(jax.jit, static_argnums=0)
def _divergence_of_queries(
    task: Task, predictor: NetworkPredictor, context: Shaped[Array, "B L *channels"]
) -> Float[Array, "B n"]:
    length = predictor.context_length

    def of_query(query: Int[Array, ""], prediction: Float[Array, "B *outputs"]) -> Float[Array, "B"]:
        asked = jnp.broadcast_to(query, context.shape[0])
        examples = Examples(context, asked, asked)
        return task.pointwise_divergence(task.bayes_prediction(examples, length), prediction, examples, length)

    queries = jnp.arange(task.n_queries, dtype=jnp.int32)
    return jax.vmap(of_query, (0, 1), 1)(queries, predictor.every_query(context))


_BLOCK = 16384
"""Samples evaluated at once: bounds the memory of an evaluation."""


@functools.lru_cache(maxsize=8)
def _test_examples(task: Task, seed: int, start: int, size: int) -> Examples:
    # Kept, because all context lengths and dataset sizes of a seed share it.
    return _sample(task, stream_key(seed, "test"), jnp.int32(start), size)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _sample(task: Task, key: Key, start: Array, size: int) -> Examples:
    return task.sample(key, start + jnp.arange(size, dtype=jnp.int32))


@functools.partial(jax.jit, static_argnums=0)
def _pointwise(task: Task, predictor: Any, examples: Examples) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    length = predictor.context_length
    bayes, prediction = task.bayes_prediction(examples, length), predictor(examples)
    return (
        task.pointwise_divergence(bayes, prediction, examples, length),
        task.pointwise_loss(prediction, examples, length),
    )


def _mean_and_error(values: Float[np.ndarray, "B"]) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))
