"""What estimators of dimension and entropy find where the truth is known.

Dimensions: samples of manifolds of 1 to 64 dimensions. Entropies: two changes of a distribution in p dimensions whose
effect on the entropy is known, one of the covariance and one of the shape at equal covariance. An estimate that
follows the first and not the second is the logarithm of a determinant.
"""

import functools
import math
import pathlib
from collections.abc import Callable

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.integrate import quad

from paper_reproduction.kept_parts import kept_parts
from paper_reproduction.report_tables import labelled, mean_and_interval
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator.measurement import gaussian_entropy, kernel_density_entropy, nearest_neighbour_entropy
from simulator.measurement.intrinsic_dimension import EXAMPLES as ESTIMATORS

Sampler = Callable[[np.random.Generator, int, int], Float[np.ndarray, "n p"]]
"""Draws n samples of a manifold of d dimensions."""

_CLUSTER_WIDTH = 0.1


def torus(rng: np.random.Generator, n: int, d: int) -> Float[np.ndarray, "n 2d"]:
    """A torus: one circle for each dimension."""
    angles = rng.uniform(0, 2 * np.pi, (n, d))
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def sphere(rng: np.random.Generator, n: int, d: int) -> Float[np.ndarray, "n d+1"]:
    """Uniform on the sphere of d dimensions."""
    x = rng.standard_normal((n, d + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def normal(rng: np.random.Generator, n: int, d: int) -> Float[np.ndarray, "n d+1"]:
    """Independent normal numbers, and a feature that never changes."""
    return np.concatenate([rng.standard_normal((n, d)), np.zeros((n, 1))], axis=1)


def swiss_rolls(rng: np.random.Generator, n: int, d: int) -> Float[np.ndarray, "n p"]:
    """One roll for every two dimensions, uniform along the angle and across, and a spiral for an odd dimension."""
    angles = rng.uniform(1.5 * np.pi, 4.5 * np.pi, (n, (d + 1) // 2))
    across = rng.uniform(0, 21, (n, d // 2))
    return np.concatenate([angles * np.cos(angles), angles * np.sin(angles), across], axis=1)


def parities(rng: np.random.Generator, n: int, d: int) -> Float[np.ndarray, "n 80"]:
    """d parities, fair bits -1 and 1, in random directions of 80 features, as in a network that solves them."""
    directions = np.linalg.qr(rng.standard_normal((80, d)))[0]
    return (2.0 * rng.integers(2, size=(n, d)) - 1) @ directions.T


MANIFOLDS: dict[str, Sampler] = {
    "torus": torus,
    "sphere": sphere,
    "normal distribution": normal,
    "Swiss rolls": swiss_rolls,
    "parities": parities,
}
DIMENSIONS = (1, 2, 4, 8, 16, 32, 64)


def found_dimensions(manifold: str, dimension: int, n_samples: int, seeds: int) -> xr.Dataset:
    """The dimension that each estimator finds over the true one; NaN where the estimator refuses."""
    found = np.full((len(ESTIMATORS), seeds), np.nan)
    for seed in range(seeds):
        x = MANIFOLDS[manifold](np.random.default_rng((seed, dimension, n_samples)), n_samples, dimension)
        for i, estimator in enumerate(ESTIMATORS):
            try:
                found[i, seed] = estimator(x) / dimension
            except ValueError:  # a refusal
                continue
    names = [type(estimator).__name__ for estimator in ESTIMATORS]
    return xr.Dataset({"found": (("estimator", "seed"), found)}, {"estimator": names})


def dimension_table(
    folder: pathlib.Path, dimensions: tuple[int, ...], sizes: tuple[int, ...], seeds: int, workers: int
) -> xr.Dataset:
    """Estimate over truth on every manifold. A cell is refused if one of its seeds is refused."""
    cells = [(m, d, n) for n in sizes for m in MANIFOLDS for d in dimensions]
    parts = {
        f"{ESTIMATORS} on {m}, {d}, {n}, {seeds}": functools.partial(found_dimensions, m, d, n, seeds)
        for m, d, n in cells
    }
    tables = kept_parts(folder, parts, "manifolds", workers)
    placed = [
        table.drop_attrs().expand_dims(manifold=[m], true_dimension=[d], samples=[n])
        for (m, d, n), table in zip(cells, tables, strict=True)
    ]
    found = xr.combine_by_coords(placed)["found"].sel(manifold=list(MANIFOLDS), estimator=tables[0]["estimator"])
    refused = found.isnull().any("seed")
    table = mean_and_interval(found).where(~refused).assign(refused=refused)
    names = {
        "value": "dimension found / true (no unit); x: refused",
        "true_dimension": "true dimension",
        "samples": "samples",
        "manifold": "manifold",
        "estimator": "estimator",
    }
    return labelled(table, names, scale="log2")


def clusters(rng: np.random.Generator, n: int, p: int) -> Float[np.ndarray, "n p"]:
    """Mean 0, covariance I: each coordinate near one of two points, as hidden states of a network that decides."""
    signs = 2 * rng.integers(2, size=(n, p)) - 1
    return math.sqrt(1 - _CLUSTER_WIDTH**2) * signs + _CLUSTER_WIDTH * rng.standard_normal((n, p))


def cluster_entropy() -> float:
    """Entropy of one coordinate of :func:`clusters` in nats, by quadrature."""
    centre, w = math.sqrt(1 - _CLUSTER_WIDTH**2), _CLUSTER_WIDTH

    def integrand(x: float) -> float:
        exponents = [-((x - c) ** 2) / (2 * w**2) for c in (-centre, centre)]
        log_density = float(np.logaddexp(exponents[0], exponents[1])) - math.log(2 * w * math.sqrt(2 * math.pi))
        return -math.exp(log_density) * log_density

    return 2 * quad(integrand, 0, centre + 12 * w, points=[centre], epsabs=1e-12)[0]


def half_narrowed(rng: np.random.Generator, n: int, p: int) -> Float[np.ndarray, "n p"]:
    """Normal, half of the coordinates with standard deviation 1/2."""
    return rng.standard_normal((n, p)) * np.repeat([1.0, 0.5], p // 2)


CHANGES: dict[str, tuple[Sampler, Callable[[int], float]]] = {
    "covariance: half of the axes halved": (half_narrowed, lambda p: -p / 2 * math.log(2)),
    "shape: clusters, at equal covariance": (
        clusters,
        lambda p: p * (cluster_entropy() - 0.5 * math.log(2 * math.pi * math.e)),
    ),
}
"""From the normal distribution of covariance I: samples after the change, and what it adds to the entropy, nats."""

ENTROPIES: dict[str, Callable[[Float[np.ndarray, "n p"]], float]] = {
    "log determinant": gaussian_entropy,
    "kernel density, covariance": kernel_density_entropy,
    "kernel density, covariance, leave one out": functools.partial(kernel_density_entropy, leave_one_out=True),
    "kernel density, isotropic": functools.partial(kernel_density_entropy, kernel="isotropic"),
    "nearest neighbours": lambda x: nearest_neighbour_entropy(x, x.shape[1]),
}


def seen_changes(p: int, n_samples: int, seeds: int) -> xr.Dataset:
    """The change of each estimate over the change of the entropy."""
    seen = np.empty((len(CHANGES), len(ENTROPIES), seeds))
    for seed in range(seeds):
        before = np.random.default_rng((seed, p)).standard_normal((n_samples, p))
        for i, (sample, change) in enumerate(CHANGES.values()):
            after = sample(np.random.default_rng((seed, p)), n_samples, p)
            for j, entropy in enumerate(ENTROPIES.values()):
                seen[i, j, seed] = (entropy(after) - entropy(before)) / change(p)
    return xr.Dataset(
        {"seen": (("change", "estimator", "seed"), seen)}, {"change": list(CHANGES), "estimator": list(ENTROPIES)}
    )


def entropy_table(
    folder: pathlib.Path, features: tuple[int, ...], n_samples: int, seeds: int, workers: int
) -> xr.Dataset:
    """The share of a change of entropy that each estimator sees, against the number of features."""
    parts = {f"{p}, {n_samples}, {seeds}": functools.partial(seen_changes, p, n_samples, seeds) for p in features}
    tables = [table.drop_attrs() for table in kept_parts(folder, parts, "numbers of features", workers)]
    seen = xr.concat(tables, "features").assign_coords(features=list(features))["seen"]
    names = {
        "value": "change of the estimate / of the entropy (no unit)",
        "features": "features $p$",
        "change": "change",
        "estimator": "entropy by",
    }
    return labelled(mean_and_interval(seen).transpose("change", "estimator", "features"), names)


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """Dimensions against the true one, and of 4 against the number of samples; shares of changes of entropy."""
    seeds = {"smoke": 2, "laptop": 3, "paper": 16}[scale]
    if scale == "smoke":
        dimensions, sizes, features, n_samples = (4, 8), (100, 300), (2, 8), 300
    else:
        dimensions, sizes, features, n_samples = DIMENSIONS, (100, 1000, 10_000), (2, 4, 8, 16, 32, 64, 128, 256), 4000
    found = dimension_table(folder, dimensions, sizes, seeds, workers)
    order = ("manifold", "estimator")
    return Result(
        {
            "dimension_against_truth": found.sel(samples=sizes[-1], drop=True).transpose(*order, "true_dimension"),
            "dimension_against_samples": found.sel(true_dimension=4, drop=True).transpose(*order, "samples"),
            "entropy_changes_seen": entropy_table(folder, features, n_samples, seeds, workers),
        }
    )


REPRODUCTION = Reproduction(
    "Estimators of dimension and entropy where the truth is known",
    claim="An entropy by kernel density agrees with the sum of the log eigenvalues; how much of that is built in?",
    source="arXiv 2502.01481 v4, Figure 9",
    make=make,
)
