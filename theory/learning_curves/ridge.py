"""Expected risk of ridge regression: which directions of the data D samples resolve, and what the others cost.

Ridge is beta = argmin |X beta - y|^2 / D + penalty |beta|^2: per sample, so that a penalty means the same at every D.
What D samples do to it has a deterministic equivalent: penalty (X'X/D + penalty)^-1 acts like kappa (Sigma + kappa)^-1
with a larger penalty kappa, for features of any law whose quadratic forms concentrate; for Gaussian ones the relative
error is of order 1/D. (Dobriban & Wager 2018, arXiv 1507.03003; Hastie, Montanari, Rosset & Tibshirani 2022,
arXiv 1903.08560; for kernels Canatar, Bordelon & Pehlevan 2021, arXiv 2006.13198.)
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from theory.learning_curves.wishart import unresolved_share
from theory.types import Array, Scalar


@dataclasses.dataclass(frozen=True)
class RidgeRisk:
    """Parts of an expected squared error, each with the shape of the arguments broadcast together.

    Attributes:
        bias: the error without noise in the training targets.
        variance: what that noise adds.
        total: bias + variance + the noise of the test target itself.
    """

    bias: Float[Array, "*cells"]
    variance: Float[Array, "*cells"]
    total: Float[Array, "*cells"]


def ridge_risk(
    eigenvalues: Float[Array, "features"],
    weights: Float[Array, "weights"],
    noise_variance: Scalar | Array,
    penalty: Scalar | Array,
    dataset_size: Scalar | Array,
) -> RidgeRisk:
    """E[squared error] of ridge regression, or of kernel ridge regression with a known spectrum, at large D.

    With y = sum_i w_i z_i + noise, the z_i uncorrelated, of variance lambda_i:

        D        = sum_i lambda_i / (lambda_i + kappa) + D penalty / kappa
        gamma_2  = (1/D) sum_i lambda_i^2 / (lambda_i + kappa)^2
        bias     = kappa^2 sum_i w_i^2 lambda_i / (lambda_i + kappa)^2 / (1 - gamma_2)
        variance = sigma^2 gamma_2 / (1 - gamma_2)

    A kernel sum_i lambda_i phi_i(x) phi_i(x'), phi_i orthonormal, has z_i = sqrt(lambda_i) phi_i, and D penalty is
    added to the diagonal of its Gram matrix; its series may be cut where the rest of sum_i lambda_i is far below
    D kappa. The features of one low-dimensional point hang together, so that sum_i lambda_i / (lambda_i + kappa) has
    to stay below D too: on the circle the formula is right within 1% at D/3, and 11% too high at nearly D = 20.

    At penalty 0 it is least squares where D is at least the number of nonzero eigenvalues (kappa = 0, no bias), and the
    minimum-norm solution below; the variance is infinite where they are equal.

    Args:
        eigenvalues: lambda_i >= 0 of the features' covariance.
        weights: w_i, the true weights in the basis of its eigenvectors.
        noise_variance: sigma^2 >= 0; it broadcasts with the two below.
        penalty: 0 or above, in the unit of the eigenvalues.
        dataset_size: D > 0.

    Raises:
        ValueError: an argument outside its range, or eigenvalues and weights that are no two vectors of one length.
    """
    sigma2, lam, D = np.broadcast_arrays(*_checked(noise_variance, penalty, dataset_size))
    spectrum, w = np.asarray(eigenvalues, np.float64), np.asarray(weights, np.float64)
    if spectrum.ndim != 1 or spectrum.shape != w.shape or not np.all(spectrum >= 0):
        raise ValueError(
            "eigenvalues and weights must be two vectors of one length, the eigenvalues 0 or above; got shapes "
            f"{spectrum.shape} and {w.shape}, and {spectrum.min(initial=np.inf):.6g} as smallest eigenvalue"
        )
    spectrum, w = spectrum[spectrum > 0], w[spectrum > 0]
    kappa = effective_penalty(spectrum, lam, D)
    unresolved = kappa[..., None] / (spectrum + kappa[..., None])
    lost = np.asarray(np.sum(unresolved**2 * spectrum * w**2, axis=-1))
    return _risk(lost, _freedom(unresolved, D), sigma2)


def isotropic_ridge_risk(
    signal: Scalar | Array,
    noise_variance: Scalar | Array,
    n_features: Scalar | Array,
    penalty: Scalar | Array,
    dataset_size: Scalar | Array,
) -> RidgeRisk:
    """E[squared error] of ridge regression on p uncorrelated features of unit variance, in closed form, at large D.

    With g = p/D and m the Stieltjes transform of the Marchenko-Pastur law at -penalty (Dobriban & Wager 2018, sec. 2.2;
    Hastie et al. 2022, cor. 5),

        m        = (-(1 - g + penalty) + sqrt((1 - g + penalty)^2 + 4 g penalty)) / (2 g penalty)
        bias     = -|w|^2 penalty^2 dm/dpenalty
        variance = sigma^2 g (m + penalty dm/dpenalty),

    :func:`ridge_risk` with penalty m = kappa / (1 + kappa). At penalty 0 the limit is taken.

    Args:
        signal: |w|^2 >= 0; it broadcasts with all others.
        noise_variance: sigma^2 >= 0.
        n_features: p >= 0.
        penalty: 0 or above.
        dataset_size: D > 0.

    Raises:
        ValueError: an argument outside its range.
    """
    w2, p = np.asarray(signal, np.float64), np.asarray(n_features, np.float64)
    if not (np.all(w2 >= 0) and np.all(p >= 0)):
        raise ValueError(f"the signal and the number of features must not be negative; got {signal!r}, {n_features!r}")
    w2, p, sigma2, lam, D = np.broadcast_arrays(w2, p, *_checked(noise_variance, penalty, dataset_size))
    unresolved = unresolved_share(D, p, D * lam)
    return _risk(np.asarray(w2 * unresolved**2), np.asarray(1 - p / D * (1 - unresolved) ** 2), sigma2)


def best_isotropic_penalty(
    signal: Scalar | Array, noise_variance: Scalar | Array, n_features: Scalar | Array, dataset_size: Scalar | Array
) -> Float[Array, "*cells"]:
    """The penalty p sigma^2 / (D |w|^2) at which :func:`isotropic_ridge_risk` is least.

    It makes ridge the posterior mean under a Gaussian prior of variance |w|^2 / p for each weight, and so is best at
    any size, on average over directions of w (Dobriban & Wager 2018, section 2.2).

    Args:
        signal: |w|^2 > 0; without signal no finite penalty is best.
        noise_variance: sigma^2 >= 0.
        n_features: p >= 0.
        dataset_size: D > 0.
    """
    w2, p = np.asarray(signal, np.float64), np.asarray(n_features, np.float64)
    sigma2, _, D = _checked(noise_variance, 0.0, dataset_size)
    if not (np.all(w2 > 0) and np.all(p >= 0)):
        raise ValueError(
            f"the signal must be above 0 and the number of features not negative; got {signal!r}, {n_features!r}"
        )
    return np.asarray(p * sigma2 / (D * w2))


def _checked(
    noise_variance: Scalar | Array, penalty: Scalar | Array, dataset_size: Scalar | Array
) -> tuple[Float[Array, "*s"], Float[Array, "*l"], Float[Array, "*d"]]:
    sigma2, lam, D = (np.asarray(x, np.float64) for x in (noise_variance, penalty, dataset_size))
    if not (np.all(sigma2 >= 0) and np.all((lam >= 0) & np.isfinite(lam)) and np.all(D > 0)):
        raise ValueError(
            "the noise variance and the penalty must be finite, 0 or above, and the dataset size above 0; got "
            f"{noise_variance!r}, {penalty!r}, {dataset_size!r}"
        )
    return sigma2, lam, D


def effective_penalty(
    spectrum: Float[Array, "features"], penalty: Float[Array, "*cells"], dataset_size: Float[Array, "*cells"]
) -> Float[Array, "*cells"]:
    """kappa, the largest root of kappa - (kappa/D) sum_i lambda_i / (lambda_i + kappa) - penalty, by Newton's rule.

    The eigenvalues are above 0, the penalties 0 or above and the sizes above 0. That function is convex, its slope is
    1 - gamma_2, and it is not negative at penalty + tr(Sigma) / D: from there each step comes nearer without ever
    passing the root.
    """
    determined = (penalty == 0) & (dataset_size >= spectrum.size)
    kappa = np.where(determined, 0.0, penalty + spectrum.sum() / dataset_size)
    falling = kappa > 0
    while np.any(falling):
        unresolved = kappa[..., None] / (spectrum + kappa[..., None])
        value = kappa * (1 + (unresolved.sum(axis=-1) - spectrum.size) / dataset_size) - penalty
        slope = _freedom(unresolved, dataset_size)
        better = kappa - np.where(falling, value, 0.0) / np.where(falling, slope, 1.0)
        falling = falling & (better < kappa * (1 - 1e-14)) & (better > 0)
        kappa = np.where(falling, better, kappa)
    return kappa


def _freedom(
    unresolved: Float[Array, "*cells features"], dataset_size: Float[Array, "*cells"]
) -> Float[Array, "*cells"]:
    """1 - gamma_2, from kappa / (lambda_i + kappa): exactly 0 for least squares on D features."""
    resolved = unresolved.shape[-1] - np.sum(unresolved * (2 - unresolved), axis=-1)
    return np.asarray(1 - resolved / dataset_size)


def _risk(
    lost: Float[Array, "*cells"], freedom: Float[Array, "*cells"], noise_variance: Float[Array, "*cells"]
) -> RidgeRisk:
    """From what the shrunken weights lose, and 1 - gamma_2; D samples of D features leave no bias, and no mean."""
    singular = freedom == 0
    divisor = np.where(singular, 1.0, freedom)
    bias = np.asarray(np.where(singular, 0.0, lost / divisor))
    infinite = singular & (noise_variance > 0)
    variance = np.asarray(np.where(infinite, np.inf, noise_variance * (1 - freedom) / divisor))
    return RidgeRisk(bias, variance, np.asarray(bias + variance + noise_variance))
