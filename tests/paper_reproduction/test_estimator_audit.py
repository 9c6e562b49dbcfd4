"""The truth that estimators are held against, by routes of its own."""

import math

import numpy as np
import pytest

from paper_reproduction.estimator_audit.make import (
    CHANGES,
    ENTROPIES,
    MANIFOLDS,
    cluster_entropy,
    clusters,
    dimension_table,
    seen_changes,
)
from simulator.measurement import LinearRank, nearest_neighbour_entropy


@pytest.mark.parametrize("dimension", [1, 2, 7])
@pytest.mark.parametrize("manifold", MANIFOLDS)
def test_a_manifold_has_its_dimension_and_spans_what_it_should(manifold, dimension):
    """Among the nearest of many samples to one, d principal axes hold all the spread there is; parities are corners."""
    around = {
        "torus": 2 * dimension,
        "sphere": dimension + 1,
        "Swiss rolls": 2 * ((dimension + 1) // 2) + dimension // 2,
    }
    x = MANIFOLDS[manifold](np.random.default_rng(0), 400, dimension)
    assert LinearRank()(x) == around.get(manifold, dimension)
    if dimension > 2:
        return  # 60 of 20,000 samples are not near one another
    if manifold == "parities":
        assert len(np.unique(x.round(9), axis=0)) == 2**dimension
    else:
        many = MANIFOLDS[manifold](np.random.default_rng(1), 20_000, dimension)
        near = many[np.argsort(np.linalg.norm(many - many[0], axis=1))[:60]]
        spread = np.linalg.svd(near - near.mean(axis=0), compute_uv=False)
        assert np.count_nonzero(spread > 0.2 * spread[0]) == dimension


def test_the_entropy_of_clusters_is_a_coin_and_a_normal_distribution():
    assert cluster_entropy() == pytest.approx(math.log(2) + 0.5 * math.log(2 * math.pi * math.e * 0.1**2), abs=1e-9)
    x = clusters(np.random.default_rng(0), 40_000, 2)
    np.testing.assert_allclose(np.cov(x.T), np.eye(2), atol=0.03)
    assert nearest_neighbour_entropy(x, 2) == pytest.approx(2 * cluster_entropy(), abs=0.03)


@pytest.mark.parametrize("p", [2, 16])
def test_a_kernel_of_the_covariance_sees_any_change_of_it_and_hardly_one_of_shape(p):
    """The first is built in: the estimate moves with ln det under any linear map."""
    seen = seen_changes(p, 500, 2)["seen"].transpose("change", "estimator", "seed")
    covariance, shape = (seen.sel(change=change) for change in CHANGES)
    for name in list(ENTROPIES)[:3]:
        np.testing.assert_allclose(covariance.sel(estimator=name), 1, rtol=1e-9)
    assert np.all(np.abs(shape.sel(estimator="log determinant")) < 0.1)
    blind = shape.sel(estimator="kernel density, covariance").mean()
    assert blind < 0.05 if p == 16 else 0.2 < blind < 0.8


def test_refused_cells_have_no_number(tmp_path):
    table = dimension_table(tmp_path, (2, 64), (100,), 2, 1).isel(samples=0)
    neighbours = table.sel(estimator="TwoNN")
    assert neighbours["refused"].sel(manifold="parities").all()
    assert neighbours["refused"].sel(true_dimension=64).all()
    assert not neighbours["refused"].sel(manifold="torus", true_dimension=2)
    assert neighbours["value"].sel(manifold="torus", true_dimension=2) == pytest.approx(1, abs=0.3)
    assert table["value"].isnull().equals(table["refused"])
