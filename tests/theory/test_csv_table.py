"""Losses brought as CSV: the table they become, what is estimated, and what is refused."""

import pathlib

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit

from tests.tables import LENGTHS, SIZES, table_of_law, truth
from theory import (
    BayesRiskEstimate,
    LossTableError,
    compare,
    estimate_bayes_risk,
    fit,
    optimal_context_length,
    profile_interval,
    read_loss_table,
    verdict,
)
from theory.laws import CorrelationHorizonLaw, OffsetDimensionLaw, PowerLaw, SaturatingLaw, TableLaw

DATA = pathlib.Path(__file__).parents[2] / "paper_reproduction" / "data"
GRID = [(l, D, seed) for l in (1, 2, 4, 8, 16, 32) for D in (100, 1000, 10_000) for seed in (0, 1)]

EXACT = BayesRiskEstimate(2.0, 3.0, 0.5, (0.0, 0.0, 0.0), 0.0, 8)
SMALL = BayesRiskEstimate(1.0, 1.0, 0.5, (0.0, 0.0, 0.0), 0.0, 8)


def written(path, rows, columns=("context_length", "dataset_size", "seed", "loss")):
    pd.DataFrame(rows, columns=list(columns)).to_csv(path, index=False)
    return path


def power_loss(l, D, seed=0):
    """2 + 3/sqrt(l), a gap that falls as 1/D and grows with l, and seeds one part in a thousand apart."""
    return 2 + 3 / l**0.5 + 20 * l / D * (1 + 1e-3 * seed)


def published():
    curve = pd.read_csv(DATA / "llama_3_1_8b.csv", comment="#")
    return curve["context_length"].to_numpy(), curve["loss"].to_numpy()


def test_the_published_losses_of_llama_give_the_published_constants():
    """The values and standard errors to every digit in which they were found by another program."""
    estimate = estimate_bayes_risk(*published())
    assert round(estimate.irreducible, 3) == 1.950
    assert round(estimate.reducible, 2) == 6.79
    assert round(estimate.exponent, 3) == 0.587
    assert [round(error, digits) for error, digits in zip(estimate.standard_errors, (3, 2, 3), strict=True)] == [
        0.010, 0.10, 0.008,
    ]  # fmt: skip
    assert round(estimate.largest_residual, 3) == 0.018
    assert estimate.n_lengths == 12


def test_constants_and_errors_are_those_of_levenberg_and_marquardt():
    """scipy.optimize.curve_fit solves the same problem by another algorithm and inverts J^T J by itself."""
    lengths, losses = published()
    constants, covariance = curve_fit(lambda l, C0, C, gamma: C0 + C * l**-gamma, lengths, losses, p0=(1.0, 1.0, 1.0))
    estimate = estimate_bayes_risk(lengths, losses)
    np.testing.assert_allclose((estimate.irreducible, estimate.reducible, estimate.exponent), constants, rtol=1e-6)
    np.testing.assert_allclose(estimate.standard_errors, np.sqrt(np.diag(covariance)), rtol=1e-4)


@pytest.mark.parametrize("unit", [1e-150, 1e150])
def test_the_unit_of_the_losses_changes_no_exponent_and_makes_nothing_overflow(unit):
    lengths, losses = published()
    plain, other = estimate_bayes_risk(lengths, losses), estimate_bayes_risk(lengths, unit * losses)
    assert (other.exponent, other.standard_errors[2]) == pytest.approx((plain.exponent, plain.standard_errors[2]))
    found = np.array([other.irreducible, other.reducible, *other.standard_errors[:2], other.largest_residual]) / unit
    known = (plain.irreducible, plain.reducible, *plain.standard_errors[:2], plain.largest_residual)
    np.testing.assert_allclose(found, known, rtol=1e-6)


