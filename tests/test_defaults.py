"""Defaults are part of every spec that leaves them out, so a change of one changes the numbers that users get."""

import dataclasses
import importlib
import pathlib
import pkgutil
from dataclasses import MISSING

import simulator
import theory

EXPECTED = pathlib.Path(__file__).with_name("defaults.txt")


def of_class(cls):
    """Each field's default as text; none if there is no default."""
    given = {field.name: field.default for field in dataclasses.fields(cls)}
    made = {
        field.name: field.default_factory()
        for field in dataclasses.fields(cls)
        if given[field.name] is MISSING is not field.default_factory
    }
    return {name: repr(value) for name, value in {**given, **made}.items() if value is not MISSING}


def defaults():
    """A line for each default of a dataclass that differs from its base class."""
    for package in (theory, simulator):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for name, cls in vars(importlib.import_module(found.name)).items():
                if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == found.name:
                    base = cls.__base__ if dataclasses.is_dataclass(cls.__base__) else None
                    inherited = of_class(base) if base else {}
                    yield from (
                        f"{name}.{field} = {value}"
                        for field, value in of_class(cls).items()
                        if inherited.get(field) != value
                    )


def test_defaults_are_those_that_results_were_made_with():
    """Where a change is meant, write the new lines into defaults.txt and into the changelog."""
    assert sorted(defaults()) == EXPECTED.read_text().splitlines()
