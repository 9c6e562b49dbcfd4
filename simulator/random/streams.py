"""Named random streams: what belongs to a run's seed is drawn from here, and each purpose has its own stream."""

from typing import Literal, TypeAlias

import jax
from jaxtyping import Array, Integer

from simulator.random.threefry import Key, fold_in

Stream: TypeAlias = Literal["train", "validation", "test", "initialisation", "order", "visible"]
_NUMBERS: dict[Stream, int] = {"train": 1, "validation": 2, "test": 3, "initialisation": 4, "order": 5, "visible": 6}


def stream_key(seed: int | Integer[Array, ""], stream: Stream) -> Key:
    """Key of one purpose of a run's seed. Independent of context length and dataset size: data sets are nested."""
    return fold_in(jax.random.key(seed), _NUMBERS[stream])
