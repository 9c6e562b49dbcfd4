"""Designs: how far laws are apart by an independent route, what more seeds do, and whether what is stated is kept."""

import dataclasses
import re
from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import binom

from tests.benchmarks.calibration import LENGTHS, NINE, TRUTH
from tests.benchmarks.designs import SIZES, LogNormal, outcome, results
from tests.tables import table_of_law
from theory import Design, LossTableError, Pilot, SeedNoise, design
from theory.laws import PowerLaw, SaturatingLaw, VarianceLimitedLaw
from theory.measured.design import needed_distance
from theory.measured.pilot import Simulation

PAIR = ("intrinsic dimension", "power")
FEW = (2, 4, 8, 16)
NOISE = SeedNoise.proportional(0.3, along_length=0.8)


def pilot(*laws, noise=NOISE, lengths=FEW, sizes=SIZES[::2]):
    return Pilot(laws, (TRUTH,) * len(laws), lengths, sizes, noise)


KNOWN = pilot(*(NINE[name] for name in PAIR))


@dataclasses.dataclass(frozen=True)
class Twin(PowerLaw):
    """The power law by another name."""

    name: ClassVar[str] = "twin"


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_the_distance_of_a_law_without_constants_is_that_of_its_residuals(rho):
    """Generalised least squares, written out. The noise is far above the tolerance, and all cells below the ceiling."""
    truth, rival = PowerLaw(0.3, 0.9, 0.4), VarianceLimitedLaw()
    lengths, sizes = (4, 8, 16), (1024, 2048, 4096, 8192)
    known = pilot(truth, rival, noise=SeedNoise.proportional(2.0, along_length=rho), lengths=lengths, sizes=sizes)
    l, D = (axis.ravel() for axis in np.meshgrid(lengths, np.array(sizes, float), indexing="ij"))
    gap, other = (law.approximation_loss(l, D, TRUTH) for law in (truth, rival))
    steps = np.abs(np.subtract.outer(np.log2(l), np.log2(l)))
    covariance = np.where(np.equal.outer(D, D), rho**steps, 0.0) * np.outer(2 * gap, 2 * gap)
    expected = np.sqrt(4 * (other - gap) @ np.linalg.solve(covariance, other - gap))
    assert Simulation.of(known, 0, lengths, sizes).distances(4)[1] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("true", [0, 1])
def test_more_seeds_put_laws_farther_apart(true):
    """By nearly sqrt(2) where their number doubles: tolerances stay."""
    found = [Simulation.of(KNOWN, true, FEW, SIZES[::2]).distances(n)[1 - true] for n in (2, 4, 8, 16, 32)]
    ratios = np.divide(found[1:], found[:-1])
    assert np.all((ratios > 1.1) & (ratios < 1.01 * np.sqrt(2)))


def test_the_cheapest_design_comes_with_its_probability_under_each_law():
    """What is stated has the standard error of a share. With so little noise the smallest grid does."""
    advice = design(dataclasses.replace(KNOWN, noise=SeedNoise.proportional(0.05)), probability=0.8, progress=False)
    last = advice.tried.isel(design=-1)
    told = last["share"].sel(outcome="told apart")
    assert advice.design == Design(FEW, SIZES[::2], 2)
    assert advice.design.runs == last["runs"] == 32
    assert advice.design.tokens == last["tokens"] == 2 * sum(FEW) * sum(SIZES[::2])
    assert np.all(told >= 0.8)
    np.testing.assert_allclose(last["error"].sel(outcome="told apart") ** 2 * last["tables"], told * (1 - told))
    assert str(advice).endswith(advice.reason)


@pytest.mark.slow
def test_more_seeds_do_not_lower_the_share_of_tables_that_tell_laws_apart(rng):
    """Thirty tables each: a share that is the same would fall by 0.3 in one of a hundred pairs."""
    simulation = Simulation.of(KNOWN, 1, FEW, SIZES[::2])
    shares = [np.mean([simulation.outcomes(1, n, rng)[0] for _ in range(30)]) for n in (2, 8, 32)]
    assert np.all(np.diff(shares) > -0.3)
    assert shares[2] > shares[0]


@pytest.mark.slow
def test_cheaper_designs_were_tried_and_failed():
    advice = design(dataclasses.replace(KNOWN, noise=SeedNoise.proportional(0.12)), progress=False)
    told = advice.tried["share"].sel(outcome="told apart")
    assert advice.design is not None
    assert advice.tried.sizes["design"] > 1
    assert np.all(told.isel(design=slice(0, -1)).min("truth") < 0.9)


def test_another_law_that_is_named_counts_as_wrong(rng):
    """Tables of one law, asked as if the other were true."""
    simulation = Simulation.of(dataclasses.replace(KNOWN, noise=SeedNoise.proportional(0.02)), 0, FEW, SIZES[::2])
    outcomes = np.mean([simulation.outcomes(1, 8, rng) for _ in range(10)], axis=0)
    told, named, wrong = outcomes[:3]
    assert told == named == 0
    assert wrong > 0