@pytest.mark.parametrize(("C0", "C", "gamma"), [(0.0, 1.0, 0.05), (1.7, 0.02, 0.4), (2.0, 9.0, 1.2), (-1.0, 5.0, 4.0)])
def test_a_curve_of_the_form_is_found_to_rounding(C0, C, gamma):
    lengths = np.array([1, 2, 3, 5, 8, 13, 40, 120])
    estimate = estimate_bayes_risk(lengths, C0 + C / lengths**gamma)
    assert np.allclose((estimate.irreducible, estimate.reducible, estimate.exponent), (C0, C, gamma), atol=1e-7)
    np.testing.assert_allclose(estimate.risk(lengths), C0 + C / lengths**gamma, rtol=1e-12)
    with pytest.raises(ValueError, match=r"at least 1; got 0"):
        estimate.risk(0)


@pytest.mark.parametrize(
    ("lengths", "losses", "error", "message"),
    [
        ((1, 2, 4), (3.0, 2.0, 1.0), LossTableError, "3 context lengths cannot fix C0, C, gamma"),
        ((1, 2, 4, 8), (2.0, 2.0, 2.0, 2.0), LossTableError, "do not fall with l, or do not level off"),
        ((1, 2, 4, 8, 16), (1.0, 1.4, 1.8, 1.9, 2.0), LossTableError, "do not fall with l"),
        ((1, 2, 4, 8, 16), (3.0, 2.5, 2.1, 1.5, 1.0), LossTableError, "or do not level off"),
        ((1, 2, 4, 8, 16), tuple(3 - 0.4 * np.log([1, 2, 4, 8, 16])), LossTableError, "or do not level off"),
        ((0, 2, 4, 8), (3.0, 2.0, 1.0, 0.5), ValueError, "context lengths must be at least 1"),
        ((1, 2, 4, 4), (3.0, 2.0, 1.0, 1.0), ValueError, "must be distinct"),
        ((1, 2, 4), (3.0, 2.0), ValueError, r"got shapes \(3,\) and \(2,\)"),
        ((1, 2, 4, 8), (3.0, 2.0, np.nan, 1.0), ValueError, "losses finite"),
    ],
)
def test_what_fixes_no_bayes_risk_is_refused(lengths, losses, error, message):
    with pytest.raises(error, match=message):
        estimate_bayes_risk(np.array(lengths), np.array(losses))


def test_a_table_written_as_csv_comes_back(tmp_path):
    """With R(l) and dim(l) in columns nothing is estimated: every result is that of the table itself."""
    law = PowerLaw(2.0, 1.0, 0.8)
    source = table_of_law(law, noise=0.1, n_seeds=3)
    source["intrinsic_dimension"] = "context_length", truth().intrinsic_dimension[list(LENGTHS)]
    rows = source[["loss", "approximation_loss", "bayes_risk", "intrinsic_dimension"]].to_dataframe().reset_index()
    without = {"context_length": 0, "dataset_size": SIZES[0], "bayes_risk": 2.0, "intrinsic_dimension": 0.0}
    rows = pd.concat([rows, pd.DataFrame([without])]).assign(seed=lambda all_rows: all_rows["seed"].fillna(0))
    shuffled = rows.sample(frac=1, random_state=1).astype({"seed": int})
    shuffled.to_csv(tmp_path / "losses.csv", index=False)
    read = read_loss_table(tmp_path / "losses.csv")
    for name in ("loss", "approximation_loss", "bayes_risk", "intrinsic_dimension"):
        np.testing.assert_allclose(read[name].values, source[name].values, rtol=1e-12, atol=1e-15)
    assert read.sizes["every_context_length"] == 33
    assert read.attrs["bayes_risk"].startswith("given at 11 context lengths")
    assert optimal_context_length(read).equals(optimal_context_length(source))
    constants = fit(law, read).law.constants(), fit(law, source).law.constants()
    assert constants[0] == pytest.approx(constants[1], rel=1e-6)


