"""Reads losses over model and dataset sizes from a CSV file."""

import os
import pathlib
from collections.abc import Mapping

import numpy as np
import xarray as xr

from theory.checks import check_integer
from theory.measured.csv_rows import LOSS, TO_NATS, Column, Row, in_nats, read_rows
from theory.measured.loss_table import LossTableError

_COLUMNS: Mapping[str, Column] = {
    "model_size": Column(
        ("n", "params", "n_params", "num_params", "parameters", "n_parameters", "num_parameters"), above=True
    ),
    "dataset_size": Column(
        ("d", "tokens", "n_tokens", "num_tokens", "training_tokens", "train_tokens", "samples"), above=True
    ),
    "compute": Column(("c", "flop", "flops", "training_flop", "training_flops", "training_compute"), above=True),
    "loss": LOSS,
}


def read_runs(path: str | os.PathLike[str], *, unit: str = "nats", leave_out_highest: int = 0) -> xr.Dataset:
    """A CSV file as the runs that :func:`theory.fit_chinchilla` takes.

    One row for each training, under a header: ``model_size`` (parameters), ``dataset_size`` (tokens) or ``compute``
    (floating-point operations), and ``loss``. Where ``dataset_size`` is absent or empty, D = C/(6 N). Usual other
    names, as ``N``, ``params``, ``Training Tokens``, ``FLOP`` and ``val_loss``, are understood, and other columns left
    out. Commas, semicolons or tabs separate cells. Lines that begin with # are comments. A run whose loss is empty is
    left out.

    Args:
        path: the file.
        unit: unit of the losses in the file. "bits" and "perplexity" (the exponential of the loss in nats) become nats;
            others stay.
        leave_out_highest: how many of the runs to leave out, those of the highest loss.

    Returns:
        A Dataset with ``model_size``, ``dataset_size`` and ``loss`` along ``run``, which holds their line numbers. The
        attributes ``unit``, ``source``, ``columns`` and ``left_out`` say what was read.

    Raises:
        FileNotFoundError: there is no such file.
        LossTableError: it is no such file; with the value, its line and what to do.
        TypeError, ValueError: ``leave_out_highest`` is no number of runs that can be left out.
    """
    path = pathlib.Path(path)
    rows, columns = read_rows(path, ("model_size", "loss"), _COLUMNS)
    rows = in_nats(rows, unit, path)
    measured = [row for row in rows if np.isfinite(row.values["loss"])]
    left_out = [f"{len(rows) - len(measured)} without a loss"] if len(measured) < len(rows) else []
    sizes = {row.line: _sizes(row, path) for row in measured}
    check_integer("leave_out_highest", leave_out_highest, 0, max(len(measured) - 1, 0))
    measured.sort(key=lambda row: row.values["loss"])
    measured, highest = measured[: len(measured) - leave_out_highest], measured[len(measured) - leave_out_highest :]
    if highest:
        lines = ", ".join(str(line) for line in sorted(row.line for row in highest))
        left_out.append(f"{len(highest)} of the highest losses, from {highest[0].values['loss']:.4g} on, lines {lines}")
    measured.sort(key=lambda row: row.line)
    unit = "nats" if unit in TO_NATS else unit
    return xr.Dataset(
        {
            "model_size": ("run", np.array([sizes[row.line][0] for row in measured], np.float64)),
            "dataset_size": ("run", np.array([sizes[row.line][1] for row in measured], np.float64)),
            "loss": ("run", np.array([row.values["loss"] for row in measured], np.float64)),
        },
        coords={"run": [row.line for row in measured]},
        attrs={"unit": unit, "source": path.name, "columns": columns, "left_out": " and ".join(left_out)},
    )


def _sizes(row: Row, path: pathlib.Path) -> tuple[float, float]:
    """N and D of a run."""
    N, D, C = (row.values.get(name, np.nan) for name in ("model_size", "dataset_size", "compute"))
    D = C / (6 * N) if np.isnan(D) else D
    if not (np.isfinite(N) and np.isfinite(D)):
        raise LossTableError(
            f"{path}, line {row.line}: a run needs model_size, and dataset_size (tokens) or compute (FLOP; "
            f"D = C/(6 N)); got {dict(row.values)}"
        )
    return N, D
