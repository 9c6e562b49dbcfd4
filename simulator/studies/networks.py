"""Trained networks in a store: one file beside that of the run, with the same name.

The first line of a file is the SHA-256 of the rest. The rest is a msgpack by ``flax.serialization``: the run's spec,
the task and the model as JSON, and the parameters by name. flax is a dependency already, its arrays keep every bit, and
reading executes nothing.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax.serialization import msgpack_restore, msgpack_serialize

from simulator.grid import Run
from simulator.learners.base import Predictor
from simulator.learners.evaluation import evaluate
from simulator.learners.network_predictor import NetworkPredictor
from simulator.models.base import Model, Parameters
from simulator.specification import canonical_json, from_json
from simulator.studies.run_result import RunResult
from simulator.studies.store import Store, StoreError
from simulator.studies.study import Study, check_study
from simulator.tasks.base import Task
from theory.checks import check_integer
from theory.types import Integer

NETWORK_FORMAT = 1
"""Version of the layout of a network's file: raised when it changes. The line with the checksum stays."""


def load_predictor(
    study: Study | xr.Dataset,
    store: str | os.PathLike[str],
    *,
    context_length: Integer,
    dataset_size: Integer,
    seed: Integer,
    check: bool = True,
) -> Predictor:
    """Return what one run of a study has learned.

    It is read from the store if ``run(..., keep="networks")`` kept it. Otherwise the run is fitted again, which gives
    the same predictor. A network's file that is damaged is put aside with a warning, and counts as not kept.

    A network can be called on examples. :mod:`simulator.measurement` looks inside it, and :mod:`simulator.inference`
    uses it with fewer visible tokens or with a compressed cache::

        results = run(study, store="runs", keep="networks")
        network = load_predictor(results, "runs", context_length=8, dataset_size=1024, seed=0)
        features = extract_features(network, "layer 1", n_samples=1000)

    Args:
        study: the study, or the table that :func:`simulator.run` made of it.
        store: folder of finished runs.
        context_length: number of visible tokens, one of the study's.
        dataset_size: one of the study's.
        seed: one of the study's.
        check: whether to evaluate the predictor again and compare with the run in the store, to the bit. Another kind
            of machine or another version of JAX may change the last bits. A run that diverged has no numbers to
            compare. A loss that the learner reports in place of the test loss (``selection="paper"``) is not compared.

    Raises:
        ValueError: the study has no such run, or the table does not say of which study it is.
        StoreError: there is no store, the run is not in it, or it is of another format. Or the predictor's numbers
            differ from those in the store.
    """
    study = _study_of(study)
    run = _cell(study, context_length=context_length, dataset_size=dataset_size, seed=seed)
    spec, kept = study.run_spec(run), Store(pathlib.Path(store))
    if not kept.check():
        raise StoreError(f"there is no store at {kept.path}: run(study, store, keep='networks') makes one")
    result = kept.read(spec) if check else None
    if check and result is None:
        raise StoreError(
            f"{kept.path} does not hold {run}: run(study, store, keep='networks') makes it. With check=False it is "
            "fitted here"
        )
    predictor = read_network(kept, spec)
    if predictor is None:
        predictor = study.learner.fit(study.task, run.context_length, run.dataset_size, run.seed)
    if result is not None:
        _check_numbers(study, run, predictor, RunResult.from_json(result), kept.file(spec))
    return predictor


def network_file(store: Store, spec: str) -> pathlib.Path:
    """Where the network of a run is kept."""
    return store.file(spec, ".network")


def network_as_bytes(spec: str, predictor: NetworkPredictor) -> bytes:
    """The file of a network that the run of a spec has learned."""
    content = {
        "format": NETWORK_FORMAT,
        "spec": spec,
        "task": canonical_json(predictor.task),
        "model": canonical_json(predictor.model),
        "context_length": int(predictor.context_length),
        "parameters": {name: np.asarray(leaf) for name, leaf in _named(predictor.parameters).items()},
    }
    body = msgpack_serialize(content)
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def read_network(store: Store, spec: str) -> NetworkPredictor | None:
    """The network of a run, or None if it is not there. A damaged file counts as absent and is put aside.

    Raises:
        StoreError: the file is whole, but of another format, or cannot be read.
    """
    path = network_file(store, spec)
    data = store.read_bytes(path)
    if data is None:
        return None
    try:
        checksum, _, body = data.partition(b"\n")
        if checksum != hashlib.sha256(body).hexdigest().encode():
            raise ValueError("its checksum does not match")
        content = cast(dict[str, Any], msgpack_restore(body))
        if content["format"] != NETWORK_FORMAT:
            raise StoreError(
                f"{path} was written in format {content['format']!r}, this version reads and writes {NETWORK_FORMAT}: "
                "name another folder, or use the version that wrote it"
            )
        if content["spec"] != spec:
            raise ValueError("it holds another run")
        task, model = from_json(content["task"]), from_json(content["model"])
        parameters = _in_shape(content["parameters"], _shapes(task, model))
        return NetworkPredictor(task, model, parameters, np.int32(content["context_length"]))
    except (ValueError, KeyError, TypeError) as error:
        store.put_aside(path, error)
        return None


def _named(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their paths, as in ``kernels/0/value``."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@functools.lru_cache(maxsize=64)
def _shapes(task: Task, model: Model) -> Parameters:
    """The parameters of a model without their numbers: the shapes are the same at every context length."""
    return jax.eval_shape(lambda: model.init(task, jax.random.key(0), 1))


def _in_shape(arrays: dict[str, np.ndarray], shapes: Parameters) -> Parameters:
    """The pytree of these shapes with the arrays as leaves."""
    wanted = {name: (leaf.shape, leaf.dtype) for name, leaf in _named(shapes).items()}
    if wanted != {name: (array.shape, array.dtype) for name, array in arrays.items()}:
        raise ValueError("its parameters are not those of its model, which may have changed since")
    return jax.tree.unflatten(jax.tree.structure(shapes), [jnp.asarray(arrays[name]) for name in wanted])


def _study_of(study: Study | xr.Dataset) -> Study:
    if isinstance(study, xr.Dataset):
        if "study" not in study.attrs:
            raise ValueError("the table has no attribute 'study': give the Study, or a table that run made of it")
        return Study.from_json(study.attrs["study"])
    check_study(study)
    return study


def _cell(study: Study, **cell: Integer) -> Run:
    grid = {
        "context_length": study.context_lengths,
        "dataset_size": study.dataset_sizes,
        "seed": tuple(range(study.seeds)),
    }
    for name, value in cell.items():
        if check_integer(name, value, 0) not in grid[name]:
            raise ValueError(f"{name} = {value} is not in the study: give one of {', '.join(map(str, grid[name]))}")
    return Run(**{name: int(value) for name, value in cell.items()})


def _check_numbers(study: Study, run: Run, predictor: Predictor, stored: RunResult, path: pathlib.Path) -> None:
    """Raise StoreError if the predictor's numbers on the test set are not those stored."""
    if stored.diverged:
        return
    measured = evaluate(study.task, predictor, run.seed, study.test_size)
    for name, value in dataclasses.asdict(measured).items():
        if value != getattr(stored, name):
            raise StoreError(
                f"{name} of {run} is {value!r}, but {getattr(stored, name)!r} in {path}. Another machine, another "
                "version or other code made that file. With check=False the predictor is returned all the same; "
                "run(study, store, keep='networks') in another folder makes both anew"
            )
