"""How much the mean over seeds scatters: a covariance of all cells (l, D), pooled from few seeds.

With S seeds the variance of a single cell has a relative error of sqrt(2/(S-1)). So three things are pooled over cells:

- the variance follows a trend, ln s^2 = a + b ln G + c ln l + d ln D, found by least squares (b only where G is known);
- each cell's own variance is shrunk towards the trend, by as much as the cells' variances agree with it (Smyth 2004,
  Statistical Applications in Genetics and Molecular Biology 3, 3: empirical Bayes moderated variances);
- the correlation of two cells of a seed is rho_l^i rho_D^j, i and j their distances on the grid.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import digamma, polygamma

from theory.checks import check_positive
from theory.types import Array

_RIDGE = 0.05
"""Weight of the prior of the trend's slopes: b = 2 (noise in proportion to G), c = d = 0."""
_SMALLEST = 1e-10
"""Smallest variance, in squares of the unit: a table without any noise still has a covariance."""
_MOST_PRIOR = 100.0
"""Largest number of degrees of freedom of the trend: beyond, all cells follow it."""
_FEWEST_CELLS = 8
"""Fewest cells with a known level for a trend in G."""
_STRONGEST = 0.98


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the cells lie, in the order of the rows of their samples.

    Attributes:
        length: l of each cell.
        size: D of each cell.
        present: whether a cell has a sample of a seed.
    """

    length: Int[Array, "cells"]
    size: Float[Array, "cells"]
    present: Bool[Array, "cells seed"]

    @property
    def ranks(self) -> tuple[Int[Array, "cells"], Int[Array, "cells"]]:
        """The place of each cell among the context lengths and among the dataset sizes."""
        return np.unique(self.length, return_inverse=True)[1], np.unique(self.size, return_inverse=True)[1]

    @property
    def seeds(self) -> Int[Array, "cells"]:
        """The number of samples of each cell."""
        return self.present.sum(axis=1)

    def mean(self, samples: Float[Array, "*batch cells seed"]) -> Float[Array, "*batch cells"]:
        """The mean over the seeds that a cell has."""
        return np.where(self.present, samples, 0.0).sum(axis=-1) / self.seeds

    def deviations(self, samples: Float[Array, "*batch cells seed"]) -> Float[Array, "*batch cells seed"]:
        """Samples less the mean of their cell, 0 where there is none."""
        return np.where(self.present, samples - self.mean(samples)[..., None], 0.0)


@dataclasses.dataclass(frozen=True)
class Scatter:
    """The estimated scatter of samples, for a batch of tables on one grid.

    Attributes:
        variance: that of one sample of each cell.
        along_length, along_size: correlations of neighbouring cells of a seed.
    """

    variance: Float[Array, "batch cells"]
    along_length: Float[Array, "batch"]
    along_size: Float[Array, "batch"]

    def correlation(self, grid: Grid, chosen: Array | None = None) -> Float[Array, "batch cells cells"]:
        """The correlation of two cells of the same seed, for all cells or for some."""
        ranks = grid.ranks if chosen is None else tuple(rank[chosen] for rank in grid.ranks)
        apart = [np.abs(np.subtract.outer(rank, rank)) for rank in ranks]
        along = (self.along_length, self.along_size)
        by_length, by_size = (rho[:, None] ** np.arange(by.max() + 1) for rho, by in zip(along, apart, strict=True))
        return np.asarray(by_length[:, apart[0]] * by_size[:, apart[1]])

    def covariance_of_means(self, grid: Grid, chosen: Array | None = None) -> Float[Array, "batch cells cells"]:
        """The covariance of the means over seeds, of all cells or of some; only seeds that two cells share count."""
        chosen = np.arange(len(grid.length)) if chosen is None else chosen
        present = grid.present[chosen].astype(np.float64)
        shared = present @ present.T / np.outer(grid.seeds[chosen], grid.seeds[chosen])
        deviation = np.sqrt(self.variance[:, chosen])
        return self.correlation(grid, chosen) * shared * deviation[:, :, None] * deviation[:, None, :]

    def freedom(self, grid: Grid) -> float:
        """The number of independent deviations that vary as much as the correlated ones (Satterthwaite 1946)."""
        correlation = self.correlation(grid)[0]
        return float(np.mean(grid.seeds - 1) * len(correlation) ** 2 / np.sum(correlation**2))

    def draw(self, grid: Grid, rng: np.random.Generator, number: int) -> Float[Array, "number cells seed"]:
        """Normal samples around zero, from the scatter of the first table of the batch."""
        root = np.linalg.cholesky(self.correlation(grid)[0] + 1e-9 * np.eye(len(grid.length)))
        root *= np.sqrt(self.variance[0])[:, None]
        return root @ rng.normal(size=(number, len(grid.length), grid.present.shape[1]))


@dataclasses.dataclass(frozen=True)
class SeedNoise:
    """The scatter of single runs, for any grid: ln variance = a + b ln G + c ln l + d ln D.

    Variances are in squares of U = R(0) - R(L), and G in units of U.

    Attributes:
        constant: a.
        by_gap, by_length, by_size: b, c and d. With b = 2 the noise is in proportion to G.
        freedom: the variance of a cell is the trend times n / chi^2_n, with n this number; infinite for the trend
            itself.
        along_length, along_size: correlation of two cells of a seed whose lengths, or sizes, differ by a factor of two.
    """

    constant: float
    by_gap: float = 2.0
    by_length: float = 0.0
    by_size: float = 0.0
    freedom: float = np.inf
    along_length: float = 0.0
    along_size: float = 0.0

    def __post_init__(self) -> None:
        for name in ("along_length", "along_size"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), as in 0.8; got {getattr(self, name)!r}")

    @classmethod
    def proportional(cls, variation: float, *, along_length: float = 0.0, along_size: float = 0.0) -> "SeedNoise":
        """Noise in proportion to G, with this coefficient of variation."""
        constant = 2 * float(np.log(check_positive("variation", variation)))
        return cls(constant, along_length=along_length, along_size=along_size)

    def variance(self, grid: Grid, gap: Float[Array, "cells"]) -> Float[Array, "cells"]:
        """The trend at every cell of a grid, where the approximation loss is ``gap``."""
        level = np.log(np.maximum(gap, np.finfo(np.float64).tiny))
        length, size = np.log(np.maximum(grid.length, 0.5)), np.log(grid.size)
        log = self.constant + self.by_gap * level + self.by_length * length + self.by_size * size
        return np.maximum(np.exp(log), _SMALLEST)

    def correlation(self, grid: Grid) -> Float[Array, "cells cells"]:
        """The correlation of two cells of the same seed."""
        doublings = (np.log2(np.maximum(axis, 0.5)) for axis in (grid.length, grid.size))
        by_length, by_size = (np.abs(np.subtract.outer(at, at)) for at in doublings)
        return np.asarray(self.along_length**by_length * self.along_size**by_size)

    def draw(self, grid: Grid, gap: Float[Array, "cells"], rng: np.random.Generator) -> Float[Array, "cells seed"]:
        """Normal samples around zero, for every cell and seed of the grid."""
        variance = self.variance(grid, gap)
        if np.isfinite(self.freedom):
            variance = variance * self.freedom / rng.chisquare(self.freedom, len(variance))
        root = np.linalg.cholesky(self.correlation(grid) + 1e-9 * np.eye(len(variance)))
        return np.sqrt(variance)[:, None] * (root @ rng.normal(size=grid.present.shape))


def estimate_noise(
    deviations: Float[Array, "cells seed"], grid: Grid, level: Float[Array, "cells"] | None
) -> SeedNoise:
    """The trend and the correlations of :func:`estimate_scatter`, of one table, in a form that fits any grid.

    Negative correlations count as none. Cells depart from the trend by as much as is certain: two standard errors less
    than estimated.
    """
    freedom, squares, known, level = _squares(deviations[None], grid, level)
    regressors = _regressors(grid, level)[known]
    slopes, beyond = _trend(squares[:, known], freedom[known], regressors)
    strength = _worth(beyond.mean(axis=1) - 2 * beyond.std(axis=1) / np.sqrt(beyond.shape[1]))
    typical = slopes[0, 0] - slopes[0, 1:] @ regressors[:, 1:].mean(axis=0) + _bias(strength)[0]
    found = estimate_scatter(deviations[None], grid, level)
    steps = (
        np.ptp(np.log(np.maximum(axis, 0.5))) / max(len(np.unique(axis)) - 1, 1) for axis in (grid.length, grid.size)
    )
    along = (
        max(float(rho[0]), 0.0) ** float(np.log(2) / max(step, 1e-3))
        for rho, step in zip((found.along_length, found.along_size), steps, strict=True)
    )
    by_gap = float(slopes[0, 3]) if level is not None else 0.0
    return SeedNoise(float(typical), by_gap, float(slopes[0, 1]), float(slopes[0, 2]), float(strength[0]), *along)


def estimate_scatter(
    deviations: Float[Array, "batch cells seed"], grid: Grid, level: Float[Array, "cells"] | None
) -> Scatter:
    """The scatter of each table of a batch.

    Args:
        deviations: samples less the mean of their cell (:meth:`Grid.deviations`), in a unit of about the largest gap.
        grid: where the cells lie; at least one cell has two seeds.
        level: ln G of each cell, smoothed; NaN where it is too small to be known. None if G is not known at all.
    """
    freedom, squares, known, level = _squares(deviations, grid, level)
    variance = np.maximum(squares, _SMALLEST)
    if known.any():
        variance[:, known] = _shrunk(squares[:, known], freedom[known], _regressors(grid, level)[known])
        spare = freedom == 0
        variance[:, spare] = np.median(variance[:, known], axis=1, keepdims=True)
    variance = np.maximum(variance, _SMALLEST)
    relative = deviations / np.sqrt(variance)[..., None]
    whole = np.maximum((relative**2).sum(axis=(1, 2)) / max(grid.present.sum(), 1), np.finfo(np.float64).tiny)
    pairs = (_neighbours(grid, along) for along in (0, 1))
    along_length, along_size = (
        np.clip(_mean_product(relative, grid, pair) / whole, -0.3, _STRONGEST) for pair in pairs
    )
    return Scatter(variance, along_length, along_size)


def _squares(
    deviations: Float[Array, "batch cells seed"], grid: Grid, level: Float[Array, "cells"] | None
) -> tuple[Int[Array, "cells"], Float[Array, "batch cells"], Bool[Array, "cells"], Float[Array, "cells"] | None]:
    """Degrees of freedom and variance of each cell, the cells behind the trend, and ln G if enough of it is known."""
    freedom = grid.seeds - 1
    squares = (deviations**2).sum(axis=-1) / np.maximum(freedom, 1)
    known = (freedom > 0) & (squares > 0).all(axis=0)
    if level is not None and (known & np.isfinite(level)).sum() >= _FEWEST_CELLS:
        return freedom, squares, known & np.isfinite(level), level
    return freedom, squares, known, None


def _regressors(grid: Grid, level: Float[Array, "cells"] | None) -> Float[Array, "cells k"]:
    columns = [np.log(np.maximum(grid.length, 0.5)), np.log(grid.size), *([] if level is None else [level])]
    return np.stack([np.ones(len(grid.length)), *columns], axis=1)


def _shrunk(
    squares: Float[Array, "batch cells"],
    freedom: Int[Array, "cells"],
    regressors: Float[Array, "cells k"],
) -> Float[Array, "batch cells"]:
    """Variances of cells between their own estimate and the trend."""
    slopes, beyond = _trend(squares, freedom, regressors)
    strength = _worth(beyond.mean(axis=1))[:, None]
    typical = np.exp(slopes @ _centred(regressors).T + _bias(strength))
    return np.asarray((strength * typical + freedom * squares) / (strength + freedom))


def _centred(regressors: Float[Array, "cells k"]) -> Float[Array, "cells k"]:
    """The first regressor, and the others less their mean over the cells."""
    return np.hstack([regressors[:, :1], regressors[:, 1:] - regressors[:, 1:].mean(axis=0)])


def _trend(
    squares: Float[Array, "batch cells"], freedom: Int[Array, "cells"], regressors: Float[Array, "cells k"]
) -> tuple[Float[Array, "batch k"], Float[Array, "batch cells"]]:
    """Slopes of the logarithm over the centred regressors, and squared residuals less what is expected by chance.

    The fourth regressor, if there is one, is ln G.
    """
    columns = _centred(regressors)
    prior = np.array([0.0, 0.0, 0.0, 2.0])[: columns.shape[1]]
    half = freedom / 2
    logs = np.log(squares) - digamma(half) + np.log(half)
    penalty = _RIDGE * len(columns) * np.diag([0.0] + [1.0] * (columns.shape[1] - 1))
    slopes = prior + (logs - columns @ prior) @ np.linalg.solve(columns.T @ columns + penalty, columns.T).T
    spare = max(len(columns) - columns.shape[1], 1)
    residuals = (logs - slopes @ columns.T) ** 2 * len(columns) / spare
    return slopes, residuals - polygamma(1, half)


def _worth(beyond_chance: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """The degrees of freedom that a trend is worth from which logarithms depart with this variance."""
    return 2 * _inverse_trigamma(np.maximum(beyond_chance, polygamma(1, _MOST_PRIOR / 2)))


def _bias(strength: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The typical variance is above the exponential of the trend by the exponential of this."""
    return np.asarray(digamma(strength / 2) - np.log(strength / 2))


def _inverse_trigamma(value: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """Newton's iteration of Smyth (2004), appendix, which converges from below."""
    found = 0.5 + 1 / value
    for _ in range(20):
        now = polygamma(1, found)
        found = found + now * (1 - now / value) / polygamma(2, found)
    return np.asarray(found)


def _neighbours(grid: Grid, along: int) -> tuple[Int[Array, "pairs"], Int[Array, "pairs"]]:
    """Cells beside each other along l (0) or D (1)."""
    ranks = np.stack(grid.ranks)
    apart = ranks[:, :, None] - ranks[:, None, :]
    one, other = np.nonzero((apart[along] == 1) & (apart[1 - along] == 0))
    return one, other


def _mean_product(
    relative: Float[Array, "batch cells seed"], grid: Grid, pairs: tuple[Int[Array, "pairs"], Int[Array, "pairs"]]
) -> Float[Array, "batch"]:
    one, other = pairs
    both = grid.present[one] & grid.present[other]
    products = np.where(both, relative[:, one] * relative[:, other], 0.0)
    return np.asarray(products.sum(axis=(1, 2)) / max(both.sum(), 1))
