"""k-bit parities hidden among l bits: how many samples a task needs before it is learned at all."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import comb, expit

from theory.checks import check_integer, set_fields
from theory.laws.base import Law, Truth
from theory.types import Array


@dataclasses.dataclass(frozen=True)
class PolynomialThresholdLaw(Law):
    """G(l, D) = Gmax(l) / (1 + (D / (T c C(l, k)))^q): a kernel learner must weigh every product of k bits.

    Each of T tasks gets D/T samples and needs c C(l, k) of them. With fewer than k bits in sight there is no candidate
    and nothing to learn. Ridge regression on the products behaves so
    (:func:`theory.wishart.marchenko_pastur_resolvent_trace` solves it); its tail has q = 1.

    Attributes:
        samples_per_candidate: c.
        steepness: q.
        degree: k >= 1, given.
        n_tasks: T >= 1, given.
    """

    samples_per_candidate: float = 1.0
    steepness: float = 1.0
    degree: int = 2
    n_tasks: int = 1

    name: ClassVar[str] = "polynomial threshold"
    equation: ClassVar[str] = "Gmax(l) / (1 + (D / (T c C(l, k)))^q)"
    growth: ClassVar[str] = "(D/T)^(1/(k + gamma/q)); (k! D / (c T))^(1/k) as q -> infinity"
    source: ClassVar[str] = "number of products of k of l bits; arXiv 2502.01481's task"
    fitted: ClassVar[tuple[str, ...]] = ("samples_per_candidate", "steepness")
    positive: ClassVar[tuple[str, ...]] = ("samples_per_candidate", "steepness")

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, degree=check_integer("degree", self.degree, 1))
        set_fields(self, n_tasks=check_integer("n_tasks", self.n_tasks, 1))

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        with np.errstate(divide="ignore"):  # no candidate: the logarithm of zero
            log_candidates = np.log(comb(context_length, self.degree))
        log_ratio = np.log(dataset_size / self.n_tasks) - np.log(self.samples_per_candidate) - log_candidates
        return np.asarray(truth.largest_gap(context_length) * expit(-self.steepness * log_ratio))

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        needed = self.n_tasks * self.samples_per_candidate * comb(context_length, self.degree)
        return {"enough samples for every task": np.asarray(dataset_size >= needed)}

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        candidates = float(np.median(np.maximum(comb(context_length, self.degree), 1.0)))
        scale = float(np.median(dataset_size)) / (self.n_tasks * candidates)
        for q, factor in itertools.product((0.5, 1.0, 3.0), (0.1, 1.0, 10.0)):
            yield {"samples_per_candidate": factor * scale, "steepness": q}


@dataclasses.dataclass(frozen=True)
class LogThresholdLaw(Law):
    """G(l, D) = Gmax(l) x / (1 + x), x = (C(l, k) - 1) 2^(-D/(c T)): the Bayes learner halves its candidates.

    x is the number of wrong candidates that D/T samples, c of them worth one bit, leave beside the right one, and
    x/(1+x) their share of the posterior when each has the same prior: a mean field, within 0.12 nats and one sample of
    the exact posterior (2 of 24 bits). Half of Gmax is left at c log2(C(l, k) - 1)
    samples a task. With c = 1 (noise-free labels) nothing is left to fit; noise makes c larger.

    Attributes:
        samples_per_bit: c.
        degree: k >= 1, given.
        n_tasks: T >= 1, given.
    """

    samples_per_bit: float = 1.0
    degree: int = 2
    n_tasks: int = 1

    name: ClassVar[str] = "logarithmic threshold"
    equation: ClassVar[str] = "Gmax(l) x / (1 + x), x = (C(l, k) - 1) 2^(-D/(c T))"
    growth: ClassVar[str] = "2^(D/(c k T)): practically the whole window at once"
    source: ClassVar[str] = "posterior over C(l, k) parities; arXiv 2502.01481's task"
    fitted: ClassVar[tuple[str, ...]] = ("samples_per_bit",)
    positive: ClassVar[tuple[str, ...]] = ("samples_per_bit",)

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, degree=check_integer("degree", self.degree, 1))
        set_fields(self, n_tasks=check_integer("n_tasks", self.n_tasks, 1))

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        with np.errstate(divide="ignore"):  # no wrong candidate: the logarithm of zero
            log_wrong = np.log(np.maximum(comb(context_length, self.degree) - 1, 0.0))
        left = log_wrong - dataset_size * np.log(2) / (self.samples_per_bit * self.n_tasks)
        return np.asarray(truth.largest_gap(context_length) * expit(left))

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        bits = np.log2(np.maximum(comb(context_length, self.degree), 1.0))
        return {"enough samples for every task": np.asarray(dataset_size >= self.n_tasks * self.samples_per_bit * bits)}

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        per_bit = float(np.median(dataset_size)) / self.n_tasks / 8
        return ({"samples_per_bit": per_bit * factor} for factor in (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0))
