"""Choosing tokens along a sequence, be they numbers or vectors."""

import jax.numpy as jnp
from jaxtyping import Array


def take_tokens(values: Array, places: Array) -> Array:
    """values[i, places[i, j]], for tokens that may be vectors."""
    return jnp.take_along_axis(values, places.reshape(*places.shape, *[1] * (values.ndim - 2)), axis=1)


def where_tokens(condition: Array, values: Array, others: Array) -> Array:
    """Tokens of one sequence where the condition holds, else of the other; tokens may be vectors."""
    return jnp.where(condition.reshape(*condition.shape, *[1] * (values.ndim - 2)), values, others)
