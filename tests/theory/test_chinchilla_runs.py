"""Runs brought as CSV: what is understood, what is left out, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import LossTableError, fit_chinchilla, read_runs
from theory.laws import ChinchillaLaw

NAMES = ("model_size", "dataset_size", "loss")


def written(folder, text):
    path = folder / "runs.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "model_size,dataset_size,loss\n1e8,2.5e9,3.5\n2e8,5e9,3.25\n",
        "# comment\nN;D;val_loss\n1e8;2.5e9;3.5\n2e8;5e9;3.25\n",
        "x\tModel Size\tTraining FLOP\tloss\n0\t1e8\t1.5e18\t3.5\n0\t2e8\t6e18\t3.25\n",
        "params,tokens,FLOPs,Test-Loss\n1e8,2.5e9,7,3.5\n2e8,,6e18,3.25\n",
    ],
)
def test_usual_files_are_understood(tmp_path, text):
    """The same two runs, under other names and separators. Where D is empty or absent, it is C/(6 N)."""
    runs = read_runs(written(tmp_path, text))
    for name, expected in zip(NAMES, ([1e8, 2e8], [2.5e9, 5e9], [3.5, 3.25]), strict=True):
        np.testing.assert_allclose(runs[name], expected, rtol=1e-15)
    assert runs.attrs["unit"] == "nats"
    assert runs.attrs["left_out"] == ""


def test_what_was_understood_and_left_out_is_said(tmp_path):
    text = "N,C,loss,colour\n1e8,1e18,3.5,red\n1e8,2e18,,red\n1e8,3e18,4.5,red\n1e8,4e18,5,red\n1e8,5e18,3,red\n"
    runs = read_runs(written(tmp_path, text), leave_out_highest=2)
    assert runs.attrs["columns"] == "model_size is the column 'N'; compute is the column 'C'; left out: colour"
    assert runs.attrs["left_out"] == "1 without a loss and 2 of the highest losses, from 4.5 on, lines 4, 5"
    assert runs["run"].values.tolist() == [2, 6]
    assert runs["loss"].values.tolist() == [3.5, 3.0]


@pytest.mark.parametrize(
    ("unit", "kept"), [("bits", "nats"), ("perplexity", "nats"), ("bits per byte", "bits per byte")]
)
def test_losses_become_nats(tmp_path, unit, kept):
    runs = read_runs(written(tmp_path, "N,D,loss\n1e8,1e9,4\n"), unit=unit)
    expected = {"bits": 4 * np.log(2), "perplexity": np.log(4), "bits per byte": 4}[unit]
    assert runs["loss"].item() == pytest.approx(expected, rel=1e-15)
    assert runs.attrs["unit"] == kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N,D,loss\n1e8,1e9,3\n1e8,1e9,nan\n", "line 3: loss must be a finite number above 0; got 'nan'"),
        ("N,D,loss\n1e8,1e9,0\n", "line 2: loss must be a finite number above 0; got '0'"),
        ("N,D,loss\n7B,1e9,3\n", "line 2: model_size must be a finite number above 0; got '7B'"),
        ("N,D,loss\n0,1e9,3\n", "line 2: model_size must be a finite number above 0; got '0'"),
        ("N,D,loss\n1e8,,3\n", r"line 2: a run needs model_size, and dataset_size \(tokens\) or compute"),
        ("N,loss\n1e8,3\n", r"line 2: a run needs model_size, and dataset_size \(tokens\) or compute"),
        ("D,loss\n1e8,3\n", r"it lacks \['model_size'\].* model_size may be called n, params"),
        ("N,params,D,loss\n1,1,1,1\n", r"columns \['N', 'params'\] all mean model_size"),
        ("", "is empty"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(LossTableError, match=message):
        read_runs(written(tmp_path, text))


@pytest.mark.parametrize("number", [-1, 2])
def test_only_runs_that_there_are_can_be_left_out(tmp_path, number):
    with pytest.raises(ValueError, match=f"leave_out_highest must be between 0 and 1; got {number}"):
        read_runs(written(tmp_path, "N,D,loss\n1e8,1e9,3\n1e8,1e9,4\n"), leave_out_highest=number)


@settings(max_examples=25)
@given(values=st.lists(st.tuples(*[st.floats(1e-3, 1e30)] * 3), min_size=1, max_size=5))
def test_every_number_comes_back_to_the_bit(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("bits") / "runs.csv"
    pd.DataFrame(values, columns=list(NAMES)).to_csv(path, index=False)
    runs = read_runs(path)
    assert [tuple(row) for row in np.stack([runs[name] for name in NAMES], axis=1).tolist()] == values


def test_runs_at_nine_budgets_give_their_law_back_without_the_outliers(tmp_path):
    """The design of Hoffmann et al.: about 27 models for each of nine budgets from 6e18 to 3e21 FLOP, as a file with
    model sizes and FLOP; and five runs that diverged late, at the highest losses, which the fit is to leave out."""
    rng, law = np.random.default_rng(0), ChinchillaLaw.besiroglu()
    C = np.repeat([6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21], 27)
    N = np.sqrt(C / 120) * 10 ** rng.uniform(-0.8, 0.6, C.size)
    L = law.loss(N, C / 6 / N) * np.exp(0.005 * rng.standard_t(3, size=C.size))
    L[:5] *= 2
    path = tmp_path / "runs.csv"
    pd.DataFrame({"Model Size": N, "Training FLOP": C, "loss": L}).to_csv(path)
    runs = read_runs(path, leave_out_highest=5)
    assert runs["run"].values.tolist() == list(range(7, 245))
    fit = fit_chinchilla(*(runs[name].values for name in NAMES))
    for name, (low, high) in fit.intervals.items():
        assert low < getattr(law, name) < high
    assert fit.intervals["model_rate"][1] - fit.intervals["model_rate"][0] < 0.08
