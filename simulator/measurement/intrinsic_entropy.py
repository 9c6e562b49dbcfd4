"""Entropy of continuous features in nats: from eigenvalues, kernel densities and nearest neighbours."""

import math
from typing import Literal, TypeAlias

import numpy as np
import scipy.linalg
from jaxtyping import Float
from scipy.special import digamma, gammaln

from simulator.measurement.samples import centred, covariance_eigenvalues, neighbour_distances, rounding
from theory.checks import check_choice, check_integer, check_positive
from theory.types import Integer, Scalar

Bandwidth: TypeAlias = Literal["scott", "silverman"] | Scalar
Kernel: TypeAlias = Literal["covariance", "isotropic"]

_BLOCK = 2**23
"""Pairs of samples whose distances are held at a time: 64 MiB."""


def sum_of_log_eigenvalues(features: Float[np.ndarray, "n p"], leading: Integer) -> float:
    """S_N = sum over the N largest eigenvalues of the covariance of ln(lambda_i / lambda_1), nats.

    The intrinsic entropy of arXiv 2502.01481 v4: up to a constant and a factor 2, the entropy of a normal distribution
    along N principal axes, in units of the longest.

    Args:
        features: one sample a row.
        leading: N.

    Raises:
        ValueError: more eigenvalues are asked for than the features have.
    """
    eigenvalues = covariance_eigenvalues(features)
    N = check_integer("leading", leading, 1, len(eigenvalues))
    least = max(rounding(features) ** 2 / (len(features) - 1), _rounding_of_covariance(features) * eigenvalues[0])
    if eigenvalues[N - 1] <= least:
        raise ValueError(
            f"leading = {N} takes in eigenvalues of zero: the features have {np.count_nonzero(eigenvalues > least)}"
        )
    return float(np.sum(np.log(eigenvalues[:N] / eigenvalues[0])))


def gaussian_entropy(features: Float[np.ndarray, "n p"]) -> float:
    """Entropy of a normal distribution from its samples, without bias at any n > p; of others an upper bound. Nats.

    H = (p/2) ln(2 pi e) + (1/2) (ln det S - sum_{i=1}^p [psi((n-i)/2) - ln((n-1)/2)]), S the sample covariance; the sum
    is the mean of ln det S - ln det C over Wishart matrices (Anderson, An Introduction to Multivariate Statistical
    Analysis, section 7.5). The standard error, sqrt(sum psi'((n-i)/2)) / 2, is about sqrt(p / 2n) where n >> p.

    Raises:
        ValueError: no more samples than features, or features that determine each other.
    """
    x = centred(features)
    n, p = x.shape
    log_determinant = 2 * np.sum(np.log(np.diag(_factor_of_covariance(features, x))))
    bias = np.sum(digamma((n - np.arange(1, p + 1)) / 2) - math.log((n - 1) / 2))
    return float(p / 2 * math.log(2 * math.pi * math.e) + (log_determinant - bias) / 2)


def bandwidth_factor(rule: Literal["scott", "silverman"], samples: Integer, features: Integer) -> float:
    """Scott's n^(-1/(p+4)), or Silverman's (n (p+2)/4)^(-1/(p+4)).

    Near 1 wherever p is in the thousands: 0.997756 and 0.996071 at n = 10,000, p = 4096.
    """
    check_choice("rule", rule, ("scott", "silverman"))
    n, p = check_integer("samples", samples, 1), check_integer("features", features, 1)
    return float((n if rule == "scott" else n * (p + 2) / 4) ** (-1 / (p + 4)))