def test_a_given_bayes_risk_is_continued_between_its_lengths_without_rising(tmp_path):
    """A monotone cubic in ln(1 + l): exact where given, and near the smooth curve it was taken from elsewhere."""
    lengths = (0, 1, 3, 15, 63)
    rows = [(l, 1000, 2 + 3 / (1 + l) ** 0.5, 6.0 if l else None) for l in lengths]
    path = written(tmp_path / "a.csv", rows, ("context_length", "dataset_size", "bayes_risk", "loss"))
    read = read_loss_table(path)
    assert 0 not in read["context_length"]
    curve, every = read["bayes_risk_curve"].values, read["every_context_length"].values
    assert np.array_equal(every, np.arange(64))
    np.testing.assert_allclose(curve[list(lengths)], [row[2] for row in rows], rtol=1e-14)
    assert np.all(np.diff(curve) < 0)
    np.testing.assert_allclose(curve, 2 + 3 / (1 + every) ** 0.5, rtol=0.005)
    np.testing.assert_allclose(read["approximation_loss"].values[:, 0, 0], 6.0 - curve[list(lengths[1:])])


def test_a_bayes_risk_that_is_not_given_is_fitted_at_the_largest_dataset_size_and_the_table_says_so(tmp_path):
    path = written(tmp_path / "a.csv", [(*cell, power_loss(*cell)) for cell in GRID])
    with pytest.warns(UserWarning, match=r"losses lie below the Bayes risk, by up to .* counts as zero"):
        read = read_loss_table(path)
    lengths = np.array([1, 2, 4, 8, 16, 32])
    means = np.array([np.mean([power_loss(l, 10_000, seed) for seed in (0, 1)]) for l in lengths])
    estimate = estimate_bayes_risk(lengths, means)
    np.testing.assert_allclose(read["bayes_risk"], estimate.risk(lengths), rtol=1e-12)
    assert f"estimated: {estimate}, fitted to the losses at dataset size 10000" in read.attrs["bayes_risk"]
    assert "laws judged there are judged by its error, too; R(0) = " in read.attrs["bayes_risk"]
    assert read["bayes_risk_curve"].values[0] == read["bayes_risk_curve"].values[1]
    assert read.attrs["intrinsic_dimension"] == "assumed: dim(l) = l"
    assert np.array_equal(read["intrinsic_dimension_curve"], np.arange(33))


def test_losses_below_the_estimate_count_as_zero_and_are_counted(tmp_path):
    path = written(tmp_path / "a.csv", [(*cell, power_loss(*cell)) for cell in GRID])
    with pytest.warns(UserWarning, match="below the Bayes risk"):
        read = read_loss_table(path)
    raw = read["loss"] - read["bayes_risk"]
    assert float(raw.min()) < 0
    np.testing.assert_array_equal(read["approximation_loss"], np.maximum(raw, 0))
    expected = f"{int((raw < 0).sum())} of 36 losses lie below the Bayes risk, by up to {-float(raw.min()):.3g}"
    assert expected in read.attrs["approximation_loss"]


def test_lengths_beyond_the_smallest_loss_do_not_enter_the_fit(tmp_path):
    """There R falls while the loss rises: a gap that rules the loss is no place to look for R."""
    rows = [(l, D, 0, power_loss(l, D)) for l in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) for D in (100, 10_000)]
    best = min(range(10), key=lambda i: rows[2 * i + 1][3])
    assert 4 <= best < 9
    with pytest.warns(UserWarning, match="below the Bayes risk"):
        read = read_loss_table(written(tmp_path / "a.csv", rows))
    assert f"({best + 1} lengths" in read.attrs["bayes_risk"]


