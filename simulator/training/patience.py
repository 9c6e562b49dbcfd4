"""Patience that grows with a run: how long training goes on without an improvement."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from theory.checks import Checked, NonNegative, check_integer, integer

_MOST = 2**31 - 1


class Waiting(NamedTuple):
    """Since when a run has not improved: evaluations since then, and the step at which waiting began."""

    evaluations: Int[Array, ""]
    began: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class GrowingPatience(Checked):
    """A run may go on without an improvement for ``factor`` times as long as it took to reach the last one.

    Parities and retrieval are learned in steps: the validation loss stands on a plateau, then falls, and later plateaus
    are longer. A fixed number of evaluations is too short for them, or needlessly long for runs that overfit at once.

    Let v_1, v_2, ... be the validation losses, t_1, t_2, ... the steps taken before each, and v_b the smallest of the
    first n. A run stops after evaluation n if

        n - b >= least    and    t_n - t_b >= factor t_b.

    So it takes at most 1 + factor times the steps up to its selected parameters, or ``least`` evaluations more than
    these. With factor = 0 this is ``patience=least``. ``tests/benchmarks/measured.txt`` compares rules.

    Attributes:
        factor: steps without an improvement, as a multiple of the steps up to the last one.
        least: evaluations without an improvement that every run may have.
    """

    factor: NonNegative = 1.0
    least: Annotated[int, integer(1, _MOST)] = 10

    @classmethod
    def fixed(cls, evaluations: int | None) -> "GrowingPatience":
        """Patience that does not grow. None never ends: it is more evaluations than a run can have."""
        return cls(factor=0, least=_MOST if evaluations is None else evaluations)

    def evaluated(
        self, waiting: Waiting, anew: Bool[Array, ""], step: Int[Array, ""]
    ) -> tuple[Waiting, Bool[Array, ""]]:
        """The state after an evaluation, and whether the run stops.

        Args:
            waiting: the state before it.
            anew: whether waiting begins anew, as after a loss that is smaller than all before.
            step: steps taken.
        """
        evaluations = jnp.where(anew, 0, waiting.evaluations + 1)
        began = jnp.where(anew, step, waiting.began)
        long = (step - began).astype(jnp.float32) >= self.factor * began.astype(jnp.float32)
        return Waiting(evaluations, began), long & (evaluations >= self.least)


def check_patience(name: str, value: Any) -> int | GrowingPatience:
    """``value``; TypeError or ValueError unless it is a GrowingPatience or a number of evaluations."""
    return value if isinstance(value, GrowingPatience) else check_integer(name, value, 1, _MOST)
