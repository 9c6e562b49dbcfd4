"""Fitting the law of Hoffmann et al., L = E + A/N^alpha + B/D^beta, to losses over model and dataset sizes."""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.stats import norm
from scipy.stats import t as student_t

from theory.laws.chinchilla import ChinchillaLaw, check_sizes
from theory.measured.chinchilla_search import HUBER_DELTA, LARGEST_LOG, Runs
from theory.measured.loss_table import LossTableError
from theory.types import Array

LEVEL = 0.9
"""Confidence level of the intervals."""
_RATES, _LOG_AMPLITUDES, _LOG_FLOORS = (0.0, 0.5, 1.0, 1.5, 2.0), (0, 5, 10, 15, 20, 25), (-1.0, -0.5, 0.0, 0.5, 1.0)
_FIRST_STEPS, _STEPS, _POLISHED = 60, 500, 3
_CONSTANTS = {
    "E": "irreducible_loss", "A": "model_amplitude", "B": "data_amplitude", "alpha": "model_rate", "beta": "data_rate"
}  # fmt: skip
_SHARE = 0.5
"""Share of the slopes across a line that the law allows, which a confidence interval may fill."""
_EXACT = 1e-9
"""A departure from a line, relative to its length, that is rounding."""
_NOTHING = 1e-50
"""Keeps quotients finite."""


@dataclasses.dataclass(frozen=True)
class ChinchillaFit:
    """A fitted law and how well it is fixed. Printed, it is a table of its constants.

    Attributes:
        law: the law with its fitted constants.
        objective: sum of the Huber losses of all runs.
        intervals: the central 90 % interval of each constant. An end that the runs do not fix is 0 or infinite.
        n_runs: number of runs fitted.
    """

    law: ChinchillaLaw
    objective: float
    intervals: Mapping[str, tuple[float, float]]
    n_runs: int

    def __str__(self) -> str:
        lines = [f"L = E + A/N^alpha + B/D^beta, fitted to {self.n_runs} runs, with {LEVEL:.0%} intervals"]
        for symbol, name in _CONSTANTS.items():
            low, high = self.intervals[name]
            lines.append(f"{symbol:<6} {getattr(self.law, name):<9.4g} [{low:.4g}, {high:.4g}]")
        of_model, of_data = self.law.allocation_exponents
        return "\n".join([*lines, f"compute-optimal: N ~ C^{of_model:.3f}, D ~ C^{of_data:.3f}"])


