"""How tasks draw: one key for each sample, streams of their own, whole vectors of samples, tokens along a sequence."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from simulator.random.threefry import Key, fold_in
from simulator.tasks.base import Examples, Index


def other_stream(key: Key, number: int) -> Key:
    """A key for further draws. No sample shares it, because every sample index is below 2^31."""
    return fold_in(key, 2**31 + number)


_VECTOR = 16
"""A multiple of the float32 numbers that a CPU takes at once."""


_Sample = TypeVar("_Sample", bound=Callable[..., "Examples"])


def in_whole_vectors(sample: _Sample) -> _Sample:
    """A ``sample`` of real numbers that draws a multiple of 16 samples and cuts off the surplus.

    A CPU computes on vectors of numbers. Samples that do not fill a whole vector may be rounded differently, so every
    batch is filled up to whole vectors.
    """

    @functools.wraps(sample)
    def whole(self: Any, key: Key, index: Index) -> Examples:
        index = sample_indices(index)
        batch = index.shape[0]
        if not batch % _VECTOR:
            return sample(self, key, index)
        drawn = sample(self, key, index[np.minimum(np.arange(batch + -batch % _VECTOR), batch - 1)])
        return jax.tree.map(lambda field: field[:batch], drawn)

    return cast(_Sample, whole)


def sample_keys(key: Key, index: Index) -> tuple[Key, Int[Array, "B"]]:
    """One key per sample, and the indices as an array. They make sample i the same wherever it is drawn."""
    index = sample_indices(index)
    return fold_in(key, index), index


def sample_indices(index: Index) -> Int[Array, "B"]:
    """The indices as an array, or an error that says why they name no samples."""
    numbers = index if isinstance(index, jax.Array) else np.asarray(index)
    if not np.issubdtype(numbers.dtype, np.integer):
        raise TypeError(f"sample indices must be integers; got {numbers.dtype} ({index!r})")
    if numbers.ndim > 1:
        raise ValueError(f"sample indices must be one axis of integers; got shape {numbers.shape}")
    if not isinstance(numbers, Tracer) and numbers.size and (int(numbers.min()) < 0 or int(numbers.max()) >= 2**31):
        raise ValueError(f"sample indices must be in [0, 2^31); got {numbers.min()} to {numbers.max()}")
    return jnp.atleast_1d(jnp.asarray(numbers)).astype(jnp.int32)


def take_tokens(values: Array, places: Array) -> Array:
    """values[i, places[i, j]], for tokens that may be vectors."""
    return jnp.take_along_axis(values, places.reshape(*places.shape, *[1] * (values.ndim - 2)), axis=1)


def where_tokens(condition: Array, values: Array, others: Array) -> Array:
    """Tokens of one sequence where the condition holds, else of the other; tokens may be vectors."""
    return jnp.where(condition.reshape(*condition.shape, *[1] * (values.ndim - 2)), values, others)
