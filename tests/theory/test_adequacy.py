"""The misfit of a law, its p-value, and the test of equal merit, by independent routes and by simulation."""

import dataclasses

import numpy as np
import pytest

from tests.benchmarks.calibration import EVERY, LENGTHS, NINE, TRUTH, Stratum, mixture, of_law
from theory.laws import PowerLaw, SaturatingLaw, VarianceLimitedLaw
from theory.measured.adequacy import _left, judge
from theory.measured.loss_table import LossTableError
from theory.measured.verdict import outcome_of
from theory.measured.weighted_fit import best_fits, can_be_judged, cells_of, weighted_fits

STRATUM = Stratum(seeds=4, sizes=6, noise=0.15, correlation=0.9)
POWER = NINE["power"]


def cells(rng, of=POWER, stratum=STRATUM):
    return stratum.table(stratum.gap(of_law(of)), rng)


def judged(table, *laws, **options):
    return judge(best_fits(laws, table), table, **options)


def test_of_a_linear_model_the_misfit_is_the_sum_of_squared_one_step_ahead_errors(rng):
    """Recursive residuals (Brown, Durbin & Evans 1975), written out: each cell predicted from those before it."""
    X, y = rng.normal(size=(30, 3)), rng.normal(size=30)
    total = 0.0
    for n in range(3, 30):
        past = np.linalg.inv(X[:n].T @ X[:n])
        ahead = y[n] - X[n] @ past @ X[:n].T @ y[:n]
        total += ahead**2 / (1 + X[n] @ past @ X[n])
    assert _left(X[None], y[None])[0] == pytest.approx(total, rel=1e-9)


