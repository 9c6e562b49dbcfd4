"""The minimum of a smooth surface through measured losses: where it is, and how well its interval covers."""

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize_scalar

from tests.tables import LENGTHS, SIZES, table, table_of_law, truth
from theory import surface_optimum
from theory.laws import PowerLaw, SaturatingLaw
from theory.measured.surface import _surface
from theory.measured.weighted_fit import cells_of

N_STUDIES, N_SEEDS = 60, 8
LAW = PowerLaw(2.0, 1.0, 0.8)


def continuous_optimum(gap):
    """argmin over real l of R(l) + G(l), R(l) = 1 + 1/(l+1)."""
    log_length = minimize_scalar(
        lambda x: 1 / (np.exp(x) + 1) + gap(np.exp(x)),
        bounds=(0, np.log(32)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return np.exp(log_length.x)


EXACT = np.array([continuous_optimum(lambda l, D=D: 2.0 * l * D**-0.8) for D in SIZES])


def test_a_noise_free_power_law_has_its_optimum_to_the_resolution_of_the_search():
    """ln G is linear in ln l and ln D, and R is known: the surface is exact but for the cubic between integers."""
    found = surface_optimum(table_of_law(LAW))
    assert found["optimal_context_length"].values == pytest.approx(EXACT, rel=0.01)
    growth = np.polyfit(np.log(SIZES), np.log(EXACT), 1)[0]
    assert float(found["growth_exponent"]) == pytest.approx(growth, rel=0.01)


def saturating(l, D):
    """Gmax(l) / (1 + (D/(20 l))^1.5), Gmax(l) = 1 - 1/(l+1), whose logarithm is no polynomial."""
    return (1 - 1 / (l + 1)) / (1 + (D / (20 * l)) ** 1.5)


def test_no_form_is_supposed_a_ceiling_moves_the_optimum_by_less_than_two_per_cent():
    found = surface_optimum(table_of_law(SaturatingLaw(20.0, 1.0, 1.5)))["optimal_context_length"].values
    exact = np.array([continuous_optimum(lambda l, D=D: saturating(l, D)) for D in SIZES])
    inside = ~np.isnan(found)
    assert inside.sum() == 7
    assert found[inside] == pytest.approx(exact[inside], rel=0.02)


def test_the_unit_of_the_loss_and_the_order_of_the_table_change_nothing():
    noisy = table_of_law(LAW, noise=0.1)
    bits = noisy.assign({n: noisy[n] / np.log(2) for n in ("loss", "approximation_loss", "bayes_risk_curve")})
    xr.testing.assert_allclose(surface_optimum(bits), surface_optimum(noisy), rtol=1e-3)
    shuffled = noisy.isel(dataset_size=[3, 1, 0, 2, 7, 5, 6, 4])
    xr.testing.assert_allclose(surface_optimum(shuffled), surface_optimum(noisy))


def least_squares_studies(n_draws, rng):
    """Excess risk of least squares on l = 1, 2, ... independent tokens, D samples, R(l) = 1 + 1/(l+1); (l, D, draw).

    The triangular factor of a Gaussian matrix is drawn instead of the matrix (Bartlett 1933)."""
    lengths, sizes = np.array(LENGTHS[:9]), np.array([64, 128, 256, 512])
    L = lengths[-1]
    weights, noise = np.sqrt(-np.diff(truth().bayes_risk[: L + 1])), np.sqrt(truth().bayes_risk[L])
    gaps = np.empty((len(lengths), len(sizes), n_draws))
    for j, D in enumerate(sizes):
        R = np.triu(rng.normal(size=(n_draws, L, L)), 1)
        R[:, range(L), range(L)] = np.sqrt(rng.chisquare(D - np.arange(L), size=(n_draws, L)))
        z = R @ weights + noise * rng.normal(size=(n_draws, L))
        for i, l in enumerate(lengths):
            found = np.linalg.solve(R[:, :l, :l], z[:, :l, None])[:, :, 0]
            gaps[i, j] = np.sum((found - weights[:l]) ** 2, axis=1)
    return gaps, lengths, sizes


@pytest.mark.slow
def test_ninety_per_cent_intervals_cover_nine_tenths_of_the_studies_of_least_squares():
    rng = np.random.default_rng(0)
    draws, lengths, sizes = least_squares_studies(N_STUDIES * N_SEEDS, rng)
    exact = np.array([continuous_optimum(lambda l, D=D: (1 + 1 / (l + 1)) * l / (D - l - 1)) for D in sizes])
    studies = draws.reshape(*draws.shape[:2], N_STUDIES, N_SEEDS)
    covered = np.mean([covers(studies[:, :, s], lengths, sizes, exact) for s in range(N_STUDIES)], axis=0)
    assert np.all(covered >= 0.82), covered


@pytest.mark.slow
def test_ninety_per_cent_intervals_cover_nine_tenths_of_the_studies_of_a_power_law():
    rng, gap = np.random.default_rng(1), 2.0 * np.array(LENGTHS)[:, None] * np.array(SIZES, float) ** -0.8
    covered = []
    for _ in range(N_STUDIES):
        shared, own = rng.normal(size=(1, 1, N_SEEDS)), rng.normal(size=(*gap.shape, N_SEEDS))
        studies = gap[:, :, None] * np.exp(0.1 * shared + 0.1 * own - 0.01)
        covered.append(covers(studies, LENGTHS, SIZES, EXACT))
    share = np.mean(covered, axis=0)
    assert np.all(share >= 0.82), share


@pytest.mark.slow
def test_ninety_per_cent_intervals_cover_nine_tenths_of_the_studies_of_a_saturating_law():
    """Two seeds, noise of 0.15 that neighbouring context lengths share to nine tenths."""
    rng = np.random.default_rng(2)
    gap = saturating(np.array(LENGTHS)[:, None], np.array(SIZES, float))
    exact = np.array([continuous_optimum(lambda l, D=D: saturating(l, D)) for D in SIZES])
    covered = []
    for _ in range(N_STUDIES):
        noise = rng.normal(size=(*gap.shape, 2))
        for i in range(1, len(LENGTHS)):
            noise[i] = 0.9 * noise[i - 1] + np.sqrt(1 - 0.81) * noise[i]
        covered.append(covers(gap[:, :, None] * np.exp(0.15 * noise - 0.011), LENGTHS, SIZES, exact)[0])
    assert np.mean(covered) >= 0.82


def test_an_interval_widens_with_its_level_and_holds_the_optimum():
    noisy = table_of_law(LAW, noise=0.1)
    narrow, wide = (surface_optimum(noisy, level=level) for level in (0.5, 0.95))
    middle = slice(1, 7)
    ends = [found[end].values[middle] for found, end in ((wide, "lower"), (narrow, "lower"))]
    tops = [found[end].values[middle] for found, end in ((narrow, "upper"), (wide, "upper"))]
    best = wide["optimal_context_length"].values[middle]
    assert np.all(np.diff([*ends, best, *tops], axis=0) > 0)
    assert wide["growth_upper"] - wide["growth_lower"] > narrow["growth_upper"] - narrow["growth_lower"]
    assert (wide.attrs["level"], wide.attrs["n_seeds"]) == (0.95, 4)


def test_a_single_seed_has_an_optimum_and_no_interval():
    found = surface_optimum(table_of_law(LAW, noise=0.02).isel(seed=[0]))
    assert found["optimal_context_length"].values[1:7] == pytest.approx(EXACT[1:7], rel=0.05)
    assert found["lower"].isnull().all()
    assert found["upper"].isnull().all()
    assert np.isnan(found["growth_lower"])


def test_a_bayes_risk_from_the_same_losses_is_refused():
    with pytest.raises(ValueError, match=r"R\(l\) was estimated from the losses of the table"):
        surface_optimum(table_of_law(LAW).assign_attrs(bayes_risk_estimated=1))


def covers(gaps, lengths, sizes, exact):
    """The share of optima inside the grid that their intervals hold; whether that of the growth holds the exact one."""
    found = surface_optimum(table(gaps, lengths, sizes))
    inside = ~found["at_edge"].values
    within = (found["lower"].values <= exact * (1 + 1e-9)) & (exact <= found["upper"].values * (1 + 1e-9))
    growth = np.polyfit(np.log(np.array(sizes)[inside]), np.log(exact[inside]), 1)[0]
    return np.mean(within[inside]), float(found["growth_lower"]) <= growth <= float(found["growth_upper"])


def test_cells_far_above_a_minimum_hardly_move_it():
    """Those that lose half of R(0) - R(L) more than the best of their dataset size, all made three times as large; if
    all cells counted alike, the optima would move by 3 to 9 %."""
    exact = table_of_law(LAW)
    far = exact["loss"] - exact["loss"].min("context_length") > 0.5 * (truth().bayes_risk[0] - truth().bayes_risk[-1])
    assert int(far.any("seed").sum()) == 6
    gap = exact["approximation_loss"]
    found = surface_optimum(exact.assign(approximation_loss=gap.where(~far, 3 * gap)))
    middle = slice(1, 7)
    assert found["optimal_context_length"].values[middle] == pytest.approx(EXACT[middle], rel=0.02)


def test_a_surface_that_falls_to_an_end_of_the_grid_has_no_optimum():
    short = table_of_law(SaturatingLaw(20.0, 1.0, 1.5), noise=0.02).sel(context_length=[1, 2, 3])
    found = surface_optimum(short)
    assert found["at_edge"].values[-1]
    assert np.isnan(found["optimal_context_length"].values[-1])
    assert found["upper"].values[-1] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("few", "message"),
    [
        ({"dataset_size": [0, 1]}, "10 context lengths above 0 and 2 dataset sizes"),
        ({"context_length": [4, 5]}, "2 context lengths above 0 and 8 dataset sizes"),
    ],
)
def test_too_small_a_table_is_refused_with_what_it_has(few, message):
    with pytest.raises(ValueError, match=message):
        surface_optimum(table_of_law(LAW).isel(few))


def test_growth_is_that_of_the_sizes_whose_interval_is_not_open():
    found = surface_optimum(table_of_law(SaturatingLaw(20.0, 1.0, 1.5), noise=0.05))
    ends = np.array([LENGTHS[0], LENGTHS[-1]]) * [1 + 1e-9, 1 - 1e-9]
    inside = (found["lower"].values > ends[0]) & (found["upper"].values < ends[1])
    assert 2 <= inside.sum() < len(SIZES)
    slope = np.polyfit(np.log(SIZES)[inside], np.log(found["optimal_context_length"].values[inside]), 1)[0]
    assert float(found["growth_exponent"]) == pytest.approx(slope)


def test_the_logarithm_of_a_noisy_mean_is_not_biased(rng):
    """Two seeds, noise of 0.5: without a correction ln G would come out 0.06 too small."""
    gap = LAW.approximation_loss(np.array(LENGTHS)[:, None], np.array(SIZES, float), truth())
    risk, U = truth().bayes_risk[list(LENGTHS)][:, None, None], 1 - 1 / 33
    spread, biases = np.sqrt(np.log(1.25)), []
    for _ in range(40):
        noise = np.exp(spread * rng.normal(size=(*gap.shape, 2)) - spread**2 / 2)
        cells = cells_of(risk + gap[:, :, None] * noise, np.array(LENGTHS), np.array(SIZES), truth())
        surface, _ = _surface(np.stack([cells.grid.length, cells.grid.size], axis=1), cells)
        biases.append(np.mean(surface.values - np.log(gap.ravel() / U)))
    assert abs(np.mean(biases)) < 0.03


def test_a_negative_gap_is_refused():
    wrong = table_of_law(LAW)
    with pytest.raises(ValueError, match="never negative; the table holds -"):
        surface_optimum(wrong.assign(approximation_loss=wrong["approximation_loss"] - 0.5))


def test_a_cell_without_an_approximation_loss_is_left_out():
    """Its logarithm would be infinite."""
    exact = table_of_law(LAW)
    learned = (exact["context_length"] == 8) & (exact["dataset_size"] == 512)
    found = surface_optimum(exact.assign(approximation_loss=exact["approximation_loss"].where(~learned, 0.0)))
    assert found["optimal_context_length"].values == pytest.approx(EXACT, rel=0.01)


def test_cells_may_differ_in_their_number_of_seeds():
    """One seed fewer in half of the cells moves little, and those cells alone still fix a surface."""
    noisy = table_of_law(LAW, noise=0.1)
    gap = noisy["approximation_loss"]
    ragged = gap.where((gap["seed"] < 3) | (gap["dataset_size"] > 512))
    found = surface_optimum(noisy.assign(approximation_loss=ragged))
    before = surface_optimum(noisy)
    middle = slice(1, 7)
    for name in ("optimal_context_length", "lower", "upper"):
        assert found[name].values[middle] == pytest.approx(before[name].values[middle], rel=0.05)
    few = noisy.assign(approximation_loss=ragged).isel(dataset_size=slice(0, 4))
    assert np.isfinite(surface_optimum(few)["lower"].values).all()


def test_missing_cells_are_left_out_and_the_others_decide():
    noisy = table_of_law(LAW)
    hole = noisy["approximation_loss"].where((noisy["context_length"] != 8) | (noisy["dataset_size"] != 512))
    found = surface_optimum(noisy.assign(approximation_loss=hole))
    assert found["optimal_context_length"].values == pytest.approx(EXACT, rel=0.01)
