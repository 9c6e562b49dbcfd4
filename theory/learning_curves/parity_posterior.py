"""Expected risk of the exact posterior over which parity of the visible bits is asked for, or whether any is."""

import numpy as np
from jaxtyping import Float
from scipy.special import xlog1py

from theory.checks import check_number
from theory.learning_curves.table import STEP, log_integral_nodes
from theory.types import Array, Scalar

_SETTLED = 1000.0
"""Samples beyond which 2^-n would leave float64, and no risk moves any more."""


def parity_posterior_risk(
    n_subsets: Scalar | Array, samples: Scalar | Array, solvable: bool | Array, noise_prior: Scalar = 0.5
) -> Float[Array, "*cells"]:
    """E[-ln Q(y | x)] of the Bayes learner of one sparse parity, from n samples of fair bits and the answer.

    Hypotheses: one of M subsets of the visible bits is the parity, each with prior (1 - pi0) / M, or the answer is a
    fair coin, with prior pi0. Where the true subset is visible, K of the M - 1 others survive n samples, of which B
    agree with it on the new sample; where it is not, K of M survive a coin's answers, of which B agree with one more:

        Q = (B + 1 + r/2) / (K + 1 + r)   solvable,       Q = (B + r/2) / (K + r)   not,      r = M pi0 2^-n / (1 - pi0)
        K ~ Binomial(M - 1 or M, 2^-n),   B ~ Binomial(K, 1/2).

    Different parities are independent in pairs, so mean and variance of K and B are exact. Their binomial laws are
    exact where the parities that compete, each added to the true one, are linearly independent over GF(2): single bits,
    and the three pairs of three bits. Otherwise they are an approximation, good for M >> 1. The mean over the binomial
    laws is itself exact: ln y = int_0^inf (e^-t - e^-ty)/t dt turns it into one smooth integral in ln t.

    The risk falls from about ln 2 to 0 around n = log2 M + 1 if the task is solvable, and stays above ln 2 otherwise.

    Args:
        n_subsets: M; C(l, k) for subsets of k of l visible bits. At least 1 where solvable, 0 or more otherwise.
        samples: n >= 0, those of this task.
        solvable: whether the true subset is among the M; broadcasts with M and n.
        noise_prior: pi0 in (0, 1).

    Returns:
        The expected loss in nats, to 1e-12; of solvable tasks to 1e-12 of itself, however small it is.

    Raises:
        ValueError: arguments outside their ranges.
    """
    pi0 = check_number("noise_prior", noise_prior)
    if not 0 < pi0 < 1:
        raise ValueError(f"noise_prior must be above 0 and below 1; got {noise_prior!r}")
    M, n, known = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (n_subsets, samples, solvable)))
    if not (np.all(n >= 0) and np.all(known <= M)):
        raise ValueError(
            "the number of samples must not be negative, and that of subsets not below 0, or 1 where the task is "
            f"solvable; got {samples!r}, {n_subsets!r}"
        )
    survives = 2.0 ** -np.minimum(n, _SETTLED)
    half_noise = np.where(M == 0, 1.0, M) * survives * pi0 / (1 - pi0) / 2
    wrong, offset = M - known, known + half_noise
    total = np.zeros(M.shape)
    largest = 2 * float(offset.max(initial=0.0)) + float(wrong.max(initial=0.0))
    for t in log_integral_nodes(float(offset.min(initial=1.0)), largest):
        agree = survives / 2 * np.expm1(-t)
        # E e^-t(B + offset) - E e^-t(K + offset + r/2), as a product: the two may be all but equal.
        ratio = xlog1py(wrong, agree / (1 + agree)) - t * half_noise
        total -= np.exp(wrong * np.log1p(agree) - t * offset) * np.expm1(ratio)
    return np.asarray(STEP * total)
