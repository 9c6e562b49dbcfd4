"""k-bit parities hidden among l bits: how many samples a task needs before it is learned at all."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import comb, factorial

from theory.checks import Count, NonNegative, such_that
from theory.laws.base import Law, PowerLawRisk, Truth
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class PolynomialThresholdLaw(Law):
    """G(l, D) = Gmax(l) max(0, 1 - D / (T c C(l, k))): a kernel learner must weigh every product of k bits.

    Each of T tasks gets n = D/T samples. The shortest weights that fit them are the true ones projected on n random
    directions of p = C(l, k): a share 1 - n/p of the signal is left, and nothing from n = p on, as the labels are exact
    (the bias of minimum-norm interpolation, arXiv 1903.08560). So c = 1 for squared errors without noise; a learner
    that needs more of them has a larger c. With fewer than k visible bits there is no candidate and nothing to learn.

    Attributes:
        samples_per_candidate: c.
        degree: k >= 1, given.
        n_tasks: T >= 1, given.
    """

    samples_per_candidate: float = 1.0
    degree: Count = 2
    n_tasks: Count = 1

    name: ClassVar[str] = "polynomial threshold"
    equation: ClassVar[str] = "Gmax(l) max(0, 1 - D / (T c C(l, k)))"
    growth: ClassVar[str] = "(k! D / (c T))^(1/k)"
    source: ClassVar[str] = "number of products of k of l bits; arXiv 2502.01481's task"
    fitted: ClassVar[tuple[str, ...]] = ("samples_per_candidate",)
    positive: ClassVar[tuple[str, ...]] = ("samples_per_candidate",)

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        candidates = comb(context_length, self.degree)
        needed = self.n_tasks * self.samples_per_candidate * np.maximum(candidates, 1.0)
        left = np.where(candidates > 0, np.maximum(1 - dataset_size / needed, 0.0), 0.0)
        return np.asarray(truth.largest_gap(context_length) * left)

    def leading_order(self, dataset_size: Scalar | Array, risk: PowerLawRisk) -> Float[Array, "*sizes"]:
        """l*(D) to leading order at large D, from C(l, k) ~ l^k / k!."""
        per_candidate = np.asarray(dataset_size, np.float64) / (self.samples_per_candidate * self.n_tasks)
        return np.asarray((factorial(self.degree) * per_candidate) ** (1 / self.degree))

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        needed = self.n_tasks * self.samples_per_candidate * comb(context_length, self.degree)
        return {"enough samples for every task": np.asarray(dataset_size >= needed)}

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        candidates = float(np.median(np.maximum(comb(context_length, self.degree), 1.0)))
        scale = float(np.median(dataset_size)) / (self.n_tasks * candidates)
        return ({"samples_per_candidate": factor * scale} for factor in (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0))


@dataclasses.dataclass(frozen=True)
class LogThresholdLaw(Law):
    """G(l, D) = Gmax(l) log2((1 + x) / (1 + x/2)), x = (C(l, k) / (1 - pi0) - 1) 2^(-D/(c T)), of Bayes' rule.

    With pi0 = 0, x is the number of wrong candidates that D/T samples, c of them worth one bit, leave beside the right
    one; half of them agree with it, so that the right answer has probability (1 + x/2) / (1 + x). A prior pi0 of
    "no parity at all" weighs as C(l, k) pi0 / (1 - pi0) more that answer by a coin. This is a mean field. Where the
    task is solvable it is within 0.07, 0.02 and 0.003 nats of the exact risk
    (:func:`theory.learning_curves.parity_posterior_risk`) at pi0 = 0, 1/2 and 0.9. Half of Gmax is left at x = sqrt 2.
    Noise-free labels have c = 1, and noise makes c larger.

    Attributes:
        samples_per_bit: c.
        degree: k >= 1, given.
        n_tasks: T >= 1, given.
        noise_prior: pi0 in [0, 1), given.
    """

    samples_per_bit: float = 1.0
    degree: Count = 2
    n_tasks: Count = 1
    noise_prior: Annotated[NonNegative, such_that(lambda pi: pi < 1, "must lie in [0, 1)")] = 0.0

    name: ClassVar[str] = "logarithmic threshold"
    equation: ClassVar[str] = "Gmax(l) log2((1 + x) / (1 + x/2)), x = (C(l, k)/(1 - pi0) - 1) 2^(-D/(c T))"
    growth: ClassVar[str] = "~ 2^(D/(c T (k+gamma))): practically the whole window at once"
    source: ClassVar[str] = "posterior over C(l, k) parities; arXiv 2502.01481's task"
    fitted: ClassVar[tuple[str, ...]] = ("samples_per_bit",)
    positive: ClassVar[tuple[str, ...]] = ("samples_per_bit",)

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        with np.errstate(divide="ignore"):  # no wrong candidate: the logarithm of zero
            log_wrong = np.log(np.maximum(comb(context_length, self.degree) / (1 - self.noise_prior) - 1, 0.0))
        log_left = log_wrong - dataset_size * np.log(2) / (self.samples_per_bit * self.n_tasks)
        surprise = np.logaddexp(0, log_left) - np.logaddexp(0, log_left - np.log(2))
        return np.asarray(truth.largest_gap(context_length) * surprise / np.log(2))

    def leading_order(self, dataset_size: Scalar | Array, risk: PowerLawRisk) -> Float[Array, "*sizes"]:
        """(2 ln 2 (k-1)! gamma b^gamma (1-pi0) 2^(D/(c T)))^(1/(k+gamma)): l*(D) to leading order at large D.

        Here G is about Gmax x / (2 ln 2) with x ~ l^k / k!. The length is infinite where a double cannot hold it.
        """
        bits = np.asarray(dataset_size, np.float64) / (self.samples_per_bit * self.n_tasks)
        gamma, known = risk.exponent, 1 - self.noise_prior
        factor = 2 * np.log(2) * factorial(self.degree - 1) * gamma * risk.offset**gamma * known
        with np.errstate(over="ignore"):
            return np.asarray((factor * 2.0**bits) ** (1 / (self.degree + gamma)))

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        bits = np.log2(np.maximum(comb(context_length, self.degree), 1.0))
        return {"enough samples for every task": np.asarray(dataset_size >= self.n_tasks * self.samples_per_bit * bits)}

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        per_bit = float(np.median(dataset_size)) / self.n_tasks / 8
        return ({"samples_per_bit": per_bit * factor} for factor in (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0))
