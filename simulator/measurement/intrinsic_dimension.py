"""Estimators of the intrinsic dimension of features, from their covariance, their span or nearest neighbours."""

import abc
import dataclasses
from types import ModuleType
from typing import Annotated, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Integer

from simulator.measurement.samples import centred, covariance_eigenvalues, from_extra, neighbour_distances, rounding
from theory.checks import Checked, Count, Number, check_integer, integer, set_fields, such_that

PAPER_THRESHOLDS = (
    *(0.002, 0.0025, 0.003, 0.0035, 0.004, 0.005, 0.0075, 0.01, 0.0125, 0.015),
    *(0.02, 0.025, 0.03, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25),
)
"""Thresholds of the relative eigenvalue in the public code of arXiv 2502.01481."""
_Share: TypeAlias = Annotated[Number, such_that(lambda share: 0 < share < 1, "must lie between 0 and 1")]


class DimensionEstimator(Checked, abc.ABC):
    """An estimator of the dimension of features, one sample a row. Rotation, shift and scale do not change it."""

    @abc.abstractmethod
    def __call__(self, features: Float[np.ndarray, "n p"]) -> float:
        """Return the estimate.

        Raises:
            ValueError: if numbers are not finite, features are constant, or the estimator does not apply to the data.
        """


class SpectralEstimator(DimensionEstimator):
    """A dimension that depends only on the eigenvalues lambda_1 >= lambda_2 >= ... of the covariance.

    An estimate above half the number of samples is refused. Sampling spreads the eigenvalues of so few samples.
    """

    @abc.abstractmethod
    def of_eigenvalues(self, eigenvalues: Float[np.ndarray, "values"]) -> float:
        """Return the dimension of a covariance with these eigenvalues, largest first."""

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
    """The number of eigenvalues with lambda_i / lambda_1 > t.

    In arXiv 2502.01481 v1-v3, t is one of :data:`PAPER_THRESHOLDS`. The paper's public code returns one less, because
    it counts from 0.

    Attributes:
        threshold: the threshold t, in (0, 1).
    """

    threshold: _Share = 0.01

    def of_eigenvalues(self, eigenvalues: Float[np.ndarray, "values"]) -> float:
        return float(np.count_nonzero(eigenvalues > self.threshold * eigenvalues[0]))


@dataclasses.dataclass(frozen=True)
class ExplainedVariance(SpectralEstimator):
    """The smallest k with lambda_1 + ... + lambda_k >= q (lambda_1 + lambda_2 + ...).

    Attributes:
        share: the share q of the variance, in (0, 1).
    """

    share: _Share = 0.95

    def of_eigenvalues(self, eigenvalues: Float[np.ndarray, "values"]) -> float:
        sums = np.cumsum(eigenvalues)
        return float(np.searchsorted(sums, self.share * sums[-1]) + 1)


@dataclasses.dataclass(frozen=True)
class ParticipationRatio(SpectralEstimator):
    """PR = (sum lambda)^2 / sum lambda^2. For n normal samples, 1/PR is too large by about 1/n."""

    def of_eigenvalues(self, eigenvalues: Float[np.ndarray, "values"]) -> float:
        return float(np.sum(eigenvalues) ** 2 / np.sum(eigenvalues**2))


@dataclasses.dataclass(frozen=True)
class EntropyRank(SpectralEstimator):
    """exp(-sum p ln p) with p = lambda / sum lambda (Roy & Vetterli 2007)."""

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
    """The rank of the features with their mean removed, which is the dimension of the flat space through all samples.

    Two kinds of singular values count as rounding. The first are below 10 eps |X|, where eps is that of the features'
    precision and |X|^2 is the sum of their squares. The second are below max(n, p) eps |X|, where eps is that of double
    precision, because rounding errors of equal samples add up.
    """

    def __call__(self, features: Float[np.ndarray, "n p"]) -> float:
        n, p = features.shape
        of_decomposition = max(n, p) * np.finfo(np.float64).eps * np.linalg.norm(features)
        rank = np.linalg.matrix_rank(centred(features), tol=max(rounding(features), float(of_decomposition)))
        if rank == n - 1 < p:
            raise ValueError(f"{n} samples have no rank above {n - 1}, which they have: take more samples")
        return float(rank)


