"""Every reproduction at smoke scale: exact curves equal the truth, and measured points are traced to their runs."""

import functools
import json
import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import figures
from paper_reproduction.cache_compression.make import split, window_only
from paper_reproduction.gallery.make import LONG
from paper_reproduction.kept_parts import kept_parts
from paper_reproduction.optimal_context_laws.make import entrants, laws
from paper_reproduction.parity_mlp.make import study as parity_study
from paper_reproduction.report_tables import mean_and_interval, report
from paper_reproduction.reproduction import FOLDER, Result, load, names, reproduce, write
from simulator import Study, WorkerError, load_results
from simulator.learners import GradientDescent
from simulator.tasks import EXAMPLES, Retrieval, SparseParity

FAST = ("data_exponents", "look_back", "statistical_gap")
STUDIES = ("look_back", "parity_mlp")


def close(table, **where):
    """Compare a curve of a table with the numbers it must show."""
    (series, label), (_, expected) = where.items()
    np.testing.assert_allclose(table["value"].sel({series: label}), expected, rtol=1e-9)


def bayes_risks(tables):
    for name, task in (("v4", SparseParity.paper_v4()), ("v1", SparseParity.paper_v1())):
        table = tables[f"bayes_risk_of_{name}"]
        close(table, of="exact", expected=[task.bayes_risk(l) for l in table["context_length"].values.tolist()])
        sampled = table.sel(of="loss of the Bayes predictor")
        error = sampled["upper"] - sampled["value"]
        assert (abs(sampled["value"] - table["value"].sel(of="exact")) < 4 * error + 1e-6).all()


def cache_compression(tables):
    """Nothing is compressed at compression 1, whatever the kind."""
    uncompressed = tables["divergence_against_compression"].sel(compression=1)
    assert (uncompressed["value"] == uncompressed["value"].isel(kind=0)).all()
    assert (uncompressed["actual_compression"] == 1).all()


def data_exponents(tables):
    table = tables["exponent_against_dimension"]
    close(table, learner="2/d", expected=2 / table["dimension"])
    measured = table["value"].sel(learner="nearest neighbour") / table["value"].sel(learner="2/d")
    assert (abs(measured - 1) < 0.3).all()


def data_or_optimisation(tables):
    """The parts add up to the untuned loss, and the optimisation is what tuning gains."""
    parts, untuned, tuned = (tables[name] for name in ("parts", "untuned", "tuned"))
    added = parts[["bayes_risk", "capacity", "estimation", "optimisation"]].to_dataarray().sum("variable")
    np.testing.assert_allclose(added, untuned["loss"].mean("seed"))
    np.testing.assert_allclose(parts["optimisation"], (untuned["loss"] - tuned["loss"]).mean("seed"), atol=1e-12)
    for name in ("untuned", "tuned"):
        best = tables[name]["loss"].mean("seed").idxmin("context_length")
        assert (tables["optimal_context_length"]["value"].sel(learner=name) == best).all()


def enough_data(tables):
    """Hardly trained, a network answers little better than a guess among four."""
    assert (abs(tables["approximation_loss"]["value"] - math.log(4)) < 0.2).all()


def estimator_audit(tables):
    table = tables["dimension_against_truth"]
    np.testing.assert_allclose(table["value"].sel(manifold="torus", estimator="LinearRank"), 2)
    np.testing.assert_allclose(table["value"].sel(manifold="parities", estimator="LinearRank"), 1)
    assert table["refused"].equals(table["value"].isnull())
    seen = tables["entropy_changes_seen"]["value"].sel(estimator="log determinant").isel(change=0)
    np.testing.assert_allclose(seen, 1)


def irrelevant_context(tables):
    table = tables["optimum_against_fraction"]
    ratio = table["value"].sel(series="exact") / table["value"].sel(series="measured")
    assert (abs(np.log2(ratio)) < 0.6).all()
    payers = tables["share_of_gmax"]["value"].sel(learner=["least squares", "correlation screening"])
    assert np.diff(payers.sel(learner="least squares")).item() > 0


def length_generalisation(tables):
    table = tables["loss_against_visible_context"]
    assert table["context_length"].values.tolist() == [1, 2, 4, 8]
    assert (table["value"].sel(context_length=1) < table["value"].sel(context_length=8)).all()


def linear_entropy_law(tables):
    slopes = tables["slope_of_the_law"]["value"].sel({"from": "exact"})
    added = np.array([2.0, 3.0]) ** -1.15
    np.testing.assert_allclose(slopes.sel(generator="parities, frequency k^-1.15"), added / added.mean())


def models_compared(tables):
    table = tables["optimal_context_length"]
    assert table["value"].isin([1, 2, 4]).all()
    assert table["at_edge"].equals(table["value"].isin([1, 4]))


def optimisation_dimension(tables):
    table = tables["dimensions_needed"]
    exact = table["value"].sel(network="0.9 (l + 1), exact for linear regression")
    np.testing.assert_allclose(exact, 0.9 * (table["context_length"] + 1))
    assert (abs(table["value"].sel(network="linear regression") - exact) < 0.6).all()


