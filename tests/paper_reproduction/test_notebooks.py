"""Notebooks run from top to bottom, and the committed ones say what their sources say."""

import os
import subprocess
import sys

import jupytext
import nbformat
import pytest

from paper_reproduction.notebooks.__main__ import FOLDER, NAMES

each_notebook = pytest.mark.parametrize("name", NAMES)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook):
    return sum("image/png" in output.get("data", {}) for cell in code(notebook) for output in cell.outputs)


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path):
    command = [sys.executable, "-m", "paper_reproduction.notebooks", name, "--out", str(tmp_path)]
    settings = {"SCALE": "smoke", "STORE": str(tmp_path / "store"), "ACCELERATOR": "cpu"}
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    made = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    nbformat.validate(made)
    assert pictures(made) == sum(")[0]" in cell.source for cell in code(made)) >= 3
    assert any((tmp_path / "store" / "smoke").iterdir()), "finished runs are kept where STORE says"


@each_notebook
def test_the_committed_notebook_is_its_source_with_outputs(name):
    source = jupytext.read(FOLDER / f"{name}.py")
    committed = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert [(c.cell_type, c.source) for c in committed.cells] == [(c.cell_type, c.source) for c in source.cells]
    assert pictures(committed) >= 3
    assert all(cell.execution_count for cell in code(committed))


def test_notebooks_begin_alike():
    """Each has to stand alone, also where the package is not there yet."""
    first = [code(jupytext.read(FOLDER / f"{name}.py"))[0].source for name in NAMES]
    assert len(set(first)) == 1


@each_notebook
def test_an_accelerator_that_is_not_there_is_said_at_once(name):
    first = code(jupytext.read(FOLDER / f"{name}.py"))[0].source
    environment = os.environ | {"ACCELERATOR": "tpu"}
    done = subprocess.run([sys.executable, "-c", first], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ACCELERATOR is 'tpu', but JAX runs on 'cpu'" in done.stderr
