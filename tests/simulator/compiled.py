"""Samples and Bayes predictions for tests, in batches of one size: each task is compiled once for each."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from simulator.tasks import Examples

BATCH = 4096
MANY = 25 * BATCH


@functools.partial(jax.jit, static_argnums=0)
def _sample(task, key, index):
    return task.sample(key, index)


@functools.partial(jax.jit, static_argnums=0)
def _answer(task, examples, length):
    prediction = task.bayes_prediction(examples, length)
    return prediction, task.pointwise_loss(prediction, examples, length)


@functools.partial(jax.jit, static_argnums=0)
def _relevant_tokens(task, examples):
    return task.relevant_tokens(examples)


def in_batches(function, examples, *others):
    """A function of examples and arrays, batch by batch; NumPy arrays go in and come out."""
    starts = range(0, len(examples.query), BATCH)
    parts = [
        function(*jax.tree.map(lambda a, start=start: a[start : start + BATCH], (examples, *others)))
        for start in starts
    ]
    return jax.tree.map(lambda *fields: np.concatenate(fields), *parts)


def sample_at(task, index, seed=0) -> Examples:
    """Samples of a stream, as NumPy arrays; BATCH indices at once share a program."""
    return jax.tree.map(np.asarray, _sample(task, jax.random.key(seed), jnp.asarray(index)))


@functools.lru_cache(maxsize=8)
def sample(task, number=BATCH, seed=0) -> Examples:
    """The first samples of a stream, a multiple of BATCH."""
    parts = [sample_at(task, np.arange(start, start + BATCH), seed) for start in range(0, number, BATCH)]
    return jax.tree.map(lambda *fields: np.concatenate(fields), *parts)


def answer(task, examples, length) -> tuple[np.ndarray, np.ndarray]:
    """Bayes predictions and their losses."""
    return in_batches(lambda some: _answer(task, some, jnp.int32(length)), examples)


def predict(task, examples, length) -> np.ndarray:
    return answer(task, examples, length)[0]


def relevant_tokens(task, examples) -> np.ndarray:
    return np.asarray(_relevant_tokens(task, examples))


def standard_error(values):
    return values.std(ddof=1) / math.sqrt(values.size)


def assert_risk_is_measured(task, examples, lengths):
    """The Bayes predictor loses its Bayes risk on the examples, within 4 standard errors."""
    for length in lengths:
        loss = answer(task, examples, length)[1].astype(float)
        # Losses that are the same for every sample are known to rounding.
        assert abs(loss.mean() - task.bayes_risk(int(length))) < 4 * standard_error(loss) + 1e-6, length
