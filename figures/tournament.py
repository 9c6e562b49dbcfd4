"""l*(D) of several studies side by side: as measured, exactly where that is known, and as each law predicts it."""

import itertools
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import PALETTE, STYLE
from theory.measured.verdict import STAYS

_COLUMNS = 4


def draw_tournament(
    comparisons: Mapping[str, xr.Dataset], own_laws: Mapping[str, str], title: str = ""
) -> tuple[Figure, pd.DataFrame]:
    """Draw a panel for each study. The law of its own mechanism is heavy, and the held-out part is shaded.

    Args:
        comparisons: the result of :func:`theory.compare` for each study, by name, with the exact l* in the variable
            ``exact`` (NaN where it is not known).
        own_laws: the name of the law of a study's mechanism, where it is known.
        title: title above the panels.

    Returns:
        The figure, and its numbers: a row for each study, law and dataset size.
    """
    laws = list(dict.fromkeys(law for table in comparisons.values() for law in table["law"].values if law != STAYS))
    colours = {STAYS: "black", **dict(zip(laws, itertools.cycle(PALETTE)))}
    n_rows = -(-len(comparisons) // _COLUMNS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.0 * _COLUMNS + 2.2, 2.6 * n_rows), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        panels = figure.subplots(n_rows, _COLUMNS, squeeze=False).ravel()
        for axes, (name, table) in zip(panels, comparisons.items(), strict=False):
            _draw(axes, name, table, own_laws.get(name), colours)
        for axes in panels[len(comparisons) :]:
            axes.set_visible(False)
        drawn = {h.get_label(): h for axes in panels for h in axes.get_legend_handles_labels()[0]}
        names = [*laws, *(name for name in drawn if name not in laws)]
        figure.legend([drawn[name] for name in names], names, loc="outside right upper")
    numbers = [table.to_dataframe().reset_index().assign(study=name) for name, table in comparisons.items()]
    return figure, pd.concat(numbers)


def _draw(axes: Axes, name: str, table: xr.Dataset, own: str | None, colours: Mapping[str, str]) -> None:
    sizes, held_out = table["dataset_size"].values, table["held_out"].values
    measured, edge = table["best_on_grid"].values.astype(float), table["at_edge"].values
    bars = np.nan_to_num(np.abs(np.stack([table["lower"].values, table["upper"].values]) - measured))
    axes.axvspan(float(np.sqrt(sizes[~held_out][-1] * sizes[held_out][0])), sizes[-1] * 1.3, color="0.93", zorder=0)
    for law in table["law"].values:
        style = {"linewidth": 0.9, "linestyle": ":" if law == STAYS else "--"}
        if law == own:
            style = {"linewidth": 2.4, "zorder": 3}
        axes.plot(sizes, table["predicted"].sel(law=law), color=colours[law], label=law, **style)
    axes.plot(sizes, table["exact"], "x", color="black", markersize=7, zorder=6, label="exact optimum")
    axes.errorbar(
        sizes[~edge], measured[~edge], bars[:, ~edge], fmt="o", color="black", capsize=2, zorder=5, label="measured"
    )
    axes.plot(
        sizes[edge], measured[edge], "o", color="black", markerfacecolor="white", zorder=5, label="at the grid's edge"
    )
    axes.set_xscale("log")
    axes.set_xticks(sizes[[0, len(sizes) // 2, -1]], minor=False)
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axes.minorticks_off()
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.0f}"))
    axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
    axes.set_title(name + (f"\nown law: {own}" if own else "\nown law unknown"), fontsize=8)
    axes.set_xlabel("dataset size $D$ (samples)")
    axes.set_ylabel("$l^*$ (tokens)")
