"""The look of all figures, and how a figure is written to files."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "svg.hashsalt": "context-scaling",
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"),
    *("#56B4E9", "#000000", "#777777", "#8C510A", "#5E3C99"),
)
"""Colours of things compared; eight of them are told apart by readers who do not see red or green."""


def new_figure(title: str, width: float = 6.4, height: float = 3.8) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; its size is in inches, and pyplot's global state is left alone."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        return figure, figure.subplots()


def shades(n: int) -> list[tuple[float, float, float, float]]:
    """n colours from light to dark, which stay distinct when printed in grey."""
    return [tuple(rgba) for rgba in mpl.colormaps["viridis_r"](np.linspace(0.08, 1.0, n))]


def context_length_axis(axes: Axes, context_lengths: Sequence[int]) -> None:
    """Make the x axis logarithmic with base 2. Where zero is among the lengths, the axis is linear below one."""
    if min(context_lengths) > 0:
        axes.set_xscale("log", base=2)
    else:
        axes.set_xscale("symlog", base=2, linthresh=1)
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.0f}"))
    axes.set_xlabel("context length $l$ (tokens)")


def save(figure: Figure, numbers: pd.DataFrame, path: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Write ``path``.png, .pdf and .csv, making the folder, and return the three paths. The same input gives the same
    bytes."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(path.name + suffix) for suffix in (".png", ".pdf", ".csv")]
    with mpl.rc_context(STYLE):
        figure.savefig(files[0], dpi=200, metadata={"Software": None})
        figure.savefig(files[1], metadata={"CreationDate": None, "Creator": None, "Producer": None})
    numbers.to_csv(files[2], index=False)
    return files
