"""A matrix of features as samples of a random vector: checks, covariance, and distances to nearest neighbours."""

import importlib
from types import ModuleType

import numpy as np
from jaxtyping import Float

from theory.checks import check_integer
from theory.types import Integer

_RESOLVED = 1e-6
"""Distances, and differences between them, below this share of the whole are rounding, or a lattice's."""
_MAX_UNRESOLVED_SHARE = 0.05


def centred(features: Float[np.ndarray, "n p"], least_samples: Integer = 2) -> Float[np.ndarray, "n p"]:
    """Return the features in float64, with their mean removed.

    Raises:
        ValueError: if there are fewer than ``least_samples`` samples, if a number is not finite, or if all samples are
            equal.
    """
    n = features.shape[0]
    if n < least_samples:
        raise ValueError(f"at least {least_samples} samples are needed; got {n}")
    wrong = np.count_nonzero(~np.isfinite(features).all(axis=1))
    if wrong:
        raise ValueError(f"features must be finite; {wrong} of {n} samples hold NaN or infinity")
    constant = (features == features[0]).all(axis=0)
    if constant.all():
        raise ValueError(f"the {n} samples are all equal: constant features have no dimension and no entropy")
    whole = features.astype(np.float64)
    whole -= whole.mean(axis=0)
    whole[:, constant] = 0.0  # and not the rounding of their mean
    return whole


def rounding(features: Float[np.ndarray, "n p"]) -> float:
    """Return 10 eps |X|, below which a singular value may be rounding.

    eps is that of the features' own precision, and |X|^2 is the sum of all squares before the mean is removed.
    """
    return 10 * float(np.finfo(features.dtype).eps) * float(np.linalg.norm(features))


def covariance_eigenvalues(features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "values"]:
    """Return the min(n - 1, p) largest eigenvalues of the sample covariance (divisor n - 1), largest first."""
    x = centred(features)
    n, p = x.shape
    gram = x.T @ x if p < n else x @ x.T
    return np.maximum(np.linalg.eigvalsh(gram)[::-1][: min(n - 1, p)] / (n - 1), 0.0)


def neighbour_distances(features: Float[np.ndarray, "n p"], neighbours: Integer) -> Float[np.ndarray, "n k"]:
    """Return the Euclidean distances of every sample to its k nearest others, nearest first.

    Raises:
        ValueError: if there are no more than k samples, if samples are equal, or if the features are discrete.
            Distances between discrete features say nothing about volume.
        ImportError: if scikit-learn is not installed. It comes with the extra ``dimension``.
    """
    k = check_integer("neighbours", neighbours, 1)
    x = centred(features, max(k, 2) + 1)
    n = len(x)
    index = (
        from_extra("sklearn.neighbors").NearestNeighbors(n_neighbors=max(k, 2)).fit(x).kneighbors(return_distance=False)
    )
    # In many dimensions the search takes distances from products of matrices, which cannot tell a small one from zero.
    distances = np.sort(np.stack([np.linalg.norm(x - x[column], axis=1) for column in index.T], axis=1), axis=1)
    twins = np.count_nonzero(distances[:, 0] == 0)
    if twins:
        raise ValueError(
            f"{twins} of {n} samples have an equal twin: nearest neighbours measure continuous features. For discrete "
            "ones take a rank or the covariance's eigenvalues, or leave out the twins"
        )
    radius = np.linalg.norm(x) / np.sqrt(n)
    first, second = distances[:, 0], distances[:, 1]
    unresolved = np.count_nonzero((first < _RESOLVED * radius) | (second - first < _RESOLVED * second))
    if unresolved > _MAX_UNRESOLVED_SHARE * n:
        raise ValueError(
            f"{unresolved} of {n} samples have two nearest neighbours equally far away, or one within rounding: such "
            "features are discrete, and have a rank and eigenvalues but no density"
        )
    return distances[:, :k]


def from_extra(module: str) -> ModuleType:
    """Import a module of the extra ``dimension``. If it is missing, the ImportError names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{module} is not installed: pip install "context-scaling[dimension]"') from error
