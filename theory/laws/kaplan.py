"""The first law of language models in model size and data together."""

import dataclasses

import numpy as np
from jaxtyping import Float

from theory.checks import check_positive, set_fields
from theory.laws.chinchilla import check_sizes
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class KaplanLaw:
    """L(N, D) = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D (Kaplan et al., arXiv 2001.08361).

    Nats per token at the paper's one context length, 1024: it does not know l, has no floor and says nothing of l*.
    The constants are the paper's, each from its one-variable law: L(N, inf) = (N_c/N)^alpha_N, L(inf, D) =
    (D_c/D)^alpha_D.

    Attributes:
        model_scale: N_c, parameters without embeddings.
        model_rate: alpha_N.
        data_scale: D_c, tokens.
        data_rate: alpha_D.
    """

    model_scale: float = 8.8e13
    model_rate: float = 0.076
    data_scale: float = 5.4e13
    data_rate: float = 0.095

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            set_fields(self, **{field.name: check_positive(field.name, getattr(self, field.name))})

    def loss(self, model_size: Scalar | Array, dataset_size: Scalar | Array) -> Float[Array, "*cells"]:
        """L(N, D); either size may be infinite."""
        N, D = check_sizes(model_size, dataset_size)
        return np.asarray(
            ((self.model_scale / N) ** (self.model_rate / self.data_rate) + self.data_scale / D) ** self.data_rate
        )
