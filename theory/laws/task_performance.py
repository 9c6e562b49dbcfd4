"""Performance of a downstream task in compute and prompt length."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from theory.checks import check_positive, set_fields
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class MontgomeryLaw:
    """P(C, n) = (1 - exp(-A (C/C_c)^a)) (1 - exp(-B (n/n_c)^b)) sigmoid((window - n)/w), n the length of the prompt.

    Montgomery et al., "Predicting Task Performance with Context-aware Scaling Laws" (arXiv 2510.14919): both compute
    and context saturate, and a prompt that no longer fits the model's window loses. A share of the best performance,
    no loss. The width w of the cut is a constant of this form here. P is largest inside the
    window, the nearer its end the smaller w and the farther from saturation the context is there.

    Attributes:
        compute_amplitude: A.
        compute_scale: C_c, floating-point operations.
        compute_exponent: a.
        context_amplitude: B.
        context_scale: n_c, tokens.
        context_exponent: b.
        window: the model's largest context, tokens.
        width: w, tokens.
    """

    compute_amplitude: float = 1.0
    compute_scale: float = 1.0
    compute_exponent: float = 1.0
    context_amplitude: float = 1.0
    context_scale: float = 1.0
    context_exponent: float = 1.0
    window: float = 4096.0
    width: float = 64.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            set_fields(self, **{field.name: check_positive(field.name, getattr(self, field.name))})

    def performance(self, compute: Scalar | Array, prompt_length: Scalar | Array) -> Float[Array, "*cells"]:
        """P(C, n), a share in [0, 1].

        Raises:
            ValueError: compute or the prompt's length is negative.
        """
        C, n = np.asarray(compute, np.float64), np.asarray(prompt_length, np.float64)
        if not (np.all(C >= 0) and np.all(n >= 0)):
            raise ValueError(f"compute and prompt length must not be negative; got {compute!r}, {prompt_length!r}")
        of_compute = -np.expm1(-self.compute_amplitude * (C / self.compute_scale) ** self.compute_exponent)
        of_context = -np.expm1(-self.context_amplitude * (n / self.context_scale) ** self.context_exponent)
        return np.asarray(of_compute * of_context * expit((self.window - n) / self.width))
