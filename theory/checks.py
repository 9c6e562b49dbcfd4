"""Checks of arguments and of fields: each returns the plain value, or raises an error with its name, what it got and
may be.

The annotation of a field carries its check. A class that inherits from :class:`Checked` puts the checked values in
place when it is made, so that 1 and 1.0 make the same spec::

    @dataclasses.dataclass(frozen=True)
    class Needles(Checked):
        n_needles: Annotated[int, integer(1, 12)]
        max_context_length: Count
        exponent: Positive = 1.0
        rule: Literal["sum", "and"] = "sum"
        window: Count | None = None

``Needles(0, 8)`` raises "n_needles must be between 1 and 12; got 0".
"""

import dataclasses
import functools
import math
import operator
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import numpy as np

Check: TypeAlias = Callable[[str, Any], Any]
"""A function of a field's name and value that returns the value to keep, or raises."""


def check_number(name: str, value: Any) -> float:
    """``value`` as a float; TypeError unless it is a number, ValueError unless it is finite."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        raise TypeError(f"{name} must be a number; got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a finite number; got one of {len(str(value))} digits") from None
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number; got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number; got {value!r}")
    return number


def check_positive(name: str, value: Any) -> float:
    """``value`` as a float; ValueError unless it is finite and above zero."""
    number = check_number(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be a finite number above 0; got {value!r}")
    return number


def check_non_negative(name: str, value: Any) -> float:
    """``value`` as a float; ValueError unless it is finite, zero or above."""
    number = check_number(name, value)
    if number < 0:
        raise ValueError(f"{name} must be a finite number, 0 or above; got {value!r}")
    return number


def check_integer(name: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    """``value`` as an int; TypeError unless it is an integer, ValueError unless it lies in [minimum, maximum]."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer; got {value!r}") from None
    if number < minimum or (maximum is not None and number > maximum):
        allowed = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise ValueError(f"{name} must be {allowed}; got {number}")
    return number


def check_sequence(name: str, value: Any) -> tuple[Any, ...]:
    """``value`` as a tuple; TypeError unless it is a list, a tuple, an array or another iterable, and no text."""
    if isinstance(value, str | bytes):
        raise TypeError(f"{name} must be a sequence; got {value!r}")
    try:
        return tuple(value)
    except TypeError:
        raise TypeError(f"{name} must be a sequence; got {value!r}") from None


def check_choice(name: str, value: Any, choices: tuple[object, ...]) -> Any:
    """``value``; ValueError unless it is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")
    return value


def check_bool(name: str, value: Any) -> bool:
    """``value`` as a bool; TypeError unless it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def integer(minimum: int, maximum: int | None = None) -> Check:
    """The check of an integer in [minimum, maximum]."""
    return functools.partial(check_integer, minimum=minimum, maximum=maximum)


def each(item: str, check: Check) -> Check:
    """The check of a sequence, kept as a tuple, by a check of its items. Errors call an item ``item``."""
    return lambda name, value: tuple(check(item, entry) for entry in check_sequence(name, value))


def instance_of(cls: type, meaning: str) -> Check:
    """The check of an instance of a class; the error says that the field must be ``meaning``."""

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, cls):
            raise TypeError(f"{name} must be {meaning}; got {value!r}")
        return value

    return check


def such_that(condition: Callable[[Any], bool], rule: str) -> Check:
    """The check of a condition on a checked value. The error says ``rule`` of the field, as in "must be at most 1"."""

    def check(name: str, value: Any) -> Any:
        if not condition(value):
            raise ValueError(f"{name} {rule}; got {value!r}")
        return value

    return check


Number: TypeAlias = Annotated[float, check_number]
Positive: TypeAlias = Annotated[float, check_positive]
NonNegative: TypeAlias = Annotated[float, check_non_negative]
Count: TypeAlias = Annotated[int, integer(1)]


class Checked:
    """A frozen dataclass whose annotations check its fields; every spec is one.

    Inherit from it, or from a class that does, and annotate:

    - ``Annotated[T, check, ...]``, where each ``check(name, value)`` in turn returns the value to keep, or raises;
    - ``Literal[...]``, for one of its values, or ``bool``;
    - any of these ``| None``, where None may be given, too.

    Other annotations check nothing. A class with conditions on several fields has a ``__post_init__`` that calls
    ``super().__post_init__()`` first.
    """

    def __post_init__(self) -> None:
        for name, check in _field_checks(type(self)):
            object.__setattr__(self, name, check(name, getattr(self, name)))


@functools.cache
def _field_checks(cls: Any) -> tuple[tuple[str, Check], ...]:
    fields = dataclasses.fields(cls)
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError:  # an annotation as text with a name that type checkers alone know
        hints = {field.name: field.type for field in fields}
    return tuple((field.name, check) for field in fields for check in _checks_of(hints[field.name]))


def _checks_of(annotation: Any) -> list[Check]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is bool:
        return [check_bool]
    if origin is Annotated:
        return list(filter(callable, arguments[1:]))
    if origin is Literal:
        return [functools.partial(check_choice, choices=arguments)]
    given = [argument for argument in arguments if argument is not type(None)]
    if origin in (Union, types.UnionType) and len(given) == 1:
        return [_unless_none(check) for check in _checks_of(given[0])]
    return []


def _unless_none(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def set_fields(instance: object, **values: Any) -> None:
    """Put checked values in place in a frozen dataclass's ``__post_init__``, so that 1 and 1.0 make the same spec."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)
