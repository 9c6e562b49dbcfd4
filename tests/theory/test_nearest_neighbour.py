"""The distance to the nearest of D points, against simulation on the torus and known constants."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from theory.learning_curves import nearest_neighbour_distance


def test_the_mean_square_distance_is_that_of_points_on_a_torus(rng):
    """96 cells of independent clouds, one point asked of each: their z-scores have a root mean square near one."""
    z = []
    for d, D in [(1, 5), (1, 40), (2, 30), (2, 300), (3, 100), (3, 1000), (4, 400), (5, 2000)]:
        for power in (1.0, 2.0):
            for _ in range(6):
                # Points asked of one cloud are not independent, so each cloud gives one mean.
                means = [
                    np.mean(cKDTree(rng.random((D, d)), boxsize=1.0).query(rng.random((64, d)))[0] ** power)
                    for _ in range(40)
                ]
                error = np.std(means, ddof=1) / np.sqrt(len(means))
                z.append((np.mean(means) - nearest_neighbour_distance(d, D, power)) / error)
    assert 0.8 < np.sqrt(np.mean(np.square(z))) < 1.25


@given(st.sampled_from([1.0, 2.0, 4.0, 8.0]), st.sampled_from([0.5, 1.0, 2.0]))
def test_the_exponent_is_power_over_dimension(dimension, power):
    few, many = nearest_neighbour_distance(dimension, np.array([1e6, 1e8]), power)
    assert np.log(many / few) / np.log(100) == pytest.approx(-power / dimension, rel=1e-4)


@pytest.mark.parametrize(("dimension", "size", "power"), [(0, 10, 2), (2, 0, 2), (2, 10, 0), (-1, 10, 2)])
def test_impossible_arguments_are_refused(dimension, size, power):
    with pytest.raises(ValueError, match="above 0"):
        nearest_neighbour_distance(dimension, size, power)
