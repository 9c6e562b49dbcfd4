"""Expected risk of least squares on the last l tokens, from D independent windows.

Both formulas average over data sets as well as over the test point. They assume jointly Gaussian tokens and target
without intercept: given the visible tokens, the target's residual is then independent Gaussian noise of variance
sigma_l^2 = R(l), so the unseen tokens act as noise and the Wishart moments E (X'X)^-1 = Sigma^-1 / (D-l-1) close it.
(See Breiman & Freedman 1983 for D > l; Hastie, Montanari, Rosset & Tibshirani 2022, arXiv 1903.08560, for D < l.)
"""

import numpy as np
from jaxtyping import Float

from theory.types import Array, Scalar


def least_squares_risk(
    bayes_risk: Scalar | Array, context_length: Scalar | Array, dataset_size: Scalar | Array
) -> Float[Array, "*cells"]:
    """E[squared error] = R(l) (D-1)/(D-l-1) for l <= D-2, for any covariance of the tokens.

    Args:
        bayes_risk: R(l), squared error; broadcasts with the other two.
        context_length: l >= 0.
        dataset_size: D >= 1.

    Returns:
        The expected risk. It is **infinite** for l = D-1, D, D+1 (the pseudo-inverse has no mean there) and NaN for
        l >= D+2, where it depends on the covariance: see :func:`minimum_norm_risk` for independent tokens.
    """
    R, length, D = np.broadcast_arrays(
        np.asarray(bayes_risk, np.float64),
        np.asarray(context_length, np.float64),
        np.asarray(dataset_size, np.float64),
    )
    if not (np.all(R >= 0) and np.all(length >= 0) and np.all(D >= 1)):
        raise ValueError(
            "the Bayes risk and the context length must not be negative and the dataset size at least 1; got "
            f"{bayes_risk!r}, {context_length!r}, {dataset_size!r}"
        )
    determined, singular = length <= D - 2, np.abs(length - D) <= 1
    freedom = np.where(determined, D - length - 1, 1.0)
    risk = np.where(determined, R * (D - 1) / freedom, np.where(singular, np.inf, np.nan))
    # Nothing is fitted at l = 0, whatever D is.
    return np.where(length == 0, R, risk)


def minimum_norm_risk(
    bayes_risk: Scalar | Array,
    signal: Scalar | Array,
    context_length: Scalar | Array,
    dataset_size: Scalar | Array,
) -> Float[Array, "*cells"]:
    """E[squared error] of minimum-norm least squares on independent tokens of unit variance, at every l and D.

    l <= D-2: R(l) (D-1)/(D-l-1).  l >= D+2: R(l) (l-1)/(l-D-1) + |a_{1..l}|^2 (1 - D/l).  Infinite between.

    Args:
        bayes_risk: R(l) = sigma^2 + sum_{i>l} a_i^2.
        signal: |a_{1..l}|^2, the squared norm of the true weights of the visible tokens.
        context_length: l >= 0.
        dataset_size: D >= 1.
    """
    R, a2, length, D = np.broadcast_arrays(
        *(np.asarray(x, np.float64) for x in (bayes_risk, signal, context_length, dataset_size))
    )
    under = length >= D + 2
    freedom = np.where(under, length - D - 1, 1.0)
    interpolating = R * (length - 1) / freedom + a2 * (1 - D / np.where(under, length, 1.0))
    return np.where(under, interpolating, least_squares_risk(R, length, D))
