"""One file per theory of the literature: its loss at (l, D), hence its l*(D).

Laws on other axes are plain dataclasses with a loss of their own: ChinchillaLaw, and those of ``other_axes``.
"""

from theory.laws.base import Law, PowerLawRisk, Truth
from theory.laws.chinchilla import ChinchillaContextLaw, ChinchillaLaw
from theory.laws.correlation_horizon import CorrelationHorizonLaw
from theory.laws.data_manifold import DataManifoldLaw
from theory.laws.fine_tuning_dimension import FineTuningDimensionLaw
from theory.laws.holder_manifold import HavrillaLiaoLaw
from theory.laws.intrinsic_dimension import IntrinsicDimensionLaw, OffsetDimensionLaw
from theory.laws.nearest_neighbour import NearestNeighbourLaw, distance_constant
from theory.laws.other_axes import LLAMA_2_LONG, ContextPowerLaw, KaplanLaw, MontgomeryLaw, ResourceLaw
from theory.laws.parity_threshold import LogThresholdLaw, PolynomialThresholdLaw
from theory.laws.piecewise_linear import PiecewiseLinearLaw
from theory.laws.power import PowerLaw
from theory.laws.quanta import QuantaLaw, unlearned_share
from theory.laws.saturating import SaturatingLaw
from theory.laws.state_limited import StateLimitedLaw
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
    PolynomialThresholdLaw(samples_per_candidate=30.0, degree=2),
    LogThresholdLaw(samples_per_bit=60.0, degree=2),
    QuantaLaw(exponent=0.5, observations=3.0, length_exponent=1.0),
    ChinchillaContextLaw(data_amplitude=2.0, data_rate=0.8, model_size=2e3, model_amplitude=20.0),
    DataManifoldLaw(amplitude=0.5, model_size=4096.0),
    HavrillaLiaoLaw(amplitude=0.5, model_size=4096.0),
    StateLimitedLaw(capacity=0.6, state_size=16.0),
    FineTuningDimensionLaw(amplitude=0.2),
)
"""One modest instance of each law."""

__all__ = [
    "EXAMPLES",
    "LLAMA_2_LONG",
    "ChinchillaContextLaw",
    "ChinchillaLaw",
    "ContextPowerLaw",
    "CorrelationHorizonLaw",
    "DataManifoldLaw",
    "FineTuningDimensionLaw",
    "HavrillaLiaoLaw",
    "IntrinsicDimensionLaw",
    "KaplanLaw",
    "Law",
    "LogThresholdLaw",
    "MontgomeryLaw",
    "NearestNeighbourLaw",
    "OffsetDimensionLaw",
    "PiecewiseLinearLaw",
    "PolynomialThresholdLaw",
    "PowerLaw",
    "PowerLawRisk",
    "QuantaLaw",
    "ResourceLaw",
    "SaturatingLaw",
    "StateLimitedLaw",
    "TableLaw",
    "Truth",
    "VarianceLimitedLaw",
    "distance_constant",
    "unlearned_share",
]
