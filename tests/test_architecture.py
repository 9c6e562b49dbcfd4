"""The floors and rooms of the house: arrows point down, and no circle hides among them."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent
FLOORS = {
    "theory": {"theory"},
    "simulator": {"simulator", "theory"},
    "figures": {"figures", "theory"},
    "paper_reproduction": {"paper_reproduction", "figures", "simulator", "theory"},
}
ROOMS = {
    "theory": ("types", "checks", "gaussian_process", "learning_curves", "laws", "measured"),
    "simulator": (
        *("machine", "specification", "random", "tasks", "grid", "models", "training", "learners"),
        *("studies", "measurement", "inference"),
    ),
}
"""Rooms of a floor from the lowest to the highest: a room imports from itself and from rooms before it."""
FILES = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def name(path):
    """The module's name; a package has its own."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name(path): path for path in FILES}


def imported(path):
    """Names of the modules that a file imports anywhere, inside functions too."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


GRAPH = {module: {found for found in imported(path) if found in MODULES} for module, path in MODULES.items()}


def test_arrows_point_down_and_theory_and_figures_know_no_jax():
    for path in FILES:
        floor = path.relative_to(ROOT).parts[0]
        roots = {module.split(".")[0] for module in imported(path)}
        assert roots & set(FLOORS) <= FLOORS[floor], path
        assert floor not in ("theory", "figures") or not roots & {"jax", "flax", "optax"}, path


def test_a_room_imports_from_rooms_below_it():
    for module, others in GRAPH.items():
        floor, *rooms = module.split(".")
        if not rooms or floor not in ROOMS:
            continue
        height = ROOMS[floor].index(rooms[0])
        for other in others:
            if other.startswith(f"{floor}."):
                assert ROOMS[floor].index(other.split(".")[1]) <= height, f"{module} imports {other}"


def test_no_module_imports_itself_by_way_of_others():
    """Modules that import nothing that is left are taken away until none is left: a circle would stay."""
    left = {module: set(others) - {module} for module, others in GRAPH.items()}
    while free := [module for module, others in left.items() if not others]:
        for module in free:
            del left[module]
        for others in left.values():
            others.difference_update(free)
    assert not left, f"circles run through {sorted(left)}"


def test_no_import_is_hidden_from_the_interpreter():
    for path in FILES:
        assert "TYPE_CHECKING" not in path.read_text(), path


def test_every_public_function_and_class_says_what_it_means():
    """Methods that fill in a documented contract inherit its words. A notebook's source says it in its first text."""
    for path, tree in TREES.items():
        assert ast.get_docstring(tree) or "\n# %% [markdown]\n# # " in path.read_text(), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name}"


def test_no_docstring_begins_with_of():
    """Such a fragment has no subject: shown alone, by a help function or on a page, it means nothing."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                assert not str(node.value.value).startswith("Of "), f"{path}:{node.lineno}"
