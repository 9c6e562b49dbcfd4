"""Expected risk of a table of counts: what followed each context, smoothed by a Dirichlet prior."""

import numpy as np
from jaxtyping import Float

from theory.checks import check_integer, check_positive
from theory.types import Array, Integer, Scalar

STEP = 0.2
"""Step in ln t of the trapezoidal rule. The integrand is analytic for |Im ln t| < pi/2: the error is e^(-pi^2/0.2)."""


def table_risk(
    joint_law: Float[Array, "contexts classes"], dataset_size: Integer, concentration: Scalar = 0.5
) -> float:
    """E[log-loss] of Q(y | x) = (n_xy + c) / (n_x + c K) after D independent samples (x, y): exact at finite D.

    The counts are binomial, n_x ~ B(D, P(x)) and n_xy ~ B(D, P(x, y)), and a new sample is independent of them:

        E[-ln Q] = sum_x P(x) E ln(n_x + c K) - sum_xy P(x, y) E ln(n_xy + c)

    At large D its excess over the conditional entropy of the law is (K - 1) C / (2 D), C the number of contexts that
    occur (each with K answers that occur), as for any regular model of (K - 1) C parameters.

    Args:
        joint_law: P(x, y), summing to one.
        dataset_size: D >= 1.
        concentration: c > 0.

    Returns:
        The expected loss in nats, to about 1e-13.

    Raises:
        ValueError: D < 1, c not above 0, or probabilities that are negative or do not sum to one.
    """
    D, c = check_integer("dataset_size", dataset_size, 1), check_positive("concentration", concentration)
    joint = np.asarray(joint_law, np.float64)
    if joint.ndim != 2 or not np.all(joint >= 0) or abs(joint.sum() - 1) > 1e-9:
        raise ValueError(
            "joint_law must hold probabilities of (context, answer) that sum to one; got an array of shape "
            f"{joint.shape} with smallest entry {joint.min(initial=np.inf):.3g} and sum {joint.sum():.6g}"
        )
    occurs = joint.sum(axis=1) > 0
    joint, contexts = joint[occurs], joint[occurs].sum(axis=1)
    of_contexts = expected_log_count(D, contexts, c * joint.shape[1])
    return float(contexts @ of_contexts - np.sum(joint * expected_log_count(D, joint, c)))


def expected_log_count(n_draws: Integer, probability: Float[Array, "*cells"], offset: Scalar) -> Float[Array, "*cells"]:
    """E ln(n + a), n binomial of N >= 1 draws of probability p, a > 0.

    From ln y = int_0^inf (e^-t - e^-ty)/t dt and E e^-tn = (1 - p + p e^-t)^N: one smooth integral in ln t.
    """
    a, N = check_positive("offset", offset), check_integer("n_draws", n_draws, 1)
    p = np.clip(np.asarray(probability, np.float64), 0.0, 1.0)  # a sum of probabilities may pass 1 by rounding
    total = np.zeros_like(p)
    with np.errstate(divide="ignore"):  # p = 1 at large t: the logarithm of zero
        for t in log_integral_nodes(a, N + a):
            total += np.exp(-t) - np.exp(N * np.log1p(p * np.expm1(-t)) - t * a)
    return np.asarray(STEP * total)


def log_integral_nodes(smallest: Scalar, largest: Scalar) -> Float[Array, "nodes"]:
    """The t at which to sum :data:`STEP` times t times the integrand of ln y = int_0^inf (e^-t - e^-ty)/t dt.

    They serve every y from ``smallest`` to ``largest``. Below the first node both exponentials are 1 to rounding, and
    beyond the last both vanish.
    """
    return np.exp(np.arange(-38 - np.log(1 + largest), np.log(760 / min(smallest, 1.0)), STEP))
