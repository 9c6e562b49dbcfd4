"""A study that grows until l*(D) is known: what it adds, when it ends, and that it continues where it was."""

import dataclasses
import itertools

import numpy as np
import pytest

from simulator import Study, run, run_until
from simulator.grid import Run
from simulator.learners import GradientDescent, LeastSquares, Tuned
from simulator.models import MLP
from simulator.studies.results import as_table
from simulator.studies.run import results_of
from simulator.studies.run_until import more_runs
from simulator.studies.store import Store
from simulator.tasks import GaussianLookBack
from tests.tables import LENGTHS, SIZES, table
from theory import optimal_context_length

TASK = GaussianLookBack.arfima(d=0.4, max_context_length=24)
STUDY = Study(TASK, LeastSquares(), (4, 16), (64, 256), seeds=2, test_size=2048)


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return store, run_until(STUDY, store, most_runs=100, ratio=2, progress=False)


def test_it_ends_with_intervals_that_are_narrow_and_interior(grown):
    best = optimal_context_length(grown[1])
    assert not best["at_edge"].any()
    assert np.all(best["upper"] <= np.maximum(2 * best["lower"], best["lower"] + 1))


def test_the_measured_optimum_is_within_one_step_of_the_exact_one(grown):
    """Expected risks of least squares are known exactly."""
    best = optimal_context_length(grown[1])["best_on_grid"].to_series()
    for size, found in best.items():
        exact = min(range(1, 25), key=lambda l: STUDY.learner.expected_risk(TASK, l, size))
        assert exact / 2 <= found <= exact * 2


def test_called_again_it_makes_no_run_and_returns_the_same_table(grown, monkeypatch):
    store, table = grown
    monkeypatch.setattr(LeastSquares, "fit_groups", lambda *_: pytest.fail("a run was made again"))
    assert run_until(STUDY, store, most_runs=100, ratio=2, progress=False).identical(table)


def test_each_run_is_that_of_the_study_named_in_the_table(grown):
    _, table = grown
    named = Study.from_json(table.attrs["study"])
    assert named.context_lengths == tuple(table["context_length"].values)
    assert named.seeds == table.sizes["seed"] > STUDY.seeds
    assert len(named.context_lengths) > len(STUDY.context_lengths)
    made = table["loss"].notnull()
    np.testing.assert_array_equal(made, table["run"] != "")
    few = dataclasses.replace(named, seeds=2)
    assert made.isel(seed=slice(2)).all()
    np.testing.assert_array_equal(run(few, progress=False)["loss"], table["loss"].isel(seed=slice(2)))


def test_the_budget_ends_it_and_says_which_sizes_are_left(tmp_path):
    with pytest.warns(UserWarning, match=r"dataset sizes \[64, 256\] has no interval.*more than most_runs=8"):
        few = run_until(STUDY, tmp_path, most_runs=8, progress=False)
    assert few.identical(run(STUDY, tmp_path, progress=False))
    needed = 8 + len(more_runs(few, frozenset(STUDY.runs()), 2, 1.5)[0])
    with pytest.warns(UserWarning, match=f"after {needed} runs: give more than most_runs={needed}"):
        run_until(STUDY, tmp_path, most_runs=needed, progress=False)


class Exploding(LeastSquares):
    """A learner each of whose runs diverges."""

    def fit_groups(self, task, groups):
        for fitted in super().fit_groups(task, groups):
            yield dataclasses.replace(fitted, stopped_by="diverged")


def test_runs_that_all_diverge_end_it_and_more_runs_are_not_the_remedy(tmp_path):
    with pytest.warns(UserWarning, match=r"sizes \[64, 256\] has no .* after 8 runs: every .*diverged.*learning rate"):
        table = run_until(dataclasses.replace(STUDY, learner=Exploding()), tmp_path, most_runs=600, progress=False)
    assert table["diverged"].all()


def wanted_of(lengths, n_seeds=3):
    return frozenset(Run(*cell) for cell in itertools.product(lengths, SIZES, range(n_seeds)))


def valley(minimum, depth=0.1, noise=0.0, lengths=LENGTHS, n_seeds=3):
    """Losses whose smallest is at a length, for every dataset size."""
    gap = depth * np.abs(np.log1p(np.array(lengths)) - np.log1p(minimum))
    rng = np.random.default_rng(0)
    gap = np.broadcast_to(gap[:, None, None], (len(lengths), len(SIZES), n_seeds))
    results = table(gap + noise * rng.normal(size=gap.shape), lengths)
    return results.assign(loss=1 + results["approximation_loss"])


