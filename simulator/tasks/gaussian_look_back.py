"""Gaussian time series whose prediction error falls with the look-back exactly as designed."""

import dataclasses
from typing import Annotated

import numpy as np
from jaxtyping import Float

from simulator.tasks.base import Loss, TaskForm
from simulator.tasks.gaussian_processes import ArfimaProcess, DesignedProcess, IndependentTokens, Process
from simulator.tasks.gaussian_task import GaussianTask
from theory.checks import Count, integer


@dataclasses.dataclass(frozen=True)
class GaussianLookBack(GaussianTask):
    r"""Predict the next S values of a Gaussian sequence from its last l values; samples are independent windows.

    The best predictor is linear; :class:`~simulator.tasks.gaussian_task.GaussianTask` has its formulas, for squared
    error and for log-loss. For S = 1 the prediction error V(l) is the process's own closed form.

    Worked example, ``arfima(d=0.4, max_context_length=2)``: phi_1 = 0.4/0.6 = 2/3, phi_2 = 0.4/1.6 = 1/4, so
    m_1 = (2/3) x_{t-1} and m_2 = (1/2) x_{t-1} + (1/4) x_{t-2}.

    ``intrinsic_dimension(l)`` is l, the rank of the covariance of the visible values of the sequence: the number of
    weights that a linear predictor has to learn for each step. There is no ``intrinsic_entropy``: the state is
    continuous.

    Attributes:
        process: the law of the sequence.
        max_context_length: L.
        loss: ``"squared_error"`` or ``"log_loss"`` (nats).
        n_steps: S, how many values are predicted at once; the loss is the mean over them. One for IndependentTokens.
        n_irrelevant_channels: m; above 0 every token is a vector of 1 + m numbers, the sequence and m channels of
            independent standard normal noise. They change neither R(l) nor the sequence.
    """

    process: Process
    max_context_length: Annotated[int, integer(1, 2**13)]
    loss: Loss = "squared_error"
    n_steps: Count = 1
    n_irrelevant_channels: Annotated[int, integer(0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.process, Process):
            raise TypeError(
                f"process must be a DesignedProcess, ArfimaProcess or IndependentTokens; got {self.process!r}. "
                "The constructors GaussianLookBack.designed(...), .arfima(...) and .independent(...) make one"
            )
        exact = float(self.process.one_step_error(self.max_context_length))
        try:
            error = self.sampling_factor()[self.max_context_length, self.max_context_length] ** 2
        except np.linalg.LinAlgError:
            error = 0.0
        if abs(error - exact) > 1e-6 * exact:
            raise ValueError(
                f"{self.process} is predictable to working precision within max_context_length = "
                f"{self.max_context_length} tokens and n_steps = {self.n_steps}, so that it cannot be sampled: take a "
                "larger C0, a larger b or a smaller gamma (ARFIMA: a d nearer to 0), or fewer tokens"
            )

    @classmethod
    def designed(
        cls,
        C0: float,
        C: float,
        gamma: float,
        b: float,
        max_context_length: int,
        loss: Loss = "squared_error",
        *,
        n_steps: int = 1,
        n_irrelevant_channels: int = 0,
    ) -> "GaussianLookBack":
        """Stationary process with V(l) = C0 + C/(l+b)^gamma at every l = 0..L."""
        return cls(DesignedProcess(C0, C, gamma, b), max_context_length, loss, n_steps, n_irrelevant_channels)

    @classmethod
    def arfima(
        cls,
        d: float,
        max_context_length: int,
        loss: Loss = "squared_error",
        *,
        n_steps: int = 1,
        n_irrelevant_channels: int = 0,
    ) -> "GaussianLookBack":
        """ARFIMA(0, d, 0), -1/2 < d < 1/2, unit innovations: V(l) - 1 ~ d^2/l."""
        return cls(ArfimaProcess(d), max_context_length, loss, n_steps, n_irrelevant_channels)

    @classmethod
    def independent(
        cls,
        C0: float,
        C: float,
        gamma: float,
        b: float,
        max_context_length: int,
        loss: Loss = "squared_error",
        *,
        n_steps: int = 1,
        n_irrelevant_channels: int = 0,
    ) -> "GaussianLookBack":
        """Independent tokens with power-law weights; the same V(l) as :meth:`designed`, for one step."""
        return cls(IndependentTokens(C0, C, gamma, b), max_context_length, loss, n_steps, n_irrelevant_channels)

    @property
    def form(self) -> TaskForm:
        """1 + m channels; a stationary text for one step of one channel, but not for independent tokens."""
        is_stationary = self.n_steps == 1 and not self.n_irrelevant_channels
        return TaskForm(
            self.max_context_length,
            self.loss,
            n_channels=1 + self.n_irrelevant_channels,
            n_steps=self.n_steps,
            is_stationary_text=is_stationary and not isinstance(self.process, IndependentTokens),
        )

    @property
    def risk_exponent(self) -> float | None:
        """1 for ARFIMA with d != 0, the design's gamma otherwise, for one step."""
        if isinstance(self.process, ArfimaProcess):
            return 1.0 if self.process.d else None
        # ln V(l) of a process without noise has no limit.
        known = self.n_steps == 1 and (self.loss == "squared_error" or self.process.C0 > 0)
        return self.process.gamma if known else None

    def joint_covariance(self) -> Float[np.ndarray, "n n"]:
        return self.process.joint_covariance(self.max_context_length, self.n_steps)

    def _all_errors(self) -> Float[np.ndarray, "l S"]:
        if self.n_steps > 1:
            return super()._all_errors()
        return self.process.one_step_error(np.arange(self.max_context_length + 1))[:, None]