def fit_chinchilla(model_size: Array, dataset_size: Array, loss: Array) -> ChinchillaFit:
    """The constants that minimise sum_i Huber(ln L(N_i, D_i) - ln L_i), delta = 1e-3, over runs i.

    The method of Hoffmann et al. (arXiv 2203.15556, approach 3): ln L is the log-sum-exp of
    (e, a - alpha ln N, b - beta ln D) with E = exp(e), A = exp(a), B = exp(b). Of their 4500 starting points a descent
    begins, for each of the 25 pairs (alpha, beta), at the one whose objective is smallest. The objective is summed:
    averaged over runs it falls below the tolerances of usual optimisers, which then stop early, at other constants
    (Besiroglu et al., arXiv 2404.10102).

    Five constants need at least three model sizes and three dataset sizes: at two, 1, N^(-alpha) and N^(-alpha) ln N
    are linearly dependent. A sixth run shows the scatter. N and D must also vary apart. On a line D = k N^p the terms
    of N and D can change places. How nearly a line is too near depends on the scatter of the losses
    (``_check_apart``).

    The interval of a constant is theta -+ t s, with theta = E, ln A, ln B, alpha or beta. t is Student's quantile with
    n - 5 degrees of freedom, and s^2 = (E psi^2 / (E psi')^2) (J^T J)^(-1) is the variance of an M-estimator (Huber
    1964). J holds the derivatives of ln L, and psi is that of Huber's loss, for normal errors. Their variance is
    estimated by |r - P r|^2 / (n - 5), where P projects on the columns of J, or by |r|^2 / n if that is larger: P r
    holds the outliers that least squares would follow.

    The shares of simulated tables of 6 to 240 runs whose intervals hold their constants stand in
    ``tests/benchmarks/measured.txt`` (``python -m tests.benchmarks.chinchilla``). What the law itself gets wrong is not
    in the intervals.

    Args:
        model_size: N of each run, parameters; shape (runs,), as the others.
        dataset_size: D of each run, tokens.
        loss: L of each run, nats per token.

    Raises:
        ValueError: the arrays differ in shape, or hold values that are not finite and above 0.
        LossTableError: fewer than six runs, or fewer than three model sizes or dataset sizes, do not fix five
            constants; N and D hardly vary apart; or the loss does not fall with N, or with D, by a power.
    """
    N, D, L = (np.asarray(values, np.float64) for values in (model_size, dataset_size, loss))
    if N.ndim != 1 or not N.shape == D.shape == L.shape:
        raise ValueError(f"N, D and loss hold one value for each run; got the shapes {N.shape}, {D.shape}, {L.shape}")
    _check_values(N, D, L)
    if len(N) < 6 or min(len(np.unique(N)), len(np.unique(D))) < 3:
        raise LossTableError(
            f"{len(N)} runs with {len(np.unique(N))} model sizes and {len(np.unique(D))} dataset sizes do not fix five "
            "constants: give at least six runs, with three of each"
        )
    log_N, log_D, log_L = np.log(N), np.log(D), np.log(L)
    _check_apart(log_N, log_D, log_L)
    origin = np.array([log_N.mean(), log_D.mean()])
    runs = Runs(log_N - origin[0], log_D - origin[1], log_L)
    starts = _starts()
    starts[..., 1:3] -= starts[..., 3:] * origin
    objectives = runs.objective(starts.reshape(-1, 5)).reshape(starts.shape[:2])
    found = runs.descend(starts[np.arange(len(starts)), objectives.argmin(axis=1)], _FIRST_STEPS)
    found = runs.descend(found[np.argsort(runs.objective(found))[:_POLISHED]], _STEPS)
    best = found[[np.argmin(runs.objective(found))]]
    objective = float(runs.objective(best)[0])
    best[:, 1:3] += best[:, 3:] * origin
    return ChinchillaFit(_law(best[0]), objective, _intervals(Runs(log_N, log_D, log_L), best), len(N))


def _check_values(N: Array, D: Array, L: Array) -> None:
    check_sizes(N, D)
    wrong = np.flatnonzero(~(np.isfinite(N * D) & np.isfinite(L) & (L > 0)))
    if wrong.size:
        i = wrong[0]
        raise ValueError(
            f"sizes must be finite, losses finite and above 0; {wrong.size} of {len(L)} runs have others, the first at "
            f"index {i}: N = {N[i]:.6g}, D = {D[i]:.6g}, loss = {L[i]:.6g}. Leave out diverged runs"
        )


