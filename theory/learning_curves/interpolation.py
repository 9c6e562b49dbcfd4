"""Mean squared error of multilinear interpolation on a regular grid: the exponent 4/d of piecewise linear models."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import zeta

from theory.types import Array, Integer

_HALVINGS = 40
"""Factors of sin(x)/x = prod_i cos(x/2^i): those left out are 1 to rounding."""


def interpolation_risk(
    frequencies: Int[Array, "modes d"], powers: Float[Array, "modes"], points_per_side: Integer | Int[Array, "*cells"]
) -> Float[Array, "*cells"]:
    """Mean squared error of interpolating a function on the unit torus from its values at n^d grid points, no noise.

    Between the grid points the interpolant is linear in each coordinate. Of a Fourier mode e^(2 pi i k.x) it keeps the
    share A = prod_i sinc^2(u_i), u = k/n, sinc u = sin(pi u)/(pi u), and returns the rest of what it saw at the
    frequencies k + n j it cannot tell from k; together these have the power B = prod_i (2 + cos 2 pi u_i)/3. So

        E error^2 = sum_k |f_k|^2 [(1 - A)^2 + (B - A^2)].

    Different modes add up where n tells them apart, or else on average over where the grid begins. For many points
    (d = 1: 2 pi^4 u^4/15 of the power) it falls as n^-4 = D^(-4/d), D = n^d points: the resolution-limited exponent
    of Sharma & Kaplan, arXiv 2004.10802, and Bahri et al., arXiv 2102.06701.

    Args:
        frequencies: k, integers, one row for each mode.
        powers: |f_k|^2, above or equal to zero; a^2/2 for a cosine of amplitude a.
        points_per_side: n >= 1.

    Returns:
        The error, to about 1e-12 of itself, however small it is.

    Raises:
        ValueError: a negative power, or n below 1.
    """
    k, weights, n = np.asarray(frequencies, np.float64), np.asarray(powers, np.float64), np.asarray(points_per_side)
    if not np.all(weights >= 0):
        raise ValueError(f"powers must not be negative; got {weights.min():.3g}")
    if not np.all(n >= 1):
        raise ValueError(f"points_per_side must be at least 1; got {points_per_side!r}")
    u = np.abs(k / n[..., None, None])
    log_kept = _log_square_sinc(u)
    own, others = np.ones(u.shape[:-1]), np.zeros(u.shape[:-1])
    # prod_i (A_i^2 + e_i) - prod_i A_i^2, factor by factor: no difference of numbers that are all but equal.
    for A, e in zip(np.moveaxis(np.exp(log_kept), -1, 0), np.moveaxis(_aliases(u), -1, 0), strict=True):
        own, others = own * A**2, others * (A**2 + e) + own * e
    lost = -np.expm1(np.sum(log_kept, axis=-1))
    return np.asarray((lost**2 + others) @ weights)


def _log_square_sinc(u: Float[Array, "*cells"]) -> Float[Array, "*cells"]:
    """ln sinc^2(u): as a product of cosines it loses nothing at small u."""
    total = np.zeros_like(u)
    with np.errstate(divide="ignore"):  # at integers the logarithm of zero
        for i in range(1, _HALVINGS + 1):
            total += np.log1p(-(np.sin(np.pi * u / 2**i) ** 2))
    return total


def _aliases(u: Float[Array, "*cells"]) -> Float[Array, "*cells"]:
    """sum over j != 0 of sinc^4(u + j) = (2 + cos 2 pi u)/3 - sinc^4(u), for u >= 0."""
    near = np.minimum(u, 0.5)
    small = (np.sin(np.pi * near) / np.pi) ** 4 * (zeta(4, 1 + near) + zeta(4, 1 - near))
    return np.where(u < 0.5, small, (2 + np.cos(2 * np.pi * u)) / 3 - np.sinc(u) ** 4)