def retrieval_windows(tables):
    table = tables["accuracy"]
    task = Retrieval(n_needles=1, n_answers=4, max_context_length=8, distance_law="position_weighted", exponent=1.0)
    exact = [task.bayes_accuracy(l) for l in table["context_length"].values.tolist()]
    np.testing.assert_allclose(table["value"].sel(gamma=r"$\gamma$ = 1", of="Bayes"), exact)
    assert tables["needles"]["value"].sel(of="Bayes").values[-1] == 0


def state_limits(tables):
    table = tables["loss_against_pairs"]
    assert (abs(table["value"] - math.log(4)) < 0.3).all()
    assert table["bits_per_number"].sel(pairs=2, model="GRU, 4 numbers") == 1


def statistical_gap(tables):
    best = tables["smallest_loss"]["value"].sel(dataset_size=1000)
    assert best.sel(learner="Bayes' rule") < best.sel(learner="ridge on pairs") - 0.1


def transformer_v4(tables):
    task, loss = SparseParity.paper_v4(), tables["decomposition"]["value"]
    risk = [task.bayes_risk(l) for l in loss["context_length"].values.tolist()]
    np.testing.assert_allclose(loss.sel(part="Bayes risk $R(l)$"), risk)
    np.testing.assert_allclose(loss.sel(part="KL$(P_l, Q_l)$"), tables["table_1"]["value"].isel(network=0))
    np.testing.assert_allclose(loss.sel(part="cross-entropy"), loss.isel(part=[1, 2]).sum("part"))


def two_branch(tables):
    close(tables["dimension_against_parities"], of="solvable parities", expected=[16, 31])
    close(tables["slope_on_entropy"], entropy="exact", expected=-1 / 50)


def single_study(tables):
    """Every test loss is the Bayes risk or above it."""
    results = tables["results"]
    assert not results["diverged"].any()
    assert ((results["test_loss"] - results["bayes_risk"]) / results["test_loss_standard_error"]).min() > -5


def gallery(tables):
    """Its numbers are those of the tasks: tested where the figure is."""
    assert not tables


def optimal_context_laws(tables):
    assert {name.removesuffix("/results") for name in tables} == {"least_squares", "ridge_on_pairs_of_bits"}


CLAIMS = {
    check.__name__: check
    for check in (
        *(bayes_risks, cache_compression, data_exponents, data_or_optimisation, enough_data, estimator_audit),
        *(gallery, irrelevant_context, length_generalisation, linear_entropy_law, models_compared),
        *(optimal_context_laws, optimisation_dimension),
        *(retrieval_windows, state_limits, statistical_gap, transformer_v4, two_branch),
    )
} | dict.fromkeys(STUDIES, single_study)


def every_point_is_the_mean_of_the_runs_it_names(folder):
    study = Study.from_json((folder / "study.json").read_text())
    assert load_results(folder / "results.nc").attrs["study"] == study.to_json()
    losses = {path.stem[:12]: json.loads(path.read_text())["result"]["loss"] for path in folder.glob("runs/??/*.json")}
    numbers = pd.read_csv(folder / "loss_against_context_length.csv")
    assert len(numbers) == len(study.context_lengths) * len(study.dataset_sizes)
    for row in numbers.itertuples():
        assert row.mean_loss == pytest.approx(np.mean([losses.pop(run) for run in row.runs.split()]), rel=1e-12)
    assert not losses, "every run stands behind one point"


def studies_and_a_table_of_verdicts_are_left(folder):
    players = entrants("smoke")
    table = pd.read_csv(folder / "verdicts.csv").set_index("entrant")
    assert list(table.index) == list(players)
    assert (table["misfit"] <= table["misfit of the next"]).all()
    numbers = pd.read_csv(folder / "optimal_context_laws.csv")
    assert (folder / "optimal_context_laws.pdf").is_file()
    for name, entrant in players.items():
        place = folder / name.replace(", ", "-").replace(" ", "_")
        assert Study.from_json((place / "study.json").read_text()) == entrant.study
        assert load_results(place / "results.nc").sizes["seed"] == entrant.study.seeds
        rows = numbers[numbers["study"] == name]
        assert set(rows["law"]) == {*(law.name for law in laws(entrant.study)), "l* stays"}
        assert rows["exact"].notna().all() == (name != "ridge on pairs of bits")


