"""Pages say what the files in ``expected/`` say."""

import re

import numpy as np
import pytest
import xarray as xr

from paper_reproduction.pages import all_pages, filled, read_table
from paper_reproduction.report_tables import labelled, report
from paper_reproduction.reproduction import FOLDER, names


@pytest.fixture(scope="module")
def pages():
    return all_pages()


def test_every_page_has_the_numbers_of_the_committed_reports(pages):
    """``python -m paper_reproduction.pages`` mends what fails here."""
    assert set(pages) == {FOLDER / "README.md", *(FOLDER / name / "README.md" for name in names())}
    for path, text in pages.items():
        assert path.read_text() == text, path


@pytest.mark.parametrize("name", names())
def test_a_page_shows_a_figure_and_answers_each_claim_with_numbers_of_the_report(name):
    text = (FOLDER / name / "README.md").read_text()
    assert f"**Run**: `python -m paper_reproduction {name}`" in text
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert shown
    assert all((FOLDER / name / path).is_file() for path in shown)
    kinds = re.findall(r"^\*\*(Claim|Found|Verdict|Run)\*\*", text, re.MULTILINE)
    assert kinds == ["Claim", "Found", "Verdict"] * (len(kinds) // 3) + ["Run"]
    for found in re.findall(r"\*\*Found\*\*: (.*?)\n\n", text, re.DOTALL):
        typed = re.sub(r'\[[^\]]+\]\(expected/report\.txt\s+"[^"]+"\)', "", found)
        settings = r"(thresholds?|at|\^)[ -]\d\.\d+|k\^-1.15"
        assert not re.search(r"\d\.\d", re.sub(settings, "", typed)), typed


def test_the_table_of_all_claims_is_short(pages):
    assert pages[FOLDER / "README.md"].count("\n") < 60


@pytest.mark.parametrize(("panels", "n_points"), [(False, 3), (True, 3), (False, 20)])
def test_a_report_is_read_back(panels, n_points, rng):
    """Whether it was turned or not, with places along x, and with cells that have no value."""
    dims, shape = ("who", "x"), (2, n_points)
    coordinates = {"who": ["a b, c", "d"], "x": np.arange(n_points)}
    if panels:
        dims, shape, coordinates = ("panel", *dims), (2, *shape), {"panel": ["left half", "right"], **coordinates}
    value = xr.DataArray(rng.normal(size=shape), coordinates, dims)
    table = xr.Dataset({"value": value, "lower": value - 1, "upper": value + 1, "at": 2 * value})
    table = labelled(table.where(table["x"] != 1), {"value": "height (tokens)"})
    cells = read_table(report(table))
    assert len(cells) == value.size
    for place, cell in table.stack(place=dims).groupby("place"):
        *row, x = map(str, place)
        key = (" / ".join(row), x) if n_points <= 16 else (x, row[0])
        expected = [float(cell[name].squeeze()) for name in ("value", "lower", "upper", "at")]
        if x == "1":
            assert cells[key] == (None,) * 4
        else:
            np.testing.assert_allclose(np.array(cells[key], float), expected, rtol=1e-3)


def test_numbers_tables_and_paragraphs_are_filled_in(tmp_path):
    (tmp_path / "expected").mkdir()
    value = xr.DataArray([[1.25, 2.5], [3.75, 5.0]], {"who": ["a", "b"], "x": [1, 2]}, ("who", "x"))
    table = labelled(xr.Dataset({"value": value, "lower": value - 1, "upper": value}), {"value": "height"})
    (tmp_path / "expected" / "report.txt").write_text(report(table) + "\n\n\n         D   l*\n        64   6  [5, 7]\n")
    (tmp_path / "expected" / "trials.csv").write_text("tried,outcome\nless,worse\n")

    def number(shown, spec):
        return re.sub(r"\[(.*?)\].*", r"\1", filled(f'[{shown}](expected/report.txt "{spec}")', tmp_path))

    assert number("0.00", "1 | a | 2") == "2.50"
    assert number("0", "max 1 | * | *") == "5"
    assert number("0.0", "min 1 | b | *") == "3.8"
    assert number("0.0", "lower 1 | b | 2") == "4.0"
    assert number("0", "field 3 | 64 | 2") == "6"
    assert "| b | 3.75 | 5 |" in filled("<!-- table 1 | * | * -->\n<!-- end -->", tmp_path)
    assert "less | worse" in filled("<!-- trials -->\n<!-- end -->", tmp_path)
    assert "64   6  [5, 7]\n```" in filled("<!-- excerpt 3 -->\nold\n<!-- end -->", tmp_path)
    with pytest.raises(ValueError, match=r"no cell 'c', '1'; there are rows \['a', 'b'\]"):
        number("0", "1 | c | 1")
    with pytest.raises(ValueError, match="names 2 cells: name one, or begin with max or min"):
        number("0", "1 | a | *")
