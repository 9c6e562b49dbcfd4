"""Measurements inside trained networks: features, their dimension and entropy, and scores of attention heads."""

from simulator.measurement.attention_heads import echo_and_induction_scores, retrieval_heads
from simulator.measurement.features import extract_features, feature_layers
from simulator.measurement.intrinsic_dimension import (
    PAPER_THRESHOLDS,
    CorrectedParticipationRatio,
    CorrelationDimension,
    DimensionEstimator,
    EntropyRank,
    ExplainedVariance,
    Gride,
    LinearRank,
    MaximumLikelihood,
    ParticipationRatio,
    ThresholdedSpectrum,
    TwoNN,
    binary_rank,
)
from simulator.measurement.intrinsic_entropy import (
    bandwidth_factor,
    gaussian_entropy,
    kernel_density_entropy,
    nearest_neighbour_entropy,
    sum_of_log_eigenvalues,
)
from simulator.measurement.samples import covariance_eigenvalues

__all__ = [
    "PAPER_THRESHOLDS",
    "CorrectedParticipationRatio",
    "CorrelationDimension",
    "DimensionEstimator",
    "EntropyRank",
    "ExplainedVariance",
    "Gride",
    "LinearRank",
    "MaximumLikelihood",
    "ParticipationRatio",
    "ThresholdedSpectrum",
    "TwoNN",
    "bandwidth_factor",
    "binary_rank",
    "covariance_eigenvalues",
    "echo_and_induction_scores",
    "extract_features",
    "feature_layers",
    "gaussian_entropy",
    "kernel_density_entropy",
    "nearest_neighbour_entropy",
    "retrieval_heads",
    "sum_of_log_eigenvalues",
]
