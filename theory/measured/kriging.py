"""A smooth surface through noisy values: universal kriging, a Gaussian process around a quadratic trend.

    f(x, y) = quadratic in (x, y) + a Z(x, y),      values = f + noise,

where Z is a Gaussian process of variance one. Its correlation is Matérn's with smoothness 5/2 in x times the same in y
(Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, equation 4.17 and section 2.7). The covariance of
the noise is given. The amplitude a and the ranges of the correlation are not known: they are averaged over a grid, each
point weighted by its marginal likelihood.
"""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular

from theory.types import Array

_TREND = 1e2
"""Prior variance of the coefficients of the trend: next to no prior."""
_AMPLITUDES = (0.03, 0.1, 0.3, 1.0)
_RANGES = (0.3, 0.6, 1.2, 2.4)
"""Ranges of the correlation, in half-widths of the measured region."""
_ROUNDING = 1e-7
"""Variance added to the diagonal of a covariance, so that it has a Cholesky factor."""

Prior = tuple[float, float, float]
"""Amplitude, range along x, range along y."""
_PRIORS: tuple[Prior, ...] = tuple(itertools.product(_AMPLITUDES, _RANGES, _RANGES))


@dataclasses.dataclass(frozen=True)
class Kriging:
    """Values and their noise, from which the surface is inferred.

    Attributes:
        points: x and y of each value, between -1 and 1.
        values: f plus noise.
        noise: covariance of the noise.
    """

    points: Float[Array, "n 2"]
    values: Float[Array, "n"]
    noise: Float[Array, "n n"]

    def log_evidence(self) -> Float[Array, "priors"]:
        """Logarithm of the marginal likelihood of each point of the grid, up to a constant."""
        return np.array([self._log_evidence(self._root(prior)) for prior in _PRIORS])

    def posterior(
        self, at: Float[Array, "m 2"], number: int, rng: np.random.Generator
    ) -> tuple[Float[Array, "m"], Float[Array, "number m"]]:
        """The posterior mean of the surface at other points, and draws from its posterior."""
        logs = self.log_evidence()
        weights = np.exp(logs - logs.max())
        counts = rng.multinomial(number, weights / weights.sum())
        mean, draws = np.zeros(len(at)), []
        for prior, count in zip(_PRIORS, counts, strict=True):
            if not count:
                continue
            root = self._root(prior)
            across = solve_triangular(root, _covariance(self.points, at, prior), lower=True)
            center = across.T @ solve_triangular(root, self.values, lower=True)
            left = _covariance(at, at, prior) - across.T @ across + _ROUNDING * np.eye(len(at))
            mean += count / number * center
            draws.append(center + rng.normal(size=(count, len(at))) @ np.linalg.cholesky(left).T)
        return mean, np.concatenate(draws)

    def _root(self, prior: Prior) -> Float[Array, "n n"]:
        noise = self.noise + _ROUNDING * np.eye(len(self.values))
        return np.linalg.cholesky(_covariance(self.points, self.points, prior) + noise)

    def _log_evidence(self, root: Float[Array, "n n"]) -> float:
        whitened = solve_triangular(root, self.values, lower=True)
        return float(-0.5 * whitened @ whitened - np.sum(np.log(np.diag(root))))


def _covariance(a: Float[Array, "n 2"], b: Float[Array, "m 2"], prior: Prior) -> Float[Array, "n m"]:
    """Prior covariance of f between two sets of points."""
    amplitude, *ranges = prior
    along = [_matern(np.abs(np.subtract.outer(a[:, k], b[:, k])) / ranges[k]) for k in (0, 1)]
    return _TREND * _trend(a) @ _trend(b).T + amplitude**2 * along[0] * along[1]


def _trend(points: Float[Array, "n 2"]) -> Float[Array, "n 6"]:
    x, y = points.T
    return np.stack([np.ones_like(x), x, y, x**2, x * y, y**2], axis=1)


def _matern(distance: Float[Array, "n m"]) -> Float[Array, "n m"]:
    scaled = np.sqrt(5) * distance
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
