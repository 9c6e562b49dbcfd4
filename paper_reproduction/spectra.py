"""What the paper reads off features: eigenvalues, entropies and dimensions against context length, and against loss."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from paper_reproduction.report_tables import labelled, mean_and_interval
from simulator.measurement import (
    PAPER_THRESHOLDS,
    ThresholdedSpectrum,
    covariance_eigenvalues,
    kernel_density_entropy,
    sum_of_log_eigenvalues,
)

KERNELS = "kernel density"
LEADING = (3, 5, 10, 15, 25, 40, 60, 80, 128, 200)
"""Values of N for the sums of N log eigenvalues; those above the rank of the features are left out."""
BANDWIDTH, KERNEL_SHAPE = "scott", "isotropic"
READING = (PAPER_THRESHOLDS, LEADING, BANDWIDTH, KERNEL_SHAPE)
"""Settings by which features are read. They are part of the spec of a kept part."""


def of_features(features: Float[np.ndarray, "n p"]) -> xr.Dataset:
    """Eigenvalues, entropies and dimensions of the features of one context length.

    ``eigenvalue`` over ``index`` is relative to the largest. ``entropy`` over ``estimate`` is in nats up to a constant,
    with features in units of the standard deviation along their longest principal axis. One estimate is a kernel
    density with isotropic kernels of Scott's bandwidth, which leaves each sample out of its own density. The others are
    half the sums of N log eigenvalues. ``dimension`` is over ``threshold``.
    """
    features = features.astype(np.float64)
    eigenvalues = covariance_eigenvalues(features)
    kernels = kernel_density_entropy(features / np.sqrt(eigenvalues[0]), BANDWIDTH, KERNEL_SHAPE, leave_one_out=True)
    rank = int(np.sum(eigenvalues > 1e-9 * eigenvalues[0]))
    sums = {N: sum_of_log_eigenvalues(features, N) / 2 if rank >= N else np.nan for N in LEADING}
    entropies = {KERNELS: kernels, **{f"{N} eigenvalues": value for N, value in sums.items()}}
    dimensions = [ThresholdedSpectrum(threshold)(features) for threshold in PAPER_THRESHOLDS]
    return xr.Dataset(
        {
            "eigenvalue": ("index", eigenvalues / eigenvalues[0]),
            "entropy": ("estimate", list(entropies.values())),
            "dimension": ("threshold", dimensions),
        },
        {"index": np.arange(1, len(eigenvalues) + 1), "estimate": list(entropies), "threshold": list(PAPER_THRESHOLDS)},
    )


def tables(found: xr.Dataset) -> dict[str, xr.Dataset]:
    """A table for each figure.

    Args:
        found: the variables of :func:`of_features` and ``cross_entropy`` (nats), over ``seed`` and ``context_length``.
    """
    loss, entropy, dimension = found["cross_entropy"], found["entropy"], found["dimension"]
    sums = entropy.drop_sel(estimate=KERNELS).assign_coords(estimate=list(LEADING)).rename(estimate="leading")
    kernels = entropy.sel(estimate=KERNELS, drop=True)
    every = {KERNELS: kernels.expand_dims(leading=list(LEADING)), "sum of logs": sums}
    slopes = {name: straight_line(loss, x) for name, x in every.items()}
    of_entropy = xr.concat(slopes.values(), "entropy", coords="minimal").assign_coords(entropy=list(slopes))
    of_entropy = of_entropy.transpose("entropy", "seed", "leading").dropna("leading", how="any", subset=["share"])
    of_dimension = straight_line(loss, dimension).expand_dims(loss=["measured"])
    spectra = mean_and_interval(found["eigenvalue"]).transpose("context_length", "index")
    logs: xr.DataArray = xr.apply_ufunc(np.log, found["eigenvalue"])
    falls = mean_and_interval(-logs.diff("index", label="lower")).transpose(*spectra["value"].dims)
    seen = spectra["value"] > 1e-4
    names = {
        "index": "eigenvalue, largest first",
        "context_length": "context length $l$ (tokens)",
        "estimate": "entropy from",
        "threshold": "threshold (no unit)",
        "leading": "eigenvalues summed $N$",
        "entropy": "entropy from",
        "loss": "loss",
    }
    nats, none = "cross-entropy (nats)", "(no unit)"

    def named(table: xr.Dataset, value: str, scale: str = "linear", **others: str) -> xr.Dataset:
        known = {name: text for name, text in names.items() if name in table.coords}
        return labelled(table, {**known, **others, "value": value}, scale=scale)

    few = dimension.sel(threshold=[0.002, 0.01, 0.05, 0.25])
    shown = [
        KERNELS,
        *(
            name
            for name in entropy["estimate"].values
            if name != KERNELS and np.isfinite(entropy.sel(estimate=name)).all()
        ),
    ]
    return {
        "eigenvalues": named(spectra.where(seen), f"eigenvalue over the largest {none}", "log"),
        "eigenvalue_falls": named(falls.where(seen), f"$\\ln(\\lambda_i / \\lambda_{{i+1}})$ {none}", "log"),
        "loss_against_entropy": named(
            against(loss, entropy.sel(estimate=shown)), nats, at="entropy, up to a constant (nats)"
        ),
        "kernel_density_against_sum_of_logs": named(
            against(kernels, entropy.sel(estimate=shown[1:])),
            "entropy, kernel density (nats)",
            at="half the sum of logs (nats)",
        ),
        "loss_against_dimension": named(against(loss, few), nats, at=f"intrinsic dimension {none}"),
        "dimension_at_thresholds": named(
            mean_and_interval(dimension).transpose("context_length", "threshold"), f"intrinsic dimension {none}", "log2"
        ),
        "slope_on_entropy": named(mean_and_interval(of_entropy["slope"]), "slope of loss on entropy (no unit)"),
        "linearity_in_entropy": named(mean_and_interval(of_entropy["share"]), f"$R^2$ of loss on entropy {none}"),
        "slope_on_dimension": named(mean_and_interval(of_dimension["slope"]), "slope of loss on dimension (nats)"),
        "linearity_in_dimension": named(mean_and_interval(of_dimension["share"]), f"$R^2$ of loss on dimension {none}"),
    }


def straight_line(y: xr.DataArray, x: xr.DataArray) -> xr.Dataset:
    """``slope`` of least squares over context lengths, and ``share`` of the variance that the line explains."""
    dx, dy = (v - v.mean("context_length", skipna=False) for v in (x, y))
    products, squares, own = ((a * b).sum("context_length", skipna=False) for a, b in ((dx, dy), (dx, dx), (dy, dy)))
    return xr.Dataset({"slope": products / squares, "share": products**2 / (squares * own)})


def against(y: xr.DataArray, x: xr.DataArray) -> xr.Dataset:
    """y against x: one point for each context length, means over seeds with the interval of y."""
    (series,) = set(x.dims) - set(y.dims)
    table = mean_and_interval(y).expand_dims({series: x[series]})
    return table.assign(at=x.mean("seed")).transpose(series, "context_length")


def exact_lines(table: xr.Dataset, slope: float) -> xr.Dataset:
    """The table of slopes, with the exact slope as one more series."""
    series = table["value"].dims[0]
    exact = table.isel({series: [0]}).assign_coords({series: ["exact"]})
    exact = exact.assign({name: xr.full_like(exact[name], slope) for name in ("value", "lower", "upper")})
    return xr.concat([table, exact], series, combine_attrs="override")
