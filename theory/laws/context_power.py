"""Validation loss of long-context language models against their context length: an R(l) itself."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from theory.checks import check_non_negative, check_positive, set_fields
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class ContextPowerLaw:
    """L(l) = (alpha/l)^beta + gamma (Xiong et al., arXiv 2309.16039): a loss, Bayes risk and model together.

    It falls with l at any D, so it predicts the largest window: l* = L. In the form R = C0 + C/l^g of the theory C0 =
    gamma, C = alpha^beta, g = beta. Doubling l multiplies what is reducible by 2^-beta.

    Attributes:
        scale: alpha > 0, tokens.
        exponent: beta > 0.
        floor: gamma >= 0, nats per token.
    """

    scale: float
    exponent: float
    floor: float

    def __post_init__(self) -> None:
        set_fields(
            self,
            scale=check_positive("scale", self.scale),
            exponent=check_positive("exponent", self.exponent),
            floor=check_non_negative("floor", self.floor),
        )

    @property
    def reducible(self) -> float:
        """C = alpha^beta: the reducible loss at l = 1."""
        return self.scale**self.exponent

    def loss(self, context_length: Scalar | Array) -> Float[Array, "*lengths"]:
        """L(l), nats per token.

        Raises:
            ValueError: l is not above 0.
        """
        length = np.asarray(context_length, np.float64)
        if not np.all(length > 0):
            raise ValueError(f"the context length must be above 0; got {context_length!r}")
        return np.asarray((self.scale / length) ** self.exponent + self.floor)


LLAMA_2_LONG: Mapping[str, ContextPowerLaw] = MappingProxyType(
    {
        "7B": ContextPowerLaw(25.4, 0.45, 1.56),
        "13B": ContextPowerLaw(19.5, 0.48, 1.45),
        "34B": ContextPowerLaw(17.7, 0.50, 1.41),
        "70B": ContextPowerLaw(17.9, 0.51, 1.35),
    }
)
"""The published fits, up to 32,768 tokens."""