FILES = {
    "optimal_context_laws": studies_and_a_table_of_verdicts_are_left,
    **dict.fromkeys(STUDIES, every_point_is_the_mean_of_the_runs_it_names),
}
"""What is asked of the files of some reproductions, besides."""


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in names()])
def test_a_reproduction_shows_what_is_known_and_its_files_are_its_tables(name, tmp_path, capsys):
    """Files, printed text and axes are held against the tables, and the tables against the exact truth."""
    result = reproduce(name, "smoke", tmp_path, 1)
    folder = tmp_path / "smoke" / name
    CLAIMS[name](result.tables)
    if name in FILES:
        FILES[name](folder)
    text = (folder / "report.txt").read_text()
    printed = capsys.readouterr().out
    assert text.startswith(result.summary or text)
    assert (result.summary or text) in printed
    assert all(str(path) in printed for path in folder.iterdir() if path.suffix in (".nc", ".png", ".csv", ".txt"))
    for key, table in result.tables.items():
        assert load_results(folder / f"{key}.nc").equals(table)
    if result.figures is None:
        for key, table in result.tables.items():
            assert not table["value"].isnull().all()
            assert not (table["lower"] > table["value"]).any()
            assert not (table["value"] > table["upper"]).any()
            assert table["value"].attrs["long_name"].split("(")[-1].startswith(("nats)", "tokens)", "no unit)"))
            assert report(table) in text
            numbers = pd.read_csv(folder / f"{key}.csv")["value"]
            np.testing.assert_allclose(numbers, table.to_dataframe().reset_index()["value"])
            assert (folder / f"{key}.pdf").is_file()


@pytest.mark.parametrize("name", STUDIES)
def test_a_report_says_measured_predicted_ratio_and_regret_of_every_law(name):
    text = (FOLDER / name / "expected" / "report.txt").read_text()
    header, *rows = text.split("\n\n")[1].splitlines()
    assert header.split() == ["D", "measured", "l*", "law", "predicted", "ratio", "regret", *header.split()[7:]]
    assert any("saturating" in row for row in rows)


def test_the_paper_s_grid_is_the_published_one():
    study = parity_study("paper")
    assert Study.from_json(study.to_json()) == study
    assert study.learner == GradientDescent.paper_v1()
    assert study.context_lengths == (27, 32, 36, 43, 63, 94)
    assert study.dataset_sizes == (50_000, 75_000, 85_000, 100_000, 150_000, 200_000, 400_000, 2_000_000)


def test_the_l_star_of_the_headline_study_never_falls_and_is_interior_over_one_and_a_half_decades():
    """As its page says. Where training stops on plateaus, l* falls at the largest dataset sizes."""
    text = (FOLDER / "parity_mlp" / "expected" / "report.txt").read_text().split("\n\n")[0]
    sizes, optima = zip(*(map(int, line.split()[:2]) for line in text.splitlines()[1:]), strict=True)
    assert sizes == parity_study("laptop").dataset_sizes
    assert sizes[-1] / sizes[0] >= 10**1.5
    assert list(optima) == sorted(optima)
    assert "edge" not in text


def test_the_gallery_has_every_kind_of_task_once():
    kinds = [type(task) for task in LONG]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) == {type(task) for task in EXAMPLES}


def test_every_reproduction_says_what_is_claimed_and_where():
    for name in names():
        reproduction = load(name)
        assert reproduction.title[0].isupper() or reproduction.title.startswith("l*")
        assert reproduction.claim.endswith((".", "?"))
        assert reproduction.source.split()
    assert set(CLAIMS) == set(names())


def test_a_result_without_figures_of_its_own_is_drawn_and_reported_table_by_table(tmp_path):
    table = xr.Dataset(
        dict.fromkeys(("value", "lower", "upper"), (("who", "x"), [[1.0, 2.0]])), {"who": ["a"], "x": [3, 4]}
    )
    table["value"].attrs["long_name"] = "height (tokens)"
    written = write(Result({"a": table}, texts={"below/note.txt": "words"}), tmp_path, "title")
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        *("a.nc", "a.png", "a.pdf", "a.csv", "below/note.txt", "report.txt")
    ]
    assert (tmp_path / "report.txt").read_text() == report(table) + "\n"
    assert (tmp_path / "below" / "note.txt").read_text() == "words"
    figure, _ = figures.draw_curves(table, "title")
    assert figure.axes[0].get_ylabel() == "height (tokens)"


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
    assert [int(table["x"]) for table in kept_parts(tmp_path, parts, "parts", 1)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="workers must be between 1 and 4096; got 0"):
        kept_parts(tmp_path, parts, "parts", 0)


def test_the_interval_is_a_standard_error_either_way_and_the_report_shows_it():
    samples = xr.DataArray([[1.0, 2.0, 3.0, 6.0]], dims=("model", "seed"), coords={"model": ["a"]}).expand_dims(x=[4])
    table = mean_and_interval(samples).transpose("model", "x")
    error = np.std([1.0, 2.0, 3.0, 6.0], ddof=1) / 2
    np.testing.assert_allclose([table[name].item() for name in ("lower", "value", "upper")], [3 - error, 3, 3 + error])
    assert f"3 [{3 - error:.4g}, {3 + error:.4g}]" in report(table)
    assert report(table.where(table["x"] > 4)).split()[-1] == "-"


@pytest.mark.parametrize("compression", [2, 16])
@pytest.mark.parametrize("n_tokens", [16, 512])
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
