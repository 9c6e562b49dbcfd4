"""A trained network as a predictor, whatever trained it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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
        batch, rows = examples.context.shape[0], self.rows_at_a_time
        if batch <= rows:
            return self._predict(examples)
        missing = -batch % rows

        def pieces(field: Array) -> Array:
            padded = jnp.pad(field, [(0, missing), *[(0, 0)] * (field.ndim - 1)])
            return padded.reshape(-1, rows, *field.shape[1:])

        predictions = jax.lax.map(self._predict, jax.tree.map(pieces, examples))
        return predictions.reshape(-1, *predictions.shape[2:])[:batch]

    def _predict(self, examples: Examples) -> Float[Array, "B *outputs"]:
        with jax.default_matmul_precision("highest"):
            return self.model.apply(self.task, self.parameters, examples, self.context_length)
