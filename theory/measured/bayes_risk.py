"""The Bayes risk of data whose truth is not known, estimated from losses of a model that learned nearly all of it."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from theory.measured.loss_table import LossTableError
from theory.types import Array, Scalar

_STARTS = (0.1, 0.3, 1.0, 3.0)
"""Exponents from which the fit is tried; at each, C0 and C are a linear problem."""
_TOLERANCE = 1e-14


@dataclasses.dataclass(frozen=True)
class BayesRiskEstimate:
    """R(l) = C0 + C/l^gamma for l >= 1 (the empirical form of arXiv 2502.01481), with standard errors.

    Attributes:
        irreducible: C0, in the unit of the losses.
        reducible: C > 0, in the unit of the losses.
        exponent: gamma > 0.
        standard_errors: those of C0, C and gamma, from s^2 (J^T J)^-1 with s^2 = RSS/(n - 3) and J the Jacobian.
        largest_residual: largest distance of a loss from the curve.
        n_lengths: number n of losses fitted.
    """

    irreducible: float
    reducible: float
    exponent: float
    standard_errors: tuple[float, float, float]
    largest_residual: float
    n_lengths: int

    def risk(self, context_length: Scalar | Array) -> Float[Array, "*lengths"]:
        """R(l) at l >= 1; at l = 0 the form is infinite.

        Raises:
            ValueError: a context length is below 1.
        """
        length = np.asarray(context_length, np.float64)
        if not np.all(length >= 1):
            raise ValueError(f"C0 + C/l^gamma needs context lengths of at least 1; got {context_length!r}")
        return np.asarray(self.irreducible + self.reducible * length**-self.exponent)

    def __str__(self) -> str:
        values = zip(
            ("C0", "C", "gamma"),
            (self.irreducible, self.reducible, self.exponent),
            self.standard_errors,
            strict=True,
        )
        constants = ", ".join(f"{name} = {value:.4g} +- {error:.2g}" for name, value, error in values)
        return (
            f"C0 + C/l^gamma with {constants} ({self.n_lengths} lengths, residuals up to {self.largest_residual:.2g})"
        )


def estimate_bayes_risk(context_lengths: Array, losses: Array) -> BayesRiskEstimate:
    """Fit C0 + C/l^gamma to one loss at each context length by least squares, with equal weights.

    The losses are R(l) + KL(P_l || Q_l) of the measured model. So the fit overestimates R by the approximation loss of
    the model: take the best model there is. The standard errors suppose independent residuals, which are mostly the
    misfit of the form.

    Args:
        context_lengths: distinct l >= 1, at least four.
        losses: one loss for each context length.

    Raises:
        LossTableError: too few context lengths, or losses from which gamma > 0 cannot be told from 0: they do not fall,
            or do not level off.
        ValueError: shapes differ, or values that are not finite, below 1 or repeated.
    """
    length, loss = np.asarray(context_lengths, np.float64), np.asarray(losses, np.float64)
    if length.ndim != 1 or length.shape != loss.shape:
        raise ValueError(f"one loss for each context length: got shapes {length.shape} and {loss.shape}")
    if not (np.all(np.isfinite(length)) and np.all(length >= 1) and np.all(np.isfinite(loss))):
        raise ValueError(f"context lengths must be at least 1 and losses finite; got {length} and {loss}")
    if len(np.unique(length)) != len(length):
        raise ValueError(f"context lengths must be distinct; got {length}: average the losses of repeated ones")
    if len(length) < 4:
        raise LossTableError(
            f"{len(length)} context lengths cannot fix C0, C, gamma and their errors: measure at least four, or give "
            "the Bayes risk in a column bayes_risk"
        )

    # In a unit of their own range, losses of any size leave the optimiser's products finite.
    origin, unit = float(loss.mean()), float(np.ptp(loss)) or 1.0
    scaled = (loss - origin) / unit

    def residuals(constants: Array) -> Array:
        return constants[0] + constants[1] * length ** -np.exp(constants[2]) - scaled

    solutions = []
    for gamma in _STARTS:
        columns = np.stack([np.ones_like(length), length**-gamma], axis=1)
        start = np.append(np.linalg.lstsq(columns, scaled)[0], np.log(gamma))
        solutions.append(
            least_squares(
                residuals, start, "3-point", x_scale="jac", xtol=_TOLERANCE, ftol=_TOLERANCE, gtol=_TOLERANCE,
                bounds=([-np.inf, -np.inf, np.log(1e-3)], [np.inf, np.inf, np.log(1e2)]),
            )
        )  # fmt: skip
    best = min(solutions, key=lambda solution: solution.cost)
    C0, C, gamma = origin + unit * best.x[0], unit * best.x[1], float(np.exp(best.x[2]))
    variance = 2 * best.cost / (len(length) - 3)
    # J's last column is for ln gamma, whose error is the relative one of gamma.
    _, sizes, directions = np.linalg.svd(best.jac, full_matrices=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.sqrt(variance * np.sum((directions / sizes[:, None]) ** 2, axis=0)) * [unit, unit, gamma]
    if not (C > 0 and errors[2] < gamma and 2e-3 < gamma < 50):
        raise LossTableError(
            f"the losses at l = {length[0]:.0f}..{length[-1]:.0f} fit C0 + C/l^gamma with C = {C:.3g}, gamma = "
            f"{gamma:.3g} +- {errors[2]:.2g}: they do not fall with l, or do not level off. Measure longer contexts "
            "with a better model, or give the Bayes risk in a column bayes_risk"
        )
    errors_of = (float(errors[0]), float(errors[1]), float(errors[2]))
    return BayesRiskEstimate(float(C0), float(C), gamma, errors_of, float(unit * np.abs(best.fun).max()), len(length))
