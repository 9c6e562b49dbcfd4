"""One battery over all laws; adding a law to ``theory.laws.EXAMPLES`` tests it."""

import dataclasses
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import theory.laws
from tests.tables import table_of_law, truth
from theory import fit
from theory.laws import (
    EXAMPLES,
    ChinchillaContextLaw,
    CorrelationHorizonLaw,
    IntrinsicDimensionLaw,
    OffsetDimensionLaw,
    PiecewiseLinearLaw,
    PowerLaw,
    QuantaLaw,
    SaturatingLaw,
    Truth,
    VarianceLimitedLaw,
)

each_law = pytest.mark.parametrize("law", EXAMPLES, ids=lambda law: law.name)
TABLE = pathlib.Path(theory.laws.__file__).parent / "README.md"
LENGTHS, SIZES = np.arange(33), np.array([32, 100, 1000, 10**6])


@each_law
def test_loss_is_the_bayes_risk_plus_a_gap_that_falls_with_data_and_is_absent_without_context(law):
    gap = law.approximation_loss(LENGTHS[:, None], SIZES[None, :].astype(float), truth())
    assert np.all(gap >= 0)
    assert np.all(np.diff(gap, axis=1) <= 0)
    assert not gap[0].any()
    np.testing.assert_allclose(law.loss(LENGTHS[:, None], SIZES[None, :], truth()), truth().bayes_risk[:, None] + gap)


@each_law
def test_the_exponent_of_data_is_what_a_bigger_sample_gains_and_never_negative(law):
    """Exponents between D and 1.02 D average to the drop of ln G; NaN where there is nothing to gain."""
    l, D = LENGTHS[:, None], SIZES[None, :].astype(float)
    first, last = (law.approximation_loss(l, D * f, truth()) for f in (1.0, 1.02))
    exponent = law.data_exponent(l, D * np.sqrt(1.02), truth())
    defined = (first > 0) & (last > 0) & np.isfinite(first) & np.isfinite(last)
    assert not np.isinf(exponent).any()
    assert np.all(exponent[np.isfinite(exponent)] >= -1e-9)
    smooth = defined & np.isfinite(exponent) & (first < truth().largest_gap(l) * 0.99)
    drop = np.log(first[smooth] / last[smooth]) / np.log(1.02)
    assert np.quantile(np.abs(drop - exponent[smooth]) / (1 + exponent[smooth]), 0.95) < 0.02


@each_law
def test_conditions_are_named_and_decided_cell_by_cell(law):
    for name, holds in law.conditions(LENGTHS[:, None], SIZES[None, :].astype(float), truth()).items():
        assert name.strip()
        assert holds.dtype == bool
        assert holds.shape == (33, 4)


