"""Named random streams: each purpose of a run's seed has a stream of its own."""

from typing import Literal, TypeAlias

import jax
from jaxtyping import Array, Integer

from simulator.random.threefry import Key, fold_in

Stream: TypeAlias = Literal["train", "validation", "test", "initialisation", "order", "visible"]
_NUMBERS: dict[Stream, int] = {"train": 1, "validation": 2, "test": 3, "initialisation": 4, "order": 5, "visible": 6}


def stream_key(seed: int | Integer[Array, ""], stream: Stream) -> Key:
    """Key of one purpose of a run's seed. No length or size enters it, so datasets are nested."""
    return fold_in(jax.random.key(seed), _NUMBERS[stream])
