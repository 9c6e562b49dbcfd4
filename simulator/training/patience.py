"""Patience that grows with a run: how long training goes on without an improvement."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from theory.checks import Checked, NonNegative, check_integer, integer, such_that


class Waiting(NamedTuple):
    """How long a run has gone without an improvement: evaluations since the last one, its loss, and its step."""

    evaluations: Int[Array, ""]
    loss: Float[Array, ""]
    step: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class GrowingPatience(Checked):
    """A run may go on without an improvement for as long as it took to reach the last one, or ``factor`` times that.

    Parities and retrieval are learned in steps: the validation loss stands on a plateau, then falls. Later plateaus are
    longer. A fixed number of evaluations is too short for them, or too long for runs that overfit at once.

    Let v_1, v_2, ... be the validation losses and t_1, t_2, ... the steps taken before each. Evaluation n *improves* if
    v_n < (1 - improvement) v_b, where b is the last evaluation before n that improved. The first one does. A run stops
    after evaluation n if

        n - b >= least    and    t_n - t_b >= factor t_b,

    where b is now the last of the n that improved. The selected parameters are still those with the smallest loss, by
    whatever margin. With factor = 0 and improvement = 0 this is ``patience=least``.

    Attributes:
        factor: steps without an improvement, as a multiple of the steps up to the last one.
        least: evaluations without an improvement that every run may have.
        improvement: relative fall of the validation loss that counts as an improvement.
    """

    factor: NonNegative = 1.0
    least: Annotated[int, integer(1, 2**31 - 1)] = 5
    improvement: Annotated[NonNegative, such_that(lambda share: share < 1, "is a share of the loss, below 1")] = 0.01

    def begin(self) -> Waiting:
        """Before the first evaluation."""
        return Waiting(jnp.int32(0), jnp.float32(jnp.inf), jnp.int32(0))

    def evaluated(
        self, waiting: Waiting, loss: Float[Array, ""], step: Int[Array, ""], counts: Bool[Array, ""]
    ) -> tuple[Waiting, Bool[Array, ""]]:
        """After an evaluation: the new state, and whether the run stops.

        Args:
            waiting: the state before it.
            loss: validation loss.
            step: steps taken.
            counts: whether waiting counts already. Before, every evaluation begins it anew.
        """
        improved = loss < jnp.float32(1 - self.improvement) * waiting.loss
        goes_on = counts & ~improved
        new = Waiting(
            evaluations=jnp.where(goes_on, waiting.evaluations + 1, 0),
            loss=jnp.where(improved, loss, waiting.loss),
            step=jnp.where(goes_on, waiting.step, step),
        )
        long = (step - new.step).astype(jnp.float32) >= self.factor * new.step.astype(jnp.float32)
        return new, long & (new.evaluations >= self.least)


def check_patience(name: str, value: Any) -> int | GrowingPatience:
    """``value``; TypeError or ValueError unless it is a GrowingPatience or a number of evaluations."""
    return value if isinstance(value, GrowingPatience) else check_integer(name, value, 1, 2**31 - 1)
