"""What is read off features, on features whose covariance is known; and the closed forms of both Bayes risks."""

import numpy as np
import pytest
import xarray as xr

from paper_reproduction.bayes_risks.make import closed_form_v1, closed_form_v4, sampled
from paper_reproduction.spectra import KERNELS, against, exact_lines, of_features, straight_line
from simulator.tasks import SparseParity


def test_features_of_known_covariance(rng):
    scales = np.array([4.0, 2.0, 1.0, 0.5])
    found = of_features((rng.normal(size=(8000, 4)) * scales).astype(np.float32))
    np.testing.assert_allclose(found["eigenvalue"], (scales / 4) ** 2, rtol=0.07)
    assert float(found["entropy"].sel(estimate="3 eigenvalues")) == pytest.approx(np.log(1 / 2 * 1 / 4), abs=0.05)
    assert np.isnan(found["entropy"].sel(estimate="5 eigenvalues"))
    # Of a normal density g, widened by kernels of Scott's h: the mean of -ln g * N(0, h^2) over samples of g.
    variances = (scales / 4) ** 2
    wide = variances + 8000 ** (-2 / 8)
    normal = np.sum(np.log(2 * np.pi * wide) + variances / wide) / 2
    assert float(found["entropy"].sel(estimate=KERNELS)) == pytest.approx(normal, abs=0.1)
    assert found["dimension"].sel(threshold=[0.002, 0.05, 0.1]).values.tolist() == [4, 3, 2]


def test_a_line_has_its_slope_and_explains_all(rng):
    x = xr.DataArray(rng.normal(size=(2, 6, 3)), dims=("seed", "context_length", "of"))
    y = 2 - 0.3 * x.isel(of=1, drop=True)
    fits = straight_line(y, x)
    np.testing.assert_allclose(fits["slope"].isel(of=1), -0.3)
    np.testing.assert_allclose(fits["share"].isel(of=1), 1)
    for seed in range(2):
        slope = np.polyfit(x[seed, :, 0], y[seed], 1)[0]
        np.testing.assert_allclose(fits["slope"][seed, 0], slope)
        np.testing.assert_allclose(fits["share"][seed, 0], np.corrcoef(x[seed, :, 0], y[seed])[0, 1] ** 2)
    table = against(y, x.assign_coords(of=[3, 4, 5]))
    assert table["value"].dims == ("of", "context_length")
    np.testing.assert_allclose(table["at"].sel(of=4), x[:, :, 1].mean("seed"))


def test_the_exact_slope_stands_beside_the_measured_ones():
    table = xr.Dataset(
        dict.fromkeys(("value", "lower", "upper"), (("loss", "N"), [[1.0, 2.0]])), {"loss": ["measured"]}
    )
    both = exact_lines(table, -0.5)
    assert both["loss"].values.tolist() == ["measured", "exact"]
    assert both["value"].values.tolist() == [[1, 2], [-0.5, -0.5]]


def test_closed_forms_are_close_and_the_bayes_predictor_loses_the_exact_risk():
    v4, v1 = SparseParity.paper_v4(), SparseParity.paper_v1()
    assert max(abs(closed_form_v4(l) - v4.bayes_risk(l)) for l in range(10, 61)) < 2e-4
    assert max(abs(closed_form_v1(l) - v1.bayes_risk(l)) for l in range(20, 101)) < 0.02
    for task in (v4, v1):
        loss, error = sampled(task, [17, 50], 2000)
        assert np.all(np.abs(loss - [task.bayes_risk(l) for l in (17, 50)]) < 4 * error + 1e-6)
