"""Measured l*: the argmin, its interval, and when there is none."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tables import LENGTHS, SIZES, table, table_of_law
from theory import optimal_context_length
from theory.laws import SaturatingLaw
from theory.measured.loss_table import AXES

NOISY = table_of_law(SaturatingLaw(20.0, 1.0, 1.5), noise=0.3, n_seeds=6)


def valley(minimum: int, *, n_seeds: int = 4, noise: float = 0.0) -> xr.Dataset:
    """A loss whose minimum over the grid is at index ``minimum`` for every dataset size."""
    depth = 0.1 * np.abs(np.arange(len(LENGTHS)) - minimum)
    gap = np.broadcast_to(depth[:, None, None], (len(LENGTHS), len(SIZES), n_seeds))
    results = table(gap + noise * np.random.default_rng(3).normal(size=gap.shape))
    return results.assign(loss=1 + results["approximation_loss"])


@pytest.mark.parametrize("minimum", range(1, len(LENGTHS) - 1))
def test_an_interior_minimum_is_found(minimum):
    best = optimal_context_length(valley(minimum))
    assert not best["at_edge"].any()
    for name in ("optimal_context_length", "lower", "upper", "best_on_grid"):
        assert np.all(best[name] == LENGTHS[minimum])


@pytest.mark.parametrize("minimum", [0, len(LENGTHS) - 1])
def test_a_minimum_at_the_edge_is_flagged_and_never_reported(minimum):
    best = optimal_context_length(valley(minimum))
    assert best["at_edge"].all()
    assert best["optimal_context_length"].isnull().all()
    assert np.all(best["best_on_grid"] == LENGTHS[minimum])


def test_a_diverged_run_takes_its_context_length_out_and_its_neighbours_cannot_claim_the_minimum():
    results = valley(4)
    hole = (results["context_length"] == LENGTHS[5]) & (results["seed"] == 1) & (results["dataset_size"] == SIZES[0])
    best = optimal_context_length(results.assign(diverged=hole & results["loss"].notnull()))
    assert best["left_out"].values.tolist() == [1] + [0] * (len(SIZES) - 1)
    assert best["at_edge"].values.tolist() == [True] + [False] * (len(SIZES) - 1)
    assert np.all(best["best_on_grid"] == LENGTHS[4])


def test_an_optimum_is_limited_where_a_run_there_or_beside_is():
    """More training of a neighbour could move the argmin by one place; the argmin itself stays what was measured."""
    results = valley(4)
    for index in range(len(LENGTHS)):
        here = (results["context_length"] == LENGTHS[index]) & (results["dataset_size"] == SIZES[0])
        marked = (here & (results["seed"] == 2)).transpose("dataset_size", "seed", "context_length")
        best = optimal_context_length(results.assign(limited_by_optimisation=marked))
        found = best["limited_by_optimisation"].values.tolist()
        assert found == [index in (3, 4, 5)] + [False] * (len(SIZES) - 1)
        assert best.drop_vars("limited_by_optimisation").equals(
            optimal_context_length(results).drop_vars("limited_by_optimisation")
        )


def test_an_infinite_loss_counts_as_diverged():
    results = valley(4)
    best = optimal_context_length(results.assign(loss=results["loss"].where(results["context_length"] > 1, np.inf)))
    assert np.all(best["left_out"] == 1)
    assert np.all(best["optimal_context_length"] == LENGTHS[4])


def test_a_dataset_size_with_nothing_left_is_flagged_and_the_others_are_untouched():
    results = valley(4)
    best = optimal_context_length(results.assign(loss=results["loss"].where(results["dataset_size"] != 128)))
    gone = best.sel(dataset_size=128)
    assert gone["at_edge"]
    assert gone["best_on_grid"] == -1
    assert np.isnan([gone["optimal_context_length"], gone["loss"], gone["lower"], gone["upper"]]).all()
    xr.testing.assert_identical(
        best.drop_sel(dataset_size=128), optimal_context_length(results).drop_sel(dataset_size=128)
    )


@pytest.mark.parametrize("nested", [False, True])
def test_cells_may_differ_in_their_number_of_seeds(nested):
    """One seed fewer for half of the cells, and with each length's seeds under other numbers: no cell is left out."""
    losses = NOISY["loss"].values.copy()
    losses[::2, :, -1] = np.nan
    if nested:
        losses = np.stack([np.roll(part, i, axis=-1) for i, part in enumerate(losses)])
    ragged = NOISY.assign(loss=(NOISY["loss"].dims, losses))
    best, before = optimal_context_length(ragged), optimal_context_length(NOISY)
    assert best["left_out"].values.tolist() == [0] * len(SIZES)
    np.testing.assert_allclose(best["loss"], np.nanmean(losses, axis=2).min(axis=0))
    assert np.all(best["lower"] <= before["upper"])
    assert np.all(before["lower"] <= best["upper"])


def test_the_interval_holds_the_argmin_where_rare_runs_are_far_worse_than_without_context():
    """For the interval such losses count as 2 R(0) - R(L), which makes another length seem the best."""
    shape = (len(LENGTHS), len(SIZES), 32)
    losses = np.linspace(1.6, 1.7, len(LENGTHS))[:, None, None] + 0.001 * np.random.default_rng(0).normal(size=shape)
    losses[4] -= 0.6
    losses[4, :, 0] = 50.0
    best = optimal_context_length(table(losses).assign(loss=(AXES, losses)))
    assert np.all(best["lower"] <= best["best_on_grid"])
    assert np.all(best["best_on_grid"] <= best["upper"])
    assert not (best["best_on_grid"] == LENGTHS[4]).any()
    assert np.all(best["upper"] >= LENGTHS[4])


