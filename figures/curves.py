"""A measured quantity against one coordinate: one curve for each thing compared, in one or more panels."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import MARKERS, PALETTE, STYLE

_TICKS = 16
"""Largest number of points along x of which each has a tick."""


def draw_curves(table: xr.Dataset, title: str = "") -> tuple[Figure, pd.DataFrame]:
    """Draw ``value`` with its interval from ``lower`` to ``upper``.

    Args:
        table: ``value``, ``lower`` and ``upper`` over (series, x), or over (panel, series, x). The names of the
            dimensions are free. Optional variables: ``at_edge`` marks points that are drawn open, ``refused`` marks
            points that are drawn as crosses along the lower edge, and ``at`` holds the place of each point along x.
            ``attrs["long_name"]`` of the value and of the coordinates label axes and legend.
            ``value.attrs["scale"]`` is ``"linear"`` (the default), ``"log"`` or ``"log2"``. On a log2 scale curves of
            whole numbers are shifted a little along x, because they may coincide.
        title: title above the panels.

    Returns:
        The figure, and its numbers: a row for each point.
    """
    value = table["value"]
    scale = value.attrs.get("scale", "linear")
    apart = 0.05 if scale == "log2" and not np.any(value % 1 > 0) else 0.0
    panels = value.dims[0] if value.ndim == 3 else None
    series, x = map(str, value.dims[-2:])
    names = [None] if panels is None else list(table[panels].values)
    refusing = [
        name for name in table[series].values if "refused" in table and table["refused"].sel({series: name}).any()
    ]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 3.6 * len(names), 3.8), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        all_axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(all_axes, names, strict=True):
            part = table if name is None else table.sel({panels: name})
            looks = zip(part[series].values, itertools.cycle(PALETTE), itertools.cycle(MARKERS))
            for i, (label, colour, marker) in enumerate(looks):
                row = part.sel({series: label})
                moved = row["at"] if "at" in row else row[x] * 2 ** (apart * (i - (part.sizes[series] - 1) / 2))
                bars = np.abs(np.stack([row["value"] - row["lower"], row["upper"] - row["value"]]))
                style = {"color": colour, "marker": marker}
                axes.errorbar(moved, row["value"], np.nan_to_num(bars), capsize=2, label=str(label), **style)
                if "at_edge" in row:
                    edge = row["at_edge"].values
                    axes.plot(moved[edge], row["value"][edge], linestyle="", markerfacecolor="white", zorder=5, **style)
                if label in refusing:
                    where = moved[row["refused"].values]
                    height = np.full(where.size, 0.02 + 0.03 * refusing.index(label))
                    axes.plot(where, height, ls="", color=colour, marker="x", transform=axes.get_xaxis_transform())
            _scale(axes, None if "at" in part else part[x].values, scale)
            axes.set_xlabel(_name(table["at" if "at" in table else x]))
            if name is not None:
                axes.set_title(str(name), fontsize=9)
        all_axes[0].set_ylabel(_name(value))
        handles, labels = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, title=_name(table[series]), loc="outside right upper")
    return figure, table.to_dataframe().reset_index()


def _name(variable: xr.DataArray) -> str:
    return str(variable.attrs.get("long_name", variable.name))


def _scale(axes: Axes, x: np.ndarray | None, y_scale: str) -> None:
    """Scale both axes: x by powers of two, or of ten for fractions, and linearly below one where x holds zero."""
    if x is not None:
        base = 2 if np.all(x % 1 == 0) else 10
        if x.min() > 0:
            axes.set_xscale("log", base=base)
        else:
            axes.set_xscale("symlog", base=base, linthresh=1)
        if len(x) <= _TICKS and base == 2:
            axes.set_xticks(_apart(x), minor=False)
        axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}" if base == 2 else "{x:g}"))
        axes.tick_params(axis="x", labelrotation=45 if x.max() > 999 else 0)
    axes.minorticks_off()
    if y_scale == "log2":
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    else:
        axes.set_yscale(y_scale)


def _apart(x: np.ndarray) -> list[float]:
    """The points whose tick labels do not overlap. The largest point is always among them."""
    places = np.log2(np.maximum(x, 0.5))
    kept: list[int] = []
    for i in np.argsort(-places):
        if not kept or places[kept[-1]] - places[i] > 0.055 * np.ptp(places):
            kept.append(i)
    return [float(x[i]) for i in sorted(kept)]