def kernel_density_entropy(
    features: Float[np.ndarray, "n p"],
    bandwidth: Bandwidth = "scott",
    kernel: Kernel = "covariance",
    leave_one_out: bool = False,
) -> float:
    """Mean of -ln f over the samples, f their kernel density, nats:

        f(x) = (1/n) sum_j (2 pi)^(-p/2) |B|^(-1/2) exp(-(x - x_j)^T B^-1 (x - x_j) / 2).

    The estimate is at least (p/2) ln 2 pi + (1/2) ln |B|, and a sample's own kernel keeps it below that plus ln n. In
    thousands of dimensions it therefore tells little but |B|: with the covariance as kernel, the sum of all log
    eigenvalues. With more and more samples of a normal distribution of covariance C, and B = h^2 C, it becomes
    (p/2) ln(2 pi (1+h^2)) + (1/2) ln |C| + p / (2 (1+h^2)).

    Pairs are taken block by block: 10,000 samples of 4096 features take less than 1 GiB beside themselves.

    Args:
        features: one sample a row.
        bandwidth: h; the rules are those of :func:`bandwidth_factor`.
        kernel: B = h^2 S, S the sample covariance (as in SciPy), or h^2 I (as in scikit-learn).
        leave_one_out: leave a sample's own kernel out of its density, n - 1 in place of n.

    Raises:
        ValueError: a bandwidth that is not above 0, or features that determine each other where the covariance is the
            kernel.
    """
    check_choice("kernel", kernel, ("covariance", "isotropic"))
    x = centred(features)
    n, p = x.shape
    h = bandwidth_factor(bandwidth, n, p) if isinstance(bandwidth, str) else check_positive("bandwidth", bandwidth)
    log_volume = p * math.log(h)
    if kernel == "covariance":
        factor = _factor_of_covariance(features, x)
        log_volume += float(np.sum(np.log(np.diag(factor))))
        x = scipy.linalg.solve_triangular(factor, x.T, lower=True, overwrite_b=True).T
    x /= h
    norms, logs = np.einsum("ij,ij->i", x, x), np.empty(n)
    rows = max(1, _BLOCK // n)
    for start in range(0, n, rows):
        some = slice(start, start + rows)
        exponents = x[some] @ x.T
        exponents -= norms[some, None] / 2
        exponents -= norms / 2
        np.fill_diagonal(exponents[:, some], -np.inf if leave_one_out else 0.0)
        largest = exponents.max(axis=1)
        np.exp(np.subtract(exponents, largest[:, None], out=exponents), out=exponents)
        logs[some] = largest + np.log(exponents.sum(axis=1))
    others = n - 1 if leave_one_out else n
    return float(math.log(others) + p / 2 * math.log(2 * math.pi) + log_volume - logs.mean())


def nearest_neighbour_entropy(features: Float[np.ndarray, "n p"], dimension: Scalar, neighbours: Integer = 3) -> float:
    """Entropy on a manifold of d dimensions, by volume: H = psi(n) - psi(k) + ln V_d + (d/n) sum_i ln T_k(i), nats.

    T_k(i) is the Euclidean distance of sample i to its k-th neighbour and V_d = pi^(d/2) / Gamma(d/2 + 1) (Kozachenko &
    Leonenko 1987). Exact where the density hardly changes within T_k: 2,000 samples of a normal distribution give 0.05
    nats a dimension too much at d = 20, and nothing that shows up to d = 10.

    Args:
        features: one sample a row.
        dimension: d of the manifold on which the samples have a density, not the number of features around it.
        neighbours: k.

    Raises:
        ValueError: a dimension above the number of features, and what
            :func:`simulator.measurement.samples.neighbour_distances` refuses.
    """
    d, k = check_positive("dimension", dimension), check_integer("neighbours", neighbours, 1)
    n, p = features.shape
    if d > p:
        raise ValueError(f"a manifold among {p} features has at most {p} dimensions; got {d:g}")
    distances = neighbour_distances(features, k)[:, -1]
    log_volume = d / 2 * math.log(math.pi) - gammaln(d / 2 + 1)
    return float(digamma(n) - digamma(k) + log_volume + d * np.mean(np.log(distances)))


def _rounding_of_covariance(features: Float[np.ndarray, "n p"]) -> float:
    """Share of a variance that rounding of the covariance itself can make up."""
    return features.shape[1] * float(np.finfo(np.float64).eps)


def _factor_of_covariance(features: Float[np.ndarray, "n p"], x: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "p p"]:
    """Lower triangular A, A A^T the covariance of the features; x is those without their mean."""
    n, p = x.shape
    if n <= p:
        raise ValueError(f"{n} samples leave the covariance of {p} features singular: take more than {p} samples")
    scales = np.sqrt(np.einsum("ij,ij->j", x, x) / (n - 1))
    if not scales.all():
        raise ValueError(f"{np.count_nonzero(scales == 0)} of {p} features are constant: leave them out")
    covariance = x.T @ x
    covariance /= (n - 1) * scales
    covariance /= scales[:, None]
    message = "some features are linear functions of others: the covariance is singular, take fewer features"
    try:
        factor = scipy.linalg.cholesky(covariance, lower=True, overwrite_a=True)
    except np.linalg.LinAlgError:
        raise ValueError(message) from None
    # Its squared diagonal is the share of each feature's variance that those before it leave open.
    left_open, least = np.diag(factor), rounding(features) / math.sqrt(n - 1)
    if left_open.min() ** 2 <= _rounding_of_covariance(features) or (left_open * scales).min() <= least:
        raise ValueError(message)
    return factor * scales[:, None]
