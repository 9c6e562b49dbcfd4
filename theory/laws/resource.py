"""Neurons as a resource that subtasks share."""

import dataclasses

import numpy as np
from jaxtyping import Float

from theory.checks import check_positive, check_sequence, set_fields
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class ResourceLaw:
    """L(N) = min over sum_i N_i = N of sum_i c_i N_i^(-p) = (sum_i c_i^(1/(p+1)))^(p+1) N^(-p).

    Song, Liu, Tegmark & Gore (arXiv 2402.05164): a subtask's loss falls as 1/N_i in the neurons it is given (p = 1),
    and a growing network keeps the shares; the best shares, N_i ~ c_i^(1/(p+1)), do not depend on N either. A network
    as deep as it is wide has about N^3 parameters, so in these L falls as the power -p/3: -1/3, near Hoffmann's 0.34.
    It knows neither l nor D.

    Attributes:
        difficulties: c_i > 0, one per subtask.
        exponent: p > 0.
    """

    difficulties: tuple[float, ...]
    exponent: float = 1.0

    def __post_init__(self) -> None:
        given = check_sequence("difficulties", self.difficulties)
        difficulties = tuple(check_positive("difficulties", c) for c in given)
        if not difficulties:
            raise ValueError("difficulties must hold at least one subtask; got ()")
        set_fields(self, difficulties=difficulties, exponent=check_positive("exponent", self.exponent))

    @property
    def parameter_exponent(self) -> float:
        """Of L ~ (number of parameters)^(-p/3)."""
        return self.exponent / 3

    def shares(self) -> Float[Array, "subtasks"]:
        """N_i / N of the best allocation."""
        weight = np.asarray(self.difficulties) ** (1 / (self.exponent + 1))
        return weight / weight.sum()

    def loss(self, neurons: Scalar | Array) -> Float[Array, "*sizes"]:
        """L(N) with the best allocation.

        Raises:
            ValueError: N is not above 0.
        """
        N = np.asarray(neurons, np.float64)
        if not np.all(N > 0):
            raise ValueError(f"the number of neurons must be above 0; got {neurons!r}")
        weight = np.sum(np.asarray(self.difficulties) ** (1 / (self.exponent + 1)))
        return np.asarray(weight ** (self.exponent + 1) * N**-self.exponent)
