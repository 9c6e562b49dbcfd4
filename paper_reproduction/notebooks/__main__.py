"""``python -m paper_reproduction.notebooks [NAME ...] [--out FOLDER]``: run the sources, write them with their outputs.

Where and how large is said by the environment variables that the notebooks' first cell names. Needs the extra
``notebook``.
"""

import argparse
import pathlib
import sys

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = pathlib.Path(__file__).parent
NAMES = ("quickstart", "paper")


def main() -> int:
    """Run the notebooks named, by default all."""
    parser = argparse.ArgumentParser(prog="python -m paper_reproduction.notebooks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="folder for the .ipynb (beside the sources)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"unknown notebook {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or NAMES:
        try:
            notebook = executed(name)
        except CellExecutionError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            return 1
        nbformat.write(notebook, options.out / f"{name}.ipynb")
        print(f"written: {options.out / f'{name}.ipynb'}")
    return 0


def executed(name: str) -> nbformat.NotebookNode:
    """The notebook with the outputs of its cells, but for progress bars."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    resources = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False, resources=resources).execute()
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    sys.exit(main())
