"""l* against dataset size: as measured, with intervals, and as each law predicts it."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import ticker
from matplotlib.figure import Figure

from figures.style import MARKERS, PALETTE, STYLE, new_figure
from theory.measured.loss_table import LIMITED

_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))


def draw_optima(comparison: xr.Dataset, title: str = "") -> tuple[Figure, pd.DataFrame]:
    """Draw the measured l*(D) and the l*(D) of each law; the held-out part is shaded.

    A hollow marker is no sure optimum: the smallest loss lies at an end of the grid, or more training may move it.

    Args:
        comparison: the result of :func:`theory.compare`.
        title: title above the axes.

    Returns:
        The figure, and its numbers: a row per law and dataset size.
    """
    sizes = comparison["dataset_size"].values
    held_out = comparison["held_out"].values
    boundary = float(np.sqrt(sizes[~held_out][-1] * float(sizes[held_out][0])))
    measured = comparison["best_on_grid"].values.astype(float)
    edge, limited = comparison["at_edge"].values, comparison[LIMITED].values
    hollow = {
        "smallest loss at the grid's edge": ("o", edge & ~limited),
        "limited by optimisation, there or beside": ("D", limited),
    }
    sure = ~(edge | limited)
    bars = np.abs(np.stack([comparison["lower"].values, comparison["upper"].values]) - measured)

    figure, axes = new_figure(title)
    with mpl.rc_context(STYLE):
        axes.axvspan(boundary, sizes[-1] * 1.25, color="0.92", zorder=0)
        for law, line, colour, marker in zip(
            comparison["law"].values,
            itertools.cycle(_LINES),
            itertools.cycle(PALETTE),
            itertools.cycle(MARKERS[1:]),
        ):
            row = comparison.sel(law=law)
            score = f"{float(row['mean_log2_error']):.2f}"
            axes.plot(
                sizes,
                row["predicted"],
                linestyle=line,
                color=colour,
                marker=marker,
                markersize=3,
                label=f"{law} ({score})",
            )
        axes.errorbar(
            sizes[sure], measured[sure], bars[:, sure], fmt="o", color="black", capsize=3, markersize=5, zorder=5,
            label="measured, with interval",
        )  # fmt: skip
        for label, (marker, where) in hollow.items():
            if where.any():
                known = bars[:, where] * ~edge[where]
                axes.errorbar(
                    sizes[where], measured[where], known, fmt=marker, color="black", capsize=3, markerfacecolor="white",
                    markersize=5, zorder=5, label=label,
                )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.0f}"))
        axes.set_xlim(sizes[0] / 1.25, sizes[-1] * 1.25)
        for x, text, side in ((boundary / 1.04, "fitted", "right"), (boundary * 1.04, "held out", "left")):
            axes.text(x, 1.0, text, ha=side, va="top", fontsize=8, color="0.3", transform=axes.get_xaxis_transform())
        axes.set_xlabel("dataset size $D$ (samples)")
        axes.set_ylabel("optimal context length $l^*$ (tokens)")
        figure.legend(title="law (mean $|\\log_2|$ error, held out)", loc="outside right upper")
    return figure, comparison.to_dataframe().reset_index()
