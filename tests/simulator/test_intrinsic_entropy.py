"""Entropies of features against exact ones: normal distributions, circles, squares, and limits."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.measurement import (
    bandwidth_factor,
    gaussian_entropy,
    intrinsic_entropy,
    kernel_density_entropy,
    nearest_neighbour_entropy,
    sum_of_log_eigenvalues,
)
from simulator.tasks import SparseParity

seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([(12, 1), (12, 3), (40, 6)])
MIXING = np.array([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-1.0, 0.3, 0.1]])
"""A normal vector times this has entropy (3/2) ln(2 pi e) + ln 0.1."""


def exact(p, log_determinant=0.0):
    """The entropy of a normal distribution."""
    return p / 2 * math.log(2 * math.pi * math.e) + log_determinant / 2


def rms(z):
    return np.sqrt(np.mean(np.square(z)))


@pytest.mark.parametrize(("n", "p"), [(4, 3), (8, 6), (20, 3), (60, 40)])
def test_gaussian_entropy_has_no_bias_however_few_the_samples(n, p, rng):
    """The scatter is that of ln det of a Wishart matrix: sum psi'((n - i)/2) / 4."""
    error = math.sqrt(np.sum(scipy.special.polygamma(1, (n - np.arange(1, p + 1)) / 2)) / 4)
    mixing = np.diag(np.linspace(0.5, 2, p))
    truth = exact(p, 2 * np.linalg.slogdet(mixing)[1])
    z = (np.array([gaussian_entropy(rng.normal(size=(n, p)) @ mixing + 7) for _ in range(300)]) - truth) / error
    assert 0.85 < rms(z) < 1.15
    assert abs(np.mean(z)) < 4 / math.sqrt(300)


def test_sum_of_logs_is_a_normal_entropy_in_units_of_the_longest_axis(rng):
    """The samples have exactly these eigenvalues. The sum over all is ln det relative to lambda_1."""
    values = np.array([4.0, 2.0, 1.0, 0.1])
    noise = rng.normal(size=(50, 4))
    x = np.linalg.svd(noise - noise.mean(axis=0), full_matrices=False)[0] * np.sqrt(values)
    for N in range(1, 5):
        assert sum_of_log_eigenvalues(x, N) == pytest.approx(np.sum(np.log(values[:N] / 4)))
        assert sum_of_log_eigenvalues(100 * x - 3, N) == pytest.approx(np.sum(np.log(values[:N] / 4)))
    log_determinant = sum_of_log_eigenvalues(x, 4) + 4 * math.log(4 / 49)
    wishart = np.sum(scipy.special.digamma((50 - np.arange(1, 5)) / 2) - math.log(49 / 2))
    assert gaussian_entropy(x) == pytest.approx(exact(4, log_determinant - wishart))


def test_bandwidths_are_near_one_in_thousands_of_dimensions():
    assert bandwidth_factor("scott", 10_000, 4096) == pytest.approx(0.997756, abs=5e-7)
    assert bandwidth_factor("silverman", 10_000, 4096) == pytest.approx(0.996071, abs=5e-7)
    for n, p in itertools.product((2, 50), (1, 3)):
        reference = scipy.stats.gaussian_kde(np.random.default_rng(0).normal(size=(p, max(n, p + 2))))
        assert bandwidth_factor("scott", reference.n, p) == pytest.approx(reference.scotts_factor())
        assert bandwidth_factor("silverman", reference.n, p) == pytest.approx(reference.silverman_factor())


@settings(max_examples=10)
@given(sizes, seeds, st.sampled_from(["scott", "silverman", 0.7]), st.booleans())
def test_kernel_densities_are_those_of_the_libraries(size, seed, bandwidth, leave_one_out):
    """SciPy has the kernels of the covariance, scikit-learn the isotropic ones. Samples are left out one by one."""
    from sklearn.neighbors import KernelDensity

    n, p = size
    x = np.random.default_rng(seed).normal(size=size) @ np.diag(np.linspace(0.3, 2, p)) + 1
    h = bandwidth if isinstance(bandwidth, float) else bandwidth_factor(bandwidth, n, p)
    covariance = np.cov(x.T).reshape(p, p) * h**2
    logs, isotropic = [], []
    for i in range(n):
        others = np.delete(x, i, axis=0) if leave_one_out else x
        kernels = scipy.stats.multivariate_normal.logpdf(others, x[i], covariance)
        logs.append(scipy.special.logsumexp(kernels) - math.log(len(others)))
        isotropic.append(KernelDensity(bandwidth=h).fit(others).score_samples(x[i : i + 1])[0])
    assert kernel_density_entropy(x, bandwidth, leave_one_out=leave_one_out) == pytest.approx(-np.mean(logs), rel=1e-9)
    found = kernel_density_entropy(x, bandwidth, "isotropic", leave_one_out)
    assert found == pytest.approx(-np.mean(isotropic), rel=1e-9)
    if not leave_one_out:
        reference = scipy.stats.gaussian_kde(x.T, bw_method=bandwidth)
        assert kernel_density_entropy(x, bandwidth) == pytest.approx(-reference.logpdf(x.T).mean(), rel=1e-9)


