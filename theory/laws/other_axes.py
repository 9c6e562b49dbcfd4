"""Published laws on other axes than (l, D): model size, window, neurons, compute. None of them predicts an l*(D)."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from theory.checks import Checked, NonNegative, Positive, check_positive, each, such_that
from theory.laws.chinchilla import check_sizes
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class KaplanLaw(Checked):
    """L(N, D) = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D (Kaplan et al., arXiv 2001.08361).

    L is in nats per token at the paper's one context length, 1024. The constants are those of the one-variable laws
    L(N, inf) = (N_c/N)^alpha_N and L(inf, D) = (D_c/D)^alpha_D.

    Attributes:
        model_scale: N_c, parameters without embeddings.
        model_rate: alpha_N.
        data_scale: D_c, tokens.
        data_rate: alpha_D.
    """

    model_scale: Positive = 8.8e13
    model_rate: Positive = 0.076
    data_scale: Positive = 5.4e13
    data_rate: Positive = 0.095

    def loss(self, model_size: Scalar | Array, dataset_size: Scalar | Array) -> Float[Array, "*cells"]:
        """L(N, D); either size may be infinite."""
        N, D = check_sizes(model_size, dataset_size)
        of_model = (self.model_scale / N) ** (self.model_rate / self.data_rate)
        return np.asarray((of_model + self.data_scale / D) ** self.data_rate)


@dataclasses.dataclass(frozen=True)
class ContextPowerLaw(Checked):
    """L(l) = (alpha/l)^beta + gamma, the loss of long-context language models (Xiong et al., arXiv 2309.16039).

    L contains the Bayes risk and the model's error. It falls with l at any D, so the best context is the whole window.

    Attributes:
        scale: alpha > 0, tokens.
        exponent: beta > 0.
        floor: gamma >= 0, nats per token.
    """

    scale: Positive
    exponent: Positive
    floor: NonNegative

    @property
    def reducible(self) -> float:
        """alpha^beta, the reducible loss at l = 1."""
        return self.scale**self.exponent

    def loss(self, context_length: Scalar | Array) -> Float[Array, "*lengths"]:
        """L(l), nats per token; ValueError unless l > 0."""
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


@dataclasses.dataclass(frozen=True)
class ResourceLaw(Checked):
    """L(N) = min over sum_i N_i = N of sum_i c_i N_i^(-p) = (sum_i c_i^(1/(p+1)))^(p+1) N^(-p).

    Song, Liu, Tegmark & Gore (arXiv 2402.05164): the loss of a subtask falls as 1/N_i in its neurons (p = 1). The best
    shares, N_i ~ c_i^(1/(p+1)), do not depend on N. A network as deep as it is wide has about N^3 parameters. So L
    falls with the exponent p/3 in the number of parameters.

    Attributes:
        difficulties: c_i > 0, one per subtask.
        exponent: p > 0.
    """

    difficulties: Annotated[
        tuple[float, ...], each("difficulties", check_positive), such_that(bool, "must hold at least one subtask")
    ]
    exponent: Positive = 1.0

    @property
    def parameter_exponent(self) -> float:
        """p/3, the exponent of L in the number of parameters."""
        return self.exponent / 3

    def shares(self) -> Float[Array, "subtasks"]:
        """N_i / N of the best allocation."""
        weight = np.asarray(self.difficulties) ** (1 / (self.exponent + 1))
        return weight / weight.sum()

    def loss(self, neurons: Scalar | Array) -> Float[Array, "*sizes"]:
        """L(N) with the best allocation; ValueError unless N > 0."""
        N = np.asarray(neurons, np.float64)
        if not np.all(N > 0):
            raise ValueError(f"the number of neurons must be above 0; got {neurons!r}")
        weight = np.sum(np.asarray(self.difficulties) ** (1 / (self.exponent + 1)))
        return np.asarray(weight ** (self.exponent + 1) * N**-self.exponent)


@dataclasses.dataclass(frozen=True)
class MontgomeryLaw(Checked):
    """P(C, n) = (1 - exp(-A (C/C_c)^a)) (1 - exp(-B (n/n_c)^b)) sigmoid((window - n)/w), n the length of the prompt.

    Montgomery et al., "Predicting Task Performance with Context-aware Scaling Laws" (arXiv 2510.14919). P is a share of
    the best performance: it saturates in compute and in context, and it drops where the prompt exceeds the window. Here
    the width w of the drop is a constant.

    Attributes:
        compute_amplitude: A.
        compute_scale: C_c, floating-point operations.
        compute_exponent: a.
        context_amplitude: B.
        context_scale: n_c, tokens.
        context_exponent: b.
        window: the largest context of the model, tokens.
        width: w, tokens.
    """

    compute_amplitude: Positive = 1.0
    compute_scale: Positive = 1.0
    compute_exponent: Positive = 1.0
    context_amplitude: Positive = 1.0
    context_scale: Positive = 1.0
    context_exponent: Positive = 1.0
    window: Positive = 4096.0
    width: Positive = 64.0

    def performance(self, compute: Scalar | Array, prompt_length: Scalar | Array) -> Float[Array, "*cells"]:
        """P(C, n), a share in [0, 1]; ValueError if C or n is negative."""
        C, n = np.asarray(compute, np.float64), np.asarray(prompt_length, np.float64)
        if not (np.all(C >= 0) and np.all(n >= 0)):
            raise ValueError(f"compute and prompt length must not be negative; got {compute!r}, {prompt_length!r}")
        computed = -np.expm1(-self.compute_amplitude * (C / self.compute_scale) ** self.compute_exponent)
        seen = -np.expm1(-self.context_amplitude * (n / self.context_scale) ** self.context_exponent)
        return np.asarray(computed * seen * expit((self.window - n) / self.width))
