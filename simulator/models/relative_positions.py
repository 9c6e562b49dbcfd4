"""Rotary positions together with what is learned of each distance."""

import dataclasses

from simulator.models.positions import RoPE
from theory.checks import check_integer, set_fields


@dataclasses.dataclass(frozen=True)
class RelativeRoPE(RoPE):
    """Rotary positions, and a learned vector for each distance: q_i . a_(i-j) is added to q_i . k_j.

    The vectors are those that Shaw et al. 2018 (arXiv 1803.02155, eq. 4) add to keys, one set for each head of keys.
    They need not be turned: they are compared with queries as these were before they were turned.

    Attributes:
        max_length: distances that there are vectors for: tokens of the context, and one for the query or the start.
    """

    max_length: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, max_length=check_integer("max_length", self.max_length, 1))

    @property
    def n_distances(self) -> int:
        return self.max_length
