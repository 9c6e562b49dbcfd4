"""Skills of Zipf's frequencies, each learned whole once it has been seen often enough."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import gammainc, gammaincc, gammaln, zeta

from theory.checks import check_positive
from theory.laws.base import Law, Truth
from theory.types import Array, Scalar

_TERMS = 24
"""Quanta summed one by one; the Euler-Maclaurin formula adds the rest, to about 2e-7 of the whole."""


def unlearned_share(
    dataset_size: Scalar | Array, exponent: Scalar, observations: Scalar | Array = 1.0
) -> Float[Array, "*cells"]:
    """U(D) = sum_k P_k Pr[Poisson(D P_k) < m], P_k = k^-(1+alpha) / zeta(1+alpha): use of what is not learned yet.

    The sum over infinitely many quanta. With a = alpha/(1+alpha), A = 1/zeta(1+alpha) it tends to

        A^(1/(1+alpha)) Gamma(m+a) / (alpha Gamma(m)) D^(-a).

    (Michaud, Liu, Girit & Tegmark, arXiv 2303.13506; Nam et al., arXiv 2404.17563.)

    Args:
        dataset_size: D > 0.
        exponent: alpha > 0.
        observations: m > 0; Pr is the regularised incomplete gamma function, so m need not be whole.

    Returns:
        A share in [0, 1].
    """
    alpha = check_positive("exponent", exponent)
    D, m = np.broadcast_arrays(np.asarray(dataset_size, np.float64), np.asarray(observations, np.float64))
    if not (np.all(D > 0) and np.all(m > 0)):
        raise ValueError(f"dataset_size and observations must be above 0; got {dataset_size!r}, {observations!r}")
    a, share = alpha / (1 + alpha), 1 / zeta(1 + alpha)
    frequency = share * np.arange(1, _TERMS + 1) ** -(1 + alpha)
    head = np.sum(frequency * gammaincc(m[..., None], D[..., None] * frequency), axis=-1)
    # From K = _TERMS on: integral of f, in closed form with y = D P(x), less f(K)/2 and f'(K)/12.
    last = frequency[-1]
    y = D * last
    power = np.exp(np.log(share) / (1 + alpha) - a * np.log(D)) / alpha
    moments = np.exp(gammaln(m + a) - gammaln(m)) * gammainc(m + a, y)
    rest = power * (y**a * gammaincc(m, y) + moments)
    density = np.exp(m * np.log(y) - y - gammaln(m))
    slope = last * (density - gammaincc(m, y)) * (1 + alpha) / _TERMS
    return np.asarray(np.clip(head + rest - last * gammaincc(m, y) / 2 - slope / 12, 0.0, 1.0))


@dataclasses.dataclass(frozen=True)
class QuantaLaw(Law):
    """G(l, D) = Gmax(l) U(D; m(l)), m(l) = c l^p: quanta seen fewer than m times are not learned.

    Michaud et al. (arXiv 2303.13506) and its solvable form by Nam et al. (arXiv 2404.17563), times a context: how often
    a quantum is used and how far back it looks are independent, and the longer the context, the more observations a
    quantum needs. U (:func:`unlearned_share`) falls as D^(-alpha/(1+alpha)), so at large D this is G ~ Gmax(l)
    l^(p a) D^(-a), a = alpha/(1+alpha).

    Attributes:
        exponent: alpha, of the frequencies k^-(1+alpha).
        observations: c, at l = 1.
        length_exponent: p.
    """

    exponent: float = 0.5
    observations: float = 10.0
    length_exponent: float = 1.0

    name: ClassVar[str] = "quanta"
    equation: ClassVar[str] = "Gmax(l) sum_k P_k Pr[Poisson(D P_k) < c l^p], P_k ~ k^-(1+alpha)"
    growth: ClassVar[str] = "D^(a/(gamma + p a)), a = alpha/(1+alpha)"
    source: ClassVar[str] = "arXiv 2303.13506, 2404.17563"
    fitted: ClassVar[tuple[str, ...]] = ("exponent", "observations", "length_exponent")
    positive: ClassVar[tuple[str, ...]] = ("exponent", "observations")

    def threshold(self, context_length: Array) -> Float[Array, "*cells"]:
        """m(l): the observations a quantum needs."""
        log_length = np.log(np.maximum(context_length, 1))
        # The bounds only keep a wild step of an optimiser from overflowing.
        return np.asarray(np.exp(np.clip(np.log(self.observations) + self.length_exponent * log_length, -20.0, 20.0)))

    def approximation_loss(self, context_length: Array, dataset_size: Array, truth: Truth) -> Float[Array, "*cells"]:
        exponent = float(np.clip(self.exponent, 1e-3, 30.0))
        unlearned = unlearned_share(dataset_size, exponent, self.threshold(context_length))
        return np.asarray(truth.largest_gap(context_length) * unlearned)

    def conditions(self, context_length: Array, dataset_size: Array, truth: Truth) -> dict[str, Bool[Array, "*cells"]]:
        """Once the commonest quantum is learned, D P_1 > m, the power law begins."""
        commonest = dataset_size / zeta(1 + self.exponent)
        return {"commonest quantum learned": np.asarray(commonest > self.threshold(context_length))}

    def starting_points(
        self, context_length: Array, dataset_size: Array, truth: Truth
    ) -> Iterable[Mapping[str, float]]:
        per_token = float(np.median(dataset_size)) / float(np.median(np.maximum(context_length, 1)))
        for alpha, share in itertools.product((0.3, 1.0), (0.01, 0.1)):
            yield {"exponent": alpha, "observations": share * per_token, "length_exponent": 1.0}
