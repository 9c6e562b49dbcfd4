"""Gaussian time series whose prediction error falls with the look-back exactly as designed."""

import dataclasses
import functools
import math
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from simulator.tasks.base import ContextLength, Examples, Index, Key, Task, sample_keys
from theory import gaussian_process
from theory.checks import check_choice, check_integer, check_non_negative, check_positive, set_fields
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class DesignedProcess:
    """Stationary process with R(l) = C0 + C/(l+b)^gamma, through its partial autocorrelations.

    :func:`theory.gaussian_process.partial_autocorrelations_from_risk` says how their signs are chosen.
    """

    C0: float
    C: float
    gamma: float
    b: float

    def __post_init__(self) -> None:
        positive = {name: check_positive(name, getattr(self, name)) for name in ("C", "gamma", "b")}
        set_fields(self, C0=check_non_negative("C0", self.C0), **positive)

    def bayes_risk(self, context_length: Integer | np.ndarray) -> Float[np.ndarray, "*l"]:
        return gaussian_process.power_law_risk(context_length, self.C0, self.C, self.gamma, self.b)

    def _designed(self, max_lag: int) -> tuple[gaussian_process.LinearPrediction, np.ndarray]:
        risk = self.bayes_risk(np.arange(max_lag + 1))
        phis = gaussian_process.partial_autocorrelations_from_risk(risk)
        return gaussian_process.from_partial_autocorrelations(risk[0], phis)

    def joint_covariance(self, max_lag: int) -> Float[np.ndarray, "l l"]:
        return scipy.linalg.toeplitz(self._designed(max_lag)[1])

    def coefficients(self, max_lag: int) -> Float[np.ndarray, "l k"]:
        return self._designed(max_lag)[0].coefficients


@dataclasses.dataclass(frozen=True)
class ArfimaProcess:
    """ARFIMA(0, d, 0) with unit innovations: long memory, R(l) - 1 ~ d^2/l."""

    d: float

    def __post_init__(self) -> None:
        set_fields(self, d=gaussian_process.check_arfima_order(self.d))

    def bayes_risk(self, context_length: Integer | np.ndarray) -> Float[np.ndarray, "*l"]:
        return gaussian_process.arfima_prediction_error(self.d, context_length)

    def joint_covariance(self, max_lag: int) -> Float[np.ndarray, "l l"]:
        return scipy.linalg.toeplitz(gaussian_process.arfima_autocovariance(self.d, max_lag))

    def coefficients(self, max_lag: int) -> Float[np.ndarray, "l k"]:
        autocovariance = gaussian_process.arfima_autocovariance(self.d, max_lag)
        return gaussian_process.durbin_levinson(autocovariance).coefficients


@dataclasses.dataclass(frozen=True)
class IndependentTokens:
    """Independent standard normal tokens and y = sum_i a_i x_i + noise, with the same R(l) = C0 + C/(l+b)^gamma.

    a_i^2 = R(i-1) - R(i), a power law of exponent gamma + 1 in the distance i; the noise variance is R(L).
    """

    C0: float
    C: float
    gamma: float
    b: float

    __post_init__ = DesignedProcess.__post_init__
    bayes_risk = DesignedProcess.bayes_risk

    def weights(self, max_lag: int) -> Float[np.ndarray, "k"]:
        return np.sqrt(-np.diff(self.bayes_risk(np.arange(max_lag + 1))))

    def joint_covariance(self, max_lag: int) -> Float[np.ndarray, "l l"]:
        covariance = np.eye(max_lag + 1)
        covariance[-1, :-1] = covariance[:-1, -1] = self.weights(max_lag)[::-1]
        covariance[-1, -1] = self.bayes_risk(0)
        return covariance

    def coefficients(self, max_lag: int) -> Float[np.ndarray, "l k"]:
        return np.tril(np.ones((max_lag + 1, max_lag)), -1) * self.weights(max_lag)[None, :]


Process: TypeAlias = DesignedProcess | ArfimaProcess | IndependentTokens


