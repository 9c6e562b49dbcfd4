"""Means of logarithms as one smooth integral: ln y = int_0^inf (e^-t - e^-ty)/t dt, so E ln y needs only E e^-ty."""

import numpy as np
from jaxtyping import Float

from theory.types import Array, Scalar

STEP = 0.2
"""Of the trapezoidal rule in ln t: the integrand is analytic for |Im ln t| < pi/2, so its error is e^(-pi^2/0.2)."""


def log_integral_nodes(smallest: Scalar, largest: Scalar) -> Float[Array, "nodes"]:
    """The t at which to evaluate the integrand times t, each counting :data:`STEP`, for y from smallest to largest.

    Below the first both exponentials are 1 to rounding, beyond the last both vanish.
    """
    return np.exp(np.arange(-38 - np.log(1 + largest), np.log(760 / min(smallest, 1.0)), STEP))
