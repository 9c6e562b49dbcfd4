"""One file per theory of the literature: its loss at (l, D), hence its l*(D)."""

from theory.laws.base import Law, Truth
from theory.laws.intrinsic_dimension import IntrinsicDimensionLaw, OffsetDimensionLaw
from theory.laws.power import PowerLaw
from theory.laws.saturating import SaturatingLaw

EXAMPLES: tuple[Law, ...] = (
    IntrinsicDimensionLaw(amplitude=0.5, amplitude_exponent=0.7, rate=1.5),
    OffsetDimensionLaw(amplitude=0.5, amplitude_exponent=0.7, rate=3.0, offset=5.0),
    PowerLaw(amplitude=2.0, length_exponent=1.0, rate=0.8),
    SaturatingLaw(scale=100.0, length_exponent=0.8, steepness=2.0),
)
"""One modest instance of each law."""

__all__ = [
    "EXAMPLES",
    "IntrinsicDimensionLaw",
    "Law",
    "OffsetDimensionLaw",
    "PowerLaw",
    "SaturatingLaw",
    "Truth",
]
