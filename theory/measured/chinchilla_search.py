"""The search for the constants of L = E + A/N^alpha + B/D^beta that lie nearest to given runs.

x stands for (ln E, ln A, ln B, alpha, beta), and ln L is the log-sum-exp of (e, a - alpha ln N, b - beta ln D). Many x
are followed at once, on the first axis.
"""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.special import huber

from theory.types import Array

HUBER_DELTA = 1e-3
"""Differences of ln L beyond this count linearly (Hoffmann et al.)."""
LARGEST_LOG = 600.0
"""Largest logarithm of a term of the loss, so that no wild step overflows."""
_LONGEST_STEP = np.array([10.0, 10.0, 10.0, 0.5, 0.5])
_PATIENCE = 12
"""Steps without progress after which a descent ends."""
_NO_PROGRESS = 1e-12
"""Relative fall of the objective that is none."""


@dataclasses.dataclass(frozen=True)
class Runs:
    """ln N, ln D and ln L of every run."""

    log_model: Float[Array, "runs"]
    log_data: Float[Array, "runs"]
    log_loss: Float[Array, "runs"]

    def residuals(self, x: Float[Array, "k 5"]) -> Float[Array, "k runs"]:
        """ln L(N, D) - ln L of each run."""
        return np.logaddexp.reduce(self._log_terms(x)) - self.log_loss

    def objective(self, x: Float[Array, "k 5"]) -> Float[Array, "k"]:
        """The summed Huber losses."""
        return huber(HUBER_DELTA, self.residuals(x)).sum(axis=-1)

    def jacobian(self, x: Float[Array, "k 5"]) -> Float[Array, "k runs 5"]:
        """The derivative of ln L by x: the share of each term in the loss, times the derivative of its logarithm."""
        terms = self._log_terms(x)
        floor, model, data = np.exp(terms - np.logaddexp.reduce(terms))
        return np.stack([floor, model, data, -model * self.log_model, -data * self.log_data], axis=-1)

    def _log_terms(self, x: Array) -> Float[Array, "3 k runs"]:
        e, a, b, alpha, beta = x.T[..., None]
        terms = np.stack(np.broadcast_arrays(e, a - alpha * self.log_model, b - beta * self.log_data))
        return np.clip(terms, -LARGEST_LOG, LARGEST_LOG)

    def descend(self, x: Float[Array, "k 5"], most_steps: int) -> Float[Array, "k 5"]:
        """Local minima of the objective, from each x on, by the method of Levenberg and Marquardt.

        Two curvatures take turns. Reweighted least squares, with weights min(1, delta/|r|), comes near from afar. The
        curvature of the objective itself, which comes from the runs within delta alone, ends the descent. A step that
        raises the objective is not taken. ln N and ln D should be centred: then amplitudes and rates are nearly
        independent.
        """
        r = self.residuals(x)
        now = huber(HUBER_DELTA, r).sum(axis=-1)
        damping = np.full((2, len(x)), 1e-3)
        idle = np.zeros(len(x), int)
        for i in range(most_steps):
            J, size = self.jacobian(x), np.maximum(np.abs(r), HUBER_DELTA)
            weights = np.where(size > HUBER_DELTA, 1e-6, 1.0) if i % 2 else HUBER_DELTA / size
            gradient = np.einsum("kni,kn->ki", J, np.clip(r, -HUBER_DELTA, HUBER_DELTA))
            curvature = np.swapaxes(J * weights[..., None], 1, 2) @ J
            # In units that make the diagonal one, the damped matrix is never singular.
            unit = np.sqrt(np.einsum("kii->ki", curvature)) + 1e-9
            scaled = curvature / (unit[:, :, None] * unit[:, None, :]) + damping[i % 2][:, None, None] * np.eye(5)
            step = -np.linalg.solve(scaled, (gradient / unit)[..., None])[..., 0] / unit
            tried = x + step / np.maximum(np.abs(step / _LONGEST_STEP).max(axis=-1, keepdims=True), 1.0)
            r_tried = self.residuals(tried)
            there = huber(HUBER_DELTA, r_tried).sum(axis=-1)
            lower = there < now
            idle = np.where(there < (1 - _NO_PROGRESS) * now, 0, idle + 1)
            x, r = np.where(lower[:, None], tried, x), np.where(lower[:, None], r_tried, r)
            now = np.where(lower, there, now)
            damping[i % 2] = np.clip(damping[i % 2] * np.where(lower, 0.1, 10.0), 1e-11, 1e11)
            if np.all(idle >= _PATIENCE):
                break
        return x
