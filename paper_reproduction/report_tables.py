"""Tables of measured values with intervals, and how they are shown as text."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

_COLUMNS = 16
"""A table with more columns is turned."""


def report(table: xr.Dataset) -> str:
    """The table as text: one row for each curve, with the interval of each point beside its value.

    A table of many points is turned. A dash stands where there is no value. Points that are drawn against another
    quantity are shown with their place.
    """
    value, names = table["value"], ["value", "lower", "upper", *(["at"] if "at" in table else [])]
    columns = [table[name].stack(row=value.dims[:-1]).transpose("row", value.dims[-1]) for name in names]

    def shown(v: float, lower: float, upper: float, at: float | None = None) -> str:
        where = "" if at is None else f" at {at:.4g}"
        return f"{v:.4g} [{lower:.4g}, {upper:.4g}]{where}" if np.isfinite(v) else "-"

    cells = [
        [shown(*cell) for cell in zip(*row, strict=True)] for row in zip(*(c.values for c in columns), strict=True)
    ]
    frame = pd.DataFrame(cells, index=columns[0].indexes["row"], columns=value.indexes[value.dims[-1]])
    frame = frame if len(frame.columns) <= _COLUMNS else frame.T
    return f"{value.attrs.get('long_name', '')}\n\n{frame.to_string()}"


def mean_and_interval(samples: xr.DataArray) -> xr.Dataset:
    """Mean over ``seed``, with an interval of one standard error on either side."""
    mean = samples.mean("seed")
    error = samples.std("seed", ddof=1) / np.sqrt(samples.sizes["seed"]) if samples.sizes["seed"] > 1 else 0 * mean
    return xr.Dataset({"value": mean, "lower": mean - error, "upper": mean + error})


def labelled(table: xr.Dataset, names: dict[str, str], **value_attributes: Any) -> xr.Dataset:
    """A copy of the table with names for the axes and with attributes of its value."""
    table = table.copy()
    for variable, name in names.items():
        table[variable].attrs["long_name"] = name
    table["value"].attrs.update(value_attributes)
    return table
