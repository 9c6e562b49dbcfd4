"""One battery over all estimators of dimension, and each estimator against exact values."""

import itertools
import math
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from paper_reproduction.estimator_audit.make import sphere, torus
from simulator.measurement import (
    PAPER_THRESHOLDS,
    CorrectedParticipationRatio,
    CorrelationDimension,
    EntropyRank,
    ExplainedVariance,
    Gride,
    LinearRank,
    MaximumLikelihood,
    ParticipationRatio,
    ThresholdedSpectrum,
    TwoNN,
    binary_rank,
    covariance_eigenvalues,
)
from simulator.measurement.intrinsic_dimension import EXAMPLES, NeighbourEstimator, SpectralEstimator
from simulator.tasks import SparseParity

ids = {"ids": lambda e: type(e).__name__}
each_estimator = pytest.mark.parametrize("estimator", EXAMPLES, **ids)
each_neighbour = pytest.mark.parametrize("estimator", [e for e in EXAMPLES if isinstance(e, NeighbourEstimator)], **ids)
seeds = st.integers(0, 2**32 - 1)


def normal(rng, n, d):
    """Normal samples that fill d of d + 2 dimensions."""
    return np.pad(rng.normal(size=(n, d)), ((0, 0), (0, 2)))


def parities(task, context_length, contexts):
    """Return the answers to all answerable questions, each once. Bit b of a pair is column L - b."""
    pairs = sorted({pair for pair in task.subsets() if pair[0] <= context_length})
    L = task.max_context_length
    return np.stack([contexts[:, L - far] ^ contexts[:, L - near] for far, near in pairs], axis=1)


def rotation(rng, p):
    return np.linalg.qr(rng.normal(size=(p, p)))[0]


@each_estimator
def test_rotation_shift_and_scale_change_nothing(estimator, rng):
    """It holds up to rounding, far from the origin and in 30 dimensions, where the neighbour search is another one."""
    x = torus(rng, 200, 2) * np.array([1.0, 0.5, 1.0, 0.5])
    known = estimator(x)
    for p in (4, 30):
        turned = np.pad(x, ((0, 0), (0, p - 4))) @ rotation(rng, p)
        for moved in (turned, 1e-3 * turned - 5, 1e4 * turned + 1e6):
            assert estimator(moved) == pytest.approx(known, rel=1e-4)


@each_estimator
def test_order_and_precision_of_samples_change_nothing(estimator, rng):
    x = sphere(rng, 300, 2)
    known = estimator(x)
    assert estimator(x[rng.permutation(300)]) == pytest.approx(known, rel=1e-9)
    assert estimator(x.astype(np.float32)) == pytest.approx(known, rel=1e-3)


@each_estimator
def test_what_has_no_dimension_is_refused(estimator, rng):
    x = rng.normal(size=(100, 3))
    x[7, 1], x[8, 2] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of 100 samples hold NaN or infinity"):
        estimator(x)
    with pytest.raises(ValueError, match="the 100 samples are all equal"):
        estimator(np.full((100, 3), 0.1))
    with pytest.raises(ValueError, match=r"at least \d+ samples are needed; got 1"):
        estimator(x[:1])


@each_neighbour
def test_neighbours_refuse_discrete_features_and_too_few_samples(estimator, rng):
    bits = rng.integers(0, 2, (200, 40)).astype(float)
    with pytest.raises(ValueError, match="equally far away"):
        estimator(bits)
    with pytest.raises(ValueError, match="200 of 200 samples have an equal twin"):
        estimator(np.repeat(rng.normal(size=(100, 3)), 2, axis=0))
    # A twin that is off by rounding in single precision.
    twins = np.repeat(rng.normal(size=(100, 30)), 2, axis=0)
    with pytest.raises(ValueError, match="within rounding"):
        estimator(twins * (1 + 1e-8 * rng.normal(size=twins.shape)))
    with pytest.raises(ValueError, match=r"10\^\(d/2\)"):
        estimator(rng.normal(size=(100, 12)))
    with pytest.raises(ValueError, match="two features or more"):
        estimator(rng.normal(size=(100, 1)))


@each_neighbour
def test_a_missing_library_is_named(estimator, monkeypatch, rng):
    x = rng.normal(size=(100, 2))
    for module in ("sklearn.neighbors", "skdim.id"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=rf'{module} is not installed: pip install "context-scaling'):
                estimator(x)


def test_estimators_refuse_a_sample_that_their_answer_saturates(rng):
    for estimator in EXAMPLES:
        if isinstance(estimator, SpectralEstimator):
            with pytest.raises(ValueError, match="dimensions in 20 samples, more than half"):
                estimator(rng.normal(size=(20, 400)))
    with pytest.raises(ValueError, match="20 samples have no rank above 19"):
        LinearRank()(rng.normal(size=(20, 400)))
    with pytest.raises(ValueError, match="too few to tell"):
        CorrectedParticipationRatio()(np.eye(5))
    with pytest.raises(ValueError, match="at least 21 samples are needed; got 20"):
        MaximumLikelihood()(rng.normal(size=(20, 2)))


