"""Tasks and their exact truth: drawn sequences, Bayes risk, intrinsic dimension, intrinsic entropy."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import STYLE

_WIDTH = 48
"""Number of the newest tokens that are drawn of a sequence."""
_PANELS = ("drawn sequences", "Bayes risk $R(l)$", "intrinsic dimension", "intrinsic entropy (nats)")


def draw_gallery(truths: Sequence[xr.Dataset], title: str = "") -> tuple[Figure, pd.DataFrame]:
    """Draw one row per task: sequences, R(l) with its power law, dim(l), S(P_l).

    A sequence is a line with the oldest token on the left. Colours are token values; pale tokens are irrelevant. Where
    the task states an exponent gamma, R(l) - C0 is drawn beside the line C/l^gamma. C0 and C are fitted from the middle
    length (of the logarithm) on. Where the two curves differ, R is not a power law.

    Args:
        truths: the tables of :func:`simulator.tasks.worked_example.truth_of_task`.
        title: title above the rows.

    Returns:
        The figure, and a row per task and context length.
    """
    if not truths:
        raise ValueError("there is no task to draw: pass at least one table")
    # Margins in inches: a layout engine is slow over so many axes.
    with mpl.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        height = 0.95 + 1.6 * len(truths)
        figure = Figure(figsize=(11.5, height))
        edges = {"top": 1 - 0.4 / height, "bottom": 0.5 / height, "left": 0.03, "right": 0.985}
        figure.subplots_adjust(**edges, hspace=0.35, wspace=0.45)
        if title:
            figure.suptitle(title, x=0.01, y=1 - 0.05 / height, ha="left", va="top", fontsize=10)
        rows = figure.subplots(len(truths), 4, squeeze=False, gridspec_kw={"width_ratios": [1.5, 1.1, 1, 1]})
        for (sequences, risk, dimension, entropy), truth in zip(rows, truths, strict=True):
            _draw_sequences(sequences, truth)
            _draw_risk(risk, truth)
            _draw_growth(dimension, truth, "intrinsic_dimension")
            _draw_growth(entropy, truth, "intrinsic_entropy")
        for axes, heading in zip(rows[0], _PANELS, strict=True):
            axes.set_title(heading, fontsize=9)
        for axes in rows[-1, 1:]:
            axes.set_xlabel("context length $l$ (tokens)")
        rows[-1, 0].set_xlabel("distance (tokens)")
    columns = ["bayes_risk", "intrinsic_dimension", "intrinsic_entropy"]
    numbers = [truth[columns].to_dataframe().reset_index().assign(task=truth.attrs["task"]) for truth in truths]
    return figure, pd.concat(numbers, ignore_index=True)


def power_law(truth: xr.Dataset) -> tuple[float, float, float] | None:
    """(C0, C, gamma) of R(l) = C0 + C/l^gamma: C0 and C are fitted from the middle length on, gamma is the task's own.

    None where the task states no gamma, or where fewer than three lengths can be fitted.
    """
    gamma = truth.attrs["risk_exponent"]
    lengths, risk = truth["context_length"].values.astype(float), truth["bayes_risk"].values
    fitted = lengths >= max(np.sqrt(lengths.max()), 1.0)
    if not np.isfinite(gamma) or fitted.sum() < 3:
        return None
    design = np.stack([np.ones(fitted.sum()), lengths[fitted] ** -gamma], axis=1)
    (C0, C), *_ = np.linalg.lstsq(design, risk[fitted], rcond=None)
    return float(C0), float(C), float(gamma)


def _draw_sequences(axes: Axes, truth: xr.Dataset) -> None:
    tokens = truth["token"].values[:, :_WIDTH][:, ::-1]
    relevant = truth["relevant"].values[:, :_WIDTH][:, ::-1]
    low, high = tokens.min(), tokens.max()
    colours = mpl.colormaps["viridis"]((tokens - low) / max(high - low, 1e-12))
    colours[..., 3] = np.where(relevant, 1.0, 0.25)
    shown = tokens.shape[1]
    axes.imshow(colours, aspect="auto", interpolation="nearest", extent=(shown + 0.5, 0.5, len(tokens), 0))
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_ylabel(truth.attrs["name"], fontsize=8)


def _draw_risk(axes: Axes, truth: xr.Dataset) -> None:
    inside = truth["context_length"].values > 0
    lengths, risk = truth["context_length"].values[inside], truth["bayes_risk"].values[inside]
    law, unit = power_law(truth), truth.attrs["unit"]
    axes.set_xscale("log")
    if law is None:
        axes.plot(lengths, risk, color="black", marker="." if len(lengths) < 40 else "")
        axes.set_ylabel(f"$R$ ({unit})", fontsize=8)
        # A risk that ends at zero, or hardly moves, has no place on a logarithmic axis.
        if 0 < risk.min() < 0.5 * risk.max():
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, max(1.08 * risk.max(), 1e-3))
        return
    C0, C, gamma = law
    above = risk > C0
    label = rf"$R - C_0$, $C_0$ = {C0:.3g}"
    axes.plot(lengths[above], (risk - C0)[above], color="black", marker="." if len(lengths) < 40 else "", label=label)
    power = C * lengths**-gamma
    drawn = power < 3 * (risk - C0).max()
    axes.plot(lengths[drawn], power[drawn], color="tab:red", linestyle="--", label=rf"$\gamma$ = {gamma:.3g}")
    axes.set_yscale("log")
    if (risk - C0)[above].max() > 20 * (risk - C0)[above].min():
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_ylabel(f"$R - C_0$ ({unit})", fontsize=8)
    axes.legend(handlelength=1.4, loc="lower left", fontsize=7)


def _draw_growth(axes: Axes, truth: xr.Dataset, name: str) -> None:
    lengths, values = truth["context_length"].values, truth[name].values
    if not np.isfinite(values).all():
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color="grey")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        return
    inside = lengths > 0
    axes.plot(lengths[inside], values[inside], color="tab:blue", marker="." if inside.sum() < 40 else "")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
