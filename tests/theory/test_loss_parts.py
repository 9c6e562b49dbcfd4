"""The parts of a loss add up to it, and each is what it was built from."""

import numpy as np
import pytest
import xarray as xr

from tests.tables import LENGTHS, SIZES, table
from theory import LossTableError, split_loss
from theory.measured.loss_parts import PARTS

RNG = np.random.default_rng(0)
SEEDS = 4
SHAPE = len(LENGTHS), len(SIZES), SEEDS
CAPACITY = 0.01 * np.sqrt(LENGTHS)[:, None, None]
NOISE = 0.002 * RNG.random(SHAPE)
ESTIMATION = 20.0 / np.array(SIZES)[None, :, None] + NOISE
OPTIMISATION = 0.03 * RNG.random(SHAPE)
BEST = table(CAPACITY + ESTIMATION)
RESULTS = table(CAPACITY + ESTIMATION + OPTIMISATION)
ENDLESS = table(np.broadcast_to(CAPACITY, (len(LENGTHS), 1, SEEDS)), sizes=(10**7,))


def test_the_parts_are_those_the_tables_were_made_of():
    parts = split_loss(RESULTS, best=BEST, endless=ENDLESS)
    np.testing.assert_allclose(parts["capacity"], np.broadcast_to(CAPACITY[:, :, 0], SHAPE[:2]))
    np.testing.assert_allclose(parts["estimation"], ESTIMATION.mean(axis=2))
    np.testing.assert_allclose(parts["optimisation"], OPTIMISATION.mean(axis=2))
    np.testing.assert_allclose(parts["bayes_risk"].isel(dataset_size=0), RESULTS["bayes_risk"])
    np.testing.assert_allclose(sum(parts[name] for name in PARTS), RESULTS["loss"].mean("seed"))


def test_the_error_of_optimisation_is_that_of_differences_seed_by_seed():
    """What the seeds share does not count: the noise of the estimation is in both tables."""
    parts = split_loss(RESULTS, best=BEST, endless=ENDLESS)
    np.testing.assert_allclose(parts["optimisation_error"], OPTIMISATION.std(axis=2, ddof=1) / np.sqrt(SEEDS))
    np.testing.assert_allclose(parts["estimation_error"], NOISE.std(axis=2, ddof=1) / np.sqrt(SEEDS))
    np.testing.assert_allclose(parts["capacity_error"], 0.0, atol=1e-15)


def test_endless_may_have_more_lengths_and_its_scatter_is_part_of_the_error_of_estimation():
    scattered = ENDLESS.assign(approximation_loss=ENDLESS["approximation_loss"] * (1 + 0.1 * RNG.random(SEEDS)))
    few = slice(2, 6)
    tables = (of.isel(context_length=few) for of in (RESULTS, BEST))
    parts = split_loss(next(tables), best=next(tables), endless=scattered)
    capacity = scattered["approximation_loss"].isel(context_length=few).values
    np.testing.assert_allclose(parts["capacity"], np.broadcast_to(capacity.mean(axis=2), parts["capacity"].shape))
    errors = [of.std(axis=2, ddof=1) / np.sqrt(SEEDS) for of in (capacity, NOISE[few])]
    np.testing.assert_allclose(parts["estimation_error"], np.hypot(*errors))


def test_one_seed_has_parts_without_errors():
    one = [of.isel(seed=[0]) for of in (RESULTS, BEST, ENDLESS)]
    parts = split_loss(one[0], best=one[1], endless=one[2])
    np.testing.assert_allclose(parts["optimisation"], OPTIMISATION[:, :, 0])
    assert np.isnan(parts["optimisation_error"]).all()


@pytest.mark.parametrize("which", ["results", "best"])
def test_a_cell_with_a_diverged_run_has_no_optimisation(which):
    lost = (RESULTS["context_length"] == LENGTHS[1]) & (RESULTS["seed"] == 2) & (RESULTS["dataset_size"] == SIZES[0])
    tables = {"results": RESULTS, "best": BEST}
    tables[which] = tables[which].assign(diverged=lost.transpose("context_length", "dataset_size", "seed"))
    parts = split_loss(tables["results"], best=tables["best"], endless=ENDLESS)
    assert np.isnan(parts["optimisation"].values[1, 0])
    assert np.isfinite(parts["optimisation"]).sum() == parts["optimisation"].size - 1
    assert np.isnan(parts["estimation"].values[1, 0]) == (which == "best")


@pytest.mark.parametrize("which", ["results", "best"])
def test_parts_add_up_over_the_runs_that_both_tables_have(which):
    """A table of run_until lacks seeds in some cells."""
    there = np.ones(SHAPE, bool)
    there[1, 0, 2] = there[3, 2, :] = False
    tables = {"results": RESULTS, "best": BEST}
    lacking = xr.DataArray(there, dims=("context_length", "dataset_size", "seed"))
    tables[which] = tables[which].where(lacking)[["approximation_loss"]].merge(tables[which].drop_dims("seed"))
    parts = split_loss(tables["results"], best=tables["best"], endless=ENDLESS)
    expected = RESULTS["loss"].where(lacking).mean("seed")
    np.testing.assert_allclose(sum(parts[name] for name in PARTS), expected)
    assert np.isnan(parts["estimation"].values[3, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"best": BEST.isel(dataset_size=slice(1, None))}, "best has dataset_size"),
        ({"best": BEST.isel(seed=[0, 1])}, r"best has seed \[0, 1\]"),
        ({"endless": ENDLESS.isel(context_length=slice(1, None))}, rf"endless has no context length \[{LENGTHS[0]}\]"),
        ({"endless": BEST}, "endless has dataset sizes"),
        ({"endless": BEST.isel(dataset_size=[0])}, "above the largest of results"),
        ({"best": BEST.assign_attrs(study='{"task": {"type": "LagCopy"}}')}, "different tasks.*LagCopy"),
        ({"best": BEST.assign_attrs(unit="bits")}, r"different units.*\['nats', 'bits', 'nats'\]"),
    ],
)
def test_tables_that_do_not_belong_together_are_refused(change, message):
    with pytest.raises(LossTableError, match=message):
        split_loss(RESULTS, **{"best": BEST, "endless": ENDLESS, **change})
