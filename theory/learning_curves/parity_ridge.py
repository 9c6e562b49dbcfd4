"""Expected risk of polynomial ridge regression on parities: what a kernel learns of them, and how late."""

import numpy as np
from jaxtyping import Float
from scipy.special import comb

from theory.checks import check_integer
from theory.learning_curves.ridge import RidgeRisk, isotropic_ridge_risk
from theory.types import Array, Integer, Scalar


def parity_ridge_risk(
    solvable: Scalar | Array,
    context_length: Scalar | Array,
    penalty: Scalar | Array,
    samples_per_task: Scalar | Array,
    degree: Integer = 2,
) -> RidgeRisk:
    """E[squared error] of ridge regression on all monomials of degree k of l visible +-1 bits, at large n.

    Each task has its own n = D/T samples and weights. Fair bits make the p = C(l, k) monomials uncorrelated, of unit
    variance. The answer +-1 of a solvable task is one of them: signal 1, no noise. That of any other task is unrelated
    to all of them: noise 1, no signal. With the bias and variance of :func:`isotropic_ridge_risk`, per unit of each,
    and a share s of solvable tasks,

        total = s bias + (1 - s) (1 + variance).

    So the single penalty that serves all tasks best is ``best_isotropic_penalty(s, 1 - s, p, n)``.

    Monomials of few bits hang together. At penalty 0.3 and n about p, simulated bias and variance of degree 2 differ
    from these by 3% at l = 12, by 1 to 2% at l = 24 and by less than 0.5% at l = 32 (there n about p/2); degree 3 by 4%
    at l = 12. Small penalties make it more, large ones less.

    Args:
        solvable: s, the share of tasks whose monomial is visible; it broadcasts with l, penalty and n.
        context_length: l >= 0.
        penalty: 0 or above, of mean squared error.
        samples_per_task: n > 0.
        degree: k >= 1.

    Raises:
        ValueError: an argument outside its range.
    """
    k = check_integer("degree", degree, 1)
    s, length = np.asarray(solvable, np.float64), np.asarray(context_length, np.float64)
    if not (np.all((s >= 0) & (s <= 1)) and np.all(length >= 0)):
        raise ValueError(
            "the solvable share must lie between 0 and 1 and the context length not be negative; got "
            f"{solvable!r}, {context_length!r}"
        )
    return isotropic_ridge_risk(s, 1 - s, n_monomials(length, k), penalty, samples_per_task)


def n_monomials(context_length: Scalar | Array, degree: Integer) -> Float[Array, "*l"]:
    """C(l, k), the number of products of k different bits of l."""
    return np.asarray(comb(np.asarray(context_length, np.float64), degree))
