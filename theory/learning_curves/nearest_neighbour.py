"""How far the nearest of D points is, on a manifold of dimension d: what sets the resolution-limited exponent."""

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, poch

from theory.checks import check_positive
from theory.types import Array, Scalar


def nearest_neighbour_distance(
    dimension: Scalar | Array, dataset_size: Scalar | Array, power: Scalar = 2.0
) -> Float[Array, "*cells"]:
    """E[r^p] of the distance from a point to the nearest of D uniform points on the unit torus of dimension d.

    P(r > t) = (1 - V_d t^d)^D as long as t <= 1/2, V_d = pi^(d/2)/Gamma(d/2+1) the unit ball's volume, so that

        E[r^p] = V_d^(-p/d) Gamma(1+p/d) Gamma(D+1) / Gamma(D+1+p/d)  ~  Gamma(1+p/d) (D V_d)^(-p/d).

    The error, from balls that meet themselves round the torus, is of order (1 - V_d 2^-d)^D: it vanishes at d = 1 and
    asks for D >> 2^d / V_d beyond. For p = 2 and d -> infinity the constant tends to d/(2 pi e); arXiv 2405.15124
    prints d/(4 pi), which is e/2 of that.

    Args:
        dimension: d > 0.
        dataset_size: D >= 1; broadcasts with d.
        power: p > 0.

    Raises:
        ValueError: d or p not above 0, or D below 1.
    """
    p = check_positive("power", power)
    d, D = np.broadcast_arrays(np.asarray(dimension, np.float64), np.asarray(dataset_size, np.float64))
    if not (np.all(d > 0) and np.all(D >= 1)):
        raise ValueError(
            f"the dimension must be above 0 and the dataset size at least 1; got {dimension!r}, {dataset_size!r}"
        )
    log_volume = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    return np.asarray(np.exp(gammaln(1 + p / d) - p / d * log_volume) / poch(D + 1, p / d))
