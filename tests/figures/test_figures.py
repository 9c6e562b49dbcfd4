"""Figures show the numbers they are given, and the numbers beside them are the same."""

import numpy as np
import pandas as pd
import pytest

import figures
from tests.tables import SIZES, table_of_law
from theory import compare, optimal_context_length
from theory.laws import EXAMPLES, SaturatingLaw

RESULTS = table_of_law(SaturatingLaw(20.0, 1.0, 1.5), noise=0.05)
COMPARISON = compare(RESULTS, EXAMPLES, n_bootstrap=5)


def test_loss_curves_show_every_cell_and_the_bayes_risk():
    figure, numbers = figures.loss_against_context_length(RESULTS, "title")
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_allclose(lines["Bayes risk $R(l)$"].get_ydata(), RESULTS["bayes_risk_curve"][1:33])
    assert len(numbers) == RESULTS["loss"].mean("seed").size
    for size in SIZES:
        shown = numbers[numbers["dataset_size"] == size]
        np.testing.assert_allclose(shown["mean_loss"], RESULTS["loss"].sel(dataset_size=size).mean("seed"))
        drawn = [c for c in axes.containers if c.get_label() == f"{size:,}"]
        np.testing.assert_allclose(drawn[0].lines[0].get_ydata(), shown["mean_loss"])
    best = optimal_context_length(RESULTS)
    marked = numbers[numbers["is_optimum"]].set_index("dataset_size")["context_length"]
    assert marked.to_dict() == best["optimal_context_length"].dropna("dataset_size").to_series().astype(int).to_dict()


def test_optima_and_predictions_are_drawn_with_the_held_out_part_told_apart():
    figure, numbers = figures.optimal_context_length(COMPARISON)
    (axes,) = figure.axes
    labels = [line.get_label() for line in axes.get_lines()]
    for law in COMPARISON["law"].values:
        (line,) = [x for x in axes.get_lines() if str(x.get_label()).startswith(f"{law} (")]
        np.testing.assert_array_equal(line.get_ydata(), COMPARISON["predicted"].sel(law=law))
    assert labels
    assert [text.get_text() for text in axes.texts] == ["fitted", "held out"]
    assert len(numbers) == COMPARISON["predicted"].size


@pytest.mark.parametrize("draw", [figures.loss_against_context_length, figures.optimal_context_length])
def test_axes_are_labelled_with_units(draw):
    figure, _ = draw(RESULTS if draw is figures.loss_against_context_length else COMPARISON)
    (axes,) = figure.axes
    assert axes.get_xlabel().endswith(("(tokens)", "(samples)"))
    assert axes.get_ylabel().endswith(("(nats)", "(tokens)"))
    assert figure.legends


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for draw, table in ((figures.loss_against_context_length, RESULTS), (figures.optimal_context_length, COMPARISON)):
        first, second = (figures.save(*draw(table), tmp_path / name / "figure") for name in "ab")
        for a, b in zip(first, second, strict=True):
            assert a.read_bytes() == b.read_bytes()
    assert [path.suffix for path in first] == [".png", ".pdf", ".csv"]
    assert len(pd.read_csv(first[2])) == COMPARISON["predicted"].size


def test_a_diverged_cell_is_shown_as_missing_not_as_a_number():
    hurt = RESULTS.assign(loss=RESULTS["loss"].where((RESULTS["context_length"] != 32) | (RESULTS["seed"] != 1)))
    _, numbers = figures.loss_against_context_length(hurt)
    assert numbers[numbers["context_length"] == 32]["mean_loss"].isna().all()
    assert numbers[numbers["context_length"] != 32]["mean_loss"].notna().all()


def test_the_numbers_do_not_depend_on_the_order_of_the_table():
    _, numbers = figures.loss_against_context_length(RESULTS)
    _, turned = figures.loss_against_context_length(RESULTS.isel(dataset_size=slice(None, None, -1)))
    pd.testing.assert_frame_equal(turned, numbers)


def test_a_grid_that_begins_at_zero_and_a_single_seed_can_be_drawn(tmp_path):
    zero = RESULTS.assign_coords(context_length=[0, *RESULTS["context_length"].values[1:]]).isel(seed=[0])
    figures.save(*figures.loss_against_context_length(zero), tmp_path / "zero")
    assert (tmp_path / "zero.png").stat().st_size > 10_000
