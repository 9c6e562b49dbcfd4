"""Laws fitted on small dataset sizes and judged on large ones."""

import numpy as np
import pytest
import xarray as xr

from tests.tables import SIZES, table_of_law
from theory import best_laws, compare, comparison_as_text, fit
from theory.laws import (
    EXAMPLES,
    ChinchillaContextLaw,
    IntrinsicDimensionLaw,
    NearestNeighbourLaw,
    PowerLaw,
    SaturatingLaw,
    TableLaw,
)
from theory.measured.comparison import _prediction_intervals
from theory.measured.loss_table import LossTableError
from theory.measured.verdict import STAYS

GENERATING = SaturatingLaw(20.0, 1.0, 1.5)
TABLE = table_of_law(GENERATING, noise=0.02)
LAWS = [GENERATING, PowerLaw(), IntrinsicDimensionLaw(), TableLaw()]
COMPARISON = compare(TABLE, LAWS, n_bootstrap=5)


def test_the_generating_law_predicts_the_held_out_sizes():
    row = COMPARISON.sel(law="saturating")
    assert float(row["mean_log2_error"]) < 0.1
    assert float(row["mean_regret"]) < 1e-3
    assert "saturating" in best_laws(COMPARISON)
    assert STAYS not in best_laws(COMPARISON)


@pytest.mark.parametrize("law", EXAMPLES, ids=lambda law: law.name)
def test_each_law_predicts_its_own_noise_free_table_exactly(law):
    comparison = compare(table_of_law(law), [law], n_bootstrap=0)
    row = comparison.sel(law=law.name)
    np.testing.assert_allclose(row["regret"], 0, atol=1e-9)
    np.testing.assert_array_equal(row["predicted"], comparison["best_on_grid"])


def test_held_out_sizes_do_not_touch_the_fit():
    changed = TABLE.copy(deep=True)
    late = changed["dataset_size"] >= SIZES[4]
    for name in ("loss", "approximation_loss"):
        changed[name] = changed[name].where(~late, changed[name] + 0.123)
    again = compare(changed, [PowerLaw(), TableLaw()], n_bootstrap=0).drop_sel(law=STAYS)
    assert again["constants"].values.tolist() == COMPARISON["constants"].sel(law=again["law"]).values.tolist()
    assert COMPARISON["held_out"].values.tolist() == [False] * 4 + [True] * 4


def test_regret_is_the_measured_loss_at_the_prediction_above_the_smallest():
    mean = TABLE["loss"].mean("seed")
    for law in COMPARISON["law"].values:
        at = mean.sel(context_length=COMPARISON["predicted"].sel(law=law))
        np.testing.assert_allclose(COMPARISON["regret"].sel(law=law), at - mean.min("context_length"), atol=1e-12)
    assert (COMPARISON["regret"] >= 0).all()


def test_the_baseline_keeps_the_optimum_of_the_largest_fitted_size():
    assert np.all(COMPARISON["predicted"].sel(law=STAYS) == COMPARISON["best_on_grid"].values[3])


def test_a_prediction_s_interval_holds_the_prediction_for_the_generating_law():
    row = COMPARISON.sel(law="saturating")
    assert np.all(row["predicted_lower"] <= row["predicted"])
    assert np.all(row["predicted"] <= row["predicted_upper"])


def test_the_interval_leaves_half_of_the_rest_on_either_side():
    """The resampled predictions are 1..99 in some order. At level 0.9, five of them lie beyond either end."""
    order = np.random.default_rng(0).permutation(np.arange(1, 100))
    ends = _prediction_intervals([np.array([[n]]) for n in order], [PowerLaw()], 0.9, 1)[:, 0, 0]
    np.testing.assert_allclose(ends, [5.5, 94.5], atol=1)


def test_sizes_whose_minimum_is_at_the_edge_have_no_ratio_and_are_not_scored():
    short = TABLE.sel(context_length=[1, 2, 3])
    comparison = compare(short, [PowerLaw()], n_bootstrap=0)
    assert comparison["at_edge"].values[-1]
    assert np.isnan(comparison["ratio"].sel(law="power").values[-1])
    assert int(comparison["n_scored"].sel(law="power")) == int((~comparison["at_edge"])[4:].sum())


def test_picking_a_diverged_cell_costs_an_infinite_regret():
    """The length that the law picks diverged for the largest size."""
    hurt = TABLE.copy(deep=True)
    optimum = int(COMPARISON["predicted"].sel(law="power").values[-1])
    gone = (hurt["context_length"] == optimum) & (hurt["dataset_size"] == SIZES[-1])
    hurt["loss"] = hurt["loss"].where(~gone)
    assert np.isinf(compare(hurt, [PowerLaw()], n_bootstrap=0)["regret"].sel(law="power").values[-1])


def marked(*cells):
    """The table with one run of each cell marked as limited by optimisation."""
    flags = np.zeros(TABLE["loss"].shape, bool)
    for row, column in cells:
        flags[row, column, 1] = True
    return TABLE.assign(limited_by_optimisation=(TABLE["loss"].dims, flags))