def test_a_law_without_constants_has_the_misfit_of_its_residuals(rng):
    """Independent noise, known well by 64 seeds: T is the sum of squared residuals over variances, but for the
    tolerance, which is made tiny here, and for cells near the ceiling."""
    stratum = Stratum(64, 6, 0.1, 0.0)
    law = VarianceLimitedLaw(1.0)
    table = stratum.table(stratum.gap(of_law(law)), rng)
    gap = law.approximation_loss(table.grid.length, table.grid.size, TRUTH)
    below = gap < 0.7 * TRUTH.largest_gap(table.grid.length)
    z = (table.mean - TRUTH.bayes_risk[table.grid.length] - gap) / (table.losses.std(axis=1, ddof=1) / 8)
    found = judged(table, law, tolerance=1e-6)
    assert found.misfit[0] * len(gap) == pytest.approx(np.sum(z[below] ** 2), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("stratum", [STRATUM, Stratum(2, 8, 0.15, 0.0), Stratum(8, 4, 0.3, 0.9)], ids=str)
@pytest.mark.parametrize("name", ["power", "saturating", "correlation horizon"])
def test_a_true_law_is_rejected_as_seldom_as_the_level_says(name, stratum, rng):
    """Of 60 tables; at a level of 2 % five rejections have a probability of 0.5 %, and at 20 % twenty-two of 0.1 %."""
    found = [judged(cells(rng, NINE[name], stratum), NINE[name], replicates=99) for _ in range(60)]
    assert sum(of.p_adequate[0] <= 0.02 for of in found) < 5
    assert sum(of.p_exact[0] <= 0.2 for of in found) < 22


@pytest.mark.parametrize("of", [SaturatingLaw(60.0, 0.9, 0.9), NINE["table"]], ids=lambda law: law.name)
def test_a_false_law_is_rejected(of, rng):
    found = judged(cells(rng, of), POWER, of)
    assert found.p_adequate[0] <= 0.02
    assert found.p_adequate[1] > 0.02
    assert found.p_equal.tolist()[1] == 1.0
    assert found.p_equal[0] <= 0.05


def test_the_smallest_p_values_are_those_of_two_tests_and_of_one(rng):
    """49 simulated tables, none of them as far off: 2/50 for the smaller of two statistics, 1/50 for equal merit."""
    of = NINE["table"]
    found = judged(cells(rng, of), POWER, of, replicates=49)
    assert found.p_adequate[0] == found.p_exact[0] == pytest.approx(2 / 50)
    assert found.p_equal[0] == pytest.approx(1 / 50)


def test_cells_at_the_ceiling_say_nothing_of_their_neighbours(rng):
    """The table's law is at its ceiling in many cells, where noise is strong, correlated, and cut off."""
    stratum = Stratum(16, 8, 0.3, 0.9)
    p = [judged(cells(rng, NINE["table"], stratum), NINE["table"], replicates=49).p_exact[0] for _ in range(8)]
    assert min(p) > 0.1


def test_two_laws_half_way_from_the_truth_are_not_told_apart(rng):
    """Either law is rejected, or both are of equal merit: neither is named in any of 6 tables."""
    pair = ("power", "saturating")
    gap = STRATUM.gap(mixture(*pair, 0.5))
    for _ in range(6):
        found = judged(STRATUM.table(gap, rng), *(NINE[name] for name in pair), replicates=99)
        assert outcome_of(found.p_adequate, found.p_exact, found.p_equal)[0] != "law"


def unknown_risk(table):
    return dataclasses.replace(table, risk_known=False)


def test_where_the_risk_is_not_known_any_other_risk_gives_the_same_answer(rng):
    """Losses plus a function of l, and a start from another R(l): a power law does not use R(l)."""
    table = unknown_risk(cells(rng))
    shift = 0.3 * np.sin(LENGTHS)[table.grid.ranks[0]]
    other = dataclasses.replace(table, losses=table.losses + shift[:, None])
    one, two = (judge([POWER], of) for of in (table, other))
    assert two.misfit == pytest.approx(one.misfit, rel=1e-4)
    assert two.p_adequate == pytest.approx(one.p_adequate, abs=0.03)
    known, found = (weighted_fits([POWER], of).truths[0].bayes_risk for of in (table, other))
    found = found - known
    np.testing.assert_allclose(found[LENGTHS], 0.3 * np.sin(LENGTHS), atol=1e-4)


@pytest.mark.parametrize("of", [POWER, SaturatingLaw(60.0, 0.9, 0.9)], ids=lambda law: law.name)
def test_the_true_law_is_found_together_with_the_risk(of, rng):
    """Eight seeds of little noise. The saturating law uses R(l), which is fitted with it."""
    stratum = Stratum(8, 8, 0.02, 0.0)
    table = unknown_risk(stratum.table(stratum.gap(of_law(of)), rng))
    found = weighted_fits(best_fits([of], table), table).truths[0].bayes_risk
    np.testing.assert_allclose(found[LENGTHS], TRUTH.bayes_risk[LENGTHS], atol=0.01)
    assert judged(table, of).p_adequate[0] > 0.02


def test_a_horizon_is_found_although_no_loss_depends_on_the_risk_beyond_it():
    """R(l) past the horizon is in no loss. Its direction is flat, and must not keep the fit at its start (with these
    numbers it did)."""
    of, length = NINE["correlation horizon"], np.maximum(EVERY, 1)
    stratum = Stratum(4, 6, 0.05, 0.0)
    losses = stratum.table(stratum.gap(of_law(of)), np.random.default_rng(5))
    elsewhere = dataclasses.replace(TRUTH, bayes_risk=0.29 + 0.354 / length**0.533)
    table = dataclasses.replace(unknown_risk(losses), truth=elsewhere)
    found = weighted_fits(best_fits([of], table), table)
    assert found.laws[0].scale == pytest.approx(of.scale, rel=0.1)
    assert found.misfit[0] < 2


def with_loss_without_context(table):
    """The table with a row at l = 0, where the loss is R(0)."""
    sizes = np.unique(table.grid.size)
    losses = np.zeros((len(LENGTHS) + 1, len(sizes), table.losses.shape[1]))
    losses[1:], losses[0] = table.losses.reshape(len(LENGTHS), len(sizes), -1), TRUTH.bayes_risk[0]
    return cells_of(losses, np.append(0, LENGTHS), sizes, table.truth, risk_known=False)


def test_the_loss_without_context_is_the_ceiling_of_losses_whose_risk_is_not_known(rng):
    """A sixth of the cells have learned nothing. The true law exceeds the ceiling there, and is rejected without it."""
    of = NINE["intrinsic dimension"]
    stratum = Stratum(8, 8, 0.05, 0.0)
    table = unknown_risk(stratum.table(stratum.gap(of_law(of)), rng))
    p_without, p_with = (judged(cells, of).p_adequate[0] for cells in (table, with_loss_without_context(table)))
    assert p_without <= 0.02 < p_with


def test_a_loss_without_context_fixes_its_risk(rng):
    """R(l) is free at the other lengths, and each of them takes one degree of freedom."""
    stratum = Stratum(4, 6, 0.05, 0.0)
    table = with_loss_without_context(unknown_risk(stratum.table(stratum.gap(of_law(POWER)), rng)))
    found = weighted_fits([POWER], table)
    assert found.truths[0].bayes_risk[0] == table.truth.bayes_risk[0]
    free = len(table.grid.length) - len(LENGTHS) - len(POWER.fitted)
    assert found.squares[0] / found.misfit[0] == pytest.approx(free)


def test_a_single_seed_has_a_misfit_and_no_p_value(rng):
    table = cells(rng, stratum=dataclasses.replace(STRATUM, seeds=1))
    found = judged(table, POWER)
    assert np.isfinite(found.misfit[0])
    assert np.isnan(found.p_adequate[0])


def test_the_same_seed_gives_the_same_p_values(rng):
    table = cells(rng)
    one, two = (judged(table, POWER, NINE["saturating"], replicates=49) for _ in range(2))
    assert one.p_adequate.tolist() == two.p_adequate.tolist()
    assert one.p_equal.tolist() == two.p_equal.tolist()


def test_a_cell_with_a_diverged_run_is_left_out(rng):
    losses = cells(rng).losses.reshape(len(LENGTHS), STRATUM.sizes, -1).copy()
    losses[2, 3, 1] = np.inf
    left = cells_of(losses, LENGTHS, STRATUM.dataset_sizes, TRUTH)
    assert len(left.mean) == len(LENGTHS) * STRATUM.sizes - 1
    assert 0 <= judged(left, POWER).p_adequate[0] <= 1


def test_too_few_cells_for_the_constants_are_refused():
    losses = np.ones((2, 2, 3))
    few = cells_of(losses, np.array([2, 4]), np.array([128, 256]), TRUTH, risk_known=False)
    assert not can_be_judged([POWER], few)
    with pytest.raises(
        LossTableError, match=r"4 usable cells cannot test the 3 constants of the law 'power' and R\(l\)"
    ):
        judge([PowerLaw()], few)
