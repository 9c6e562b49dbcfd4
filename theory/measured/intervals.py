"""Intervals of what is computed from the mean over seeds."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student_t

from theory.measured.loss_table import seed_means
from theory.types import Array, Scalar


def check_level(level: Scalar) -> float:
    """A confidence level as a float; ValueError unless it lies in (0, 1)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), as in 0.9; got {level!r}")
    return float(level)


def jackknife_interval(
    statistic: Callable[[Float[Array, "*cells"]], Float[Array, "values"]],
    samples: Float[Array, "*cells seed"],
    level: Scalar = 0.9,
) -> tuple[Float[Array, "values"], Float[Array, "values"], Float[Array, "values"]]:
    """The jackknife interval theta -+ t_{S-1} s of a smooth statistic theta of the mean over S seeds:

        s^2 = (S - 1)/S sum_i (theta_(i) - mean theta)^2      (Quenouille 1956; Tukey 1958)

    theta_(i) leaves out seed i whole, so what the cells of a seed share stays together. Student's quantile allows for
    few seeds, unlike the percentile bootstrap. The statistic must be smooth, which an argmin over a grid is not.

    Args:
        statistic: a function of the array of means.
        samples: one array of cells for each seed, on the last axis; NaN where a cell lacks a seed.
        level: confidence level, in (0, 1).

    Returns:
        theta, and the lower and upper end of its interval; these are NaN with a single seed.
    """
    without = jackknife(statistic, samples)
    return interval_around(np.asarray(statistic(seed_means(samples))), without, level)


def jackknife(
    statistic: Callable[[Float[Array, "*cells"]], Float[Array, "values"]], samples: Float[Array, "*cells seed"]
) -> Float[Array, "replicates values"]:
    """The statistic of the mean without each seed in turn; empty with a single seed."""
    n_seeds = samples.shape[-1]
    if n_seeds == 1:
        return np.empty((0, np.size(statistic(samples[..., 0]))))
    return np.stack([statistic(seed_means(np.delete(samples, s, axis=-1))) for s in range(n_seeds)])


def interval_around(
    theta: Float[Array, "values"], without: Float[Array, "replicates values"], level: Scalar
) -> tuple[Float[Array, "values"], Float[Array, "values"], Float[Array, "values"]]:
    """:func:`jackknife_interval` from the statistic and its :func:`jackknife`."""
    check_level(level)
    n_seeds = len(without)
    if n_seeds == 0:
        return theta, np.full_like(theta, np.nan), np.full_like(theta, np.nan)
    variance = (n_seeds - 1) / n_seeds * np.sum((without - without.mean(axis=0)) ** 2, axis=0)
    margin = student_t.ppf((1 + level) / 2, n_seeds - 1) * np.sqrt(variance)
    return theta, theta - margin, theta + margin
