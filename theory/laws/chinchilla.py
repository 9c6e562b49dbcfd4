"""The law of Hoffmann et al.: loss falls as a power of the model's size and of the data's, and its optimum under a
budget; and the same with the context length in it."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np
from jaxtyping import Float

from theory.checks import Checked, NonNegative, Number, Positive, check_positive
from theory.laws.base import Law, Truth, power_product
from theory.types import Array, Scalar


def _check_size(name: str, value: Any) -> float:
    return np.inf if value == np.inf else check_positive(name, value)


ModelSize: TypeAlias = Annotated[float, _check_size]
"""N above 0; it may be infinite."""


@dataclasses.dataclass(frozen=True)
class ChinchillaLaw(Checked):
    """L(N, D) = E + A/N^alpha + B/D^beta (Hoffmann et al., arXiv 2203.15556); it does not know the context length.

    So it says nothing of l*: its E is an R(l) at the one context length it was fitted at. With the context in it:
    :class:`ChinchillaContextLaw`. Fitted by :func:`theory.fit_chinchilla`.

    Attributes:
        irreducible_loss: E >= 0, nats per token.
        model_amplitude: A > 0.
        data_amplitude: B > 0.
        model_rate: alpha > 0.
        data_rate: beta > 0.
    """

    irreducible_loss: NonNegative
    model_amplitude: Positive
    data_amplitude: Positive
    model_rate: Positive
    data_rate: Positive

    @classmethod
    def hoffmann(cls) -> "ChinchillaLaw":
        """The constants of arXiv 2203.15556, approach 3."""
        return cls(1.6934, 406.4, 410.7, 0.3392, 0.2849)

    @classmethod
    def besiroglu(cls) -> "ChinchillaLaw":
        """The same data fitted with the optimiser run to its end (Besiroglu et al., arXiv 2404.10102)."""
        return cls(1.8172, 482.01, 2085.43, 0.3478, 0.3658)

    def loss(self, model_size: Scalar | Array, dataset_size: Scalar | Array) -> Float[Array, "*cells"]:
        """L(N, D), N parameters and D tokens; either may be infinite."""
        N, D = check_sizes(model_size, dataset_size)
        return np.asarray(
            self.irreducible_loss
            + self.model_amplitude * N**-self.model_rate
            + self.data_amplitude * D**-self.data_rate
        )

    @property
    def allocation_exponents(self) -> tuple[float, float]:
        """(a, b) of N ~ C^a, D ~ C^b: a = beta/(alpha+beta), b = alpha/(alpha+beta)."""
        total = self.model_rate + self.data_rate
        return self.data_rate / total, self.model_rate / total

    def best_allocation(self, compute: Scalar | Array) -> tuple[Float[Array, "*cells"], Float[Array, "*cells"]]:
        """(N, D) of smallest loss with 6 N D = C floating-point operations.

        N = G (C/6)^a, D = (C/6)^b / G, G = (alpha A / (beta B))^(1/(alpha+beta)).

        Raises:
            ValueError: C is not above 0.
        """
        C = np.asarray(compute, np.float64)
        if not np.all(C > 0):
            raise ValueError(f"compute must be above 0; got {compute!r}")
        a, b = self.allocation_exponents
        ratio = self.model_rate * self.model_amplitude / (self.data_rate * self.data_amplitude)
        G = ratio ** (1 / (self.model_rate + self.data_rate))
        return np.asarray(G * (C / 6) ** a), np.asarray((C / 6) ** b / G)


def check_sizes(model_size: Scalar | Array, dataset_size: Scalar | Array) -> tuple[Array, Array]:
    """N and D as arrays; ValueError unless both are above zero."""
    N, D = np.asarray(model_size, np.float64), np.asarray(dataset_size, np.float64)
    if not (np.all(N > 0) and np.all(D > 0)):
        raise ValueError(f"model and dataset sizes must be above 0; got {model_size!r}, {dataset_size!r}")
    return N, D


@dataclasses.dataclass(frozen=True)
class ChinchillaContextLaw(Law):
    """G(l, D) = A N^(-a) l^u + B D^(-b) l^w: both terms of Hoffmann et al. (arXiv 2203.15556) grow with the context.

    A form to test, not a result. A table has one N and cannot tell A from a, so a and u are given; N = inf drops the
    term (A then stays as it is) and leaves :class:`theory.laws.PowerLaw`. If u = w and R = C0 + C/l^gamma,
    l* = (C gamma / (w (A N^(-a) + B D^(-b))))^(1/(gamma+w)): it grows as D^(b/(gamma+w)) until the model's size stops
    it.

    Attributes:
        data_amplitude: B.
        data_length_exponent: w.
        data_rate: b.
        model_size: N, given; may be infinite.
        model_amplitude: A.
        model_length_exponent: u, given.
        model_rate: a > 0, given.
    """

    data_amplitude: float = 1.0
    data_length_exponent: float = 1.0
    data_rate: float = 1.0
    model_size: ModelSize = np.inf
    model_amplitude: float = 1.0
    model_length_exponent: Number = 1.0
    model_rate: Positive = 1.0

    name: ClassVar[str] = "Chinchilla with context"
    equation: ClassVar[str] = "A N^(-a) l^u + B D^(-b) l^w"
    growth: ClassVar[str] = "(C gamma / (w (A N^(-a) + B D^(-b))))^(1/(gamma+w)) if u = w: stops at a finite N"
    source: ClassVar[str] = "arXiv 2203.15556 with powers of l"
    fitted: ClassVar[tuple[str, ...]] = ("data_amplitude", "data_length_exponent", "data_rate", "model_amplitude")
    positive: ClassVar[tuple[str, ...]] = ("data_amplitude", "model_amplitude")
    universal: ClassVar[tuple[str, ...]] = ("model_rate",)
    """At one model size the fitted amplitude A makes up for any value of a."""

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        visible = np.asarray(context_length) > 0
        length = np.where(visible, context_length, 1).astype(np.float64)
        of_model = power_product(
            self.model_amplitude, (self.model_size, -self.model_rate), (length, self.model_length_exponent)
        )
        of_data = power_product(
            self.data_amplitude, (dataset_size, -self.data_rate), (length, self.data_length_exponent)
        )
        return np.where(visible, of_model + of_data, 0.0)

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        length, size = (float(np.median(np.maximum(x, 1))) for x in (context_length, dataset_size))
        middle = 0.1 * float(truth.bayes_risk[0] - truth.bayes_risk[-1])
        of_model = self.model_size**self.model_rate if np.isfinite(self.model_size) else 1.0
        for rate, exponent in itertools.product((0.3, 1.0), (0.5, 1.5)):
            yield {
                "data_amplitude": middle * size**rate / length**exponent,
                "data_length_exponent": exponent,
                "data_rate": rate,
                "model_amplitude": 0.3 * middle * of_model / length**self.model_length_exponent,
            }

    def power_law_optimum(
        self, dataset_size: Scalar | Array, reducible: Scalar, exponent: Scalar
    ) -> Float[Array, "*sizes"]:
        """l*(D) in closed form, for R(l) = C0 + C/l^gamma and u = w > 0.

        Args:
            dataset_size: D.
            reducible: C > 0.
            exponent: gamma > 0.

        Raises:
            ValueError: u and w differ (then there is no closed form), or are not above 0.
        """
        w = self.data_length_exponent
        if w <= 0 or w != self.model_length_exponent:
            raise ValueError(
                "the closed form needs data_length_exponent = model_length_exponent > 0; got "
                f"{w} and {self.model_length_exponent}"
            )
        C, gamma = check_positive("reducible", reducible), check_positive("exponent", exponent)
        D = np.asarray(dataset_size, np.float64)
        cost = self.model_amplitude * self.model_size**-self.model_rate + self.data_amplitude * D**-self.data_rate
        return np.asarray((C * gamma / (w * cost)) ** (1 / (gamma + w)))