def test_cells_that_optimisation_limits_count_as_missing_if_they_are_left_out():
    cells = [(2, 0), (5, 6)]
    missing = TABLE.copy(deep=True)
    for row, column in cells:
        for name in ("loss", "approximation_loss"):
            missing[name].values[row, column] = np.nan
    left_out, expected, all_kept, kept = (
        compare(table, [PowerLaw()], n_bootstrap=0, leave_out_limited=leave_out)
        for table, leave_out in ((marked(*cells), True), (missing, True), (TABLE, True), (marked(*cells), False))
    )
    for name in ("predicted", "p_adequate", "p_exact", "misfit", "best_on_grid", "lower", "loss_error", "left_out"):
        np.testing.assert_array_equal(left_out[name], expected[name])
    xr.testing.assert_equal(*(x.drop_vars("limited_by_optimisation") for x in (kept, all_kept)))
    assert "2 of 320 runs seem limited by optimisation; their cells are left out" in comparison_as_text(left_out)
    assert "2 of 320 runs seem limited by optimisation; their cells are used, too" in comparison_as_text(kept)
    assert "optimisation" not in comparison_as_text(COMPARISON)


def test_the_regret_at_a_cell_that_optimisation_limits_is_not_known():
    """It is no measured loss of that context length, but a run that was ended too early."""
    index = TABLE.indexes["context_length"].get_loc(int(COMPARISON["predicted"].sel(law="power").values[-1]))
    comparison = compare(marked((index, -1)), [PowerLaw()], n_bootstrap=0, leave_out_limited=True).sel(law="power")
    assert np.isnan(comparison["regret"].values[-1])
    np.testing.assert_allclose(comparison["mean_regret"], comparison["regret"].values[4:-1].mean())


def test_a_table_of_which_nothing_is_left_says_how_to_bring_cells_back():
    every = [(row, column) for row in range(10) for column in range(8)]
    with pytest.raises(LossTableError, match="80 cells that optimisation seems to limit were left out; keep them"):
        compare(marked(*every), [PowerLaw()], leave_out_limited=True)


def test_the_text_names_every_law_and_every_held_out_size():
    text = comparison_as_text(COMPARISON, "(nats)")
    for name in (*COMPARISON["law"].values, *map(str, SIZES[4:]), "regret (nats)"):
        assert name in text
    assert f"\n{SIZES[0]:>10}  " not in text


def test_given_constants_are_recorded_and_printed_and_fitted_ones_are_not():
    """A verdict on a table of four classes means nothing to a reader who cannot see that four were supposed."""
    laws = [
        PowerLaw(),
        TableLaw(classes=4),
        ChinchillaContextLaw(model_size=7e10),
        NearestNeighbourLaw(2.0, "published"),
    ]
    comparison = compare(TABLE, laws, n_bootstrap=0)
    assert comparison["given"].values.tolist() == [
        "",
        "classes = 4",
        "model_size = 7e+10, model_length_exponent = 1",
        "constant = published",
        "",
    ]
    text = comparison_as_text(comparison)
    assert "given constants, not fitted:\n  table: classes = 4\n  Chinchilla with context: model_size = 7e+10" in text
    assert "given constants" not in comparison_as_text(compare(TABLE, [PowerLaw()], n_bootstrap=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"laws": [PowerLaw(), PowerLaw()]}, "distinct names"),
        ({"laws": [PowerLaw()], "fit_fraction": 1.0}, r"fit_fraction must lie in \(0, 1\)"),
        ({"laws": [PowerLaw()], "fit_fraction": 0.01}, "8 usable dataset sizes cannot be split at fit_fraction = 0.01"),
        ({"laws": [PowerLaw()], "n_bootstrap": -1}, "n_bootstrap must be at least 0; got -1"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare(TABLE, **arguments)


def test_one_dataset_size_cannot_be_compared():
    with pytest.raises(ValueError, match="1 usable dataset sizes cannot be split"):
        compare(TABLE.isel(dataset_size=[0]), [IntrinsicDimensionLaw()])


def test_a_dataset_size_without_a_finished_run_is_left_out():
    hurt = TABLE.assign(loss=TABLE["loss"].where(TABLE["dataset_size"] != SIZES[-1]))
    comparison = compare(hurt, [PowerLaw()], n_bootstrap=0)
    assert comparison["dataset_size"].values.tolist() == list(SIZES[:-1])
    assert np.isfinite(comparison["mean_regret"]).all()


def test_one_seed_or_none_can_be_compared():
    for table in (TABLE.isel(seed=0), TABLE.isel(seed=0, drop=True), TABLE.isel(seed=[0])):
        assert compare(table, [PowerLaw()], n_bootstrap=2)["regret"].shape == (2, len(SIZES))


@pytest.mark.parametrize("laws", [[SaturatingLaw], ["saturating"], []])
def test_what_is_no_law_is_refused(laws):
    with pytest.raises(TypeError, match=r"instances of Law|laws"):
        compare(TABLE, laws)


def test_a_law_in_nats_is_not_asked_of_squared_errors():
    results = TABLE.assign_attrs(unit="squared error")
    for judge in (lambda: compare(results, [TableLaw()]), lambda: fit(TableLaw(), results)):
        with pytest.raises(LossTableError, match="'table' gives losses in nats; the table holds 'squared error'"):
            judge()
