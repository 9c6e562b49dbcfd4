"""The labelled table of a study's results, in memory and on disk."""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from simulator.grid import Run
from simulator.specification import canonical_json, digest, to_plain
from simulator.studies.optimisation import limited_by_optimisation
from simulator.studies.run_result import RunResult
from simulator.studies.store import FORMAT, StoreError
from simulator.studies.study import Study


def as_table(study: Study, results: Mapping[Run, RunResult]) -> xr.Dataset:
    """Results as a Dataset. A run without a result has NaN for its losses, an empty name, and 0 for its steps.

    Over (context_length, dataset_size, seed): ``loss``, ``approximation_loss``, ``test_loss`` and the standard errors
    of the last two over test samples (NaN where a run ``diverged``), ``diverged``, ``steps``, ``stopped_by`` and
    ``best_step`` (see :class:`simulator.studies.run_result.RunResult`), ``limited_by_optimisation`` and its
    ``optimisation_limit`` (:func:`simulator.limited_by_optimisation`), and ``run``, the name of the file each number
    comes from. Over these and ``evaluation``, where a run was evaluated: ``evaluation_step`` and ``validation_loss``,
    padded with NaN. Over context_length: the exact ``bayes_risk``, ``intrinsic_dimension``,
    ``intrinsic_entropy`` (NaN where there is none). Over ``every_context_length`` 0..L: ``bayes_risk_curve`` and
    ``intrinsic_dimension_curve``. The attribute ``study`` is the whole study as JSON.

    A learner that chooses among configurations adds ``chosen_learning_rate`` and the like, one variable for each
    setting, and ``configuration_loss``, the validation loss of each configuration, over these and ``configuration``,
    which is its settings as JSON. A setting that is no number is JSON, too.
    """
    task = study.task
    axes = ("context_length", "dataset_size", "seed")
    coordinates = (study.context_lengths, study.dataset_sizes, tuple(range(study.seeds)))
    shape = tuple(map(len, coordinates))
    runs = [Run(*cell) for cell in np.stack(np.meshgrid(*coordinates, indexing="ij"), -1).reshape(-1, 3).tolist()]

    def column(name: str, dtype: Any, missing: Any) -> tuple:
        values = [getattr(results[run], name) if run in results else missing for run in runs]
        return axes, np.array(values, dtype).reshape(shape)

    def exact(function: Any, lengths: Any) -> np.ndarray:
        values = (function(int(length)) for length in lengths)
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def curve(name: str) -> tuple:
        rows = [getattr(results[run], name) if run in results else () for run in runs]
        padded = np.array([[*row, *[np.nan] * (n_evaluations - len(row))] for row in rows], np.float64)
        return (*axes, "evaluation"), padded.reshape(*shape, n_evaluations)

    every = range(task.max_context_length + 1)
    names = [digest(study.run_spec(run)) if run in results else "" for run in runs]
    table = xr.Dataset(
        {
            **{name: column(name, np.float64, np.nan) for name in RunResult.losses()},
            "diverged": column("diverged", bool, False),
            "steps": column("steps", np.int64, 0),
            "stopped_by": column("stopped_by", object, ""),
            "best_step": column("best_step", np.int64, 0),
            "run": (axes, np.array(names, dtype=object).reshape(shape)),
            "bayes_risk": ("context_length", exact(task.bayes_risk, study.context_lengths)),
            "intrinsic_dimension": ("context_length", exact(task.intrinsic_dimension, study.context_lengths)),
            "intrinsic_entropy": ("context_length", exact(task.intrinsic_entropy, study.context_lengths)),
            "bayes_risk_curve": ("every_context_length", exact(task.bayes_risk, every)),
            "intrinsic_dimension_curve": ("every_context_length", exact(task.intrinsic_dimension, every)),
        },
        coords={
            **dict(zip(axes, map(np.asarray, coordinates), strict=True)),
            "every_context_length": list(every),
        },
        attrs={
            "study": study.to_json(),
            "task": type(task).__name__,
            "learner": type(study.learner).__name__,
            "unit": task.unit,
            "format": FORMAT,
        },
    )
    if n_evaluations := max(len(result.validation_losses) for result in results.values()):
        table = table.assign_coords(evaluation=np.arange(1, n_evaluations + 1))
        table = table.assign(evaluation_step=curve("evaluation_steps"), validation_loss=curve("validation_losses"))
        table["evaluation_step"].attrs = {"long_name": "optimiser steps before the evaluation"}
        table["validation_loss"].attrs = {"long_name": "validation loss", "units": task.unit}
    if configurations := study.learner.configurations:
        texts = [json.dumps({name: to_plain(value) for name, value in each.items()}) for each in configurations]
        table = table.assign_coords(configuration=np.array(texts, object))
        none = (np.nan,) * len(configurations)
        table["configuration_loss"] = (
            (*axes, "configuration"),
            np.reshape(
                [results[run].configuration_losses if run in results else none for run in runs],
                (*shape, len(configurations)),
            ),
        )
        table["configuration_loss"].attrs = {"long_name": "smallest validation loss", "units": task.unit}
        for setting in configurations[0]:
            values, missing = _numbers_or_json([each[setting] for each in configurations])
            of_run = [values[results[run].chosen] if run in results else missing for run in runs]
            table[f"chosen_{setting}"] = axes, np.reshape(np.array(of_run, values.dtype), shape)
    table = table.merge(limited_by_optimisation(table))
    for name, meaning in RunResult.losses().items():
        table[name].attrs = {"long_name": meaning, "units": task.unit}
    for name in ("bayes_risk", "bayes_risk_curve"):
        table[name].attrs = {"long_name": "Bayes risk R(l), exact", "units": task.unit}
    table["intrinsic_entropy"].attrs = {"long_name": "intrinsic entropy S(P_l), exact", "units": "nats"}
    return table


