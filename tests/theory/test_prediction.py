"""Predictions made beforehand: what they hold, how they are scored, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from tests.tables import SIZES, table_of_law
from theory import LossTableError, Prediction, compare, predict, score, score_as_text
from theory.laws import IntrinsicDimensionLaw, PowerLaw
from theory.measured.prediction import digest_of

LAW = PowerLaw(2.0, 1.0, 0.8)
WHOLE = table_of_law(LAW, noise=0.05)
BEFORE, AFTER = WHOLE.isel(dataset_size=slice(0, 5)), WHOLE.isel(dataset_size=slice(5, None))
LAWS = [PowerLaw(), IntrinsicDimensionLaw()]
MADE = predict(BEFORE, LAWS, SIZES[5:], n_bootstrap=20)


def test_a_prediction_is_that_of_the_fit_to_the_table():
    """``compare``, split at the same place, predicts the same, and has the same regrets and intervals."""
    known = compare(WHOLE, LAWS, fit_fraction=5 / 8, n_bootstrap=20)
    held = known.isel(dataset_size=slice(5, None), law=slice(0, 2))
    scores = score(MADE, AFTER)
    np.testing.assert_array_equal(scores["predicted"], held["predicted"])
    np.testing.assert_allclose(scores["regret"], held["regret"], atol=1e-12)
    np.testing.assert_array_equal(scores["log2_error"], held["log2_error"])
    for i, name in enumerate(known["law"].values[:2]):
        assert MADE.laws[name]["lower"] == held["predicted_lower"].values[i].tolist()
        assert MADE.laws[name]["upper"] == held["predicted_upper"].values[i].tolist()
        assert MADE.laws[name]["loss"] == pytest.approx(held["predicted_loss"].values[i], rel=1e-12)


def test_the_error_of_the_loss_is_small_for_the_true_law_and_its_interval_covers():
    scores = score(MADE, AFTER).sel(law="power")
    assert float(np.abs(scores["loss_error"]).max()) < 0.01
    assert scores["covered"].values[scores["covered"].notnull().values].tolist() == [1.0] * int(
        scores["covered"].notnull().sum()
    )


def test_it_is_read_back_and_never_written_over(tmp_path):
    MADE.save(tmp_path / "p.json")
    assert Prediction.load(tmp_path / "p.json") == MADE
    with pytest.raises(FileExistsError):
        MADE.save(tmp_path / "p.json")


def test_it_names_the_table_and_the_constants():
    assert MADE.table == digest_of(BEFORE) == digest_of(BEFORE.transpose("seed", ...))
    changed = BEFORE.assign(loss=BEFORE["loss"] + 1e-12)
    assert digest_of(changed) != MADE.table
    assert MADE.measured == list(SIZES[:5])
    assert set(MADE.laws["power"]["constants"]) == {"amplitude", "length_exponent", "rate"}


def test_with_a_single_seed_there_are_no_intervals():
    made = predict(BEFORE.isel(seed=[0]), [PowerLaw()], [SIZES[5]])
    assert made.laws["power"]["lower"] == [None]
    assert np.isnan(score(made, AFTER)["covered"]).all()


def test_sizes_not_measured_yet_are_not_scored():
    scores = score(MADE, AFTER.isel(dataset_size=[0, 2]))
    assert scores["dataset_size"].values.tolist() == [SIZES[5], SIZES[7]]
    text = score_as_text(scores)
    assert text.count("\n") == 4
    assert all(word in text for word in ("intrinsic dimension", str(SIZES[7]), "covered"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda: predict(BEFORE, LAWS, [SIZES[4]]), "above 1024, the largest of the table; got"),
        (lambda: predict(BEFORE, LAWS, []), "above 1024"),
        (lambda: score(MADE, BEFORE), r"none of the predicted dataset sizes \[2048, 4096, 8192\]"),
        (lambda: score(MADE, AFTER.isel(context_length=slice(1, None))), r"lacks: measure \[1\], too"),
    ],
)
def test_what_cannot_be_predicted_or_scored_is_refused(what, message):
    with pytest.raises(LossTableError, match=message):
        what()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "table": 3}'])
def test_another_file_is_refused(text, tmp_path):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(LossTableError, match="prediction"):
        Prediction.load(tmp_path / "p.json")


def test_the_file_is_plain_json(tmp_path):
    MADE.save(tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text()) == {"format": 1, **dataclasses.asdict(MADE)}
