"""Checks return plain values and say what was wrong; the annotations of fields carry them."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from theory.checks import (
    Checked,
    Count,
    NonNegative,
    Number,
    Positive,
    check_choice,
    check_integer,
    check_non_negative,
    check_positive,
    check_sequence,
    each,
    instance_of,
    integer,
    such_that,
)


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


@dataclasses.dataclass(frozen=True)
class Spec(Checked):
    """A field of each kind of annotation."""

    number: Number = 0.0
    positive: Positive = 1.0
    least: NonNegative = 0.0
    count: Count = 1
    bounded: Annotated[int, integer(2, 5)] = 2
    share: Annotated[Positive, such_that(lambda share: share <= 1, "must be at most 1")] = 0.5
    pairs: Annotated[Sequence[Sequence[int]], each("a pair", each("a bit", integer(1)))] = ()
    rule: Literal["sum", "and"] = "sum"
    exact: bool = True
    window: Count | None = None
    scale: Positive | None = None
    part: Annotated["Spec", instance_of(Checked, "a spec")] | None = None
    anything: Any = None
    meant: Annotated[int, "a comment"] = 0


@dataclasses.dataclass(frozen=True)
class Wider(Spec):
    """It has a field of its own, and narrows one."""

    count: Annotated[int, integer(10)] = 10
    width: "Count" = 1


@dataclasses.dataclass(frozen=True)
class Joint(Wider):
    """It has a condition on two fields."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width > self.count:
            raise ValueError(f"width must be at most {self.count}; got {self.width}")


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        ("number", np.float32(-0.5), -0.5),
        ("positive", 1, 1.0),
        ("least", np.int64(0), 0.0),
        ("count", np.int64(3), 3),
        ("bounded", np.uint8(5), 5),
        ("share", 1, 1.0),
        ("pairs", [[1, np.int64(2)]], ((1, 2),)),
        ("rule", "and", "and"),
        ("exact", np.False_, False),
        ("window", None, None),
        ("window", np.int64(2), 2),
        ("scale", None, None),
        ("scale", 2, 2.0),
        ("part", Spec(), Spec()),
        ("anything", [1], [1]),
        ("meant", -1, -1),
    ],
)
def test_a_checked_field_keeps_the_plain_value(field, given, kept):
    """Equal settings must make equal specs with the same text: 1 and 1.0, and the integers of NumPy."""
    value = getattr(Spec(**{field: given}), field)
    assert repr(value) == repr(kept)


@pytest.mark.parametrize(
    ("field", "given", "error", "message"),
    [
        ("number", float("inf"), ValueError, "number must be a finite number; got inf"),
        ("number", True, TypeError, "number must be a number; got True"),
        ("positive", 0, ValueError, "positive must be a finite number above 0; got 0"),
        ("least", float("nan"), ValueError, "least must be a finite number; got nan"),
        ("count", 0, ValueError, "count must be at least 1; got 0"),
        ("bounded", 6, ValueError, "bounded must be between 2 and 5; got 6"),
        ("bounded", 2.0, TypeError, "bounded must be an integer; got 2.0"),
        ("share", 0, ValueError, "share must be a finite number above 0; got 0"),
        ("share", 2, ValueError, "share must be at most 1; got 2.0"),
        ("pairs", 3, TypeError, "pairs must be a sequence; got 3"),
        ("pairs", [1], TypeError, "a pair must be a sequence; got 1"),
        ("pairs", [[1, 0]], ValueError, "a bit must be at least 1; got 0"),
        ("rule", "or", ValueError, "rule must be one of 'sum', 'and'; got 'or'"),
        ("exact", 1, TypeError, "exact must be True or False; got 1"),
        ("window", 0, ValueError, "window must be at least 1; got 0"),
        ("scale", "2", TypeError, "scale must be a number; got '2'"),
        ("part", 3, TypeError, "part must be a spec; got 3"),
    ],
)
def test_a_checked_field_refuses_what_its_annotation_does_not_allow(field, given, error, message):
    with pytest.raises(error) as raised:
        Spec(**{field: given})
    assert str(raised.value) == message


def test_a_subclass_inherits_checks_adds_some_and_narrows_others():
    """A class lists the checks of its bases, the last annotation of a name being the one that counts."""
    assert type(Wider(width=np.int64(3)).width) is int
    for wrong in ({"positive": -1}, {"count": 9}, {"width": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be "):
            Wider(**wrong)


def test_fields_are_checked_before_they_are_compared():
    with pytest.raises(TypeError, match="width must be an integer; got 'x'"):
        Joint(width="x")
    with pytest.raises(ValueError, match="width must be at most 10; got 11"):
        Joint(width=11)


def test_a_subclass_with_a_post_init_of_its_own_decides_itself():
    """Classes of users from before annotations carried checks go on as they are."""

    @dataclasses.dataclass(frozen=True)
    class Own(Spec):
        def __post_init__(self) -> None:
            pass

    assert Own(count=0).count == 0


def test_an_annotation_that_only_type_checkers_can_read_checks_nothing():
    """The annotations of a user's class may name what is imported for type checkers alone."""

    @dataclasses.dataclass(frozen=True)
    class Foreign(Spec):
        other: "OnlyForTypeCheckers" = 0  # pyright: ignore[reportUndefinedVariable]

    assert Foreign(other=3, positive=1).other == 3
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        Foreign(count=0)
