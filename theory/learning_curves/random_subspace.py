"""Training in a random subspace: what is left of a quadratic loss, and how many dimensions a training needs.

theta = theta_0 + P z moves D parameters along d random directions only (Li, Farkhoor, Liu & Yosinski 2018,
arXiv 1804.08838; Aghajanyan, Zettlemoyer & Gupta 2021, arXiv 2012.13255). The smallest d that gives 90 % of what
training all of theta gives is the intrinsic dimension d_90 of the optimisation. Losses here are quadratic,
sum_i lambda_i (theta_i - theta*_i)^2, and what is left of them is a fraction of the loss at theta_0.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from theory.checks import check_integer, check_number, check_positive, check_sequence
from theory.learning_curves.ridge import effective_penalty
from theory.types import Array, Integer, Scalar


def remaining_loss(dimension: Integer | Array, rank: Integer | Array) -> Float[Array, "*cells"]:
    """E[fraction of the loss left] where k eigenvalues are equal and the others zero: 1 - d/k up to d = k, then 0.

    In the k directions that count, a uniformly random subspace is one of min(d, k) dimensions, which holds d/k of any
    squared length on average; D and theta_0 do not enter. Exact, and hence d_90 = 0.9 k. A single subspace scatters by
    Beta((k - d)/2, d/2), whose variance is 2 d (k - d) / (k^2 (k + 2)).

    Args:
        dimension: d >= 0; it broadcasts with the rank.
        rank: k >= 1, the number of equal eigenvalues.

    Raises:
        ValueError: d below 0 or k below 1.
    """
    d, k = np.asarray(dimension, np.float64), np.asarray(rank, np.float64)
    if not (np.all(d >= 0) and np.all(k >= 1)):
        raise ValueError(f"dimension must be at least 0 and rank at least 1; got {dimension!r} and {rank!r}")
    return np.asarray(np.maximum(0.0, 1 - d / k))


def remaining_loss_of_spectrum(
    dimension: Scalar | Array, eigenvalues: Float[Array, "D"], displacements: Float[Array, "D"]
) -> Float[Array, "*cells"]:
    """E[fraction of the loss left] for any eigenvalues, in the limit of large d.

        d = sum_i lambda_i / (lambda_i + kappa),
        fraction = sum_i lambda_i delta_i^2 kappa / (lambda_i + kappa) / sum_i lambda_i delta_i^2

    A random subspace resolves directions as d random samples do (:func:`theory.learning_curves.ridge_risk` at penalty
    0, its kappa): the rows of P^T diag(lambda)^(1/2) are such samples, and minimising over z projects onto their span.
    For k equal eigenvalues it is :func:`remaining_loss`, exactly.

    Args:
        dimension: d > 0.
        eigenvalues: lambda_i >= 0.
        displacements: delta_i = theta*_i - theta_0i, in the basis of the eigenvectors.

    Raises:
        ValueError: d not above 0, eigenvalues below 0, vectors of different lengths, or no loss at theta_0.
    """
    lam, lost = _checked(eigenvalues, displacements)
    d = np.asarray(dimension, np.float64)
    if not np.all(d > 0):
        raise ValueError(f"dimension must be above 0; got {dimension!r}")
    spectrum, weights = lam[lam > 0], lost[lam > 0]
    kappa = effective_penalty(spectrum, np.zeros_like(d), d)[..., None]
    return np.asarray(np.sum(weights * kappa / (spectrum + kappa), axis=-1) / weights.sum())


def remaining_loss_within(
    projection: Float[Array, "rows d"], eigenvalues: Float[Array, "D"], displacements: Float[Array, "D"]
) -> float:
    """The fraction of the loss left in one subspace: min_z sum_i lambda_i (delta_i - (P z)_i)^2 over that at z = 0.

    Args:
        projection: P, its columns spanning the subspace.
        eigenvalues: lambda_i >= 0.
        displacements: delta_i.

    Raises:
        ValueError: as :func:`remaining_loss_of_spectrum`; or a projection of another number of rows.
    """
    lam, lost = _checked(eigenvalues, displacements)
    P, root = np.asarray(projection, np.float64), np.sqrt(lam)
    if P.ndim != 2 or len(P) != len(lam):
        raise ValueError(f"projection must have a row for each of {len(lam)} eigenvalues; got shape {P.shape}")
    wanted = root * np.asarray(displacements, np.float64)
    left = wanted - root * (P @ np.linalg.lstsq(root[:, None] * P, wanted, rcond=None)[0])
    return float(left @ left / lost.sum())


def sufficient_dimension(
    dimensions: Sequence[Integer], losses: Sequence[Scalar], untrained: Scalar, full: Scalar, share: Scalar = 0.9
) -> float | None:
    """d_90: the smallest d at which training gains at least 90 % of what training all parameters gains.

        loss(d) <= loss_0 - share (loss_0 - loss_full),      loss_0 before training, loss_full with all parameters

    Losses between two dimensions of the grid lie on the line that joins them. Li et al. and Aghajanyan et al. take 90 %
    of the accuracy instead; of the reduction in loss it is a sharper demand where a guess is right half of the time.

    Args:
        dimensions: the grid of d, in any order.
        losses: one for each.
        untrained: loss_0.
        full: loss_full, below it.
        share: 0.9 for d_90, in (0, 1].

    Returns:
        The dimension, at least the grid's smallest; or None where none of the grid is enough.

    Raises:
        ValueError: different numbers of dimensions and losses, none at all, a share outside (0, 1], a loss that is not
            finite, or no gain from training all parameters: then 90 % of it means nothing.
    """
    grid = [check_integer("a dimension", d, 0) for d in check_sequence("dimensions", dimensions)]
    reached = [check_number("a loss", loss) for loss in check_sequence("losses", losses)]
    if not grid or len(grid) != len(reached):
        raise ValueError(f"dimensions and losses must be as many, and some; got {len(grid)} and {len(reached)}")
    if check_positive("share", share) > 1:
        raise ValueError(f"share must be above 0 and at most 1; got {share!r}")
    gain = check_number("untrained", untrained) - check_number("full", full)
    if gain <= 0:
        raise ValueError(f"training all parameters must lower the loss; it went from {untrained} to {full}")
    d, loss = np.array(sorted(zip(grid, reached, strict=True)), np.float64).T
    wanted = untrained - share * gain
    enough = np.flatnonzero(loss <= wanted)
    if not enough.size:
        return None
    i = enough[0]
    return float(d[i] if i == 0 else np.interp(-wanted, -loss[[i - 1, i]], d[[i - 1, i]]))


def _checked(
    eigenvalues: Float[Array, "D"], displacements: Float[Array, "D"]
) -> tuple[Float[Array, "D"], Float[Array, "D"]]:
    """The eigenvalues, and the loss along each at theta_0."""
    lam, delta = np.asarray(eigenvalues, np.float64), np.asarray(displacements, np.float64)
    if lam.ndim != 1 or lam.shape != delta.shape or not np.all(lam >= 0):
        raise ValueError(
            "eigenvalues and displacements must be two vectors of one length, the eigenvalues 0 or above; got shapes "
            f"{lam.shape} and {delta.shape}, and {lam.min(initial=np.inf):.6g} as smallest eigenvalue"
        )
    lost = lam * delta**2
    if not lost.sum() > 0:
        raise ValueError("nothing is lost at theta_0: take displacements along eigenvalues above 0")
    return lam, lost
