"""Features of a trained network: the values of one layer on fresh samples, one sample a row."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from simulator.grid import MAX_DATASET_SIZE
from simulator.learners.network_predictor import NetworkPredictor
from simulator.random.streams import stream_key
from simulator.tasks.base import Key
from theory.checks import check_integer
from theory.types import Integer


def feature_layers(predictor: NetworkPredictor) -> tuple[str, ...]:
    """Return the names of the layers that :func:`extract_features` accepts."""
    return tuple(jax.eval_shape(lambda p, key: _features(p, key, 0, 1), predictor, jax.random.key(0)))


def extract_features(
    predictor: NetworkPredictor,
    layer: str,
    n_samples: Integer,
    context_length: Integer | None = None,
    seed: Integer = 0,
    masked: bool = False,
) -> Float[np.ndarray, "n F"]:
    """Return the features of one layer at the last token, for the first samples of the seed's test stream.

    Args:
        predictor: a trained network, as a learner returns it.
        layer: one of :func:`feature_layers`. For a :class:`simulator.models.TwoBranchMLP`, ``"layer 1"`` is the feature
            vector of arXiv 2502.01481 v1-v3.
        n_samples: number n of samples. They pass the network in pieces, so that memory is that of the result.
        context_length: number l of visible tokens, in 0..L. None takes that of the predictor.
        seed: seed of the samples. A seed has the same samples at every context length and for every predictor.
        masked: whether hidden tokens enter the network with a mask, as in training. Otherwise they are left out. That
            takes less time and gives the same features up to rounding.

    Returns:
        The features in float32, of shape (n, F).

    Raises:
        ValueError: if the network does not have the layer, or a number is out of range.
    """
    n = check_integer("n_samples", n_samples, 1, MAX_DATASET_SIZE)
    length = check_integer(
        "context_length",
        predictor.context_length if context_length is None else context_length,
        0,
        predictor.task.max_context_length,
    )
    key = stream_key(check_integer("seed", seed, 0, 2**31 - 1), "test")
    # A length that is part of the program leaves hidden tokens out. A length that is its input masks them.
    seeing = dataclasses.replace(predictor, context_length=np.int32(length))
    rows = min(n, predictor.rows_at_a_time)
    pieces = [
        np.asarray(_layer(seeing, key, np.int32(start), rows, layer, None if masked else length))
        for start in range(0, n, rows)
    ]
    return np.concatenate(pieces)[:n]


@functools.partial(jax.jit, static_argnames=("rows", "layer", "length"))
def _layer(
    predictor: NetworkPredictor, key: Key, start: Any, rows: int, layer: str, length: int | None
) -> Float[Array, "rows F"]:
    if length is not None:
        predictor = dataclasses.replace(predictor, context_length=length)
    layers = _features(predictor, key, start, rows)
    if layer not in layers:
        raise ValueError(f"{type(predictor.model).__name__} has the layers {', '.join(sorted(layers))}; got {layer!r}")
    return layers[layer]


def _features(predictor: NetworkPredictor, key: Key, start: Any, rows: int) -> dict[str, Float[Array, "rows F"]]:
    examples = predictor.task.sample(key, start + jnp.arange(rows, dtype=jnp.int32))
    with jax.default_matmul_precision("highest"):
        return predictor.model.features(predictor.task, predictor.parameters, examples, predictor.context_length)
