"""Expectations over the eigenvalues of a real Wishart matrix X^T X, X an n x p matrix of independent standard normals.

Its k = min(n, p) nonzero eigenvalues have density proportional to prod_{i<j} |x_i - x_j| prod_i w(x_i),
w(x) = x^((N-k-1)/2) e^(-x/2), N = max(n, p) (Wishart; Muirhead, Aspects of Multivariate Statistical Theory, theorem
3.2.18). By de Bruijn's integration formula (J. Indian Math. Soc. 19, 133, 1955), for even k and any basis phi_j of the
polynomials of degree below k,

    E prod_i (1 + e f(x_i)) = Pf A(e) / Pf A(0),
    A_jk(e) = int int sgn(y - x) phi_j(x) phi_k(y) (1 + e f(x)) (1 + e f(y)) w(x) w(y) dx dy,

and for odd k the matrix is bordered by int phi_j (1 + e f) w. The derivative at e = 0 is

    E sum_i f(x_i) = (1/2) tr(A^-1 A').
"""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from theory.checks import check_integer, check_positive
from theory.types import Array, Integer, Scalar

_NODES = 24
"""Gauss-Legendre nodes of each panel."""


def expected_resolvent_trace(n_rows: Integer, n_columns: Integer, ridge: Scalar) -> float:
    """E tr (X^T X / ridge + I)^-1, X of n x p independent standard normals: exact at finite size.

    Args:
        n_rows: n >= 0.
        n_columns: p >= 1; the trace is over p x p matrices.
        ridge: s2 > 0.

    Returns:
        A number in (0, p], to about 1e-12 of p.

    Raises:
        ValueError: n < 0, p < 1, or a ridge that is not above 0.
    """
    n, p = check_integer("n_rows", n_rows, 0), check_integer("n_columns", n_columns, 1)
    return _resolvent_trace(n, p, check_positive("ridge", ridge))


@functools.lru_cache(maxsize=65536)
def _resolvent_trace(n: int, p: int, ridge: float) -> float:
    k = min(n, p)
    if k == 0:
        return float(p)
    return p - k + expected_linear_statistic(n, p, lambda x: ridge / (ridge + x), scale=ridge)


def marchenko_pastur_resolvent_trace(n_rows: Integer, n_columns: Integer, ridge: Scalar) -> float:
    """The limit of :func:`expected_resolvent_trace` at large n and p: p lam m(lam), lam = ridge/n, g = p/n.

    m = [-(1-g+lam) + sqrt((1-g+lam)^2 + 4 g lam)] / (2 g lam) (Marchenko & Pastur 1967).
    """
    n, p = check_integer("n_rows", n_rows, 0), check_integer("n_columns", n_columns, 1)
    return float(p * unresolved_share(n, p, check_positive("ridge", ridge)))


def unresolved_share(
    n_rows: Scalar | Array, n_columns: Scalar | Array, ridge: Scalar | Array
) -> Float[Array, "*cells"]:
    """u = lam m(lam), the share of p directions that n rows leave to the ridge, in the same limit; they broadcast.

    p u^2 + (n - p + ridge) u = ridge, of whose root the form is taken that does not cancel.
    """
    n, p, s2 = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (n_rows, n_columns, ridge)))
    b = n - p + s2
    root = np.hypot(b, 2 * np.sqrt(p * s2))
    few = b <= 0
    return np.where(few, (root - b) / np.where(few, 2 * p, 1.0), 2 * s2 / np.where(few, 1.0, b + root))


