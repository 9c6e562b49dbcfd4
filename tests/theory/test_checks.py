"""Checks return plain values and say what was wrong."""

import numpy as np
import pytest

from theory.checks import check_choice, check_integer, check_non_negative, check_positive, check_sequence


def test_integers_of_any_kind_become_plain_ints():
    for value in (3, np.int64(3), np.uint8(3)):
        assert type(check_integer("n", value, 0)) is int


@pytest.mark.parametrize("value", [2.0, True, "3", None, float("nan"), [1]])
def test_what_is_no_integer_is_refused(value):
    with pytest.raises(TypeError, match="n must be an integer; got "):
        check_integer("n", value, 0)


def test_integers_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="n must be at least 1; got 0"):
        check_integer("n", 0, 1)
    with pytest.raises(ValueError, match="n must be between 0 and 5; got 6"):
        check_integer("n", 6, 0, 5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, np.float32("nan")])
def test_numbers_outside_their_range_are_refused(value):
    for check in (check_positive, check_non_negative):
        with pytest.raises(ValueError, match=r"x must be a finite number.*; got "):
            check("x", value)
    with pytest.raises(ValueError, match="above 0; got 0"):
        check_positive("x", 0)
    assert type(check_non_negative("x", 0)) is float


@pytest.mark.parametrize("value", ["1", True, None, [1.0]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="x must be a number; got "):
        check_positive("x", value)


def test_unknown_choices_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="kind must be one of 'a', 'b'; got 'c'"):
        check_choice("kind", "c", ("a", "b"))


@pytest.mark.parametrize("value", [3, 2.5, None, "ab"])
def test_what_is_no_sequence_is_refused(value):
    with pytest.raises(TypeError, match="xs must be a sequence; got "):
        check_sequence("xs", value)


def test_sequences_of_any_kind_become_tuples():
    for value in ([1, 2], (1, 2), np.array([1, 2]), range(1, 3)):
        assert check_sequence("xs", value) == (1, 2)
