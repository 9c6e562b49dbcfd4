"""Intrinsic dimension of features: of their covariance, of their span, and of distances between nearest neighbours."""

import abc
import dataclasses
from types import ModuleType

import numpy as np
from jaxtyping import Bool, Float, Integer

from simulator.measurement.samples import centred, covariance_eigenvalues, from_extra, neighbour_distances, rounding
from theory.checks import check_integer, check_number, set_fields

PAPER_THRESHOLDS = (
    *(0.002, 0.0025, 0.003, 0.0035, 0.004, 0.005, 0.0075, 0.01, 0.0125, 0.015),
    *(0.02, 0.025, 0.03, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25),
)
"""Thresholds of the relative eigenvalue in the public code of arXiv 2502.01481."""


class DimensionEstimator(abc.ABC):
    """A rule that reads a dimension off features, one sample a row: unchanged by rotation, shift and scale."""

    @abc.abstractmethod
    def __call__(self, features: Float[np.ndarray, "n p"]) -> float:
        """The estimate.

        Raises:
            ValueError: numbers that are not finite, constant features, or data the estimator is wrong for.
        """


class SpectralEstimator(DimensionEstimator):
    """A dimension that depends on the eigenvalues lambda_1 >= lambda_2 >= ... of the covariance alone.

    Half as many as the samples can be told apart: the eigenvalues of fewer samples are spread by sampling.
    """

    @abc.abstractmethod
    def of_eigenvalues(self, eigenvalues: Float[np.ndarray, "values"]) -> float:
        """The dimension of a covariance with these eigenvalues, largest first."""

    def __call__(self, features: Float[np.ndarray, "n p"]) -> float:
        dimension = self.of_eigenvalues(covariance_eigenvalues(features))
        if dimension > len(features) / 2:
            raise ValueError(
                f"{type(self).__name__} finds {dimension:.4g} dimensions in {len(features)} samples, more than half "
                "their number: so many are the samples', not the features'; take more samples"
            )
        return dimension


@dataclasses.dataclass(frozen=True)
class ThresholdedSpectrum(SpectralEstimator):
    """#{i : lambda_i / lambda_1 > t}, t one of :data:`PAPER_THRESHOLDS` in arXiv 2502.01481 v1-v3.

    The paper's public code returns the index of the last such eigenvalue, counted from 0: one less.

    Attributes:
        threshold: t, in (0, 1).
    """

    threshold: float = 0.01

    def __post_init__(self) -> None:
        set_fields(self, threshold=_share("threshold", self.threshold))

    def of_eigenvalues(self, eigenvalues: Float[np.ndarray, "values"]) -> float:
        return float(np.count_nonzero(eigenvalues > self.threshold * eigenvalues[0]))


@dataclasses.dataclass(frozen=True)
class ExplainedVariance(SpectralEstimator):
    """The least k with lambda_1 + ... + lambda_k >= q (lambda_1 + lambda_2 + ...).

    Attributes:
        share: q, in (0, 1).
    """

    share: float = 0.95

    def __post_init__(self) -> None:
        set_fields(self, share=_share("share", self.share))

    def of_eigenvalues(self, eigenvalues: Float[np.ndarray, "values"]) -> float:
        sums = np.cumsum(eigenvalues)
        return float(np.searchsorted(sums, self.share * sums[-1]) + 1)


@dataclasses.dataclass(frozen=True)
class ParticipationRatio(SpectralEstimator):
    """(sum lambda)^2 / sum lambda^2. Of n normal samples 1/PR is too large by about 1/n."""

    def of_eigenvalues(self, eigenvalues: Float[np.ndarray, "values"]) -> float:
        return float(np.sum(eigenvalues) ** 2 / np.sum(eigenvalues**2))


@dataclasses.dataclass(frozen=True)
class EntropyRank(SpectralEstimator):
    """exp(-sum p ln p), p = lambda / sum lambda (Roy & Vetterli 2007)."""

    def of_eigenvalues(self, eigenvalues: Float[np.ndarray, "values"]) -> float:
        p = eigenvalues[eigenvalues > 0] / np.sum(eigenvalues)
        return float(np.exp(-np.sum(p * np.log(p))))


