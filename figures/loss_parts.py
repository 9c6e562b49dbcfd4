"""The parts of a loss, one above the other, against context length."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from figures.style import PALETTE, STYLE, context_length_axis
from theory.measured.loss_parts import PARTS
from theory.measured.loss_table import LossTableError

_LABELS = ("Bayes risk $R(l)$", "capacity", "estimation", "optimisation")
_COLOURS = ("0.8", *PALETTE[:3])
_MOST_PANELS = 8


def draw_loss_parts(parts: xr.Dataset, title: str = "") -> tuple[Figure, pd.DataFrame]:
    """Draw the parts of the loss that :func:`theory.split_loss` found, a panel for each dataset size.

    The upper edge of the stack is the measured loss, and a star marks its minimum. A part that came out negative has no
    height; the numbers keep it.

    Args:
        parts: the table of :func:`theory.split_loss`, or a part of it, as in ``parts.sel(dataset_size=[512])``.
        title: title above the panels.

    Returns:
        The figure, and its numbers: a row per cell with the parts and their standard errors.

    Raises:
        LossTableError: the table holds no parts, lacks an axis, or has none or more than 8 dataset sizes.
    """
    missing = [name for name in PARTS if name not in parts]
    if missing:
        raise LossTableError(f"the table has no variable {missing[0]!r}: give the table of theory.split_loss")
    for axis in ("context_length", "dataset_size"):
        if axis not in parts.dims:
            raise LossTableError(f"the table has no axis {axis!r}: select by a list, as in parts.sel({axis}=[512])")
    lengths, sizes = parts["context_length"].values, parts["dataset_size"].values
    if not 1 <= len(sizes) <= _MOST_PANELS:
        raise LossTableError(
            f"a figure shows 1 to {_MOST_PANELS} dataset sizes, and the table has {len(sizes)}: take some, as in "
            "parts.sel(dataset_size=[512, 4096])"
        )
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.4 + 2.3 * len(sizes), 3.2), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        panels = figure.subplots(1, len(sizes), sharex=True, sharey=True, squeeze=False)[0]
        for axes, size in zip(panels, sizes, strict=True):
            cell = parts.sel(dataset_size=size)
            heights = [np.maximum(np.nan_to_num(cell[name].values), 0.0) for name in PARTS]
            axes.stackplot(lengths, heights, colors=_COLOURS, labels=_LABELS, linewidth=0)
            loss = np.sum([cell[name].values for name in PARTS], axis=0)
            axes.plot(lengths, loss, color="black", marker="o", label="measured loss")
            if np.isfinite(loss).any():
                best = int(np.nanargmin(loss))
                axes.plot(
                    lengths[best], loss[best], "*", markersize=10, color="white", markeredgecolor="black", zorder=5,
                    label="smallest loss",
                )  # fmt: skip
            context_length_axis(axes, lengths.tolist())
            axes.set_title(f"$D$ = {size:,}", fontsize=9)
            axes.set_xlabel("")
        panels[0].set_ylabel(f"loss ({parts.attrs.get('unit', '')})")
        figure.supxlabel("context length $l$ (tokens)", fontsize=9)
        shown = {label: of for axes in panels for of, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend([*shown.values()][::-1], [*shown][::-1], loc="outside right upper")
    return figure, parts.to_dataframe().reset_index()
