"""Which runs are marked as limited by optimisation: made-up tables whose answer is known."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from simulator import limited_by_optimisation

AXES = ("context_length", "dataset_size", "seed")
LENGTHS, SIZES, SEEDS, EVALUATIONS = (1, 2, 4, 8), (64, 128, 256, 512), 4, 20


def made(noise=0.1, seed=0, n_seeds=SEEDS):
    """Runs that stopped by patience after 20 evaluations, the last five flat. U is 1; G falls with D, grows with l."""
    gap = 0.5 * np.sqrt(np.array(LENGTHS)[:, None] / np.array(SIZES))[:, :, None]
    gap = gap * np.exp(noise * np.random.default_rng(seed).normal(size=(4, 4, n_seeds)))
    fall = np.append(np.linspace(1, 0, EVALUATIONS - 5), np.zeros(5))
    return xr.Dataset(
        {
            "approximation_loss": (AXES, gap),
            "validation_loss": ((*AXES, "evaluation"), 0.3 + gap[..., None] + fall),
            "evaluation_step": ((*AXES, "evaluation"), np.broadcast_to(np.arange(1.0, 21), (*gap.shape, EVALUATIONS))),
            "stopped_by": (AXES, np.full(gap.shape, "patience", object)),
            "steps": (AXES, np.full(gap.shape, 20)),
            "best_step": (AXES, np.full(gap.shape, 15)),
            "bayes_risk_curve": ("every_context_length", [1.3, 0.8, 0.5, 0.3]),
        },
        coords={"context_length": list(LENGTHS), "dataset_size": list(SIZES), "seed": range(n_seeds)},
    )


RUN = (1, 2, 3)
"""The run that is changed."""


def with_curve(table, losses, stopped_by="last step", best=None):
    """The table in which that run has another validation curve."""
    table = table.copy(deep=True)
    losses = np.asarray(losses, float)
    table["validation_loss"].values[RUN] = np.append(losses, [np.nan] * (EVALUATIONS - len(losses)))
    table["stopped_by"].values[RUN] = stopped_by
    table["steps"].values[RUN] = len(losses)
    table["best_step"].values[RUN] = np.nanargmin(losses) + 1 if best is None else best
    return table


def marked(table):
    """The marked runs with their reasons."""
    found = limited_by_optimisation(table)
    runs = np.argwhere(found["limited_by_optimisation"].values)
    reasons = found["optimisation_limit"].values
    assert ((reasons != "") == found["limited_by_optimisation"].values).all()
    return {tuple(map(int, run)): str(reasons[tuple(run)]) for run in runs}


def test_runs_that_stopped_on_equal_footing_are_not_marked():
    assert marked(made()) == {}


@given(st.integers(2, EVALUATIONS), st.floats(0.001, 0.5), st.integers(-4, 4))
def test_a_run_is_still_improving_by_what_the_second_half_of_its_steps_gained(n, slope, power):
    """The loss falls by the same amount at each evaluation, in any unit."""
    table = with_curve(made(), 1.0 - slope * np.arange(n))
    for name in ("validation_loss", "approximation_loss", "bayes_risk_curve"):
        table[name] = table[name] * 2.0**power
    gained = slope * (n - n // 2)
    assert marked(table) == ({RUN: "still improving"} if gained > 0.01 else {})


def test_a_run_improved_before_its_end_or_by_little_or_stopped_by_patience_is_not_still_improving():
    falling = 1.0 - 0.03 * np.arange(20)
    assert marked(with_curve(made(), falling)) == {RUN: "still improving"}
    assert marked(with_curve(made(), falling, "patience")) == {}
    assert marked(with_curve(made(), [*falling[:16], *[0.9] * 4])) == {}
    assert marked(with_curve(made(), [*falling[:10], *falling[9] - 0.0009 * np.arange(1, 11)])) == {}
    assert marked(with_curve(made(), falling, best=0)) == {}, "the untrained network was better"


def test_a_single_evaluation_that_beat_the_untrained_network_is_still_improving():
    assert marked(with_curve(made(), [0.9])) == {RUN: "still improving"}


def test_a_run_far_above_another_seed_of_its_cell_is_on_a_plateau():
    table = made()
    table["approximation_loss"].values[RUN] *= 4
    assert marked(table) == {RUN: "plateau"}
    table["stopped_by"].values[RUN] = "diverged"
    assert marked(table) == {}


def test_a_run_that_overfits_is_limited_by_data():
    """Its validation loss rises after the best step by more than it lies above the other seed."""
    table = made()
    table["approximation_loss"].values[RUN] *= 4
    above = float(table["approximation_loss"][RUN] - table["approximation_loss"][RUN[:2]].min())
    falling = 1.0 - 0.05 * np.arange(15)
    for rise, found in ((0.9 * above, {RUN: "plateau"}), (1.1 * above, {})):
        assert marked(with_curve(table, [*falling, *[falling[-1] + rise] * 5], "patience")) == found


def test_more_data_that_leave_every_seed_worse_are_a_plateau_of_all():
    table = made()
    table["approximation_loss"].values[2, 3] = 2 * table["approximation_loss"].values[2, 0].max()
    assert marked(table) == {(2, 3, seed): "plateau" for seed in range(SEEDS)}
    table["approximation_loss"].values[2, 3] = table["approximation_loss"].values[2, 0].min()
    assert marked(table).keys() <= {(2, 3, seed) for seed in range(SEEDS)}


def test_what_is_above_the_scatter_but_small_is_nothing():
    """Differences below 1 % of R(0) - R(L) do not count, however regular the other cells are."""
    table = made(noise=0.001)
    table["approximation_loss"] *= 0.01
    table["approximation_loss"].values[RUN] += 0.009
    assert marked(table) == {}
    table["approximation_loss"].values[RUN] += 0.02
    assert marked(table) == {RUN: "plateau"}


@pytest.mark.parametrize("n_more", [0, 4])
def test_seeds_that_other_cells_lack_leave_the_marks_as_they_are(n_more):
    """As in a table of run_until. A seed that no cell has counts as nothing."""
    table = made()
    table["approximation_loss"].values[RUN] *= 4
    missing = {"stopped_by": "", "steps": 0, "best_step": 0}
    wider = table.reindex(seed=range(2 * SEEDS), fill_value=missing)
    more = slice(SEEDS, SEEDS + n_more)
    wider["approximation_loss"].values[0, 0, more] = table["approximation_loss"].values[0, 0, :n_more]
    assert marked(wider) == {RUN: "plateau"}


def test_a_single_seed_has_no_scatter_to_judge_by():
    assert marked(made(n_seeds=1)) == {}
    assert marked(made(n_seeds=1).isel(dataset_size=slice(None, None, -1))) == {}


@pytest.mark.parametrize("n_seeds", [2, 8])
def test_normal_scatter_is_marked_in_at_most_one_cell_of_ten(n_seeds):
    """Every curve ends flat, so nothing but the scatter of ln G decides; 40 tables of 16 cells."""
    tables = (made(0.2, seed, n_seeds) for seed in range(40))
    cells = [limited_by_optimisation(table)["limited_by_optimisation"].any("seed") for table in tables]
    assert np.mean(cells) < 0.1
