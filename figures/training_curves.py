"""Validation loss against optimiser steps, one panel per cell and one line per seed."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.style import STYLE, shades
from theory.measured.loss_table import LIMITED, LossTableError, check_loss_table

_ENDS = {"patience": "s", "last step": ">", "diverged": "X", "unknown": "d"}
"""The mark at the end of a run, by why it stopped."""
_MOST_PANELS = 42


def draw_training_curves(results: xr.Dataset, title: str = "") -> tuple[Figure, pd.DataFrame]:
    """Draw how each run was trained: a row of panels per context length, a column per dataset size.

    A circle marks the step that was selected; there is none where the untrained network was. It is hollow where
    optimisation limits the run. The mark at the end of a line says why the run stopped. The dashed line is the Bayes
    risk R(l).

    Args:
        results: the table of :func:`simulator.run`, or a part of it, as in
            ``results.sel(context_length=[4, 16], dataset_size=[1024, 4096])``.
        title: title above the panels.

    Returns:
        The figure, and its numbers: a row per run and evaluation.

    Raises:
        LossTableError: the table has no training curves, or more than 42 cells.
    """
    results = check_loss_table(results, "loss")
    if "validation_loss" not in results:
        raise LossTableError(
            "the table has no variable 'validation_loss': its learner is solved in closed form, or an earlier version "
            "made it. Make it again from its store"
        )
    lengths, sizes = results["context_length"].values, results["dataset_size"].values
    if len(lengths) * len(sizes) > _MOST_PANELS:
        raise LossTableError(
            f"{len(lengths)} context lengths and {len(sizes)} dataset sizes are more than {_MOST_PANELS} panels: take "
            "some, as in results.sel(context_length=[4, 16], dataset_size=[1024, 4096])"
        )
    used: set[str] = set()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.9 + 1.9 * len(sizes), 0.9 + 1.5 * len(lengths)), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        panels = figure.subplots(len(lengths), len(sizes), sharex=True, squeeze=False)
        for row, length in zip(panels, lengths, strict=True):
            for axes, size in zip(row, sizes, strict=True):
                used |= _draw(axes, results.sel(context_length=length, dataset_size=size))
                axes.set_title(f"$l$ = {length}, $D$ = {size:,}", fontsize=8)
        figure.supxlabel("optimiser steps", fontsize=9)
        figure.supylabel(f"validation loss ({results.attrs.get('unit', '')})", fontsize=9)
        _add_legend(figure, results["seed"].values, used)
    names = ["evaluation_step", "validation_loss"]
    numbers = results[[*names, "stopped_by", "best_step"]].to_dataframe().dropna(subset=names)
    return figure, numbers.reset_index()


def _draw(axes: Axes, cell: xr.Dataset) -> set[str]:
    """Draw the runs of a cell, and return the labels of the marks that occur."""
    used: set[str] = set()
    for run, colour in zip(cell.transpose("seed", ...).seed, shades(cell.sizes["seed"]), strict=True):
        row = cell.sel(seed=run)
        steps, losses = row["evaluation_step"].values, row["validation_loss"].values
        axes.plot(steps, losses, color=colour, linewidth=0.9)
        known = np.flatnonzero(np.isfinite(steps) & np.isfinite(losses))
        if not known.size:
            continue
        reason, end = str(row["stopped_by"].item()), known[-1]
        axes.plot(steps[end], losses[end], _ENDS[reason], color=colour, markersize=4)
        used.add(reason)
        for best in np.flatnonzero(steps == row["best_step"].item()):
            limited = bool(row.get(LIMITED, False))
            face = "white" if limited else colour
            axes.plot(steps[best], losses[best], "o", color=colour, markerfacecolor=face, markersize=5, zorder=5)
            used.add("limited" if limited else "selected")
    axes.axhline(float(cell["bayes_risk"]), color="black", linestyle="--", linewidth=0.9)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(3))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axes.tick_params(labelsize=7)
    return used


def _add_legend(figure: Figure, seeds: np.ndarray, used: set[str]) -> None:
    """Explain the lines, and the marks that occur."""
    marks = {
        "selected": ("selected step", "o", "0.3"),
        "limited": ("selected step,\nlimited by optimisation", "o", "white"),
        **{reason: (f"stopped: {reason}", mark, "0.3") for reason, mark in _ENDS.items()},
    }
    colours = zip(seeds, shades(len(seeds)), strict=True)
    handles = [Line2D([], [], color=colour, label=f"seed {seed}") for seed, colour in colours]
    handles.append(Line2D([], [], color="black", linestyle="--", label="Bayes risk $R(l)$"))
    for name, (label, mark, face) in marks.items():
        if name in used:
            handles.append(Line2D([], [], color="0.3", linestyle="", marker=mark, markerfacecolor=face, label=label))
    figure.legend(handles=handles, loc="outside right upper")