def _numbers_or_json(values: Sequence[Any]) -> tuple[np.ndarray, Any]:
    """The values as an array, and what stands for one that is missing."""
    if all(isinstance(value, int | float) for value in values):
        return np.array(values, np.float64), np.nan
    return np.array([canonical_json(value) for value in values], object), ""


def save_results(results: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a table as netCDF-4 with a checksum of its contents, whole or not at all; makes the folder.

    Raises:
        StoreError: it cannot be written there.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        curves = [name for name, variable in results.data_vars.items() if "evaluation" in variable.dims]
        results.assign_attrs(checksum=_checksum(results)).to_netcdf(
            temporary, engine="h5netcdf", encoding={name: {"zlib": True} for name in curves}
        )
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # h5py tells of a full disk by RuntimeError
        raise StoreError(
            f"cannot write {path}: {error}. Free space or name a file in a writable folder; finished runs are kept in "
            "their store"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def load_results(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a table that :func:`save_results` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, or not netCDF.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no results file at {path}: 'context-scaling run' writes one")
    try:
        results = xr.load_dataset(path, engine="h5netcdf")
        checksum = results.attrs.pop("checksum", None)
        # Earlier versions left the attributes of variables out of the sum.
        if checksum not in (_checksum(results), _checksum(results, with_attributes=False)):
            raise ValueError("its checksum does not match")
    except Exception as error:  # a damaged HDF5 file can raise almost anything
        raise ValueError(f"{path} cannot be read as a results file ({error}): make it again from its store") from error
    return results


def _checksum(results: xr.Dataset, with_attributes: bool = True) -> str:
    """SHA-256 of all values, names, dimensions and attributes, whatever types the file gives them back in."""

    def plain(attributes: Mapping[Any, Any]) -> str:
        return repr(sorted((str(name), str(value)) for name, value in attributes.items()))

    total = hashlib.sha256(plain(results.attrs).encode())
    for name in sorted(map(str, results.variables)):
        variable = results.variables[name]
        numbers = variable.values.dtype.kind in "bifu"
        values = np.ascontiguousarray(variable.values).tobytes() if numbers else repr(variable.values.tolist()).encode()
        total.update(repr((name, variable.dims, variable.shape)).encode() + values)
        if with_attributes:
            total.update(plain(variable.attrs).encode())
    return total.hexdigest()