def test_where_no_affordable_design_does_the_answer_says_how_many_seeds_would():
    advice = design(KNOWN, budget=32, progress=False)
    assert advice.design is None
    assert "no design that was tried: the largest probability" in advice.reason
    assert re.search(r"\d standard errors, and 5.9 are needed: about \d+ seeds", advice.reason)


def test_a_law_and_its_twin_are_told_apart_by_no_design():
    advice = design(pilot(NINE["power"], Twin()), budget=32, progress=False)
    assert advice.design is None
    assert "practically the same law" in advice.reason
    assert advice.tried["share"].sel(outcome="wrong").max() == 0


def test_no_number_of_runs_makes_a_verdict_name_the_truth_in_nearly_all_tables():
    """Since it asks for p_exact > 0.35. The noise is so small that the laws are told apart in each."""
    quiet = pilot(*KNOWN.laws, noise=SeedNoise.proportional(0.01))
    advice = design(quiet, goal="named", probability=0.95, progress=False)
    assert advice.design is None
    assert "whatever the number of runs" in advice.reason
    assert advice.tried["share"].sel(outcome="told apart").max() == 1


def test_a_pilot_holds_the_fits_and_the_scatter_of_its_table(rng):
    """Eight seeds of log-normal noise; the correlation of neighbours is that of a factor of two, here of sqrt(2)."""
    noise, of = LogNormal(0.1, 0.8), Design(tuple(LENGTHS.tolist()), SIZES, 8)
    losses = noise.losses(NINE["saturating"], of.context_lengths, of.dataset_sizes, of.seeds, rng)
    found = Pilot.measured(results(losses, of), [PowerLaw(), SaturatingLaw()])
    assert found.laws[1].constants() == pytest.approx(NINE["saturating"].constants(), rel=0.1)
    assert (found.context_lengths, found.dataset_sizes) == (of.context_lengths, of.dataset_sizes)
    simulation = Simulation.of(found, 1, of.context_lengths, of.dataset_sizes)
    true, said = (n.variance(simulation.exact.grid, simulation.gap) for n in (noise.normal, found.noise))
    assert np.median(said / true) == pytest.approx(1, rel=0.25)
    assert found.noise.along_length == pytest.approx(0.8, abs=0.1)
    assert found.noise.along_size == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 31}, "a budget of 31 runs is too small for any design: the smallest is 2 seeds, l = 2, 4, 8, 16"),
        ({"probability": 1.0}, "1.0"),
        ({"goal": "right"}, "goal must be one of 'told apart', 'named'; got 'right'"),
        ({"cost": "hours"}, "cost must be one of 'runs', 'tokens'; got 'hours'"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        design(KNOWN, progress=False, **arguments)


def test_a_pilot_that_tells_nothing_is_refused():
    table = table_of_law(NINE["power"], noise=0.1, n_seeds=2)
    with pytest.raises(ValueError, match=r"at least two with distinct names; got \['power'\]"):
        Pilot.measured(table, [PowerLaw()])
    with pytest.raises(LossTableError, match=r"at least two seeds that differ, .* this table has 1: run it again with"):
        Pilot.measured(table.isel(seed=[0]), [PowerLaw(), SaturatingLaw()])
    with pytest.raises(LossTableError, match="no grid made from 3 context lengths and 4 dataset sizes has 4 of each"):
        design(pilot(*KNOWN.laws, lengths=FEW[:3]), progress=False)
    with pytest.raises(ValueError, match=r"along_size must lie in \[0, 1\), as in 0.8; got 1.0"):
        SeedNoise.proportional(0.1, along_size=1.0)
    with pytest.raises(ValueError, match="each of the 2 laws needs a truth; got 1"):
        dataclasses.replace(KNOWN, truths=(TRUTH,))


def test_the_distance_needed_is_that_of_two_normal_variables(rng):
    """Two laws without constants, known variance: misfits of simulated data, and their quantile half-way."""
    d = needed_distance(0.9)
    truth, half = rng.normal(size=100_000), rng.normal(size=100_000)
    level = np.quantile((half - d / 2) ** 2 - (half + d / 2) ** 2, 0.95)
    assert np.mean((truth - d) ** 2 - truth**2 > level) == pytest.approx(0.9, abs=0.01)


@pytest.mark.slow
def test_the_share_that_is_stated_is_kept_by_tables_of_another_kind(rng):
    """Log-normal noise, fits from scratch, twice the replicates. The margin is 0.05 beyond errors of a level of 1 %."""
    noise, laws = LogNormal(0.15, 0.8), tuple(NINE[name] for name in PAIR)
    advice = design(pilot(*laws, noise=noise.normal, lengths=tuple(LENGTHS.tolist()), sizes=SIZES), progress=False)
    assert advice.design is not None
    for i, true in enumerate(PAIR):
        said = advice.tried.isel(design=-1, truth=i)
        found = sum(outcome(PAIR, true, noise, advice.design, rng)[0] for _ in range(50))
        error = 2.6 * np.sqrt(0.1 * 0.9 * (1 / int(said["tables"]) + 1 / 50))
        assert abs(found / 50 - float(said["share"].sel(outcome="told apart"))) < error + 0.05
        assert binom.cdf(found, 50, 0.85) > 0.01
