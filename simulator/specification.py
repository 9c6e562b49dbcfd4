"""Specs as canonical JSON: what a run is, spelled so that the same spec gives the same text, and so the same name.

A spec is a frozen dataclass of plain values (numbers, strings, booleans, None, tuples, other specs). Classes of this
project appear under their own name, others as ``module.Name``.
"""

import dataclasses
import hashlib
import importlib
import json
import math
from typing import Any

_OWN_MODULES = ("simulator.tasks", "simulator.models", "simulator.learners", "simulator")


class SpecificationError(ValueError):
    """A spec that cannot be written, or text that is not a spec."""


def to_plain(value: Any) -> Any:
    """A spec as JSON-able plain values; tuples become lists, a dataclass a dict with its ``type``.

    Raises:
        SpecificationError: something in it is not a plain value, or not finite.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": _type_name(type(value)), **fields}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecificationError(f"a spec holds finite numbers; got {value!r}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise SpecificationError(
        f"a spec holds numbers, strings, tuples and frozen dataclasses; got {type(value).__name__} ({value!r:.80})"
    )


def canonical_json(value: Any) -> str:
    """The one JSON text of a spec: sorted keys, no spaces, numbers as ``repr`` writes them."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def from_plain(plain: Any) -> Any:
    """The spec that :func:`to_plain` wrote.

    Raises:
        SpecificationError: an unknown type, missing or unknown fields, or values its constructor refuses.
    """
    if isinstance(plain, list):
        return tuple(from_plain(item) for item in plain)
    if not isinstance(plain, dict):
        return plain
    if "type" not in plain:
        raise SpecificationError(f"a spec names its type; got an object with only {sorted(plain)}")
    if not isinstance(plain["type"], str):
        raise SpecificationError(f"a type is named by a string; got {plain['type']!r}")
    cls = _find_type(plain["type"])
    given = {name: from_plain(item) for name, item in plain.items() if name != "type"}
    known = {f.name for f in dataclasses.fields(cls)}
    if set(given) - known:
        raise SpecificationError(
            f"{plain['type']} has no field {sorted(set(given) - known)}; it has {sorted(known)}. "
            "Was the spec written by another version?"
        )
    try:
        return cls(**given)
    except (TypeError, ValueError) as error:
        raise SpecificationError(f"{plain['type']}: {error}") from error


def from_json(text: str) -> Any:
    """The spec written as JSON."""
    try:
        plain = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecificationError(f"not JSON: {error}") from error
    return from_plain(plain)


def _type_name(cls: type) -> str:
    own = cls.__module__.split(".")[0] == "simulator"
    return cls.__name__ if own else f"{cls.__module__}.{cls.__qualname__}"


def _find_type(name: str) -> type:
    module, _, own_name = name.rpartition(".")
    found = None
    if module:
        try:
            found = getattr(importlib.import_module(module), own_name, None)
        except ImportError as error:
            raise SpecificationError(f"cannot import {module!r}, which defines {own_name}: {error}") from error
    else:
        candidates = (getattr(importlib.import_module(m), name, None) for m in _OWN_MODULES)
        found = next((c for c in candidates if c is not None), None)
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise SpecificationError(f"unknown type {name!r} in a spec: no such task, model, learner or study")
    return found