@dataclasses.dataclass(frozen=True)
class CorrectedParticipationRatio(DimensionEstimator):
    """(tr C)^2 / tr C^2 of the true covariance C, each trace estimated without bias, whatever the distribution.

    With S the sample covariance of n samples x_i, m their mean and Q = sum |x_i - m|^4 / (n - 1),

        tr C^2   ~ c [(n-1)(n-2) tr S^2 + (tr S)^2 - n Q],
        (tr C)^2 ~ c [2 tr S^2 + (n^2 - 3n + 1) (tr S)^2 - n Q],     c = (n-1) / (n (n-2)(n-3))

    (Himeno & Yamada 2014), the means of ((x_i - x_j).(x_k - x_l))^2 / 4 and of |x_i - x_j|^2 |x_k - x_l|^2 / 4 over
    four different samples. So the ratio does not saturate at n.
    """

    def __call__(self, features: Float[np.ndarray, "n p"]) -> float:
        x = centred(features, 4)
        n, p = x.shape
        gram = x.T @ x if p < n else x @ x.T
        squares, total = np.sum(gram**2) / (n - 1) ** 2, np.trace(gram) / (n - 1)
        fourth = n * np.sum(np.sum(x**2, axis=1) ** 2) / (n - 1)
        of_square = (n - 1) * (n - 2) * squares + total**2 - fourth
        if of_square <= 0:
            raise ValueError(f"the {n} samples are too few to tell the covariance's size from noise; take more")
        return float((2 * squares + (n**2 - 3 * n + 1) * total**2 - fourth) / of_square)


@dataclasses.dataclass(frozen=True)
class LinearRank(DimensionEstimator):
    """Dimension of the flat space through all samples: the rank of the features with their mean removed.

    Singular values below 10 eps |X|, eps of the features' precision and |X|^2 the sum of their squares, are taken for
    rounding, and those below max(n, p) eps |X| in double precision: equal samples round alike, and errors add up.
    """

    def __call__(self, features: Float[np.ndarray, "n p"]) -> float:
        n, p = features.shape
        of_decomposition = max(n, p) * np.finfo(np.float64).eps * np.linalg.norm(features)
        rank = np.linalg.matrix_rank(centred(features), tol=max(rounding(features), float(of_decomposition)))
        if rank == n - 1 < p:
            raise ValueError(f"{n} samples have no rank above {n - 1}, which they have: take more samples")
        return float(rank)


class NeighbourEstimator(DimensionEstimator):
    """A dimension read off the growth of volume with distance, T_k being the distance to the k-th nearest sample.

    The samples must be continuous and cover their manifold: 10^(d/2) of them at least (Eckmann & Ruelle 1992). At that
    number TwoNN finds 5 to 10 % too much on a torus of d circles, for its curvature, and the others up to 25 %; of a
    normal distribution all find up to 15 % too little. Neighbourhoods overlap, so standard errors are above those of as
    many independent ratios.
    """

    @abc.abstractmethod
    def measured(self, x: Float[np.ndarray, "n p"]) -> float:
        """The estimate, of samples with their mean removed."""

    def __call__(self, features: Float[np.ndarray, "n p"]) -> float:
        x = centred(features)
        if x.shape[1] < 2:
            raise ValueError("a single feature has at most one dimension: nearest neighbours need two features or more")
        dimension = float(self.measured(x))
        if 10 ** (dimension / 2) > len(x):
            raise ValueError(
                f"{type(self).__name__} finds {dimension:.3g} dimensions, which takes more than 10^(d/2) = "
                f"{10 ** (dimension / 2):.3g} samples; got {len(x)}: take more, or an estimator of linear dimension"
            )
        return dimension


@dataclasses.dataclass(frozen=True)
class MaximumLikelihood(NeighbourEstimator):
    """d = [mean over samples of sum_{j<k} ln(T_k / T_j) / (k - 1)]^-1 (Levina & Bickel 2005; the mean of inverses is
    that of MacKay & Ghahramani 2005).

    Standard error about 1.4 d / sqrt(n (k-1)).

    Attributes:
        neighbours: k, at least 2.
    """

    neighbours: int = 20

    def __post_init__(self) -> None:
        set_fields(self, neighbours=check_integer("neighbours", self.neighbours, 2))

    def measured(self, x: Float[np.ndarray, "n p"]) -> float:
        distances = neighbour_distances(x, self.neighbours)
        return _library().MLE().fit_predict(x, precomputed_knn_arrays=(distances, None), n_neighbors=self.neighbours)