def expected_linear_statistic(
    n_rows: Integer, n_columns: Integer, f: Callable[[np.ndarray], np.ndarray], scale: Scalar = 1.0
) -> float:
    """E sum_i f(x_i) over the min(n, p) nonzero eigenvalues of X^T X.

    Args:
        n_rows: n >= 1.
        n_columns: p >= 1.
        f: a function of eigenvalues, smooth in sqrt(x) down to x of order ``scale``.
        scale: the x at which f varies fastest, above 0.
    """
    n, p = check_integer("n_rows", n_rows, 1), check_integer("n_columns", n_columns, 1)
    small, large = min(n, p), max(n, p)
    edges = _panel_edges(small, large, float(np.sqrt(scale)))
    nodes, node_weights = np.polynomial.legendre.leggauss(_NODES)
    half = np.diff(edges)[:, None] / 2
    t = edges[:-1, None] + half * (1 + nodes)
    basis = _basis(t.ravel(), small, large).reshape(small, *t.shape)
    changed = basis * np.asarray(f(t**2), np.float64)
    before, changed_before = (_integrals_up_to_nodes(values, half) for values in (basis, changed))
    weights = half * node_weights

    def pairing(left: np.ndarray, right: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Double integral of left_j(x) sgn(y - x) right_k(y): above x minus below x."""
        below, total = right
        return np.einsum("jmq,kmq->jk", left * weights, total[:, None, None] - 2 * below, optimize=True)

    A = pairing(basis, before)
    derivative = pairing(changed, before) + pairing(basis, changed_before)
    if small % 2:
        A, derivative = _bordered(A, before[1]), _bordered(derivative, changed_before[1])
    A, derivative = (A - A.T) / 2, (derivative - derivative.T) / 2
    return float(np.trace(np.linalg.solve(A, derivative)) / 2)


def _panel_edges(small: int, large: int, scale: float) -> Float[Array, "edges"]:
    """Panels in t = sqrt(x): short against the oscillations of the basis, and shorter near 0 where f varies."""
    low, high = max(np.sqrt(large) - np.sqrt(small) - 12, 0.0), np.sqrt(large) + np.sqrt(small) + 12
    edges = np.linspace(low, high, int(np.ceil((high - low) * max(2.0, np.sqrt(small) / 4))) + 1)
    if low == 0.0:
        # Halving towards 0 until the panel is as short as the scale of f.
        halvings = int(np.clip(np.ceil(np.log2(edges[1] / scale)) + 1, 0, 60))
        edges = np.concatenate([[0.0], edges[1] * 2.0 ** np.arange(-halvings, 0), edges[1:]])
    return edges


def _basis(t: Float[Array, "t"], small: int, large: int) -> Float[Array, "j t"]:
    """phi_j(t^2) w(t^2) 2t: Laguerre polynomials made orthonormal on t > 0 together with their weight.

    w(x) dx = 2 t^a e^(-t^2/2) dt with x = t^2, a = N - k, so these are the orthonormal polynomials in x for the weight
    x^(a-1/2) e^-x. Their recursion is run on numbers rescaled at every point, for the weight alone may underflow.
    """
    a, x = large - small, t**2
    alpha = a - 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        log_first = np.where(a > 0, a * np.log(t), 0.0) - x / 2 + 0.5 * (np.log(2) - gammaln(alpha + 1))
    values = np.empty((small, len(t)))
    previous, current, exponent = np.zeros_like(t), np.ones_like(t), log_first
    for j in range(small):
        values[j] = current * np.exp(exponent)
        following = (2 * j + 1 + alpha - x) * current - np.sqrt(j * (j + alpha)) * previous
        previous, current = current, following / np.sqrt((j + 1) * (j + 1 + alpha))
        size = np.maximum(np.abs(previous), np.abs(current))
        previous, current, exponent = previous / size, current / size, exponent + np.log(size)
    return values


def _integrals_up_to_nodes(
    values: Float[Array, "j m q"], half: Float[Array, "m 1"]
) -> tuple[Float[Array, "j m q"], Float[Array, "j"]]:
    """Integral of each function from the first edge up to every node, and in all."""
    matrix, node_weights = _integration_matrix(), np.polynomial.legendre.leggauss(_NODES)[1]
    panels = (values @ node_weights) * half[:, 0]
    ends = np.cumsum(panels, axis=1)
    within = (values @ matrix.T) * half
    return within + (ends - panels)[:, :, None], ends[:, -1]


@functools.lru_cache(maxsize=1)
def _integration_matrix() -> Float[Array, "q q"]:
    """Integral from -1 to node i of the polynomial through the values at the nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    legendre = np.polynomial.legendre.legvander(nodes, _NODES)
    degrees = np.arange(_NODES)
    coefficients = (legendre[:, :_NODES] * weights[:, None]).T * (degrees + 0.5)[:, None]
    below = np.concatenate([np.zeros((_NODES, 1)), legendre[:, : _NODES - 1]], axis=1)
    # The integral of P_d from -1 is (P_(d+1) - P_(d-1))/(2d+1), and of P_0 it is x + 1.
    integrals = (legendre[:, 1:] - below) / (2 * degrees + 1)
    integrals[:, 0] = nodes + 1
    return integrals @ coefficients


def _bordered(matrix: Float[Array, "k k"], border: Float[Array, "k"]) -> Float[Array, "k+1 k+1"]:
    return np.block([[matrix, border[:, None]], [-border[None, :], np.zeros((1, 1))]])
