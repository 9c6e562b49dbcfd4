"""Quanta of knowledge with Zipf frequencies: how much is still to be learned after D samples, or by N quanta.

Quantum k = 1, 2, ... is asked for with probability p_k = A k^-(1+alpha), A = 1/zeta(1+alpha) (Michaud, Liu, Girit &
Tegmark 2023, arXiv 2303.13506). A quantum that is not learned costs 1. The last functions belong to the exactly
solvable version of Nam, Fonseca, Lee, Mingard & Louis 2024, arXiv 2404.17563.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import betainc, betaincc, betaln, poch, xlog1py, xlogy, zeta

from theory.checks import check_integer, check_positive
from theory.types import Array, Integer, Scalar

_SUMMED = 1000
"""Terms summed one by one; the rest is integrated, its Euler-Maclaurin error below 1e-14."""


def quanta_risk(
    frequencies: Float[Array, "quanta"],
    visible: Float[Array, "quanta"],
    dataset_size: Integer,
    threshold: Integer = 1,
) -> float:
    """Share of the queries that are not answered: the quantum is not visible, or was seen fewer than m times.

        1 - sum_k f_k v_k Pr[n_k >= m],      n_k ~ Binomial(D, f_k)  exactly

    With distances independent of the frequencies, v_k = F(l) for all k, it is 1 - F(l) (1 - U(D)), U the unlearned
    share: two exponents, one in the context length and one in the data. Times ln 2 it is the loss on parities.

    Args:
        frequencies: f_k, summing to one.
        visible: v_k in [0, 1], the probability that the quantum is visible.
        dataset_size: D >= 0.
        threshold: m >= 1.

    Raises:
        ValueError: arguments outside their ranges.
    """
    D, m = check_integer("dataset_size", dataset_size, 0), check_integer("threshold", threshold, 1)
    f, v = np.asarray(frequencies, np.float64), np.asarray(visible, np.float64)
    if not (np.all(f >= 0) and abs(f.sum() - 1) < 1e-9 and np.all((v >= 0) & (v <= 1))):
        raise ValueError(
            "frequencies must be non-negative and sum to one, and visible lie in [0, 1]; got frequencies with smallest "
            f"{f.min(initial=np.inf):.3g} and sum {f.sum():.6g}, visible from {v.min():.3g} to {v.max():.3g}"
        )
    return float(np.sum(f * (1 - v * (1 - _unseen(f, D, m)))))


def unlearned_fraction(
    dataset_size: Scalar | Array, alpha: Scalar, threshold: Scalar | Array = 1, n_quanta: Integer | None = None
) -> Float[Array, "*cells"]:
    """U(D): share of the queries whose quantum was seen fewer than m times among D samples.

        U(D) = sum_k p_k Pr[n_k < m],      n_k ~ Binomial(D, p_k)

    The first thousand terms are summed. The others are integrated: with s = 1/(1+alpha), a = 1 - s, I the regularised
    incomplete beta function and p = p_K,

        int_K^inf p_k Pr[n_k < m] dk
            = (s A^s / a) [p^a (1 - I_p(m, D-m+1)) + Gamma(m+a) D! / (Gamma(m) Gamma(D+1+a)) I_p(m+a, D-m+1)].

    Args:
        dataset_size: D >= 0.
        alpha: exponent, above 0.
        threshold: m, an integer, at least 1; broadcasts with D.
        n_quanta: their number, p_k being normalised over them; None for endlessly many.

    Returns:
        U(D), to about 1e-13; 1 where D < m.

    Raises:
        ValueError: arguments outside their ranges.
    """
    alpha = check_positive("alpha", alpha)
    n = None if n_quanta is None else check_integer("n_quanta", n_quanta, 1)
    D, m = np.broadcast_arrays(np.asarray(dataset_size, np.float64), np.asarray(threshold, np.float64))
    _check_counts(D, m, dataset_size, threshold)
    A = 1 / (zeta(1 + alpha) - (0.0 if n is None else zeta(1 + alpha, n + 1)))
    k = np.arange(1.0, 1 + (_SUMMED if n is None else min(n, _SUMMED)))
    p = np.minimum(A * k ** -(1 + alpha), 1.0)  # a single one may pass 1 by rounding
    total = np.sum(p * _unseen(p, D[..., None], m[..., None]), axis=-1)
    if n is None or n > _SUMMED:
        total += _from(_SUMMED + 0.5, A, alpha, D, m) - (0.0 if n is None else _from(n + 0.5, A, alpha, D, m))
    return np.asarray(total)


def unlearned_asymptote(
    dataset_size: Scalar | Array, alpha: Scalar, threshold: Scalar | Array = 1
) -> Float[Array, "*cells"]:
    """U(D) of endlessly many quanta at large D: A^(1/(1+alpha)) Gamma(m+a)/(alpha Gamma(m)) D^-a, a = alpha/(1+alpha).

    Args:
        dataset_size: D > 0.
        alpha: exponent, above 0.
        threshold: m >= 1; broadcasts with D.

    Raises:
        ValueError: arguments outside their ranges.
    """
    alpha = check_positive("alpha", alpha)
    D, m = np.broadcast_arrays(np.asarray(dataset_size, np.float64), np.asarray(threshold, np.float64))
    _check_counts(D, m, dataset_size, threshold)
    s, a = 1 / (1 + alpha), alpha / (1 + alpha)
    return np.asarray(zeta(1 + alpha) ** -s * poch(m, a) / alpha * D**-a)


def fraction_beyond(n_learned: Scalar | Array, alpha: Scalar) -> Float[Array, "*cells"]:
    """Share of the queries beyond the N most frequent quanta: A sum_{k>N} k^-(1+alpha) ~ (A/alpha) N^-alpha.

    Args:
        n_learned: N >= 0.
        alpha: exponent, above 0.

    Raises:
        ValueError: arguments outside their ranges.
    """
    alpha, N = check_positive("alpha", alpha), np.asarray(n_learned, np.float64)
    if not np.all(N >= 0):
        raise ValueError(f"the number of quanta must not be negative; got {n_learned!r}")
    return np.asarray(zeta(1 + alpha, N + 1) / zeta(1 + alpha))


def gradient_flow_skill(
    frequency: Scalar | Array, time: Scalar | Array, initial: Scalar, strength: Scalar = 1.0
) -> Float[Array, "*cells"]:
    """r(t) = R/S of one skill of the multilinear model under gradient flow.

    The model is f = sum_k a_k b_k g_k for the target S sum_k g_k, with g_k = +-1 where skill k, of frequency f, is
    asked for and 0 elsewhere, and R = a_k b_k. From a_k = b_k the loss falls by a logistic curve for each skill:

        R/S = 1 / (1 + (S/R(0) - 1) exp(-2 f S t)).

    On a training set f is the share of its samples that ask for the skill.

    Args:
        frequency: f >= 0.
        time: t >= 0, learning rate times steps; broadcasts with f.
        initial: R(0), in (0, S].
        strength: S > 0.

    Raises:
        ValueError: arguments outside their ranges.
    """
    S, R0 = check_positive("strength", strength), check_positive("initial", initial)
    f, t = np.broadcast_arrays(np.asarray(frequency, np.float64), np.asarray(time, np.float64))
    if not (R0 <= S and np.all(f >= 0) and np.all(t >= 0)):
        raise ValueError(
            "initial must be at most the strength, frequencies and times not negative; got "
            f"{initial!r}, {strength!r}, {frequency!r}, {time!r}"
        )
    return np.asarray(1 / (1 + (S / R0 - 1) * np.exp(-2 * f * S * t)))


def few_shot_skill(observations: Scalar | Array, shots: Scalar) -> Float[Array, "*cells"]:
    """R/S of a skill seen d times, of which D_c are needed: 1 - sqrt(1 - d/D_c), and 1 from D_c on.

    Args:
        observations: d >= 0.
        shots: D_c > 0.

    Raises:
        ValueError: arguments outside their ranges.
    """
    d, needed = np.asarray(observations, np.float64), check_positive("shots", shots)
    if not np.all(d >= 0):
        raise ValueError(f"the number of observations must not be negative; got {observations!r}")
    return np.asarray(1 - np.sqrt(np.maximum(1 - d / needed, 0.0)))


def multilinear_loss(
    frequencies: Float[Array, "*skills"], skills: Float[Array, "*skills"], strength: Scalar = 1.0
) -> float:
    """(S^2/2) sum_k f_k (1 - R_k/S)^2, the squared error of skills learned in part."""
    return check_positive("strength", strength) ** 2 / 2 * float(np.sum(frequencies * (1 - skills) ** 2))


def _check_counts(D: np.ndarray, m: np.ndarray, dataset_size: Scalar | Array, threshold: Scalar | Array) -> None:
    if not (np.all(D >= 0) and np.all(m >= 1) and np.all(m == np.floor(m))):
        raise ValueError(
            "the dataset size must not be negative and the threshold an integer, at least 1; got "
            f"{dataset_size!r}, {threshold!r}"
        )


def _unseen(p: Scalar | Array, D: Scalar | Array, m: Scalar | Array) -> np.ndarray:
    """Pr[n < m], n ~ Binomial(D, p)."""
    enough = m <= D
    return np.where(enough, betaincc(m, np.where(enough, D - m + 1, 1.0), p), 1.0)


def _from(k: float, A: float, alpha: float, D: Array, m: Array) -> np.ndarray:
    """sum of p_j Pr[n_j < m] over j = k + 1/2, k + 3/2, ...: the integral from k on, and the first correction to it."""
    s, a, p = 1 / (1 + alpha), alpha / (1 + alpha), A * k ** -(1 + alpha)
    enough = m <= D
    rest = np.where(enough, D - m + 1, 1.0)
    unseen = _unseen(p, D, m)
    seen_less = np.where(enough, poch(m, a) / poch(D + 1, a) * betainc(m + a, rest, p), 0.0)
    integral = s * A**s / a * (p**a * unseen + seen_less)
    # p times the density of the Beta law that I_p is the integral of.
    density = np.where(enough, np.exp(xlogy(m, p) + xlog1py(rest - 1, -p) - betaln(m, rest)), 0.0)
    slope = -(1 + alpha) * p / k * (unseen - density)
    return np.asarray(integral + slope / 24)