def test_the_bounds_of_kernel_densities_are_reached(rng):
    """Narrow kernels see only themselves and wide ones see all. In 300 dimensions Scott's kernels are narrow."""
    x = rng.normal(size=(40, 2))
    for h, logs in ((1e-4, math.log(40)), (1e4, 0.0)):
        least = math.log(2 * math.pi) + 2 * math.log(h)
        assert kernel_density_entropy(x, h, "isotropic") == pytest.approx(least + logs, abs=1e-6)
    many = rng.normal(size=(600, 300)) * np.geomspace(1, 1e-3, 300)
    log_volume = np.linalg.slogdet(np.cov(many.T))[1] / 2 + 300 * math.log(bandwidth_factor("scott", 600, 300))
    bound = math.log(600) + 150 * math.log(2 * math.pi) + log_volume
    assert kernel_density_entropy(many) == pytest.approx(bound, abs=1e-6)


@given(seeds)
def test_entropies_follow_a_change_of_coordinates(seed):
    """H(A x + b) = H(x) + ln |det A|. For distances and isotropic kernels A may only turn and stretch."""
    rng = np.random.default_rng(seed)
    x, turn = rng.normal(size=(60, 3)), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved, stretched = x @ MIXING.T + 5, 0.01 * x @ turn + 5
    for estimate in (gaussian_entropy, kernel_density_entropy):
        assert estimate(moved) == pytest.approx(estimate(x) + math.log(0.1), abs=1e-7)
    grown = 3 * math.log(0.01)
    assert nearest_neighbour_entropy(stretched, 3) == pytest.approx(nearest_neighbour_entropy(x, 3) + grown, abs=1e-7)
    one, other = (kernel_density_entropy(*a, "isotropic") for a in ((x, 0.5), (stretched, 0.005)))
    assert other == pytest.approx(one + grown, abs=1e-7)


def test_the_size_of_the_blocks_changes_nothing(monkeypatch, rng):
    x = rng.normal(size=(50, 4))
    whole = [kernel_density_entropy(x, leave_one_out=one) for one in (True, False)]
    for block in (1, 50 * 7):
        monkeypatch.setattr(intrinsic_entropy, "_BLOCK", block)
        assert [kernel_density_entropy(x, leave_one_out=one) for one in (True, False)] == pytest.approx(whole)


@pytest.mark.parametrize("shape", ["normal line", "normal plane", "circle", "square without edges"])
def test_nearest_neighbours_find_the_entropy_of_what_has_a_density(shape, rng):
    """The entropy on the manifold: a circle of radius 3 has ln 6 pi.

    A sample scatters by Var ln f + psi'(k), nearly independently of others at k = 1; they share neighbours at k = 3.
    """
    n, runs = 300, 80
    truth, variance, draw, d = {
        "normal line": (exact(1), 0.5, lambda: np.pad(rng.normal(size=(n, 1)), ((0, 0), (0, 1))), 1),
        "normal plane": (exact(2), 1.0, lambda: rng.normal(size=(n, 2)), 2),
        "circle": (math.log(6 * math.pi), 0.0, lambda: 3 * points_on_circles(rng, n, 1), 1),
        "square without edges": (2 * math.log(2 * math.pi), 0.0, lambda: points_on_circles(rng, n, 2), 2),
    }[shape]
    samples = [draw() for _ in range(runs)]
    for k, widest in ((1, 1.25), (3, 1.5)):
        error = math.sqrt((variance + scipy.special.polygamma(1, k)) / n)
        z = np.array([nearest_neighbour_entropy(x, d, k) - truth for x in samples]) / error
        assert 0.8 < rms(z) < widest
        assert abs(np.mean(z)) < 4 * widest / math.sqrt(runs)


