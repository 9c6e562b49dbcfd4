"""A trained network as a predictor, whatever trained it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from simulator.models.base import Model, Parameters
from simulator.tasks.base import Examples, Task

_PREDICTED_ACTIVATIONS = 2**23
"""Activations of one layer when a trained network is used: 32 MiB, several such arrays being alive at a time."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NetworkPredictor:
    """A trained network."""

    task: Task = dataclasses.field(metadata={"static": True})
    model: Model = dataclasses.field(metadata={"static": True})
    parameters: Parameters
    context_length: Any

    @property
    def rows_at_a_time(self) -> int:
        """Samples that pass the network together."""
        return max(1, _PREDICTED_ACTIVATIONS // self.model.activations(self.task, self.task.max_context_length))

    def __call__(self, examples: Examples) -> Float[Array, "B *outputs"]:
        return _in_pieces(self._predict, examples, self.rows_at_a_time)

    def every_query(self, context: Shaped[Array, "B L *channels"]) -> Float[Array, "B n *outputs"]:
        """What the network answers to every query of the task in each context."""
        queries = jnp.arange(self.task.n_queries, dtype=jnp.int32)

        def predict(context: Shaped[Array, "B L *channels"]) -> Float[Array, "B n *outputs"]:
            with jax.default_matmul_precision("highest"):
                return self.model.apply_to_queries(self.task, self.parameters, context, self.context_length, queries)

        return _in_pieces(predict, context, max(1, self.rows_at_a_time // self.task.n_queries))

    def _predict(self, examples: Examples) -> Float[Array, "B *outputs"]:
        with jax.default_matmul_precision("highest"):
            return self.model.apply(self.task, self.parameters, examples, self.context_length)


def _in_pieces(
    function: Callable[[Any], Float[Array, "B *outputs"]], samples: Any, rows: int
) -> Float[Array, "B *out"]:
    """The function of all samples, of no more than so many at a time."""
    batch = jax.tree.leaves(samples)[0].shape[0]
    if batch <= rows:
        return function(samples)
    missing = -batch % rows

    def pieces(field: Array) -> Array:
        padded = jnp.pad(field, [(0, missing), *[(0, 0)] * (field.ndim - 1)])
        return padded.reshape(-1, rows, *field.shape[1:])

    outputs = jax.lax.map(function, jax.tree.map(pieces, samples))
    return outputs.reshape(-1, *outputs.shape[2:])[:batch]
