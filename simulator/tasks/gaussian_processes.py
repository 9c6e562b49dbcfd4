"""Gaussian processes whose one-step prediction error at every look-back is designed, or known in closed form."""

import dataclasses
from typing import Annotated, TypeAlias

import numpy as np
import scipy.linalg
from jaxtyping import Float

from theory import gaussian_process
from theory.checks import Checked, NonNegative, Positive
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class DesignedProcess(Checked):
    """Stationary process with R(l) = C0 + C/(l+b)^gamma, through its partial autocorrelations.

    :func:`theory.gaussian_process.partial_autocorrelations_from_risk` says how their signs are chosen.
    """

    C0: NonNegative
    C: Positive
    gamma: Positive
    b: Positive

    def one_step_error(self, context_length: Integer | np.ndarray) -> Float[np.ndarray, "*l"]:
        """V(l)."""
        return gaussian_process.power_law_risk(context_length, self.C0, self.C, self.gamma, self.b)

    def joint_covariance(self, max_lag: int, n_steps: int = 1) -> Float[np.ndarray, "n n"]:
        """Covariance of ``max_lag`` tokens, oldest first, and the ``n_steps`` values after them."""
        errors = self.one_step_error(np.arange(max_lag + n_steps))
        phis = gaussian_process.partial_autocorrelations_from_risk(errors)
        return scipy.linalg.toeplitz(gaussian_process.from_partial_autocorrelations(errors[0], phis)[1])


@dataclasses.dataclass(frozen=True)
class ArfimaProcess(Checked):
    """ARFIMA(0, d, 0) with unit innovations: long memory, R(l) - 1 ~ d^2/l."""

    d: Annotated[float, gaussian_process.check_arfima_order]

    def one_step_error(self, context_length: Integer | np.ndarray) -> Float[np.ndarray, "*l"]:
        """V(l)."""
        return gaussian_process.arfima_prediction_error(self.d, context_length)

    def joint_covariance(self, max_lag: int, n_steps: int = 1) -> Float[np.ndarray, "n n"]:
        """Covariance of ``max_lag`` tokens, oldest first, and the ``n_steps`` values after them."""
        return scipy.linalg.toeplitz(gaussian_process.arfima_autocovariance(self.d, max_lag + n_steps - 1))


@dataclasses.dataclass(frozen=True)
class IndependentTokens(Checked):
    """Independent standard normal tokens and y = sum_i a_i x_i + noise, with the same R(l) = C0 + C/(l+b)^gamma.

    a_i^2 = R(i-1) - R(i), a power law of exponent gamma + 1 in the distance i; the noise variance is R(L).
    """

    C0: NonNegative
    C: Positive
    gamma: Positive
    b: Positive
    one_step_error = DesignedProcess.one_step_error

    def weights(self, max_lag: int) -> Float[np.ndarray, "k"]:
        """a_1 .. a_L."""
        return np.sqrt(-np.diff(self.one_step_error(np.arange(max_lag + 1))))

    def joint_covariance(self, max_lag: int, n_steps: int = 1) -> Float[np.ndarray, "n n"]:
        """Covariance of ``max_lag`` tokens, oldest first, and the one value they bear on."""
        if n_steps != 1:
            raise ValueError(f"n_steps must be 1 for IndependentTokens, which have one value to predict; got {n_steps}")
        covariance = np.eye(max_lag + 1)
        covariance[-1, :-1] = covariance[:-1, -1] = self.weights(max_lag)[::-1]
        covariance[-1, -1] = self.one_step_error(0)
        return covariance


Process: TypeAlias = DesignedProcess | ArfimaProcess | IndependentTokens
