"""Loss against context length, one curve per dataset size, above the Bayes risk."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from figures.style import MARKERS, STYLE, context_length_axis, new_figure, shades
from theory import optimal_context_length
from theory.measured.loss_table import LIMITED, check_loss_table, limited_runs, seed_losses, seed_means


def draw_losses(results: xr.Dataset, title: str = "", optima: xr.Dataset | None = None) -> tuple[Figure, pd.DataFrame]:
    """Draw the seed-mean loss of every cell, the exact Bayes risk, and l* of every dataset size with its interval.

    Args:
        results: the table of :func:`simulator.run`.
        title: title above the axes.
        optima: l* of every dataset size, from :func:`theory.compare` or :func:`theory.optimal_context_length`. None
            measures it here.

    Returns:
        The figure, and its numbers: a row per cell with the mean loss, its standard error over seeds, the Bayes risk,
        whether it is l*, the ends of the interval of l*, and the names of its runs. A cell with a diverged run has no
        mean and is marked by a cross at the top. A cell with a run that optimisation limits has a hollow marker.
    """
    results = check_loss_table(results, "loss")
    lengths = results["context_length"].values
    sizes = results["dataset_size"].values
    best = optimal_context_length(results) if optima is None else optima
    best = best[["optimal_context_length", "lower", "upper", "loss"]].reindex(dataset_size=sizes)
    losses = seed_losses(results)
    mean, runs = seed_means(losses), np.isfinite(losses).sum(axis=2)
    squares = np.where(np.isfinite(losses), losses - mean[:, :, None], 0.0) ** 2
    error = np.sqrt(squares.sum(axis=2) / np.maximum(runs - 1, 1) / np.maximum(runs, 1))
    limited = np.asarray(limited_runs(results).any(axis=2))
    curve = results["bayes_risk_curve"]
    unit = results.attrs.get("unit", "")

    figure, axes = new_figure(title)
    with mpl.rc_context(STYLE):
        for j, (size, colour) in enumerate(zip(sizes, shades(len(sizes)), strict=True)):
            marker = MARKERS[j % len(MARKERS)]
            axes.errorbar(
                lengths,
                mean[:, j],
                error[:, j],
                color=colour,
                marker=marker,
                elinewidth=0.8,
                label=f"{size:,}",
            )
            hollow = limited[:, j]
            axes.plot(lengths[hollow], mean[hollow, j], marker, color=colour, markerfacecolor="white", zorder=3)
            here = best.sel(dataset_size=size)
            height = float(here["loss"])
            if np.isfinite(here["optimal_context_length"]):
                axes.hlines(height, here["lower"], here["upper"], color="black", linewidth=2.2, zorder=4)
                axes.plot(
                    here["optimal_context_length"], height, marker="*", markersize=10, color="white",
                    markeredgecolor="black", linestyle="none", zorder=5,
                )  # fmt: skip
            diverged = ~np.isfinite(mean[:, j])
            axes.plot(
                lengths[diverged], np.full(diverged.sum(), 0.98), "x", color=colour,
                transform=axes.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
        inside = slice(int(lengths.min()), int(lengths.max()) + 1)
        axes.plot(
            curve["every_context_length"][inside],
            curve[inside],
            color="black",
            linestyle="--",
            label="Bayes risk $R(l)$",
        )
        axes.plot([], [], marker="*", markersize=9, color="white", markeredgecolor="black", label="$l^*$, interval")
        if limited.any():
            axes.plot([], [], "o", color="0.3", markerfacecolor="white", label="limited by optimisation")
        context_length_axis(axes, lengths.tolist())
        axes.set_ylabel(f"loss ({unit})")
        # Overfitted long contexts can be arbitrarily bad; what matters lies below the loss without context.
        floor, ceiling = float(curve[inside].min()), float(curve[0])
        axes.set_ylim(floor - 0.06 * (ceiling - floor), ceiling + 0.15 * (ceiling - floor))
        figure.legend(title="dataset size $D$", loc="outside right upper")
    numbers = pd.DataFrame(
        [
            {
                "dataset_size": int(size),
                "context_length": int(length),
                "mean_loss": mean[i, j],
                "standard_error": error[i, j],
                "bayes_risk": float(results["bayes_risk"].values[i]),
                LIMITED: bool(limited[i, j]),
                "is_optimum": bool(length == best["optimal_context_length"].values[j]),
                "optimum_lower": best["lower"].values[j],
                "optimum_upper": best["upper"].values[j],
                "runs": " ".join(str(name)[:12] for name in results["run"].values[i, j]) if "run" in results else "",
            }
            for j, size in enumerate(sizes)
            for i, length in enumerate(lengths)
        ]
    )
    return figure, numbers