def test_settings_that_are_not_given_have_these_values():
    given = (
        ThresholdedSpectrum(0.01),
        ExplainedVariance(0.95),
        MaximumLikelihood(20),
        Gride(2),
        CorrelationDimension(10, 20),
    )
    assert given == (ThresholdedSpectrum(), ExplainedVariance(), MaximumLikelihood(), Gride(), CorrelationDimension())
    assert len(PAPER_THRESHOLDS) == 20
    assert sum(PAPER_THRESHOLDS) == pytest.approx(1.09)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExplainedVariance(1.0), "share must lie between 0 and 1; got 1"),
        (lambda: CorrelationDimension(10, 10), "farther must be at least 11; got 10"),
        (lambda: binary_rank(np.array([[0, 2], [1, 1]])), "must be 0 or 1"),
        (lambda: binary_rank(np.array([[0, 1]])), "at least 2 samples are needed; got 1"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@given(st.lists(st.floats(0.01, 1), min_size=5, max_size=5), seeds)
def test_spectral_estimators_follow_from_the_eigenvalues(values, seed):
    """Samples with exactly this covariance: left singular vectors of noise, stretched and turned."""
    rng = np.random.default_rng(seed)
    values = np.sort(values)[::-1]
    noise = rng.normal(size=(30, 5))
    x = np.linalg.svd(noise - noise.mean(axis=0), full_matrices=False)[0] * np.sqrt(29 * values) @ rotation(rng, 5)
    np.testing.assert_allclose(covariance_eigenvalues(x), values, rtol=1e-9)
    shares = values / values.sum()
    assert ParticipationRatio()(x) == pytest.approx(1 / np.sum(shares**2))
    assert EntropyRank()(x) == pytest.approx(math.exp(scipy.stats.entropy(shares)))
    assert ThresholdedSpectrum(0.31)(x) == sum(v > 0.31 * max(values) for v in values)
    enough = [k for k in range(1, 6) if sum(shares[:k]) >= 0.83]
    assert ExplainedVariance(0.83)(x) == min(enough)
    assert LinearRank()(x) == 5


def test_eigenvalues_are_those_of_the_covariance_however_many_samples(rng):
    for n, p in ((50, 8), (8, 50)):
        x = rng.normal(size=(n, p)) + 3
        expected = np.linalg.eigvalsh(np.cov(x.T))[::-1][: min(n - 1, p)]
        np.testing.assert_allclose(covariance_eigenvalues(x), expected, rtol=1e-9)


def test_corrected_participation_ratio_averages_over_four_different_samples(rng):
    """The closed forms are the means over all ordered quadruples, whatever the distribution."""
    for n, p in ((7, 3), (5, 8)):
        x = rng.exponential(size=(n, p)) * np.arange(1, p + 1)
        squares, totals = [], []
        for i, j, k, m in itertools.permutations(range(n), 4):
            a, b = x[i] - x[j], x[k] - x[m]
            squares.append((a @ b) ** 2)
            totals.append((a @ a) * (b @ b))
        assert CorrectedParticipationRatio()(x) == pytest.approx(np.sum(totals) / np.sum(squares))


# Estimator, and the standard error stated for it: sqrt(n)/d times that of d.
STATED = [
    (MaximumLikelihood(), 1.4 / math.sqrt(19)),
    (TwoNN(), 1.25),
    (Gride(), 1.0),
    (CorrelationDimension(), 0.5),
]
each_stated = pytest.mark.parametrize(("estimator", "error"), STATED, ids=lambda e: type(e).__name__)


@each_stated
def test_circles_are_one_dimensional_within_the_stated_standard_error(estimator, error, rng):
    n = 250
    z = np.array([(estimator(torus(rng, n, 1)) - 1) * math.sqrt(n) / error for _ in range(80)])
    assert 0.8 < np.sqrt(np.mean(z**2)) < 1.25


@each_stated
@pytest.mark.parametrize(
    ("manifold", "d", "bias"),
    [(torus, 2, 0.02), (sphere, 2, 0.01), (sphere, 3, 0.02), (normal, 3, 0.03)],
)
def test_manifolds_have_their_dimension_within_four_standard_errors(estimator, error, manifold, d, bias, rng):
    """The tolerance also contains the bias that curvature and edges leave at this number of samples."""
    n = 1500
    assert estimator(manifold(rng, n, d)) == pytest.approx(d, rel=bias + 4 * error / math.sqrt(n))


def test_likelihoods_are_at_their_greatest(rng):
    """The published formulas, written out, give the same estimates from the distances."""
    x = normal(rng, 120, 2)
    T = np.sort(np.linalg.norm(x[:, None] - x[None], axis=2), axis=1)[:, 1:]
    logs = np.log(T[:, 4:5] / T[:, :4])
    assert MaximumLikelihood(5)(x) == pytest.approx(1 / np.mean(logs.sum(axis=1) / 4))
    assert TwoNN()(x) == pytest.approx(119 / np.sum(np.log(T[:, 1] / T[:, 0])))
    r = np.median(T[:, 3]), np.median(T[:, 8])
    counts = [np.count_nonzero(radius > T) for radius in r]
    assert CorrelationDimension(4, 9)(x) == pytest.approx(np.diff(np.log(counts))[0] / np.log(r[1] / r[0]))
    d, m = np.linspace(1, 4, 30001)[:, None], T[:, 3] / T[:, 1]
    likelihood = (np.log(d) + np.log(m**d - 1) - (3 * d + 1) * np.log(m)).sum(axis=1)
    # The library takes n - 1 in place of n in front of ln d.
    best = d[np.argmax(likelihood - np.log(d[:, 0])), 0]
    assert Gride(2)(x) == pytest.approx(best, abs=2e-4)


@given(st.sampled_from([(6, 3), (9, 5), (40, 12)]), st.integers(1, 5), seeds)
def test_binary_rank_counts_what_the_samples_can_be_xored_to(shape, rank, seed):
    """XORs of a few independent features, a constant added, span 2^rank differences."""
    rng = np.random.default_rng(seed)
    n, p = shape
    bits = rng.integers(0, 2, (n, rank)) @ rng.integers(0, 2, (rank, p)) % 2 ^ rng.integers(0, 2, p)
    found = binary_rank(bits)
    assert found <= min(rank, n - 1, p)
    span = {(0,) * p}
    for row in bits ^ bits[0]:
        span |= {tuple(a ^ b for a, b in zip(row.tolist(), other, strict=True)) for other in span}
    assert len(span) == 2**found
    assert binary_rank(bits.astype(bool)[:, rng.permutation(p)]) == binary_rank(bits.astype(np.uint8)) == found


def test_all_answers_of_a_parity_task_have_its_dimension_and_entropy_exactly():
    """Over all contexts distinct parities are uncorrelated coins of variance 1/4: every spectral dimension counts them.

    The pairs (2, 1), (3, 2), (3, 1) close a cycle: three dimensions, two coins.
    """
    task = SparseParity(((2, 1), (3, 2), (3, 1), (5, 2), (6, 4), (6, 4), (12, 1)), 8)
    contexts = np.array(list(itertools.product((0, 1), repeat=8)))
    for length in (2, 3, 5, 6, 8):
        answers = parities(task, length, contexts)
        dimension = task.intrinsic_dimension(length)
        np.testing.assert_allclose(covariance_eigenvalues(answers.astype(float)), 256 / 255 / 4)
        for estimator in (ThresholdedSpectrum(0.999), ParticipationRatio(), EntropyRank(), LinearRank()):
            assert estimator(answers.astype(float)) == pytest.approx(dimension)
        assert binary_rank(answers) * math.log(2) == pytest.approx(task.intrinsic_entropy(length))


def test_many_equal_samples_have_the_rank_of_the_few_that_differ(rng):
    """Errors of the decomposition add up over equal samples, to 17 eps |X| for 10,000 samples of two points."""
    for d in (1, 2):
        x = (2.0 * rng.integers(2, size=(10_000, d)) - 1) @ np.linalg.qr(rng.standard_normal((80, d)))[0].T
        assert LinearRank()(x) == d


def test_features_of_the_published_parities_have_their_number_of_dimensions(rng):
    """A rotation puts them into 80 features. All eigenvalues are 1/4.

    Those of 1,000 samples spread 2.3 times, ((1 + s) / (1 - s))^2 with s = sqrt(43/1000). The largest threshold is 4.
    """
    task, length = SparseParity.paper_v1(), 94
    answers = parities(task, length, rng.integers(0, 2, (1000, 100)))
    features = (answers @ rotation(rng, 80)[: answers.shape[1]]).astype(np.float32)
    solvable = task.solvable_tasks(length)
    assert task.intrinsic_dimension(length) == solvable
    for threshold in PAPER_THRESHOLDS:
        assert ThresholdedSpectrum(threshold)(features) == solvable
    assert LinearRank()(features) == solvable
    assert CorrectedParticipationRatio()(features) == pytest.approx(solvable, rel=0.03)
    assert binary_rank(answers) * math.log(2) == pytest.approx(task.intrinsic_entropy(length))
    with pytest.raises(ValueError, match=r"equal twin|equally far away"):
        TwoNN()(features)