def _check_apart(log_N: Array, log_D: Array, log_L: Array) -> None:
    """LossTableError if N and D lie so nearly on a line D = k N^p, p > 0, that the losses cannot tell N from D.

    The line is the one of smallest squared distances v from (ln N, ln D); u is the place along it. By the law, the
    slopes of ln L along ln N and ln D are both negative. A slope g along the line then leaves an interval of the width
    |g| (p + 1/p) for the slope along v: at one end N does all, at the other D. The confidence interval of the slope
    along v comes from linear regression on u and v, where curvature counts as scatter. If it is more than half as wide
    as what the law allows, the runs hardly tell N from D, and intervals from derivatives do not hold.

    Where p <= 0, as at one budget C = 6 N D, one term grows along the line and the other falls. They cannot change
    places, and there is no check.
    """
    sizes = np.stack([log_N - log_N.mean(), log_D - log_D.mean()], axis=1)
    _, lengths, directions = np.linalg.svd(sizes, full_matrices=False)
    power = directions[0, 1] / directions[0, 0] if directions[0, 0] else 0.0
    if power <= 0:
        return
    slopes = (sizes @ directions.T).T @ log_L / np.maximum(lengths, _NOTHING) ** 2
    residuals = log_L - log_L.mean() - sizes @ directions.T @ slopes
    freedom = len(log_L) - 3
    errors = np.sqrt(np.sum(residuals**2) / freedom) / np.maximum(lengths, _NOTHING)
    errors *= student_t.ppf((1 + LEVEL) / 2, freedom)
    open_to_both = abs(slopes[0]) > errors[0] and 2 * errors[1] > _SHARE * abs(slopes[0]) * (power + 1 / power)
    if lengths[1] < _EXACT * lengths[0] or open_to_both:
        factor = np.exp(np.clip(log_D.mean() - power * log_N.mean(), -LARGEST_LOG, LARGEST_LOG))
        away = np.expm1(min(np.std(log_D - power * log_N), LARGEST_LOG))
        raise LossTableError(
            f"N and D hardly vary apart: D = {factor:.3g} N^{power:.3g} up to {100 * away:.1f} %. So the losses cannot "
            "tell A/N^alpha from B/D^beta: add runs with other ratios D/N, as one model size trained on several "
            "dataset sizes"
        )


def _starts() -> Float[Array, "25 180 5"]:
    """The starting points of Hoffmann et al., by rates."""
    logs = list(itertools.product(_LOG_FLOORS, _LOG_AMPLITUDES, _LOG_AMPLITUDES))
    return np.array([[(*log, *rates) for log in logs] for rates in itertools.product(_RATES, _RATES)])


def _law(x: Float[Array, "5"]) -> ChinchillaLaw:
    if min(x[3:]) <= 0 or np.abs(x).max() > LARGEST_LOG:
        raise LossTableError(
            "the losses do not fall by a power of both sizes: the best fit is "
            f"ln E = {x[0]:.4g}, ln A = {x[1]:.4g}, ln B = {x[2]:.4g}, alpha = {x[3]:.4g}, beta = {x[4]:.4g}. Give "
            "runs over a wider range of sizes"
        )
    return ChinchillaLaw(*(float(value) for value in (*np.exp(x[:3]), *x[3:])))


def _intervals(runs: Runs, best: Float[Array, "1 5"]) -> dict[str, tuple[float, float]]:
    J, freedom = runs.jacobian(best)[0], len(runs.log_loss) - 5
    unit = np.linalg.norm(J, axis=0) + _NOTHING
    explained, sizes, directions = np.linalg.svd(J / unit, full_matrices=False)
    errors = np.linalg.norm(directions.T / (sizes + _NOTHING), axis=1) / unit
    r = runs.residuals(best)[0]
    unexplained = r - explained @ (explained.T @ r)
    scatter = float(np.sqrt(max(np.sum(unexplained**2) / freedom, np.mean(r**2))))
    margins = student_t.ppf((1 + LEVEL) / 2, freedom) * _scale_of_errors(scatter) * errors
    theta = np.array([np.exp(best[0, 0]), *best[0, 1:]])
    margins[0] *= theta[0]
    low, high = theta - margins, theta + margins
    low[1:][low[1:] < -LARGEST_LOG], high[1:][high[1:] > LARGEST_LOG] = -np.inf, np.inf
    low[1:3], high[1:3] = np.exp(low[1:3]), np.exp(high[1:3])
    return {name: (max(float(a), 0.0), float(b)) for name, a, b in zip(_CONSTANTS.values(), low, high, strict=True)}


def _scale_of_errors(sigma: float) -> float:
    """sqrt(E psi^2) / E psi' for normal errors: sigma, if far below delta, and sigma sqrt(pi/2), if far above."""
    sigma = max(sigma, 1e-9 * HUBER_DELTA)
    c = HUBER_DELTA / sigma
    within = 1 - 2 * norm.sf(c)
    square = sigma**2 * (within - 2 * c * norm.pdf(c)) + HUBER_DELTA**2 * (1 - within)
    return float(np.sqrt(square) / within)
