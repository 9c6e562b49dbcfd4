"""Fitting the law of Hoffmann et al., L = E + A/N^alpha + B/D^beta, to losses over model and dataset sizes."""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares, minimize
from scipy.special import huber

from theory.laws.chinchilla import ChinchillaLaw, check_sizes
from theory.measured.loss_table import LossTableError
from theory.types import Array

HUBER_DELTA = 1e-3
"""Differences of ln L beyond this count linearly (Hoffmann et al.)."""
LEVEL = 0.9
"""Confidence level of the intervals."""
_RATES, _LOG_AMPLITUDES, _LOG_FLOORS = (0.0, 0.5, 1.0, 1.5, 2.0), (0, 5, 10, 15, 20, 25), (-1.0, -0.5, 0.0, 0.5, 1.0)
_POLISHED = 3
_RESAMPLES = 100
_TOLERANCE, _ROUGH = 1e-14, 1e-7
"""Relative tolerances of the fit and of a resample."""
_LARGEST_LOG = 600.0
"""Largest logarithm of a term of the loss, so that no wild step of the optimiser overflows."""
_SCALES = (1.0, 1.0, 1.0, 0.05, 0.05)
"""Sizes of a change of ln E, ln A, ln B, alpha and beta that matter equally.

Scales from the Jacobian would be infinite where a term all but vanishes, and overflow inside the optimiser."""
_CONSTANTS = ("irreducible_loss", "model_amplitude", "data_amplitude", "model_rate", "data_rate")


@dataclasses.dataclass(frozen=True)
class ChinchillaFit:
    """A fitted law and how well it is fixed.

    Attributes:
        law: the law with its fitted constants.
        objective: sum of the Huber losses of all runs.
        intervals: the central 90 % of each constant over resamples of the runs.
        n_runs: number of runs fitted.
    """

    law: ChinchillaLaw
    objective: float
    intervals: Mapping[str, tuple[float, float]]
    n_runs: int