def test_a_bayes_risk_from_elsewhere_gives_the_law_its_constants_back(tmp_path):
    """Given the exact form, the fit of the true law recovers what the file was made with, and predicts l*."""
    lengths = np.array([1, 2, 4, 8, 16, 32, 64, 128])
    rows = [(l, D, 0, 2 + 3 / l**0.5 + 4 * l**0.6 / D**0.5) for l in lengths for D in (100, 300, 1000, 3000, 10_000)]
    read = read_loss_table(written(tmp_path / "a.csv", rows), bayes_risk=EXACT)
    assert read.attrs["approximation_loss"] == "loss - R(l)"
    below_ceiling = read.where(read["approximation_loss"] < read["bayes_risk_curve"][0] - read["bayes_risk"])
    read["approximation_loss"] = below_ceiling["approximation_loss"]
    law = fit(PowerLaw(), read).law
    np.testing.assert_allclose((law.amplitude, law.length_exponent, law.rate), (4, 0.6, 0.5), rtol=1e-5)


def test_losses_without_context_are_the_ceiling(tmp_path):
    """R(0) is the mean loss at context length 0 and the largest dataset size that has one; no R(l) lies above it."""
    without = [(0, 100, 0, 4.9), (0, 100, 1, 4.9), (0, 1000, 0, 4.6), (0, 1000, 1, 4.7), (0, 10_000, 0, None)]
    rows = [(*cell, power_loss(*cell)) for cell in GRID] + without
    with pytest.warns(UserWarning, match="below the Bayes risk"):
        read = read_loss_table(written(tmp_path / "a.csv", rows))
    curve = read["bayes_risk_curve"].values
    assert curve[0] == pytest.approx(4.65, abs=1e-12)
    assert curve[1] == curve[0]
    assert curve[2] < curve[1]
    assert np.isnan(read["loss"].sel(context_length=0, dataset_size=10_000, seed=1))
    assert "R(0) = 4.65, the loss at context length 0" in read.attrs["bayes_risk"]


def test_an_empty_loss_is_a_diverged_run_and_a_cell_without_a_row_has_no_run(tmp_path):
    rows = [(*cell, power_loss(*cell)) for cell in GRID if cell != (8, 100, 1)]
    rows = [(*row[:3], None) if row[:3] == (4, 1000, 0) else row for row in rows]
    read = read_loss_table(written(tmp_path / "a.csv", rows), bayes_risk=EXACT)
    for name in ("loss", "approximation_loss"):
        missing = np.argwhere(read[name].isnull().values)
        assert missing.tolist() == [[2, 1, 0], [3, 0, 1]]
    assert np.argwhere(read["diverged"].values).tolist() == [[2, 1, 0]]
    assert optimal_context_length(read)["left_out"].values.tolist() == [0, 1, 0]


def test_comments_blank_lines_a_byte_order_mark_and_whole_numbers_as_floats_are_read(tmp_path):
    lines = ["# from a run", "", "loss , dataset_size,context_length", *(f"{3 - 0.1 * l},1e3,{l}.0" for l in (1, 2))]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([*lines, ",,", ""]), encoding="utf-8-sig")
    read = read_loss_table(path, unit="bits", bayes_risk=SMALL)
    assert read["loss"].dims == ("context_length", "dataset_size", "seed")
    assert read["loss"].values[:, 0, 0].tolist() == pytest.approx([2.9 * np.log(2), 2.8 * np.log(2)])
    assert read.indexes["dataset_size"].tolist() == [1000]
    assert read.attrs["unit"] == "nats"