@pytest.mark.parametrize(
    ("lengths", "minimum", "added"),
    [
        ((6, 8, 11), 6, {4}),  # beyond the shortest
        ((4, 6, 8), 8, {12}),  # beyond the longest
        ((4, 8, 16), 8, {6, 11}),  # half-way to both neighbours
        ((24, 28, 31), 31, {32}),  # L is the last that there is
        ((24, 28, 32), 32, set()),  # nothing beyond L
        ((1, 2, 3), 1, {0}),
        ((0, 1, 2), 0, set()),
        ((1, 2, 3), 2, set()),  # no length between 2 and 3
    ],
)
def test_lengths_are_added_beyond_an_end_and_in_wide_steps(lengths, minimum, added):
    results = valley(minimum, lengths=lengths)
    more, left = more_runs(results, wanted_of(lengths), 3, 1.5)
    assert {run.context_length for run in more} == added
    assert more == {Run(*cell) for cell in itertools.product(added, SIZES, range(3))}
    assert left == (list(SIZES) if added else [])


def test_seeds_are_added_only_where_an_interval_is_wide():
    """One dataset size is noisy: its rivals get half as many seeds again, and no other cell does."""
    lengths = (8, 11, 16, 23)
    quiet, noisy = (valley(11, noise=noise, lengths=lengths, n_seeds=6) for noise in (0.0, 0.05))
    here = quiet["dataset_size"] == SIZES[4]
    results = quiet.assign({name: noisy[name].where(here, quiet[name]) for name in ("loss", "approximation_loss")})
    best = optimal_context_length(results).sel(dataset_size=SIZES[4])
    assert best["upper"] > 1.5 * best["lower"]
    more, left = more_runs(results, wanted_of(lengths, 6), 6, 1.5)
    assert left == [SIZES[4]]
    inside = [length for length in lengths if best["lower"] <= length <= best["upper"]]
    assert more == {Run(length, SIZES[4], seed) for length in inside for seed in (6, 7, 8)}


def test_an_interval_of_two_neighbouring_lengths_is_narrow():
    """That of 1 and 2 cannot be within a ratio of 1.5."""
    lengths = (0, 1, 2, 3)
    results = valley(1, lengths=lengths, noise=0.01)
    results = results.assign({name: results[name].copy() for name in ("loss", "approximation_loss")})
    results["loss"].loc[{"context_length": 2}] = results["loss"].sel(context_length=1).roll(seed=1).values
    best = optimal_context_length(results)
    assert ((best["lower"] == 1) & (best["upper"] == 2)).any()
    assert more_runs(results, wanted_of(lengths), 3, 1.5) == (frozenset(), [])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"seeds": 1}, {}, "two seeds or more"),
        ({}, {"most_runs": 7}, "most_runs must be"),
        ({}, {"ratio": 1.0}, "ratio must be above 1, as in 1.5; got 1.0"),
        ({}, {"ratio": float("nan")}, "ratio"),
    ],
)
def test_impossible_requests_are_refused_before_anything_is_made(change, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_until(dataclasses.replace(STUDY, **change), tmp_path / "store", **{"most_runs": 100, **options})
    assert not (tmp_path / "store").exists()


def test_a_run_that_was_not_needed_is_missing_in_every_variable(tmp_path):
    """Among them the choices of a tuned learner, numbers and others."""
    tuned = Tuned(
        GradientDescent(MLP((4,)), steps=1, validation_size=8),
        over={"learning_rate": (1e-3, 1e-2), "schedule": ("constant",)},
    )
    study = Study(TASK, tuned, (4,), (64,), seeds=2, test_size=2)
    kept = Store(tmp_path)
    made = results_of(study, study.runs()[:1], kept, 1, None, progress=False)
    table = as_table(study, made).isel(context_length=0, dataset_size=0)
    for name in ("loss", "configuration_loss", "chosen_learning_rate", "validation_loss"):
        assert table[name].notnull().any()
        assert table[name].isel(seed=0).notnull().all()
        assert table[name].isel(seed=1).isnull().all()
    assert table["chosen_schedule"].values.tolist() == ['"constant"', ""]
    assert not table["diverged"].any()
    assert not table["limited_by_optimisation"].isel(seed=1).any()