def fit_chinchilla(model_size: Array, dataset_size: Array, loss: Array) -> ChinchillaFit:
    """The constants that minimise sum_i Huber(ln L(N_i, D_i) - ln L_i), delta = 1e-3, over runs i.

    The method of Hoffmann et al. (arXiv 2203.15556, approach 3): ln L is the log-sum-exp of
    (e, a - alpha ln N, b - beta ln D) with E = exp(e), A = exp(a), B = exp(b). Of their 4500 starting points L-BFGS
    tries, for each of the 25 pairs (alpha, beta), the one whose objective is smallest. The objective is summed:
    averaged over runs it falls below the optimiser's tolerances, which then stops early, at other constants (Besiroglu
    et al., arXiv 2404.10102). The best three are polished by Gauss-Newton steps on the same objective.

    Intervals come from 100 resamples of the runs, always the same ones. They hold the scatter of runs, not what the
    law gets wrong; A and B are known to a factor alone where alpha and beta are known to a few percent.

    Args:
        model_size: N of each run, parameters; shape (runs,), as the others.
        dataset_size: D of each run, tokens.
        loss: L of each run, nats per token.

    Raises:
        ValueError: the arrays differ in shape, or hold values that are not finite and above 0.
        LossTableError: fewer than six runs, or fewer than three model sizes or dataset sizes, do not fix five
            constants; or the loss does not fall with N, or with D, by a power.
    """
    N, D, L = (np.asarray(values, np.float64) for values in (model_size, dataset_size, loss))
    if N.ndim != 1 or not N.shape == D.shape == L.shape:
        raise ValueError(f"N, D and loss hold one value for each run; got the shapes {N.shape}, {D.shape}, {L.shape}")
    check_sizes(N, D)
    if not (np.all(np.isfinite(N * D)) and np.all(np.isfinite(L)) and np.all(L > 0)):
        raise ValueError(f"sizes must be finite, losses finite and above 0; got {L}: leave out diverged runs")
    if len(N) < 6 or min(len(np.unique(N)), len(np.unique(D))) < 3:
        raise LossTableError(
            f"{len(N)} runs with {len(np.unique(N))} model sizes and {len(np.unique(D))} dataset sizes do not fix five "
            "constants: give at least six runs, with three of each"
        )
    runs = _Runs(np.log(N), np.log(D), np.log(L))
    starts = []
    for rates in itertools.product(_RATES, _RATES):
        grid = np.array([(*logs, *rates) for logs in itertools.product(_LOG_FLOORS, _LOG_AMPLITUDES, _LOG_AMPLITUDES)])
        starts.append(grid[np.argmin(huber(HUBER_DELTA, runs.residuals(grid)).sum(axis=-1))])
    found = [minimize(runs.objective, start, jac=True, method="L-BFGS-B") for start in starts]
    found.sort(key=lambda solution: solution.fun)
    polished = [runs.polish(solution.x, _TOLERANCE) for solution in found[:_POLISHED]]
    best = min(polished, key=lambda x: runs.objective(x)[0])
    law = _law(best)

    rng = np.random.default_rng(0)
    draws = [runs.take(rng.integers(len(N), size=len(N))).polish(best, _ROUGH) for _ in range(_RESAMPLES)]
    ends = np.quantile(_to_constants(np.array(draws)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    intervals = {name: (float(low), float(high)) for name, low, high in zip(_CONSTANTS, *ends, strict=True)}
    return ChinchillaFit(law, float(runs.objective(best)[0]), intervals, len(N))


def _to_constants(x: Float[Array, "*draws 5"]) -> Float[Array, "*draws 5"]:
    """(E, A, B, alpha, beta) from (ln E, ln A, ln B, alpha, beta)."""
    return np.concatenate([np.exp(np.clip(x[..., :3], -_LARGEST_LOG, _LARGEST_LOG)), x[..., 3:]], axis=-1)


def _law(x: Float[Array, "5"]) -> ChinchillaLaw:
    if min(x[3:]) <= 0 or np.abs(x).max() > _LARGEST_LOG:
        raise LossTableError(
            "the losses do not fall by a power of both sizes: the best fit is "
            f"ln E = {x[0]:.4g}, ln A = {x[1]:.4g}, ln B = {x[2]:.4g}, alpha = {x[3]:.4g}, beta = {x[4]:.4g}. Give "
            "runs over a wider range of sizes"
        )
    return ChinchillaLaw(*(float(value) for value in _to_constants(x)))


@dataclasses.dataclass(frozen=True)
class _Runs:
    """ln N, ln D and ln L of every run; x stands for (ln E, ln A, ln B, alpha, beta)."""

    log_model: Float[Array, "runs"]
    log_data: Float[Array, "runs"]
    log_loss: Float[Array, "runs"]

    def take(self, indices: Array) -> "_Runs":
        return _Runs(self.log_model[indices], self.log_data[indices], self.log_loss[indices])

    def residuals(self, x: Array) -> Array:
        """ln L(N, D) - ln L of each run, on the last axis; x may be many."""
        return np.logaddexp.reduce(self._log_terms(x)) - self.log_loss

    def jacobian(self, x: Array) -> Array:
        return self._slopes(self._log_terms(x))[1]

    def objective(self, x: Array) -> tuple[float, Array]:
        """The summed Huber losses and their gradient."""
        log_predicted, jacobian = self._slopes(self._log_terms(x))
        r = log_predicted - self.log_loss
        return float(np.sum(huber(HUBER_DELTA, r))), np.clip(r, -HUBER_DELTA, HUBER_DELTA) @ jacobian

    def polish(self, x: Array, tolerance: float) -> Array:
        return least_squares(
            self.residuals, x, self.jacobian, loss="huber", f_scale=HUBER_DELTA, x_scale=_SCALES,  # pyright: ignore[reportArgumentType]
            xtol=tolerance, ftol=tolerance, gtol=tolerance,
        ).x  # fmt: skip

    def _log_terms(self, x: Array) -> Array:
        e, a, b, alpha, beta = np.moveaxis(x, -1, 0)[..., None]
        terms = np.stack(np.broadcast_arrays(e, a - alpha * self.log_model, b - beta * self.log_data))
        return np.clip(terms, -_LARGEST_LOG, _LARGEST_LOG)

    def _slopes(self, terms: Array) -> tuple[Array, Array]:
        """The logarithm of the summed terms, and its derivatives by x: the softmax of the terms times theirs."""
        total = np.logaddexp.reduce(terms)
        floor, model, data = np.exp(terms - total)
        return total, np.stack([floor, model, data, -model * self.log_model, -data * self.log_data], axis=1)
