"""One file per theory of the literature: its loss at (l, D), hence its l*(D)."""

from theory.laws.base import Law, Truth
from theory.laws.correlation_horizon import CorrelationHorizonLaw
from theory.laws.intrinsic_dimension import IntrinsicDimensionLaw, OffsetDimensionLaw
from theory.laws.nearest_neighbour import NearestNeighbourLaw
from theory.laws.parity_threshold import LogThresholdLaw, PolynomialThresholdLaw
from theory.laws.piecewise_linear import PiecewiseLinearLaw
from theory.laws.power import PowerLaw
from theory.laws.saturating import SaturatingLaw
from theory.laws.table import TableLaw
from theory.laws.variance_limited import VarianceLimitedLaw

EXAMPLES: tuple[Law, ...] = (
    IntrinsicDimensionLaw(amplitude=0.5, amplitude_exponent=0.7, rate=1.5),
    OffsetDimensionLaw(amplitude=0.5, amplitude_exponent=0.7, rate=3.0, offset=5.0),
    PowerLaw(amplitude=2.0, length_exponent=1.0, rate=0.8),
    SaturatingLaw(scale=100.0, length_exponent=0.8, steepness=2.0),
    VarianceLimitedLaw(),
    NearestNeighbourLaw(amplitude=0.3),
    PiecewiseLinearLaw(squared_curvature=0.003, pieces=4.0),
    CorrelationHorizonLaw(scale=30.0, correlation_exponent=1.0),
    TableLaw(vocabulary=1.5, classes=4),
    PolynomialThresholdLaw(samples_per_candidate=8.0, steepness=1.5, degree=2),
    LogThresholdLaw(samples_per_bit=60.0, degree=2),
)
"""One modest instance of each law."""

__all__ = [
    "EXAMPLES",
    "CorrelationHorizonLaw",
    "IntrinsicDimensionLaw",
    "Law",
    "LogThresholdLaw",
    "NearestNeighbourLaw",
    "OffsetDimensionLaw",
    "PiecewiseLinearLaw",
    "PolynomialThresholdLaw",
    "PowerLaw",
    "SaturatingLaw",
    "TableLaw",
    "Truth",
    "VarianceLimitedLaw",
]