def test_names_are_distinct_and_the_table_of_laws_has_a_row_for_each():
    """Law, equation and growth stand there as the law itself says them."""
    assert len({law.name for law in EXAMPLES}) == len({type(law) for law in EXAMPLES}) == len(EXAMPLES)
    rows = [line.split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| [")]
    found = {row[0].split("[")[1].split("]")[0]: row[1:3] for row in rows}
    for law in EXAMPLES:
        assert found[type(law).__name__] == [f"`{law.equation}`", law.growth.replace("*", "\\*")]
    assert all(len(row) == 5 for row in rows)


def test_a_constant_is_fitted_universal_or_given():
    """A field that nobody classed is given, so that no default of a new law can pass for a fact about the data."""
    given = {law.name: law.given for law in EXAMPLES if law.given}
    assert given == {
        "variance-limited": ("parameters_per_token",),
        "piecewise linear": ("pieces",),
        "table": ("classes",),
        "polynomial threshold": ("degree", "n_tasks"),
        "logarithmic threshold": ("degree", "n_tasks", "noise_prior"),
        "Chinchilla with context": ("model_size", "model_length_exponent"),
        "data manifold": ("model_size", "variance"),
        "Hoelder target on a manifold": ("smoothness", "model_size"),
        "state-limited": ("state_size", "log_tokens", "information", "information_exponent"),
    }
    for law in EXAMPLES:
        names = {field.name for field in dataclasses.fields(law)}
        assert names == {*law.fitted, *law.universal, *law.given}


def test_constants_are_one_by_default_but_for_these():
    """A law made without arguments is the starting point of every fit on the command line."""
    others = {}
    for law in EXAMPLES:
        defaults = {field.name: field.default for field in dataclasses.fields(law) if field.default != 1.0}
        others |= {type(law).__name__: defaults} if defaults else {}
    assert others == {
        "IntrinsicDimensionLaw": {"amplitude_exponent": 0.0, "rate": 4.0},
        "OffsetDimensionLaw": {"amplitude_exponent": 0.0, "rate": 4.0},
        "SaturatingLaw": {"scale": 100.0},
        "NearestNeighbourLaw": {"constant": "exact"},
        "TableLaw": {"vocabulary": 2.0, "classes": 2},
        "PolynomialThresholdLaw": {"degree": 2},
        "LogThresholdLaw": {"degree": 2, "noise_prior": 0.0},
        "QuantaLaw": {"exponent": 0.5, "observations": 10.0},
        "ChinchillaContextLaw": {"model_size": np.inf},
        "DataManifoldLaw": {"order": 4.0, "model_size": np.inf},
        "HavrillaLiaoLaw": {"model_size": np.inf},
        "StateLimitedLaw": {"state_size": 16.0, "log_tokens": 0.0},
    }


@each_law
def test_optimum_is_the_argmin_of_the_loss_over_every_length_or_those_given(law):
    for size in SIZES:
        losses = law.loss(LENGTHS, size, truth())
        for few in (LENGTHS, np.array([1, 4, 9, 30])):
            best = int(np.flatnonzero(few == law.optimal_context_length(size, truth(), few))[0])
            assert losses[few[best]] == pytest.approx(losses[few].min(), rel=2e-15)
            # The first of those that tie to rounding, as past a horizon.
            assert np.all(losses[few[:best]] > losses[few].min() * (1 + 1e-15))
    # It does not shrink with data.
    assert np.all(np.diff(law.optimal_context_length(SIZES, truth())) >= 0)


@each_law
def test_a_fit_recovers_the_constants_of_a_noise_free_table(law):
    """Cells at the ceiling tell nothing and are few here, so the constants are determined."""
    start = law.with_constants({name: 1.3 * value + 0.1 for name, value in law.constants().items()})
    found = fit(start, table_of_law(law))
    assert found.rms_residual < 1e-6
    for name, value in law.constants().items():
        assert getattr(found.law, name) == pytest.approx(value, rel=1e-4)


SLOW_TO_FIT = (SaturatingLaw, OffsetDimensionLaw, QuantaLaw, ChinchillaContextLaw, CorrelationHorizonLaw)


@pytest.mark.parametrize(
    "law",
    [
        pytest.param(law, id=law.name, marks=pytest.mark.slow if isinstance(law, SLOW_TO_FIT) else ())
        for law in EXAMPLES
    ],
)
def test_a_fit_does_not_depend_on_the_unit_of_the_loss(law):
    """Nats or bits: gaps, Bayes risk and so all constants but an amplitude scale together; predictions stay.

    A law that comes in nats cannot follow, and its fit to losses in bits shows it.
    """
    comes_in_nats = law.in_nats or isinstance(law, VarianceLimitedLaw | PiecewiseLinearLaw)
    table = table_of_law(law, noise=0.1)
    bits = table.copy()
    for name in ("loss", "approximation_loss", "bayes_risk", "bayes_risk_curve"):
        bits[name] = table[name] / np.log(2)
    in_nats, in_bits = fit(law, table), fit(law, bits)
    if comes_in_nats:
        assert in_bits.rms_residual > 2 * in_nats.rms_residual
        return
    assert in_bits.rms_residual == pytest.approx(in_nats.rms_residual, rel=1e-4)
    gap = [
        f.law.approximation_loss(np.array([7]), np.array([500.0]), t)
        for f, t in ((in_nats, truth()), (in_bits, truth(1 / np.log(2))))
    ]
    assert gap[1] * np.log(2) == pytest.approx(gap[0], rel=1e-3)


@given(st.floats(0.2, 3), st.floats(1, 4), st.floats(1, 1e4))
def test_the_saturating_law_starts_at_the_exact_ceiling_and_halves_it_at_k_l_p(p, q, k):
    law, l = SaturatingLaw(k, p, q), np.array([9])
    ceiling = truth().bayes_risk[0] - truth().bayes_risk[9]
    assert law.approximation_loss(l, np.array([1e-12]), truth()) == pytest.approx(ceiling, rel=1e-2)
    assert law.approximation_loss(l, np.array([k * 9.0**p]), truth()) == pytest.approx(ceiling / 2)
    far = np.array([1e3 * k * 9.0**p])
    ratio = law.approximation_loss(l, 2 * far, truth()) / law.approximation_loss(l, far, truth())
    assert ratio == pytest.approx(2**-q, rel=2e-3)


def test_the_paper_s_law_has_exponent_c_over_dim():
    law, l = IntrinsicDimensionLaw(0.5, 0.7, 3.0), np.array([8])
    slope = np.log(
        law.approximation_loss(l, np.array([1e4]), truth()) / law.approximation_loss(l, np.array([1e3]), truth())
    )
    assert slope / np.log(10) == pytest.approx(-3.0 / truth().intrinsic_dimension[8])


def test_the_power_law_s_optimum_follows_its_closed_form():
    """R = C0 + C/l^gamma, G = A l^u D^-alpha: l* = (C gamma D^alpha / (A u))^(1/(gamma+u)), here sqrt(D)."""
    l = np.arange(200)
    risk = 1 + 2.0 / np.maximum(l, 0.5)
    law = PowerLaw(amplitude=2.0, length_exponent=1.0, rate=1.0)
    for D in (100, 400, 2500):
        assert abs(law.optimal_context_length(D, Truth(risk, l.astype(float))) - np.sqrt(D)) <= 0.5


def test_a_table_with_too_few_cells_is_refused_with_what_is_missing():
    law = SaturatingLaw()
    with pytest.raises(ValueError, match="3 usable cells cannot fix the 3 constants of the law 'saturating'"):
        fit(law, table_of_law(law).isel(context_length=[0, 1, 2], dataset_size=[0]))


def test_a_negative_gap_is_refused():
    table = table_of_law(SaturatingLaw())
    with pytest.raises(ValueError, match="never negative; the table holds -"):
        fit(SaturatingLaw(), table.assign(approximation_loss=table["approximation_loss"] - 0.5))


def test_cells_with_a_diverged_run_do_not_touch_the_fit():
    table = table_of_law(PowerLaw(2.0, 1.0, 0.8))
    hurt = table["approximation_loss"].where(table["context_length"] != 4, np.nan)
    assert fit(PowerLaw(), table.assign(approximation_loss=hurt)).law.rate == pytest.approx(0.8, rel=1e-4)


def test_a_table_without_truth_curves_says_what_it_lacks():
    table = table_of_law(SaturatingLaw()).drop_vars("bayes_risk_curve")
    with pytest.raises(ValueError, match=r"lacks \['bayes_risk_curve'\]"):
        fit(SaturatingLaw(), table)


@pytest.mark.parametrize(("length", "size"), [(-3, 100), (33, 100), (2.5, 100), (3, 0), (3, -1), (3, float("nan"))])
def test_a_law_is_not_asked_outside_its_range(length, size):
    with pytest.raises(ValueError, match="must be"):
        PowerLaw().loss(np.asarray(length), np.asarray(size), truth())


def test_the_weight_lets_cells_near_the_optimum_decide(monkeypatch):
    """An error in the cells near each dataset size's minimum moves the fit more than it does without the weight."""
    law = PowerLaw(2.0, 1.0, 0.8)
    table = table_of_law(law)
    near = table["loss"] - table["loss"].min("context_length") < 0.03
    gap = table["approximation_loss"]
    changed = table.assign(approximation_loss=gap.where(~near, 0.7 * gap))

    def move():
        return abs(np.log(fit(law, changed).law.amplitude / law.amplitude))

    weighted = move()
    monkeypatch.setattr("theory.measured.fitting.NEAR_OPTIMUM", 1e9)
    assert weighted > 2 * move()


@pytest.mark.parametrize("law", [PowerLaw(1e-300, 300.0, 300.0), IntrinsicDimensionLaw(1e-300, 300.0, 300.0),
                                 ChinchillaContextLaw(1e-300, 300.0, 300.0, model_size=1e4)],
                         ids=lambda law: law.name)  # fmt: skip
def test_a_wild_step_of_an_optimiser_gives_a_loss_all_the_same(law):
    with np.errstate(all="raise", under="ignore"):
        gap = law.approximation_loss(LENGTHS[:, None], np.array([2.0, 1e6, 1e30]), truth())
    assert np.all(np.isfinite(gap) & (gap >= 0))
