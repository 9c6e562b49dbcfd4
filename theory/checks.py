"""Checks of arguments: each returns the plain value, or raises an error with its name, what it got and may be."""

import math
import operator
from typing import Any

import numpy as np


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


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


def set_fields(instance: object, **values: Any) -> None:
    """Put checked values in place in a frozen dataclass's ``__post_init__``, so that 1 and 1.0 make the same spec."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)
