"""Stationary Gaussian processes whose one-step prediction error at every look-back is known, or chosen.

The Durbin-Levinson recursion is a bijection between the partial autocorrelations ``|phi_k| < 1`` and the
positive-definite stationary covariances (Brockwell & Davis, Time Series: Theory and Methods, 2nd ed., section 5.2;
Barndorff-Nielsen & Schou 1973). Read forwards it predicts; read backwards it designs: choose how the prediction
error V(l) shall fall with the look-back l, and the process that does so follows.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from theory.checks import check_number, check_positive
from theory.types import Array, Integer, Scalar


def power_law_risk(
    context_length: Scalar | Array, C0: Scalar, C: Scalar, gamma: Scalar, b: Scalar
) -> Float[Array, "*l"]:
    """R(l) = C0 + C / (l + b)^gamma, the empirical form of the Bayes risk (arXiv 2502.01481, section 2)."""
    return np.asarray(C0 + C / (np.asarray(context_length, dtype=np.float64) + b) ** gamma)


@dataclasses.dataclass(frozen=True)
class LinearPrediction:
    """Best linear predictors of x_t from its last l values, for every l = 0..L at once.

    Attributes:
        partial_autocorrelations: phi_1 .. phi_L, shape (L,).
        prediction_errors: V(0) .. V(L), mean squared error of the best predictor, shape (L+1,).
        coefficients: row l holds the weights of x_{t-1}, x_{t-2}, ..., x_{t-l}, then zeros; shape (L+1, L).
    """

    partial_autocorrelations: Float[Array, "k"]
    prediction_errors: Float[Array, "l"]
    coefficients: Float[Array, "l k"]


def _levinson(
    variance: float, next_phi: Callable[[int, float, float], float | np.floating], n: int
) -> tuple[LinearPrediction, Float[Array, "l"]]:
    """The recursion both directions share; ``next_phi(k, known, V(k-1))`` supplies phi_k, known the sum in gamma(k).

    a_{k,k} = phi_k,  a_{k,j} = a_{k-1,j} - phi_k a_{k-1,k-j},  V(k) = V(k-1) (1 - phi_k^2),
    gamma(k) = phi_k V(k-1) + sum_j a_{k-1,j} gamma(k-j).
    """
    errors, covariances = np.empty(n + 1), np.empty(n + 1)
    phis, coefficients = np.empty(n), np.zeros((n + 1, n))
    errors[0] = covariances[0] = variance
    for k in range(1, n + 1):
        past = coefficients[k - 1, : k - 1]
        known = past @ covariances[k - 1 : 0 : -1]
        phi = float(next_phi(k, float(known), float(errors[k - 1])))
        phis[k - 1] = phi
        covariances[k] = phi * errors[k - 1] + known
        coefficients[k, : k - 1] = past - phi * past[::-1]
        coefficients[k, k - 1] = phi
        errors[k] = errors[k - 1] * (1.0 - phi * phi)
    return LinearPrediction(phis, errors, coefficients), covariances


def durbin_levinson(autocovariance: Float[Array, "l"]) -> LinearPrediction:
    """Best linear predictors at every look-back from the autocovariances gamma(0) .. gamma(L).

    Raises:
        ValueError: the autocovariance is not positive definite (some |phi_k| >= 1).
    """
    autocovariance = np.asarray(autocovariance, dtype=np.float64)
    check_positive("autocovariance[0]", float(autocovariance[0]))

    def next_phi(k: int, known: float, error: float) -> float | np.floating:
        phi = (autocovariance[k] - known) / error
        if not abs(phi) < 1.0:
            raise ValueError(
                f"the autocovariance is not positive definite: partial autocorrelation {phi:.6g} at lag {k} "
                "is outside (-1, 1); check the sequence you passed"
            )
        return phi

    return _levinson(float(autocovariance[0]), next_phi, len(autocovariance) - 1)[0]


def from_partial_autocorrelations(
    variance: Scalar, partial_autocorrelations: Float[Array, "k"]
) -> tuple[LinearPrediction, Float[Array, "l"]]:
    """The process with the given variance and phi_1 .. phi_L: its predictors, and gamma(0) .. gamma(L).

    Inverse of :func:`durbin_levinson`.

    Raises:
        ValueError: the variance is not positive, or some |phi_k| >= 1.
    """
    check_positive("variance", float(variance))
    phis = np.asarray(partial_autocorrelations, dtype=np.float64)
    outside = np.flatnonzero(~(np.abs(phis) < 1.0))
    if outside.size:
        raise ValueError(f"partial autocorrelation {phis[outside[0]]:.6g} at lag {outside[0] + 1} is outside (-1, 1)")
    return _levinson(float(variance), lambda k, known, error: phis[k - 1], len(phis))


def partial_autocorrelations_from_risk(prediction_errors: Float[Array, "l"]) -> Float[Array, "k"]:
    """phi_k = s_k sqrt(1 - V(k)/V(k-1)): a design whose prediction error at look-back l is V(l).

    Any signs s_k give the same V. These are the Rudin-Shapiro sequence, which has no period and the flattest of
    spectra: with all signs equal the covariance of a slowly falling V becomes singular to working precision within a
    few hundred lags (condition 8e11 at L = 512 for V = 1/2 + 2 (l+1)^(-1/2), against 6e3 with these).

    Raises:
        ValueError: V is not positive, or rises somewhere.
    """
    errors = np.asarray(prediction_errors, dtype=np.float64)
    if not np.all(errors > 0):
        raise ValueError(f"prediction errors must be positive; got a minimum of {errors.min():.6g}")
    # 1 - V(k)/V(k-1) loses digits once V is flat; the difference keeps them.
    squares = (errors[:-1] - errors[1:]) / errors[:-1]
    if np.any(squares < 0):
        k = int(np.flatnonzero(squares < 0)[0])
        raise ValueError(
            f"prediction errors must not rise: V({k + 1}) = {errors[k + 1]:.6g} > V({k}) = {errors[k]:.6g}"
        )
    signs = [1.0 - 2.0 * ((k & (k >> 1)).bit_count() % 2) for k in range(len(squares))]
    return np.sqrt(squares) * np.array(signs)


def arfima_prediction_error(
    d: Scalar, context_length: Scalar | Array, innovation_variance: Scalar = 1.0
) -> Float[Array, "*l"]:
    """V(l) of ARFIMA(0, d, 0): sigma^2 Gamma(l+1) Gamma(l+1-2d) / Gamma(l+1-d)^2, so V(l) - sigma^2 ~ sigma^2 d^2 / l.

    Follows from phi_kk = d / (k - d) and V(0) = sigma^2 Gamma(1-2d) / Gamma(1-d)^2 (Hosking 1981, theorem 1).
    """
    check_arfima_order("d", d)
    n = np.asarray(context_length, dtype=np.float64) + 1.0
    return np.asarray(innovation_variance * np.exp(gammaln(n) + gammaln(n - 2 * d) - 2 * gammaln(n - d)))


def arfima_autocovariance(d: Scalar, max_lag: Integer, innovation_variance: Scalar = 1.0) -> Float[Array, "l"]:
    """Autocovariances of ARFIMA(0, d, 0): gamma(k) = gamma(k-1) (k-1+d)/(k-d) (Hosking 1981, theorem 1)."""
    variance = float(arfima_prediction_error(d, 0, innovation_variance))
    ratios = ((k - 1 + d) / (k - d) for k in range(1, max_lag + 1))
    return np.fromiter(itertools.accumulate(ratios, lambda g, r: g * r, initial=variance), dtype=np.float64)


def check_arfima_order(name: str, d: Any) -> float:
    """``d`` as a float; ValueError unless -1/2 < d < 1/2, which is stationary and invertible."""
    number = check_number(f"the ARFIMA order {name}", d)
    if not -0.5 < number < 0.5:
        raise ValueError(f"the ARFIMA order {name} must lie in (-0.5, 0.5) to be stationary; got {d!r}")
    return number