def test_of_three_equally_good_lengths_each_is_excluded_as_seldom_as_the_level_says():
    """The two others of the three are its rivals. A standard error of a share of 480 is 1.4 %."""
    gap = np.full((len(LENGTHS), len(SIZES), 4), 0.5)
    gap[[1, 5, 8]] = 0.1 - 1 / (np.array(LENGTHS)[[1, 5, 8]] + 1)[:, None, None] + 0.1
    held = []
    for s in range(60):
        noise = 0.02 * np.random.default_rng(s).normal(size=gap.shape)
        results = table(gap).assign(loss=(AXES, 1 + 1 / (np.array(LENGTHS) + 1)[:, None, None] + gap + noise))
        held.append(optimal_context_length(results.drop_vars("approximation_loss"))["lower"] == LENGTHS[1])
    assert 0.87 <= np.mean(held) <= 0.97


def test_what_all_lengths_of_a_seed_share_does_not_widen_the_interval():
    shared = xr.DataArray(0.3 * np.random.default_rng(0).normal(size=(len(SIZES), 4)), dims=AXES[1:])
    results = valley(4, noise=0.01)
    best = optimal_context_length(results.assign(loss=results["loss"] + shared))
    assert np.all(best["lower"] == LENGTHS[4])
    assert np.all(best["upper"] == LENGTHS[4])


def test_a_length_where_every_run_is_far_worse_than_without_context_is_no_candidate():
    """Their losses spread over three decades, so that their mean is no more than a standard error above the best."""
    results = valley(4, noise=0.01, n_seeds=8)
    wild = np.exp(5 + 1.5 * np.random.default_rng(1).normal(size=(len(SIZES), 8)))
    loss = results["loss"].values.copy()
    loss[-1] = wild
    best = optimal_context_length(results.assign(loss=(AXES, loss)))
    assert np.all(best["upper"] == LENGTHS[4])


def test_two_seeds_cover_where_context_lengths_nearly_tie():
    """Level 0.9, a saturating law, noise of 0.15."""
    law, covered = SaturatingLaw(20.0, 1.0, 1.5), []
    exact = np.array(LENGTHS)[table_of_law(law)["loss"].isel(seed=0).argmin("context_length").values]
    gap = table_of_law(law, n_seeds=2)["approximation_loss"].values
    for s in range(40):
        noise = np.exp(0.15 * np.random.default_rng(s).normal(size=gap.shape))
        best = optimal_context_length(table(gap * noise))
        covered.append((best["lower"].values <= exact) & (exact <= best["upper"].values))
    assert np.mean(covered) >= 0.88


@settings(max_examples=6)
@given(st.sampled_from([0.5, 0.8, 0.9]), st.integers(0, 5))
def test_the_interval_holds_the_argmin_and_grows_with_its_level(level, seed):
    narrow, wide = (optimal_context_length(NOISY, level=x, seed=seed) for x in (level, 0.99))
    assert np.all(wide["lower"] <= narrow["lower"])
    assert np.all(narrow["lower"] <= narrow["best_on_grid"])
    assert np.all(narrow["best_on_grid"] <= narrow["upper"])
    assert np.all(narrow["upper"] <= wide["upper"])


def test_the_answer_does_not_depend_on_the_order_of_the_table():
    shuffled = NOISY.isel(context_length=slice(None, None, -1), dataset_size=slice(None, None, -1)).transpose(
        "seed", "dataset_size", "context_length", ...
    )
    xr.testing.assert_identical(optimal_context_length(shuffled), optimal_context_length(NOISY))


def test_the_answer_does_not_depend_on_the_unit_or_the_origin_of_the_loss():
    moved = NOISY.assign(loss=3.0 * NOISY["loss"] - 7.0)
    for name in ("optimal_context_length", "lower", "upper"):
        np.testing.assert_array_equal(optimal_context_length(moved)[name], optimal_context_length(NOISY)[name])


def test_a_single_seed_has_no_interval():
    best = optimal_context_length(NOISY.isel(seed=0, drop=True))
    assert best["lower"].isnull().all()
    assert best["upper"].isnull().all()


def test_intervals_cover_the_truth_in_simulated_studies():
    """Level 0.9, eight seeds, independent noise of half a step of a V-shaped loss: covered in at least 80 of 100."""
    covered = []
    for s in range(100):
        results = valley(4, n_seeds=8)
        noise = 0.1 * np.random.default_rng(s).normal(size=results["loss"].shape)
        best = optimal_context_length(results.assign(loss=results["loss"] + noise))
        covered.append((best["lower"] <= LENGTHS[4]) & (best["upper"] >= LENGTHS[4]))
    assert np.mean(covered) >= 0.8


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (NOISY.drop_vars("loss"), "no variable 'loss'"),
        (NOISY.rename(context_length="l"), r"dimensions \('l', 'dataset_size', 'seed'\); it needs"),
        (xr.concat([NOISY, NOISY], "dataset_size", data_vars="minimal"), "'dataset_size' holds duplicates"),
        (NOISY.drop_vars("seed"), "no coordinate 'seed'"),
    ],
)
def test_a_table_of_another_shape_is_refused_with_the_remedy(broken, message):
    with pytest.raises(ValueError, match=message):
        optimal_context_length(broken)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, float("nan")])
def test_an_impossible_level_is_refused(level):
    with pytest.raises(ValueError, match="level must lie in"):
        optimal_context_length(NOISY, level=level)