@dataclasses.dataclass(frozen=True)
class TwoNN(NeighbourEstimator):
    """d = (n - 1) / sum ln(T_2 / T_1) (Facco et al. 2017), by maximum likelihood.

    Standard error about 1.25 d / sqrt(n).
    """

    def measured(self, x: Float[np.ndarray, "n p"]) -> float:
        estimator = _library().TwoNN(discard_fraction=0.0, dist=True, method="mle")
        with np.errstate(divide="ignore"):  # of a line that it prepares and does not fit
            return estimator.fit(neighbour_distances(x, 2)).dimension_


@dataclasses.dataclass(frozen=True)
class Gride(NeighbourEstimator):
    """The d of greatest likelihood of m = T_2k / T_k, whose density is

        d (m^d - 1)^(k-1) / (m^((2k-1) d + 1) B(k, k))      (Denti et al. 2022).

    k = 1 would be :class:`TwoNN`, k = 2, 4, 8, ... scan the scales. The library leaves out the very largest m, which
    makes d = 1 1.7 % too high at k = 1, and less than 0.1 % from k = 2 on. Standard error about d / sqrt(n) at k = 2.

    Attributes:
        nearer: k, at least 2.
    """

    nearer: int = 2

    def __post_init__(self) -> None:
        set_fields(self, nearer=check_integer("nearer", self.nearer, 2))

    def measured(self, x: Float[np.ndarray, "n p"]) -> float:
        neighbour_distances(x, 2 * self.nearer)
        return _library().GRIDE(n1=self.nearer, n2=2 * self.nearer).fit(x).dimension_


@dataclasses.dataclass(frozen=True)
class CorrelationDimension(NeighbourEstimator):
    """Slope of ln #{pairs closer than r} over ln r, between two r (Grassberger & Procaccia 1983).

    The two r are the medians of T_j and T_k. Standard error about 0.5 d / sqrt(n) at the default ones.

    Attributes:
        nearer: j, at least 1.
        farther: k, above j.
    """

    nearer: int = 10
    farther: int = 20

    def __post_init__(self) -> None:
        nearer = check_integer("nearer", self.nearer, 1)
        set_fields(self, nearer=nearer, farther=check_integer("farther", self.farther, nearer + 1))

    def measured(self, x: Float[np.ndarray, "n p"]) -> float:
        neighbour_distances(x, self.farther)
        return _library().CorrInt(k1=self.nearer, k2=self.farther).fit(x).dimension_


def binary_rank(bits: Bool[np.ndarray, "n p"] | Integer[np.ndarray, "n p"]) -> int:
    """Dimension over GF(2) of binary features: the rank of their differences, 1 + 1 being 0.

    Samples spread evenly over a space of that dimension are made of as many fair coins: their entropy is ln 2 times the
    rank. A feature that never changes, or the XOR of others, adds nothing.

    Raises:
        ValueError: fewer than two samples, or features other than 0 and 1.
    """
    if len(bits) < 2:
        raise ValueError(f"at least 2 samples are needed; got {len(bits)}")
    if not np.isin(bits, (0, 1)).all():
        raise ValueError("features of a rank over GF(2) must be 0 or 1; got others")
    rows, rank = (bits != bits[0]), 0
    for column in range(rows.shape[1]):
        # A row with this bit leaves; added to the others that have it, it takes the bit away.
        having = np.flatnonzero(rows[:, column])
        if len(having):
            rows[having] ^= rows[having[0]]
            rank += 1
    return rank


def _share(name: str, value: float) -> float:
    share = check_number(name, value)
    if not 0 < share < 1:
        raise ValueError(f"{name} must lie between 0 and 1; got {share}")
    return share


def _library() -> ModuleType:
    return from_extra("skdim.id")


EXAMPLES: tuple[DimensionEstimator, ...] = (
    ThresholdedSpectrum(),
    ExplainedVariance(),
    ParticipationRatio(),
    CorrectedParticipationRatio(),
    EntropyRank(),
    LinearRank(),
    MaximumLikelihood(),
    TwoNN(),
    Gride(),
    CorrelationDimension(),
)
"""One instance of each estimator."""
