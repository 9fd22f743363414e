"""Whole numbers, and durations with parts of a second; test_every.py covers whole seconds."""

from datetime import timedelta
from fractions import Fraction

import pytest

from pyramid_cron.schedule.quantities import (
    parse_count,
    parse_duration,
    parse_integer,
    parse_integer_text,
    parse_number,
)


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("90s", timedelta(seconds=90)),
        (0.25, timedelta(milliseconds=250)),
        (2, timedelta(seconds=2)),
        (timedelta(milliseconds=5), timedelta(milliseconds=5)),
        ("1d", timedelta(days=1)),
    ],
)
def test_a_span_may_have_parts_of_a_second(value, length):
    assert parse_duration(value, argument="timeout") == length


@pytest.mark.parametrize(
    "value",
    [0.0, "soon", None, True, float("nan"), float("inf"), 1e300, -1, "36526d", timedelta.max],
)
def test_a_wrong_span_is_refused_by_name(value):
    with pytest.raises(
        ValueError, match=r"^timeout=.* seconds or .* at least 0.001s and at most 36525d$"
    ):
        parse_duration(value, argument="timeout", min_seconds=0.001)


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("0080", 80), ("2147483647", 2**31 - 1)])
def test_digits_are_a_whole_number(text, number):
    assert parse_integer_text("limit", text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "+1", " 1", "1.0", "1_0", "²", "٣", "2147483648", "9" * 5000]
)
def test_text_that_is_no_whole_number_within_the_limits_is_refused_by_name(text):
    message = r"^limit='.*': must be a whole number from 1 to 2147483647$"
    with pytest.raises(ValueError, match=message):
        parse_integer_text("limit", text)


def test_limits_may_begin_at_zero():
    assert parse_integer_text("port", "0", 0, 65_535) == 0
    with pytest.raises(ValueError, match="port='65536': must be a whole number from 0 to 65535"):
        parse_integer_text("port", "65536", 0, 65_535)


def test_an_integer_has_limits_of_its_own_or_those_of_a_column():
    assert parse_integer("priority", -(2**31) + 1) == -(2**31) + 1
    with pytest.raises(ValueError, match=r"^hour=24: must be 0 to 23$"):
        parse_integer("hour", 24, 0, 23)
    with pytest.raises(ValueError, match=r"^weight=0: must be 1 or more$"):
        parse_count("weight", 0)


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_what_has_no_index_is_no_integer(value):
    with pytest.raises(ValueError, match=r"^weight=.*: must be an integer$"):
        parse_count("weight", value)


@pytest.mark.parametrize(
    ("value", "number"), [(3, 3), (True, 1), (0.5, 0.5), (Fraction(1, 4), 0.25), (10**308, 10**308)]
)
def test_a_real_number_becomes_an_int_or_a_float(value, number):
    parsed = parse_number("done", value)
    assert parsed == number
    assert type(parsed) is type(number)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, -(10**400)])
def test_a_number_that_no_float_can_be_is_refused(value):
    with pytest.raises(ValueError, match=r"^done must be finite, "):
        parse_number("done", value)


@pytest.mark.parametrize("value", ["1", None, 1j])
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"done=.* is no number"):
        parse_number("done", value)