class NeighbourEstimator(DimensionEstimator):
    """A dimension that follows from the growth of volume with distance. T_k is the distance to the k-th nearest sample.

    The samples must be continuous, and at least 10^(d/2) of them must cover their manifold (Eckmann & Ruelle 1992). At
    that number, curvature makes TwoNN 5 to 10 % too large on a torus of d circles, and the others up to 25 %. All are
    up to 15 % too small on a normal distribution. Standard errors exceed those of independent ratios, because
    neighbourhoods overlap.
    """

    @abc.abstractmethod
    def measured(self, x: Float[np.ndarray, "n p"]) -> float:
        """Return the estimate for samples with their mean removed."""

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
    """d = [mean over samples of sum_{j<k} ln(T_k / T_j) / (k - 1)]^-1 (Levina & Bickel 2005).

    The inverses are averaged, as in MacKay & Ghahramani 2005. The standard error is about 1.4 d / sqrt(n (k-1)).

    Attributes:
        neighbours: the number k of neighbours, at least 2.
    """

    neighbours: Annotated[int, integer(2)] = 20

    def measured(self, x: Float[np.ndarray, "n p"]) -> float:
        distances = neighbour_distances(x, self.neighbours)
        return _library().MLE().fit_predict(x, precomputed_knn_arrays=(distances, None), n_neighbors=self.neighbours)


@dataclasses.dataclass(frozen=True)
class TwoNN(NeighbourEstimator):
    """The maximum-likelihood estimate d = (n - 1) / sum ln(T_2 / T_1) (Facco et al. 2017).

    The standard error is about 1.25 d / sqrt(n).
    """

    def measured(self, x: Float[np.ndarray, "n p"]) -> float:
        estimator = _library().TwoNN(discard_fraction=0.0, dist=True, method="mle")
        with np.errstate(divide="ignore"):  # of a line that it prepares and does not fit
            return estimator.fit(neighbour_distances(x, 2)).dimension_


@dataclasses.dataclass(frozen=True)
class Gride(NeighbourEstimator):
    """The maximum-likelihood estimate of d from m = T_2k / T_k, whose density is

        d (m^d - 1)^(k-1) / (m^((2k-1) d + 1) B(k, k))      (Denti et al. 2022).

    k = 1 would be :class:`TwoNN`; k = 2, 4, 8, ... scan the scales. The library leaves out the very largest m. For
    d = 1 this makes the estimate 1.7 % too high at k = 1, and less than 0.1 % from k = 2 on. The standard error is
    about d / sqrt(n) at k = 2.

    Attributes:
        nearer: the nearer neighbour k, at least 2. The farther one is 2k.
    """

    nearer: Annotated[int, integer(2)] = 2

    def measured(self, x: Float[np.ndarray, "n p"]) -> float:
        neighbour_distances(x, 2 * self.nearer)
        return _library().GRIDE(n1=self.nearer, n2=2 * self.nearer).fit(x).dimension_


@dataclasses.dataclass(frozen=True)
class CorrelationDimension(NeighbourEstimator):
    """The slope of ln #{pairs closer than r} against ln r between two radii r (Grassberger & Procaccia 1983).

    The radii are the medians of T_j and T_k. The standard error is about 0.5 d / sqrt(n) at the default values.

    Attributes:
        nearer: the nearer neighbour j, at least 1.
        farther: the farther neighbour k, above j.
    """

    nearer: Count = 10
    farther: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, farther=check_integer("farther", self.farther, self.nearer + 1))

    def measured(self, x: Float[np.ndarray, "n p"]) -> float:
        neighbour_distances(x, self.farther)
        return _library().CorrInt(k1=self.nearer, k2=self.farther).fit(x).dimension_


def binary_rank(bits: Bool[np.ndarray, "n p"] | Integer[np.ndarray, "n p"]) -> int:
    """Return the rank over GF(2) of the differences between binary samples.

    Samples spread evenly over a space of that dimension have an entropy of ln 2 times the rank. A feature that never
    changes adds nothing, and neither does the XOR of other features.

    Raises:
        ValueError: if there are fewer than two samples, or features other than 0 and 1.
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