HEAD = "context_length,dataset_size,seed,loss"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: its first line must name the columns, as in context_length,dataset_size,loss"),
        ("# nothing but a comment\n", "is empty"),
        (f"{HEAD}\n", "holds no loss"),
        ("l,epochs,loss\n1,2,3\n", r"lacks \['dataset_size'\]: rename or add .*dataset_size may be called tokens"),
        ("context_length,dataset_size,loss,loss\n1,2,3,3\n", r"\['loss', 'loss'\] all mean loss: keep one"),
        ("ctx,l,tokens,loss\n1,1,2,3\n", r"\['ctx', 'l'\] all mean context_length: keep one"),
        (f"{HEAD}\n1_0,100,0,2\n", "context_length must be a whole number of at least 0; got '1_0'"),
        (f"{HEAD}\n1,100,0,1e308\n", r"loss must be at most 1e\+100; got '1e308'"),
        (f"{HEAD}\n1,99999999999999999999,0,2\n", "dataset_size must be at most 9223372036854775807"),
        (f'{HEAD}\n1,100,0,"2"0\n', "line 2 cannot be read"),
        (f"{HEAD}\n1,100,0,{'1' * 200_000}\n", "line 2 cannot be read"),
        (f"{HEAD},bayes_risk\n0,100,0,4,4\n", "no context length above 0"),
        (f"{HEAD}\n1,100,0\n", "line 2 has 3 cells, the header 4: '1,100,0'"),
        (f"{HEAD}\n1,100,0,0\n", "line 2: loss must be a finite number above 0; got '0'; leave the cell empty"),
        (f"{HEAD}\n1,100,0,nan\n", "got 'nan'; leave the cell empty if it is missing or the run diverged"),
        (f"{HEAD}\n1,100,0,inf\n", "got 'inf'"),
        (f"# a\n\n{HEAD}\n1.5,100,0,2\n", "line 4: context_length must be a whole number of at least 0; got '1.5'"),
        (f"{HEAD}\n-1,100,0,2\n", "context_length must be a whole number of at least 0; got '-1'"),
        (f"{HEAD}\n,100,0,2\n", "context_length must be a whole number of at least 0; got ''"),
        (f"{HEAD}\n1,0,0,2\n", "dataset_size must be a whole number of at least 1; got '0'"),
        (f"{HEAD}\n1,100,0.5,2\n", "seed must be a whole number of at least 0; got '0.5'"),
        (f"{HEAD}\n1e9,8,0,2\n", "must be at most 10000000; got '1e9'. Are columns swapped"),
        (f"{HEAD}\n1,100,0,2\n1,100,0,3\n", r"lines 2 and 3 .*= \(1, 100, 0\): tell repetitions apart"),
        (f"{HEAD}\n1,100,0,4\n2,100,0,3\n", "one dataset size, 100, cannot tell the Bayes risk"),
        (f"{HEAD}\n1,100,0,4\n1,200,0,3\n2,100,0,3\n2,200,0,2\n", "2 context lengths cannot fix C0, C, gamma"),
        (f"{HEAD},approximation_loss\n1,100,0,4,1\n", "without a column bayes_risk: add it"),
        (f"{HEAD},bayes_risk,approximation_loss\n1,100,0,4,3,-1\n", "approximation_loss must .*at least 0; got '-1'"),
        (f"{HEAD},bayes_risk\n1,100,0,4,3\n", "not given at context_length 0: add a row with it"),
        (f"{HEAD},bayes_risk\n0,100,0,,4\n1,100,0,4,3\n2,100,0,4,\n", r"not given at the context lengths \[2\]"),
        (f"{HEAD},bayes_risk\n0,100,0,,4\n1,100,0,4,3\n1,200,0,4,2\n", "at 1 it is 3 and, in line 4, 2"),
        (f"{HEAD},bayes_risk\n0,100,0,,4\n1,100,0,4,3\n2,100,0,4,3.5\n", "rises from 3 at context length 1 to 3.5"),
        (f"{HEAD},bayes_risk,intrinsic_dimension\n0,1,0,,4,\n1,1,0,4,3,1\n2,1,0,4,2,\n", "intrinsic_dimension is not"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_with_the_value_and_the_remedy(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(LossTableError, match=message):
        read_loss_table(path)


def test_other_names_separators_and_an_index_column_are_understood(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(";seq_len;Tokens;val_loss;model\n0;1;100;5.5;a\n1;2;100;5.25;a\n")
    with pytest.warns(UserWarning, match="left out: model"):
        read = read_loss_table(path, bayes_risk=EXACT)
    assert read["loss"].values.ravel().tolist() == [5.5, 5.25]
    for said in ("context_length is the column 'seq_len'", "loss is the column 'val_loss'", "left out: model"):
        assert said in read.attrs["columns"]


def test_the_wide_form_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("ctx\t100\t1e3\n1\t5.5\t5.25\n2\t4.5\t\n")
    read = read_loss_table(path, bayes_risk=SMALL)
    assert read.indexes["dataset_size"].tolist() == [100, 1000]
    np.testing.assert_array_equal(read["loss"].values[:, :, 0], [[5.5, 5.25], [4.5, np.nan]])


@pytest.mark.parametrize("seeds", [None, (31, 7, 12, 50, 3)])
def test_repetitions_are_numbered_in_each_cell_if_no_seed_is_shared(seeds, tmp_path):
    rows = [(1, 100, 4.0), (2, 100, 3.5), (1, 100, 4.1), (2, 100, 3.6), (1, 100, 4.2)]
    columns = ("context_length", "dataset_size", "loss")
    if seeds:
        rows, columns = [(*row, seed) for row, seed in zip(rows, seeds, strict=True)], (*columns, "seed")
    read = read_loss_table(written(tmp_path / "a.csv", rows, columns), bayes_risk=SMALL)
    np.testing.assert_array_equal(read["loss"].values[:, 0], [[4.0, 4.1, 4.2], [3.5, 3.6, np.nan]])
    np.testing.assert_allclose(optimal_context_length(read)["loss"], 3.55)


def test_whole_numbers_are_exact(tmp_path):
    """Beyond 2^53 a double cannot hold them."""
    rows = [(1, 2**53 + 1, 2**60 + 1, 4.0), (1, 2**53 + 1, 2**60 + 2, 4.5)]
    read = read_loss_table(written(tmp_path / "a.csv", rows), bayes_risk=SMALL)
    assert read.indexes["dataset_size"].tolist() == [2**53 + 1]
    assert read.indexes["seed"].tolist() == [2**60 + 1, 2**60 + 2]


@pytest.mark.parametrize(("unit", "of"), [("bits", lambda x: x / np.log(2)), ("perplexity", np.exp)])
def test_losses_in_another_unit_become_nats(unit, of, tmp_path):
    rows = [(l, 1000, of(6.0 / l), of(2 + 3 / l**0.5) if l > 1 else of(5.0)) for l in (1, 2, 4, 8)]
    columns = ("context_length", "dataset_size", "loss", "bayes_risk")
    path = written(tmp_path / "a.csv", [*rows, (0, 1000, None, of(5.0))], columns)
    with pytest.warns(UserWarning, match="below the Bayes risk"):
        read = read_loss_table(path, unit=unit)
    np.testing.assert_allclose(read["loss"].values.ravel(), [6.0, 3.0, 1.5, 0.75], rtol=1e-12)
    np.testing.assert_allclose(read["bayes_risk"].values[1:], [2 + 3 / l**0.5 for l in (2, 4, 8)], rtol=1e-12)
    assert read.attrs["unit"] == "nats"


def test_a_perplexity_below_one_and_one_of_an_approximation_loss_are_refused(tmp_path):
    with pytest.raises(LossTableError, match=r"line 2: a perplexity is at least 1; got 0\.5"):
        read_loss_table(written(tmp_path / "a.csv", [(1, 100, 0, 0.5)]), unit="perplexity")
    rows = [(1, 100, 0, 5.0, 2.0)]
    path = written(tmp_path / "b.csv", rows, ("context_length", "dataset_size", "seed", "loss", "approximation_loss"))
    with pytest.raises(LossTableError, match="an approximation loss has no perplexity"):
        read_loss_table(path, unit="perplexity")


def test_the_bayes_risk_may_stand_in_a_file_of_its_own(tmp_path):
    path = written(tmp_path / "a.csv", [(l, 1000, 0, 6.0) for l in (1, 3)])
    risk = written(tmp_path / "r.csv", [(0, 5.0), (1, 4.0), (3, 3.0), (8, 2.0)], ("ctx", "bayes_risk"))
    read = read_loss_table(path, bayes_risk=risk)
    assert read["bayes_risk"].values.tolist() == [4.0, 3.0]
    assert read["bayes_risk_curve"].values[0] == 5.0
    assert "bayes_risk_estimated" not in read.attrs


def test_an_estimate_that_comes_out_negative_is_refused(tmp_path):
    below = BayesRiskEstimate(-1.0, 1.5, 0.5, (0.0, 0.0, 0.0), 0.0, 8)
    path = written(tmp_path / "a.csv", [(l, 1000, 0, 6.0) for l in (1, 2, 4, 8)])
    with pytest.raises(LossTableError, match=r"R\(l\) comes out negative, -0\.4697"):
        read_loss_table(path, bayes_risk=below)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    with pytest.raises(LossTableError, match=r"a\.csv is not a CSV file"):
        read_loss_table(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*b\.csv"):
        read_loss_table(tmp_path / "b.csv")


def noisy(tmp_path, rng, gap, n_seeds=3):
    """Seven lengths, six sizes, loss = 2 + 3/sqrt(l) + G with noise 0.01, and no column for R(l)."""
    rows = [
        (l, D, seed, 2 + 3 / l**0.5 + gap(l, D) + 0.01 * rng.normal())
        for l in (2, 4, 8, 16, 32, 64, 128)
        for D in (1000, 4000, 16_000, 64_000, 256_000, 1_000_000)
        for seed in range(n_seeds)
    ]
    return read_loss_table(written(tmp_path / "a.csv", rows))


@pytest.mark.filterwarnings("ignore:.*below the Bayes risk")
def test_a_law_fitted_with_an_estimated_risk_has_the_constants_of_the_file(tmp_path, rng):
    """R(l) at the largest size holds a gap of 0.06 to 1.1. Fitted to loss - R(l), the amplitude would be far off."""
    read = noisy(tmp_path, rng, lambda l, D: 30 * l**0.6 * D**-0.45)
    found = fit(PowerLaw(), read)
    constants = (found.law.amplitude, found.law.length_exponent, found.law.rate)
    np.testing.assert_allclose(constants, (30, 0.6, 0.45), rtol=0.05)
    assert all(lower < upper for lower, upper in found.intervals.values())
    with pytest.raises(LossTableError, match="take the intervals of fit instead"):
        profile_interval(PowerLaw(), read, "rate")


CURVES = {
    "power": lambda l, D: 30 * l**0.6 * D**-0.45,
    "saturating": lambda l, D: (3 - 3 / l**0.5) / (1 + (D / (400 * l**0.9)) ** 0.9),
    "table": lambda l, D: min(1.05**l * 15 / D, 3.0),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*below the Bayes risk")
@pytest.mark.parametrize("name", CURVES)
def test_with_an_estimated_risk_the_true_law_is_among_those_named(name, tmp_path, rng):
    laws = [PowerLaw(), SaturatingLaw(), OffsetDimensionLaw(), CorrelationHorizonLaw(), TableLaw(classes=31)]
    comparison = compare(noisy(tmp_path, rng, CURVES[name]), laws, n_bootstrap=2)
    decision = verdict(comparison)
    assert name in decision.laws
    assert (decision.outcome == "law") or "R(l) is estimated from the same losses" in decision.reason
    assert comparison.attrs["risk_known"] == 0


def test_a_bayes_risk_cannot_be_given_twice(tmp_path):
    (tmp_path / "a.csv").write_text(f"{HEAD},bayes_risk\n0,100,0,,4\n1,100,0,4,3\n")
    with pytest.raises(LossTableError, match="leave one out"):
        read_loss_table(tmp_path / "a.csv", bayes_risk=EXACT)
