"""Figures show the numbers they are given, and the numbers beside them are the same."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import figures
import figures.tasks
from tests.tables import LENGTHS, SIZES, table_of_law
from theory import compare, optimal_context_length, split_loss
from theory.laws import IntrinsicDimensionLaw, PowerLaw, SaturatingLaw
from theory.measured.loss_table import LossTableError

RESULTS = table_of_law(SaturatingLaw(20.0, 1.0, 1.5), noise=0.05)
COMPARISON = compare(RESULTS, [IntrinsicDimensionLaw(), PowerLaw()], n_bootstrap=2)


def test_loss_curves_show_every_cell_and_the_bayes_risk():
    figure, numbers = figures.draw_losses(RESULTS, "title")
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
    figure, numbers = figures.draw_optima(COMPARISON)
    (axes,) = figure.axes
    labels = [line.get_label() for line in axes.get_lines()]
    for law in COMPARISON["law"].values:
        (line,) = [x for x in axes.get_lines() if str(x.get_label()).startswith(f"{law} (")]
        np.testing.assert_array_equal(line.get_ydata(), COMPARISON["predicted"].sel(law=law))
    assert labels
    assert [text.get_text() for text in axes.texts] == ["fitted", "held out"]
    assert len(numbers) == COMPARISON["predicted"].size


@pytest.mark.parametrize("draw", [figures.draw_losses, figures.draw_optima])
def test_axes_are_labelled_with_units(draw):
    figure, _ = draw(RESULTS if draw is figures.draw_losses else COMPARISON)
    (axes,) = figure.axes
    assert axes.get_xlabel().endswith(("(tokens)", "(samples)"))
    assert axes.get_ylabel().endswith(("(nats)", "(tokens)"))
    assert figure.legends


def test_the_same_table_gives_the_same_bytes(tmp_path):
    first, second = (figures.save(*figures.draw_optima(COMPARISON), tmp_path / name / "figure") for name in "ab")
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
    assert [path.suffix for path in first] == [".png", ".pdf", ".csv"]
    assert len(pd.read_csv(first[2])) == COMPARISON["predicted"].size


def test_a_diverged_cell_is_shown_as_missing_not_as_a_number():
    lost = (RESULTS["context_length"] == 32) & (RESULTS["seed"] == 1) & (RESULTS["dataset_size"] > 0)
    hurt = RESULTS.assign(diverged=lost)
    _, numbers = figures.draw_losses(hurt)
    assert numbers[numbers["context_length"] == 32]["mean_loss"].isna().all()
    assert numbers[numbers["context_length"] != 32]["mean_loss"].notna().all()
    cell = numbers[(numbers["context_length"] == 8) & (numbers["dataset_size"] == RESULTS["dataset_size"].values[0])]
    samples = RESULTS["loss"].isel(dataset_size=0).sel(context_length=8).values
    assert cell["standard_error"].item() == pytest.approx(samples.std(ddof=1) / np.sqrt(samples.size))


def hollow(axes, marker):
    """The places of hollow markers of a kind, legend entries left out."""
    lines = [x for x in axes.get_lines() if x.get_marker() == marker and x.get_markerfacecolor() == "white"]
    return [tuple(point) for line in lines for point in np.asarray(line.get_xydata()) if len(point)]


def test_cells_that_optimisation_limits_have_hollow_markers():
    """One run of the cell is enough; the legend says so only where there is one."""
    flags = np.zeros(RESULTS["loss"].shape, bool)
    flags[3, 1, 2] = True
    marked = RESULTS.assign(limited_by_optimisation=(RESULTS["loss"].dims, flags))
    figure, numbers = figures.draw_losses(marked, optima=COMPARISON)
    cell = RESULTS["loss"].isel(context_length=3, dataset_size=1)
    assert hollow(figure.axes[0], "s") == [(float(cell["context_length"]), float(cell.mean()))]
    assert numbers["limited_by_optimisation"].sum() == 1
    label = "limited by optimisation"
    assert label in [text.get_text() for text in figure.legends[0].get_texts()]
    plain, _ = figures.draw_losses(RESULTS, optima=COMPARISON)
    assert label not in [text.get_text() for text in plain.legends[0].get_texts()]


def test_optima_that_more_training_may_move_have_hollow_markers():
    moved = COMPARISON["dataset_size"] == SIZES[5]
    figure, _ = figures.draw_optima(COMPARISON.assign(limited_by_optimisation=moved))
    assert hollow(figure.axes[0], "D") == [(SIZES[5], float(COMPARISON["best_on_grid"][5]))]
    (filled,) = [c for c in figure.axes[0].containers if c.get_label() == "measured, with interval"]
    assert SIZES[5] not in filled.lines[0].get_xdata()
    assert "limited by optimisation, there or beside" in [text.get_text() for text in figure.legends[0].get_texts()]


def trainings():
    """Two lengths, two sizes and three seeds: a run that was selected early, a limited one, and one that diverged."""
    over, shape = ("context_length", "dataset_size", "seed"), (2, 2, 3)
    losses = 1.0 + np.random.default_rng(0).random((*shape, 4))
    losses[0, 0, 1, 2:] = np.nan
    steps = np.where(np.isnan(losses), np.nan, [10.0, 20, 30, 40])
    stopped, best, limited = np.full(shape, "patience", object), np.full(shape, 20), np.zeros(shape, bool)
    stopped[0, 0, 1], stopped[1, 1, 2], best[1, 0, 0], limited[1, 1, 2] = "diverged", "last step", 0, True
    return xr.Dataset(
        {
            "loss": (over, losses.min(axis=-1)),
            "validation_loss": ((*over, "evaluation"), losses),
            "evaluation_step": ((*over, "evaluation"), steps),
            "stopped_by": (over, stopped),
            "best_step": (over, best),
            "limited_by_optimisation": (over, limited),
            "bayes_risk": ("context_length", [0.9, 0.5]),
        },
        coords={"context_length": [1, 4], "dataset_size": [64, 128], "seed": [0, 1, 2], "evaluation": [1, 2, 3, 4]},
        attrs={"unit": "nats"},
    )


def test_training_curves_show_every_run_its_selected_step_and_why_it_stopped():
    table = trainings()
    figure, numbers = figures.draw_training_curves(table, "title")
    assert len(figure.axes) == 4
    for axes, (i, j) in zip(figure.axes, np.ndindex(2, 2), strict=True):
        cell = table.isel(context_length=i, dataset_size=j)
        lines = [line for line in axes.get_lines() if len(np.atleast_1d(line.get_xdata())) == 4]
        for line, seed in zip(lines, range(3), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), cell["evaluation_step"][seed])
            np.testing.assert_array_equal(line.get_ydata(), cell["validation_loss"][seed])
        (risk,) = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
        assert set(risk.get_ydata()) == {float(cell["bayes_risk"])}
        circles = [tuple(x.get_xydata()[0]) for x in axes.get_lines() if x.get_marker() == "o"]
        assert circles == [(20, float(cell["validation_loss"][k, 1])) for k in range(3) if cell["best_step"][k] == 20]
        assert axes.get_title() == f"$l$ = {(1, 4)[i]}, $D$ = {(64, 128)[j]}"
    crosses = [tuple(x.get_xydata()[0]) for x in figure.axes[0].get_lines() if x.get_marker() == "X"]
    assert crosses == [(20, float(table["validation_loss"][0, 0, 1, 1]))]
    assert hollow(figure.axes[3], "o") == [(20, float(table["validation_loss"][1, 1, 2, 1]))]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:4] == ["seed 0", "seed 1", "seed 2", "Bayes risk $R(l)$"]
    assert {"stopped: patience", "stopped: last step", "stopped: diverged"} < set(labels)
    assert "stopped: unknown" not in labels
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("optimiser steps", "validation loss (nats)")
    assert len(numbers) == int(table["validation_loss"].notnull().sum())


def test_tables_without_curves_or_with_too_many_cells_are_refused():
    with pytest.raises(LossTableError, match="no variable 'validation_loss'"):
        figures.draw_training_curves(RESULTS)
    many = trainings().isel(dataset_size=[0] * 22).assign_coords(dataset_size=range(1, 23))
    with pytest.raises(LossTableError, match="2 context lengths and 22 dataset sizes are more than 42 panels"):
        figures.draw_training_curves(many)


def test_the_numbers_do_not_depend_on_the_order_of_the_table():
    _, numbers = figures.draw_losses(RESULTS)
    _, turned = figures.draw_losses(RESULTS.isel(dataset_size=slice(None, None, -1)))
    pd.testing.assert_frame_equal(turned, numbers)


def test_a_grid_that_begins_at_zero_and_a_single_seed_can_be_drawn(tmp_path):
    """Zero stands on a linear piece of the axis, and one seed has no error."""
    zero = RESULTS.assign_coords(context_length=[0, *RESULTS["context_length"].values[1:]]).isel(seed=[0])
    figure, numbers = figures.draw_losses(zero)
    (axes,) = figure.axes
    assert axes.get_xscale() == "symlog"
    assert axes.containers[0].lines[0].get_xdata()[0] == 0
    np.testing.assert_array_equal(numbers["standard_error"], 0)
    png, *_ = figures.save(figure, numbers, tmp_path / "zero")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_optima_that_are_known_are_not_measured_again(monkeypatch):
    """The bootstrap of compare serves the figure of the losses too."""
    expected = figures.draw_losses(RESULTS)[1]
    monkeypatch.setattr(figures.loss_against_context_length, "optimal_context_length", None)
    pd.testing.assert_frame_equal(figures.draw_losses(RESULTS, optima=COMPARISON)[1], expected)


def truth(name, risk, exponent, entropy=None):
    lengths = np.arange(len(risk))
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "bayes_risk": ("context_length", risk),
            "intrinsic_dimension": ("context_length", lengths.astype(float)),
            "intrinsic_entropy": ("context_length", np.full(len(risk), np.nan) if entropy is None else entropy),
            "token": (("sequence", "distance"), rng.integers(0, 3, (4, 100)).astype(float)),
            "relevant": (("sequence", "distance"), rng.random((4, 100)) < 0.5),
        },
        coords={"context_length": lengths},
        attrs={"task": f'{{"type":"{name}"}}', "name": name, "unit": "nats", "risk_exponent": exponent},
    )


def test_a_gallery_has_a_row_per_task_and_its_power_law():
    lengths = np.arange(200.0)
    exact = 0.2 + 3 * np.maximum(lengths, 0.5) ** -0.7
    truths = [truth("Power", exact, 0.7), truth("Flat", np.full(200, 0.3), np.nan, entropy=np.log1p(lengths))]
    figure, numbers = figures.draw_gallery(truths, "title")
    assert len(figure.axes) == 8
    np.testing.assert_allclose(figures.tasks.power_law(truths[0]), (0.2, 3.0, 0.7), rtol=1e-9)
    assert figures.tasks.power_law(truths[1]) is None
    risk, flat = figure.axes[1], figure.axes[5]
    assert [line.get_label() for line in risk.get_lines()] == ["$R - C_0$, $C_0$ = 0.2", r"$\gamma$ = 0.7"]
    for line in risk.get_lines():
        np.testing.assert_allclose(line.get_ydata(), (exact - 0.2)[1:][-len(line.get_ydata()) :])
    assert len(flat.get_lines()) == 1
    assert [text.get_text() for text in figure.axes[3].texts] == ["none"]
    assert (risk.get_ylabel(), flat.get_ylabel()) == ("$R - C_0$ (nats)", "$R$ (nats)")
    assert all(axes.get_xlabel().endswith("(tokens)") for axes in figure.axes[4:])
    assert len(numbers) == 400
    assert set(numbers["task"]) == {t.attrs["task"] for t in truths}


def test_an_empty_gallery_is_refused():
    with pytest.raises(ValueError, match="no task to draw"):
        figures.draw_gallery([])


@pytest.mark.parametrize("panels", [False, True])
def test_curves_show_every_point_with_its_interval(panels):
    rng = np.random.default_rng(0)
    dims, shape = ("model", "length"), (2, 4)
    coordinates = {"model": ["a", "b"], "length": [1, 2, 4, 8]}
    if panels:
        dims, shape, coordinates = ("task", *dims), (3, *shape), {"task": ["x", "y", "z"], **coordinates}
    value = rng.uniform(1, 2, shape)
    table = xr.Dataset(
        {"value": (dims, value), "lower": (dims, value - 0.1), "upper": (dims, value + 0.3)}, coordinates
    )
    table["at_edge"] = table["value"] > 1.5
    table["value"].attrs = {"long_name": "loss (nats)"}
    table["length"].attrs["long_name"] = "length (tokens)"
    figure, numbers = figures.draw_curves(table, "title")
    assert len(figure.axes) == (3 if panels else 1)
    assert len(numbers) == value.size
    for i, axes in enumerate(figure.axes):
        for j, container in enumerate(axes.containers):
            line, _, (bars,) = container.lines
            expected = value[i, j] if panels else value[j]
            np.testing.assert_allclose(np.asarray(line.get_ydata(), float), expected)
            ends = np.array([segment[:, 1] for segment in bars.get_segments()])
            np.testing.assert_allclose(ends, np.stack([expected - 0.1, expected + 0.3], axis=1))
        open_points = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
        at_edge = (value[i] if panels else value) > 1.5
        assert [len(np.atleast_1d(line.get_ydata())) for line in open_points] == at_edge.sum(axis=1).tolist()
        assert axes.get_xlabel() == "length (tokens)"
    assert figure.axes[0].get_ylabel() == "loss (nats)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_refusals_are_crosses_along_the_lower_edge():
    value = np.array([[1.0, np.nan, np.nan], [1.0, 2.0, 3.0], [np.nan, 1.0, 2.0]])
    over = ("estimator", "samples")
    coordinates = {"estimator": ["a", "b", "c"], "samples": [1, 2, 4]}
    table = xr.Dataset(dict.fromkeys(("value", "lower", "upper"), (over, value)), coordinates)
    figure, _ = figures.draw_curves(table.assign(refused=table["value"].isnull()))
    crosses = [line for line in figure.axes[0].get_lines() if line.get_marker() == "x"]
    assert [np.asarray(line.get_xdata()).tolist() for line in crosses] == [[2, 4], [1]]
    heights = [set(line.get_ydata()) for line in crosses]
    assert heights[0].isdisjoint(heights[1])
    assert max(set.union(*heights)) < 0.1


def test_points_may_stand_where_another_quantity_says():
    over, coordinates = ("model", "length"), {"model": ["a", "b"], "length": [1, 2, 4]}
    value, at = np.arange(6.0).reshape(2, 3), np.array([[-0.5, 3, 7], [2, 2.5, 9]])
    table = xr.Dataset(dict.fromkeys(("value", "lower", "upper"), (over, value)), coordinates).assign(at=(over, at))
    table["at"].attrs["long_name"] = "entropy (nats)"
    figure, numbers = figures.draw_curves(table)
    (axes,) = figure.axes
    for container, expected in zip(axes.containers, at, strict=True):
        np.testing.assert_allclose(np.asarray(container.lines[0].get_xdata(), float), expected)
    assert (axes.get_xlabel(), axes.get_xscale()) == ("entropy (nats)", "linear")
    assert numbers["at"].tolist() == at.ravel().tolist()


def test_many_points_do_not_each_have_a_tick_and_fractions_are_not_rounded():
    def drawn(x):
        table = xr.Dataset(
            dict.fromkeys(("value", "lower", "upper"), (("a", "x"), [np.ones(len(x))])), {"a": ["b"], "x": x}
        )
        (axes,) = figures.draw_curves(table)[0].axes
        return [axes.xaxis.get_major_formatter()(tick) for tick in axes.get_xticks()]

    assert drawn([1, 3, 5]) == ["1", "3", "5"]
    assert drawn([1, 2, 16, 28, 30, 32]) == ["1", "2", "16", "32"]
    assert len(drawn(list(range(1, 81)))) < 16
    assert {"0.01", "0.1"} <= set(drawn([0.004, 0.02, 0.25]))


def test_the_parts_of_a_loss_are_stacked_up_to_the_loss():
    gap = RESULTS["approximation_loss"]
    best = RESULTS.assign(approximation_loss=0.7 * gap)
    endless = RESULTS.assign(approximation_loss=0.1 * gap).isel(dataset_size=[0]).assign_coords(dataset_size=[10**7])
    parts = split_loss(RESULTS, best=best, endless=endless).isel(dataset_size=[0, 3])
    figure, numbers = figures.draw_loss_parts(parts, "title")
    for axes, size in zip(figure.axes, SIZES[0:4:3], strict=True):
        mean = RESULTS["loss"].sel(dataset_size=size).mean("seed")
        (line,) = [x for x in axes.get_lines() if x.get_label() == "measured loss"]
        np.testing.assert_allclose(line.get_ydata(), mean)
        assert max(area.get_datalim(axes.transData).y1 for area in axes.collections) == pytest.approx(float(mean.max()))
        (star,) = [x for x in axes.get_lines() if x.get_label() == "smallest loss"]
        assert star.get_xdata() == LENGTHS[np.argmin(mean.values)]
    assert len(numbers) == parts["estimation"].size
    with pytest.raises(LossTableError, match=r"give the table of theory\.split_loss"):
        figures.draw_loss_parts(RESULTS)
    for table, n in ((xr.concat([parts] * 5, "dataset_size"), 10), (parts.isel(dataset_size=[]), 0)):
        with pytest.raises(LossTableError, match=f"1 to 8 dataset sizes, and the table has {n}: take some"):
            figures.draw_loss_parts(table)
    for axis in ("context_length", "dataset_size"):
        with pytest.raises(LossTableError, match=f"no axis '{axis}': select by a list"):
            figures.draw_loss_parts(parts.isel({axis: 0}))


def test_the_legend_of_loss_parts_names_the_star_also_where_the_first_panel_has_none():
    nothing = RESULTS.isel(dataset_size=[0, 3]).assign(loss=0.0)
    names = ("capacity", "estimation", "optimisation")
    gap = nothing["approximation_loss"].mean("seed")
    parts = nothing[["bayes_risk"]].assign({name: gap.where(gap["dataset_size"] > SIZES[0]) for name in names})
    figure, _ = figures.draw_loss_parts(parts)
    assert "smallest loss" in [text.get_text() for text in figure.legends[0].get_texts()]