@dataclasses.dataclass(frozen=True)
class GaussianLookBack(Task):
    r"""Predict the next value of a Gaussian sequence from its last l values; samples are independent windows.

    The best predictor is linear, m_l = sum_{i<=l} a_{l,i} x_{t-i}, and its squared error is R(l) = V(l). With
    ``loss="log_loss"`` the prediction is the mean of a Gaussian of the exact variance V(l), so that

        R(l) = (1/2) ln(2 pi e V(l)),      KL(P_l || Q_l) = E (m - m_l)^2 / (2 V(l)):

    a predictor is charged for its mean alone.

    Worked example, ``arfima(d=0.4, max_context_length=2)``: phi_1 = 0.4/0.6 = 2/3, phi_2 = 0.4/1.6 = 1/4, so
    m_1 = (2/3) x_{t-1} and m_2 = (1/2) x_{t-1} + (1/4) x_{t-2}.

    ``intrinsic_dimension(l)`` is l, the rank of the covariance of the visible tokens: the number of weights that a
    linear predictor has to learn. There is no ``intrinsic_entropy``: the state is continuous.

    Attributes:
        process: the law of the sequence.
        max_context_length: L.
        loss: ``"squared_error"`` or ``"log_loss"`` (nats).
    """

    process: Process
    max_context_length: int
    loss: Literal["squared_error", "log_loss"] = "squared_error"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        set_fields(self, max_context_length=check_integer("max_context_length", self.max_context_length, 1))
        check_choice("loss", self.loss, ("squared_error", "log_loss"))
        if not isinstance(self.process, Process):
            raise TypeError(
                f"process must be a DesignedProcess, ArfimaProcess or IndependentTokens; got {self.process!r}. "
                "The constructors GaussianLookBack.designed(...), .arfima(...) and .independent(...) make one"
            )

    @classmethod
    def designed(
        cls,
        C0: float,
        C: float,
        gamma: float,
        b: float,
        max_context_length: int,
        loss: Literal["squared_error", "log_loss"] = "squared_error",
    ) -> "GaussianLookBack":
        """Stationary process with V(l) = C0 + C/(l+b)^gamma at every l = 0..L."""
        return cls(DesignedProcess(C0, C, gamma, b), max_context_length, loss)

    @classmethod
    def arfima(
        cls, d: float, max_context_length: int, loss: Literal["squared_error", "log_loss"] = "squared_error"
    ) -> "GaussianLookBack":
        """ARFIMA(0, d, 0), -1/2 < d < 1/2, unit innovations: V(l) - 1 ~ d^2/l."""
        return cls(ArfimaProcess(d), max_context_length, loss)

    @classmethod
    def independent(
        cls,
        C0: float,
        C: float,
        gamma: float,
        b: float,
        max_context_length: int,
        loss: Literal["squared_error", "log_loss"] = "squared_error",
    ) -> "GaussianLookBack":
        """Independent tokens with power-law weights; the same V(l) as :meth:`designed`."""
        return cls(IndependentTokens(C0, C, gamma, b), max_context_length, loss)

    def prediction_error(self, context_length: Integer) -> float:
        """V(l): mean squared error of the best predictor."""
        self.check_length(context_length)
        return float(self.process.bayes_risk(context_length))

    def bayes_risk(self, context_length: Integer) -> float:
        error = self.prediction_error(context_length)
        return error if self.loss == "squared_error" else 0.5 * math.log(2 * math.pi * math.e * error)

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(context_length)

    def intrinsic_entropy(self, context_length: Integer) -> None:
        self.check_length(context_length)

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L = self.max_context_length
        noise = jax.vmap(lambda k: jax.random.normal(k, (L + 1,), jnp.float32))(keys)
        values = _times(noise, jnp.asarray(_cholesky(self.process, L), jnp.float32))
        return Examples(values[:, :L], jnp.zeros_like(index), values[:, L])

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B"]:
        self.check_length(context_length)
        self.check_examples(examples)
        weights = jnp.asarray(_oldest_first(self.process, self.max_context_length), jnp.float32)
        return jnp.matmul(examples.context, weights[context_length], precision="highest")

    def pointwise_loss(
        self, prediction: Float[Array, "B"], examples: Examples, context_length: ContextLength
    ) -> Float[Array, "B"]:
        return self._in_unit((examples.target - prediction) ** 2, context_length, normalised=True)

    def pointwise_divergence(
        self,
        bayes: Float[Array, "B"],
        prediction: Float[Array, "B"],
        examples: Examples,
        context_length: ContextLength,
    ) -> Float[Array, "B"]:
        return self._in_unit((prediction - bayes) ** 2, context_length, normalised=False)

    def _in_unit(self, squares: Array, context_length: ContextLength, *, normalised: bool) -> Array:
        if self.loss == "squared_error":
            return squares
        errors = self.process.bayes_risk(np.arange(self.max_context_length + 1))
        error = jnp.asarray(errors, jnp.float32)[context_length]
        constant = jnp.log(2 * jnp.pi * error) if normalised else jnp.float32(0)
        return 0.5 * (constant + squares / error)


def _times(noise: Float[Array, "B n"], factor: Float[Array, "n n"]) -> Float[Array, "B n"]:
    """noise @ factor.T, every entry summed in one order: a matrix product's bits depend on the size of the batch."""

    def add(total: Array, column: tuple[Array, Array]) -> tuple[Array, None]:
        return total + column[0][:, None] * column[1][None, :], None

    return jax.lax.scan(add, jnp.zeros_like(noise), (noise.T, factor.T))[0]


@functools.lru_cache(maxsize=16)
def _cholesky(process: Process, max_lag: int) -> Float[np.ndarray, "l l"]:
    """Factor of the covariance of (oldest token, ..., newest token, target)."""
    try:
        return np.linalg.cholesky(process.joint_covariance(max_lag))
    except np.linalg.LinAlgError:
        raise ValueError(
            f"{process} is predictable to working precision within {max_lag} tokens, so that it cannot be sampled: "
            "take a larger C0, a larger b, or a smaller gamma"
        ) from None


@functools.lru_cache(maxsize=16)
def _oldest_first(process: Process, max_lag: int) -> Float[np.ndarray, "l k"]:
    """Row l: the weights of the best predictor in the order of ``Examples.context``."""
    return np.ascontiguousarray(process.coefficients(max_lag)[:, ::-1])
