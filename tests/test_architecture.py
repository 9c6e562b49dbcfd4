"""The floors of the house: arrows point down, files do one thing."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MAY_IMPORT = {
    "theory": {"theory"},
    "simulator": {"simulator", "theory"},
    "figures": {"figures", "theory"},
    "paper_reproduction": {"paper_reproduction", "figures", "simulator", "theory"},
}
FILES = [path for floor in MAY_IMPORT for path in sorted((ROOT / floor).rglob("*.py"))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_down_and_theory_knows_no_jax(path):
    floor = path.relative_to(ROOT).parts[0]
    roots = {name.split(".")[0] for name in imported(path)}
    assert roots & set(MAY_IMPORT) <= MAY_IMPORT[floor]
    if floor in ("theory", "figures"):
        assert not roots & {"jax", "flax", "optax"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_say_what_they_are(path):
    """The source of a notebook says it in its first text."""
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)) or "\n# %% [markdown]\n# # " in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_function_and_class_says_what_it_means(path):
    """Methods that fill in a documented contract inherit its words."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name}"