def test_nearest_neighbours_have_no_bias_in_few_samples_but_that_of_chords(rng):
    """n points on a circle: the arc a to the nearest is longer than t with probability (1 - t/pi)^(n-1)."""
    n, runs = 8, 300
    chords = scipy.integrate.quad(
        lambda a: (n - 1) / math.pi * (1 - a / math.pi) ** (n - 2) * math.log(2 * math.sin(a / 2) / a), 0, math.pi
    )[0]
    found = np.array([nearest_neighbour_entropy(points_on_circles(rng, n, 1), 1, 1) for _ in range(runs)])
    z = (found.mean() - math.log(2 * math.pi) - chords) / (found.std() / math.sqrt(runs))
    assert abs(z) < 3


def points_on_circles(rng, n, d):
    angles = rng.uniform(0, 2 * np.pi, (n, d))
    return np.hstack([np.cos(angles), np.sin(angles)])


def test_a_gaussian_estimate_takes_each_parity_for_a_normal_variable():
    """Over all contexts, m distinct parities have variance 1/4 each, and the sum of logs is 0.

    The normal entropy is (m/2) ln(2 pi e / 4) = 0.7258 m. The true one is ln 2 = 0.6931 for each independent parity.
    """
    task = SparseParity(((2, 1), (4, 2), (5, 1), (7, 3)), 10)
    contexts = np.array(list(itertools.product((0, 1), repeat=10)))
    for length in (4, 7):
        pairs = [pair for pair in task.subsets() if pair[0] <= length]
        m, answers = len(pairs), np.stack([contexts[:, -far] ^ contexts[:, -near] for far, near in pairs], axis=1)
        assert task.intrinsic_entropy(length) == pytest.approx(m * math.log(2))
        features = answers.astype(float)
        assert sum_of_log_eigenvalues(features, m) == pytest.approx(0, abs=1e-9)
        # 1,024 normal samples would have had a smaller determinant by about m (m + 1) / (2 n).
        assert gaussian_entropy(features) == pytest.approx(exact(m, -m * math.log(4)), abs=0.01)
        assert exact(1, -math.log(4)) == pytest.approx(0.7258, abs=5e-5)
        with pytest.raises(ValueError, match="equal twin"):
            nearest_neighbour_entropy(features, m)


def test_three_samples_have_nearest_neighbours(rng):
    assert np.isfinite(nearest_neighbour_entropy(rng.normal(size=(3, 2)), 1, 1))


def test_what_has_no_entropy_is_refused(rng):
    x = rng.normal(size=(50, 4))
    dependent = np.column_stack([x, x[:, 0] - x[:, 1]])
    # Rounding is relative to the features, not to their spread; and a pivot that it makes may be negative or not.
    far = (dependent + 100).astype(np.float32)
    others = [np.column_stack([y, y @ rng.normal(size=4)]) for y in rng.normal(size=(10, 50, 4))]
    for estimate in (gaussian_entropy, kernel_density_entropy):
        for features in (dependent, dependent.astype(np.float32), far, 0.001 * far, *others):
            with pytest.raises(ValueError, match="linear functions of others"):
                estimate(features)
        with pytest.raises(ValueError, match="4 samples leave the covariance of 4 features singular"):
            estimate(x[:4])
        with pytest.raises(ValueError, match="1 of 5 features are constant"):
            estimate(np.column_stack([x, np.full(50, 0.1)]))
        with pytest.raises(ValueError, match="50 of 50 samples hold NaN"):
            estimate(x * np.nan)
    assert np.isfinite(kernel_density_entropy(dependent, kernel="isotropic"))
    for features in (dependent, dependent.astype(np.float32), far, *others):
        with pytest.raises(ValueError, match=r"eigenvalues of zero: the features have 4"):
            sum_of_log_eigenvalues(features, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: sum_of_log_eigenvalues(x, 4), "leading must be between 1 and 3; got 4"),
        (lambda x: nearest_neighbour_entropy(x, 4), "among 3 features has at most 3 dimensions; got 4"),
        (lambda x: nearest_neighbour_entropy(x, 0), "dimension must be a finite number above 0; got 0"),
        (lambda x: nearest_neighbour_entropy(x, 3, 20), "at least 21 samples are needed; got 20"),
    ],
)
def test_impossible_questions_are_refused(make, message, rng):
    with pytest.raises(ValueError, match=message):
        make(rng.normal(size=(20, 3)))
