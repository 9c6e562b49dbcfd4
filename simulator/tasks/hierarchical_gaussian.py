"""Hierarchical Gaussian sequences: the information between two halves grows as a power of the length, or as its log."""

import dataclasses
import functools
from typing import Annotated

import numpy as np
from jaxtyping import Float

from simulator.tasks.base import Loss, TaskForm
from simulator.tasks.gaussian_task import GaussianTask
from theory.checks import check_integer, integer
from theory.types import Integer

_LARGE, _SMALL = np.sqrt(5) / 4, 1 / 4
_MIXING = np.array([[1, 1, 1], [-1, 1, -1], [-1, -1, 1], [1, -1, -1]]) * _LARGE
_MIXING = np.concatenate([_MIXING, np.full((4, 1), _SMALL)], axis=1)


@dataclasses.dataclass(frozen=True)
class HierarchicalGaussian(GaussianTask):
    r"""The exactly solvable sequences of the L2M mutual-information law (arXiv 2503.04725): predict the last of 4^n.

    Layer 1 is Z = M g, g four independent standard normals, with g = sqrt(5)/4, r = 1/4 and the rows of M

        (g, g, g, r),  (-g, g, -g, r),  (-g, -g, g, r),  (g, -g, -g, r):      unit variances, correlations -1/4.

    Layer t+1: c independent copies of layer t as the first columns, fresh normals in the other 4 - c, give each of the
    4^t rows four numbers; M times them is four neighbouring tokens. Then the covariance of the last token Z_{i,4} of a
    group and the first of the next, Z_{i+1,1}, is re-set to

        (2/5) (corr(Z_{i,3}, Z_{i,4}) + corr(Z_{i+1,1}, Z_{i+1,2})) + 1/5,

    which is 0 in every layer, the correlations within a group being -1/4. The re-set matrix is positive definite: its
    smallest eigenvalue falls from 0.2053 (16 tokens, c = 3) towards 0.191, and stays above 0.216 for c = 1.

    Information between the halves of 4^n tokens (nats): c = 3 (the L2M family) 0.875, 2.686, 8.192, 24.90 for
    n = 2..5, so that I ~ length^0.7925, log_4 3; c = 1 (the control) 0.2776, 0.2831, 0.2900, 0.2959, some 0.006 for
    each factor of four: logarithmic. Without the re-set it would be 3^(n-1) 0.2939 exactly, and constant at 0.2939:
    the control's whole growth comes from it. c = 2 lies between: 2^(n-1) 0.2939, its re-set covariances being 0 anyway.

    The target is the last token, the context the L = 4^n - 1 before it. Formulas of R(l), ``loss``,
    ``intrinsic_dimension`` (l) and ``intrinsic_entropy`` (none) are those of
    :class:`~simulator.tasks.gaussian_task.GaussianTask`.

    Worked example, ``HierarchicalGaussian(1)``: L = 3, R(0) = 1, R(1) = 1 - 1/16, R(2) = 1 - 1/6, R(3) = 1 - 3/8.

    Attributes:
        n_layers: n, from 1 to 6.
        n_copies: c, 1, 2 or 3.
        loss: ``"squared_error"`` or ``"log_loss"`` (nats).
    """

    n_layers: Annotated[int, integer(1, 6)]
    n_copies: Annotated[int, integer(1, 3)] = 3
    loss: Loss = "squared_error"

    @property
    def form(self) -> TaskForm:
        return TaskForm(4**self.n_layers - 1, self.loss)

    def joint_covariance(self) -> Float[np.ndarray, "n n"]:
        return _covariance(self.n_layers, self.n_copies).copy()

    def bipartite_mutual_information(self, length: Integer | None = None, cut: Integer | None = None) -> float:
        """I(first ``cut`` tokens; the rest) of the first ``length`` tokens, in nats.

        I = (1/2) ln(det S_X det S_Y / det S), from the three covariances (arXiv 2503.04725).

        Args:
            length: 2..4^n; all 4^n tokens if None.
            cut: 1..length - 1; half of them if None.
        """
        total = 4**self.n_layers
        n = total if length is None else check_integer("length", length, 2, total)
        k = n // 2 if cut is None else check_integer("cut", cut, 1, n - 1)
        covariance = _covariance(self.n_layers, self.n_copies)[:n, :n]
        parts = covariance[:k, :k], covariance[k:, k:], covariance
        first, second, joint = (np.linalg.slogdet(part)[1] for part in parts)
        return float(0.5 * (first + second - joint))


@functools.lru_cache(maxsize=4)
def _covariance(n_layers: int, n_copies: int) -> Float[np.ndarray, "n n"]:
    copied, fresh = _MIXING[:, :n_copies], _MIXING[:, n_copies:]
    covariance = _MIXING @ _MIXING.T
    for _ in range(n_layers - 1):
        n = len(covariance)
        covariance = np.kron(covariance, copied @ copied.T) + np.kron(np.eye(n), fresh @ fresh.T)
        last, first = np.arange(3, 4 * n - 1, 4), np.arange(4, 4 * n, 4)
        within = covariance[last - 1, last] + covariance[first, first + 1]
        covariance[last, first] = covariance[first, last] = 0.4 * within + 0.2
    return covariance
