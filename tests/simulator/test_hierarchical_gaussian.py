"""The hierarchical Gaussian sequences against their story told with matrices, and the growth law they were made for."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.specification import canonical_json
from simulator.tasks.hierarchical_gaussian import HierarchicalGaussian

g, r = math.sqrt(5) / 4, 1 / 4
M = np.array([[g, g, g, r], [-g, g, -g, r], [-g, -g, g, r], [g, -g, -g, r]])
each_copies = pytest.mark.parametrize("copies", [1, 2, 3])


def told(n_layers, copies):
    """The covariance, by giving every independent normal a column of its own, layer by layer and row by row."""
    covariance = M @ M.T
    for _ in range(n_layers - 1):
        n = len(covariance)
        root = np.linalg.cholesky(covariance)
        stacked = np.zeros((n, 4, 4 * n))  # row, column of four, independent normal
        for column in range(4):
            stacked[:, column, column * n : (column + 1) * n] = root if column < copies else np.eye(n)
        tokens = np.concatenate([M @ stacked[i] for i in range(n)])
        covariance = tokens @ tokens.T
        original = covariance.copy()
        for i in range(n - 1):
            a, b = 4 * i + 3, 4 * i + 4
            covariance[a, b] = covariance[b, a] = 2 / 5 * (original[a - 1, a] + original[b, b + 1]) + 1 / 5
    return covariance


@each_copies
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_covariance_is_that_of_the_story(n_layers, copies):
    np.testing.assert_allclose(
        HierarchicalGaussian(n_layers, copies).joint_covariance(), told(n_layers, copies), atol=1e-14
    )


@each_copies
@pytest.mark.parametrize("n_layers", [1, 3, 5])
def test_unit_variances_pairs_of_minus_a_quarter_and_positive_definite(n_layers, copies):
    """The smallest eigenvalue settles well above zero, so longer sequences are positive definite as well."""
    covariance = HierarchicalGaussian(n_layers, copies).joint_covariance()
    np.testing.assert_allclose(np.diag(covariance), 1, atol=1e-14)
    groups = covariance.reshape(4 ** (n_layers - 1), 4, 4 ** (n_layers - 1), 4)
    for i in range(4 ** (n_layers - 1)):
        np.testing.assert_allclose(groups[i, :, i] - 1.25 * np.eye(4), -0.25, atol=1e-14)
    assert np.linalg.eigvalsh(covariance)[0] > 0.19


def test_information_between_halves_grows_with_exponent_log_4_3_for_three_copies_and_logarithmically_for_one():
    """Information triples with each layer for c = 3 in the limit; for c = 1 each layer adds as much as the last."""
    info = {
        c: np.array([HierarchicalGaussian(n, c).bipartite_mutual_information() for n in range(1, 6)]) for c in (1, 3)
    }
    exponents = np.diff(np.log(info[3])) / math.log(4)
    np.testing.assert_allclose(exponents[1:], math.log(3, 4), atol=0.02)
    assert np.all(np.diff(exponents[1:]) < 0)
    np.testing.assert_allclose(info[3], [0.2939, 0.8751, 2.6857, 8.1922, 24.9026], atol=5e-5)
    np.testing.assert_allclose(np.diff(info[1])[1:], 0.0062, atol=0.0008)
    np.testing.assert_allclose(info[1], [0.2939, 0.2776, 0.2831, 0.2900, 0.2959], atol=5e-5)


@given(st.integers(1, 3), st.integers(1, 3), st.data())
def test_information_is_the_fall_of_conditional_entropies(n_layers, copies, data):
    """I(X; Y) = H(Y) - H(Y|X), both by Schur complement; and by symmetry I(Y; X)."""
    task = HierarchicalGaussian(n_layers, copies)
    length = data.draw(st.integers(2, 4**n_layers))
    cut = data.draw(st.integers(1, length - 1))
    S = task.joint_covariance()[:length, :length]
    for x, y in ((slice(0, cut), slice(cut, length)), (slice(cut, length), slice(0, cut))):
        given_x = S[y, y] - S[y, x] @ np.linalg.solve(S[x, x], S[x, y])
        expected = 0.5 * np.log(np.linalg.det(S[y, y]) / np.linalg.det(given_x))
        assert task.bipartite_mutual_information(length, cut) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from(["squared_error", "log_loss"]))
def test_risk_at_every_length_by_schur_complement(n_layers, copies, loss):
    task = HierarchicalGaussian(n_layers, copies, loss)
    S, L = task.joint_covariance(), task.max_context_length
    assert 4**n_layers - 1 == L
    for length in range(L + 1):
        tokens, cross = S[L - length : L, L - length : L], S[L - length : L, L]
        variance = 1 - cross @ (np.linalg.solve(tokens, cross) if length else cross)
        expected = variance if loss == "squared_error" else 0.5 * math.log(2 * math.pi * math.e * variance)
        assert task.bayes_risk(length) == pytest.approx(expected, abs=1e-12)
    assert task.intrinsic_dimension(L) == L


def test_a_task_with_a_derived_length_is_rebuilt_from_its_fields():
    task = HierarchicalGaussian(2, 1, "log_loss")
    assert HierarchicalGaussian(**{f.name: getattr(task, f.name) for f in dataclasses.fields(task)}) == task
    assert "max_context_length" not in canonical_json(task)


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match="n_copies must be between 1 and 3; got 4"):
        HierarchicalGaussian(2, 4)
    with pytest.raises(ValueError, match="length must be between 2 and 16"):
        HierarchicalGaussian(2).bipartite_mutual_information(17)
    with pytest.raises(ValueError, match=r"cut must be .* 1 and 3; got 4"):
        HierarchicalGaussian(2).bipartite_mutual_information(4, 4)
