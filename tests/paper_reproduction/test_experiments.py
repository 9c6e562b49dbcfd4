"""Experiments beyond a single study: what they leave, what they keep, and how a cache is shared out."""

import functools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from paper_reproduction.__main__ import EXPERIMENTS
from paper_reproduction.cache_compression.make import split, window_only
from paper_reproduction.kept_parts import kept_parts, mean_and_interval, report
from simulator import WorkerError, load_results


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    command = [sys.executable, "-W", "error", "-m", "paper_reproduction", *EXPERIMENTS, "--scale", "smoke"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, done.stdout


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_leaves_a_figure_and_a_table_of_each_thing_measured_and_a_report(smoke, name):
    folder = smoke[0] / "results" / "smoke" / name
    tables = sorted(folder.glob("*.nc"))
    assert tables
    for path in tables:
        table = load_results(path)
        nothing = table["value"].isnull()
        assert not nothing.all()
        assert ((table["lower"] <= table["value"]) | nothing).all()
        assert ((table["value"] <= table["upper"]) | nothing).all()
        assert path.with_suffix(".png").stat().st_size > 10_000
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert len(pd.read_csv(path.with_suffix(".csv"))) == table["value"].size
    text = (folder / "report.txt").read_text()
    assert text in smoke[1]
    assert sum(text.count(unit) for unit in ("(nats)", "(tokens)", "(no unit)")) >= len(tables)


def test_parts_are_made_once(tmp_path):
    made = []

    def part(number):
        made.append(number)
        return xr.Dataset({"x": number})

    parts = {f"spec {n}": lambda n=n: part(n) for n in range(3)}
    for _ in range(2):
        assert [int(table["x"]) for table in kept_parts(tmp_path, parts, "parts", 1)] == [0, 1, 2]
    assert made == [0, 1, 2]
    file = next(iter((tmp_path / "parts").glob("*.nc")))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"{file.name} is damaged: delete it"):
        kept_parts(tmp_path, parts, "parts", 1)
    file.unlink()
    kept_parts(tmp_path, parts, "parts", 1)
    assert len(made) == 4


def test_parts_are_made_by_workers_and_kept_though_one_fails(tmp_path):
    parts = {f"spec {n}": functools.partial(xr.Dataset, {"x": n}) for n in range(4)}
    parts["spec 4"] = functools.partial(xr.Dataset, {"x": ("y", [[1]])})
    with pytest.raises(WorkerError, match=r"(?s)what was finished is kept.*Could not convert tuple"):
        kept_parts(tmp_path, parts, "parts", 2)
    assert len(list((tmp_path / "parts").glob("*.nc"))) >= 3, "the other worker may have been at one"
    parts["spec 4"] = functools.partial(xr.Dataset, {"x": 4})
    assert [int(table["x"]) for table in kept_parts(tmp_path, parts, "parts", 2)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="workers must be between 1 and 4096; got 0"):
        kept_parts(tmp_path, parts, "parts", 0)


def test_the_interval_is_a_standard_error_either_way_and_the_report_shows_it():
    samples = xr.DataArray([[1.0, 2.0, 3.0, 6.0]], dims=("model", "seed"), coords={"model": ["a"]}).expand_dims(x=[4])
    table = mean_and_interval(samples).transpose("model", "x")
    error = np.std([1.0, 2.0, 3.0, 6.0], ddof=1) / 2
    np.testing.assert_allclose([table[name].item() for name in ("lower", "value", "upper")], [3 - error, 3, 3 + error])
    assert f"3 [{3 - error:.4g}, {3 + error:.4g}]" in report(table)
    assert report(table.where(table["x"] > 4)).split()[-1] == "-"


@pytest.mark.parametrize("compression", [2, 4, 8, 16])
@pytest.mark.parametrize("n_tokens", [16, 64, 512])
def test_a_cache_is_shared_out_as_wanted(compression, n_tokens):
    """Up to rounding to whole heads and tokens; half of it goes to whole heads."""
    n_heads = 32
    whole, how = split(compression, n_heads, n_tokens)
    entries = how.entries(n_tokens)
    kept = (whole * n_tokens + (n_heads - whole) * entries) / (n_heads * n_tokens)
    assert abs(kept - 1 / compression) <= 2 / n_tokens
    assert abs(whole / n_heads - 1 / (2 * compression)) <= 1 / n_heads
    assert abs(window_only(compression, n_tokens).entries(n_tokens) - n_tokens / compression) <= 1
    assert not window_only(compression, n_tokens).compensate
