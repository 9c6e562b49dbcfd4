"""One frame for every reproduction: it makes tables, figures and a report, and this module writes them to a folder.

A reproduction is a folder ``paper_reproduction/NAME`` with ``make.py``, which holds a ``REPRODUCTION``, with a page
``README.md``, and with ``expected/``, what the laptop scale gave.
"""

import dataclasses
import importlib
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeAlias

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

import figures
from paper_reproduction.report_tables import report
from simulator import PlatformError, SlurmError, Stopped, StoreError, WorkerError, save_results
from simulator.machine.compiled_programs import keep_compiled_programs

Scale: TypeAlias = Literal["smoke", "laptop", "paper"]
FOLDER = pathlib.Path(__file__).parent
_REFUSALS = (StoreError, PlatformError, WorkerError, SlurmError, OSError, ValueError, TypeError)
"""Errors whose message says what happened and what to do: they are printed without a traceback."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a reproduction made.

    Attributes:
        tables: each is written as ``NAME.nc``.
        figures: each is written, with its numbers, as ``NAME.png``, ``.pdf`` and ``.csv``. None draws every table by
            :func:`figures.draw_curves`.
        report: text of ``report.txt``. None shows every table.
        summary: what is printed of a long report. None prints all of it.
        texts: further files, by their names.
    """

    tables: Mapping[str, xr.Dataset]
    figures: Mapping[str, tuple[Figure, pd.DataFrame]] | None = None
    report: str | None = None
    summary: str | None = None
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Make(Protocol):
    """Makes a result at a scale with the given number of worker processes; finished runs are kept in the folder."""

    def __call__(self, scale: Scale, folder: pathlib.Path, workers: int) -> Result: ...


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """A figure, a table or a claim of a paper, made anew.

    Attributes:
        title: title of the figures and of the page.
        claim: what the source says, or the question that is asked.
        source: where it says so.
        make: makes the result.
    """

    title: str
    claim: str
    source: str
    make: Make


def names() -> list[str]:
    """The names of all reproductions, in alphabetical order: the folders that hold a ``make.py``."""
    return sorted(path.parent.name for path in FOLDER.glob("*/make.py"))


def load(name: str) -> Reproduction:
    """The reproduction in the folder of that name."""
    return importlib.import_module(f"paper_reproduction.{name}.make").REPRODUCTION


def reproduce(name: str, scale: Scale, out: pathlib.Path, workers: int) -> Result:
    """Make one reproduction, write everything below ``out``/``scale``/``name``, and print the report."""
    reproduction, folder = load(name), out / scale / name
    print(f"\n== {reproduction.title} ==")
    result = reproduction.make(scale, folder, workers)
    written = write(result, folder, reproduction.title)
    text = (folder / "report.txt").read_text() if result.summary is None else result.summary
    print(text, "\nwritten:", *(f"  {path}" for path in written), sep="\n")
    return result


def write(result: Result, folder: pathlib.Path, title: str = "") -> list[pathlib.Path]:
    """Write the files of a result, making the folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.nc" for name in result.tables]
    for path, table in zip(written, result.tables.values(), strict=True):
        save_results(table, path)
    drawn = result.figures
    if drawn is None:
        drawn = {name: figures.draw_curves(table, title) for name, table in result.tables.items()}
    for name, (figure, numbers) in drawn.items():
        written += figures.save(figure, numbers, folder / name)
    text = "\n\n\n".join(map(report, result.tables.values())) if result.report is None else result.report
    for name, content in {**result.texts, "report.txt": text + "\n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        written.append(folder / name)
    return written


def exit_status(work: Callable[[], object]) -> int:
    """Do the work of a command; print a refusal as one line, and return the status of the process."""
    keep_compiled_programs()
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads the output, as head does, has read enough. Nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except _REFUSALS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped; finished runs are kept, the same command continues", file=sys.stderr)
        return 130
    return 0
