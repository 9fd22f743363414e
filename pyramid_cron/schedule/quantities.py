"""Whole numbers and durations as users write them: ``3``, ``"90s"``, ``"30m"``, a timedelta."""

from __future__ import annotations

import math
import operator
import re
from datetime import timedelta
from numbers import Integral, Real
from typing import Any

from .zones import DAY_SECONDS

MAX_INTEGER = 2**31 - 1
"""The largest integer that each database keeps."""


def to_integer(value: Any) -> int | None:
    """Return an int or anything else with ``__index__`` as an int; None for a bool and the rest."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def parse_integer(
    argument: str, value: object, minimum: int = -MAX_INTEGER, maximum: int = MAX_INTEGER
) -> int:
    """Return an integer from ``minimum`` to ``maximum``; ValueError names the argument."""
    number = to_integer(value)
    if number is None:
        raise ValueError(f"{argument}={value!r}: must be an integer")
    if not minimum <= number <= maximum:
        raise ValueError(f"{argument}={value!r}: must be {minimum} to {maximum}")
    return number


def parse_count(argument: str, value: object) -> int:
    """Return an integer that is 1 or more; ValueError names the argument."""
    number = parse_integer(argument, value)
    if number < 1:
        raise ValueError(f"{argument}={value!r}: must be 1 or more")
    return number


def parse_integer_text(
    argument: str, text: str, minimum: int = 1, maximum: int = MAX_INTEGER
) -> int:
    """Return the whole number that text of digits says, as of an option or a query parameter.

    Raises ValueError, naming the argument, for anything else and beyond the limits, which are not
    negative.
    """
    number = int(text) if re.fullmatch("[0-9]{1,10}", text) else -1
    if not minimum <= number <= maximum:
        raise ValueError(f"{argument}={text!r}: must be a whole number from {minimum} to {maximum}")
    return number


def parse_number(argument: str, value: object) -> float:
    """Return any kind of real number as a plain int or a finite float.

    Raises TypeError, naming the argument, for no number, and ValueError for what no float can be.
    """
    if not isinstance(value, Real):
        raise TypeError(f"{argument}={value!r} is no number")
    try:
        if math.isfinite(value):
            return int(value) if isinstance(value, Integral) else float(value)
    except OverflowError:
        pass
    raise ValueError(f"{argument} must be finite, and no larger than a float can be")


_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": DAY_SECONDS}

MAX_DURATION = timedelta(days=36_525)
"""A hundred years: what is counted from now with more than that leaves the calendar."""


def parse_seconds(value: object, *, argument: str, min_seconds: int = 1) -> int:
    """Return a duration in whole seconds.

    Takes text (``"90s"``, ``"30m"``, ``"6h"``, ``"1d"``, ``"90"``), a number of seconds or a
    timedelta. Raises ValueError, naming ``argument``, for anything else, for parts of a second, for
    less than ``min_seconds`` and for more than a hundred years.
    """
    length = _to_whole_seconds(value)
    if length is None or not min_seconds <= length <= MAX_DURATION // timedelta(seconds=1):
        raise ValueError(
            f"{argument}={value!r}: use '90s', '30m', '6h', '1d', whole seconds or a timedelta,"
            f" at least {min_seconds}s and at most {MAX_DURATION.days}d"
        )
    return length


def _to_whole_seconds(value: Any) -> int | None:
    if isinstance(value, str):
        parts = re.fullmatch(r"([0-9]{1,15})([smhd]?)", value.strip())
        return int(parts[1]) * _UNIT_SECONDS[parts[2]] if parts else None
    if isinstance(value, timedelta):
        return None if value.microseconds else value // timedelta(seconds=1)
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return to_integer(value)


def parse_duration(
    value: object,
    *,
    argument: str,
    min_seconds: float = 0.0,
    max_duration: timedelta = MAX_DURATION,
) -> timedelta:
    """Return a duration that may have parts of a second, in the same notations.

    Raises ValueError, naming ``argument``, for anything else, for less than ``min_seconds`` and for
    more than ``max_duration``.
    """
    duration = _to_timedelta(value)
    if duration is None or not timedelta(seconds=min_seconds) <= duration <= max_duration:
        raise ValueError(
            f"{argument}={value!r}: use '90s', '30m', '6h', '1d', seconds or a timedelta, at least"
            f" {min_seconds:g}s and at most {max_duration.days}d"
        )
    return duration


def _to_timedelta(value: object) -> timedelta | None:
    if isinstance(value, timedelta):
        return value
    number = value if isinstance(value, float) else _to_whole_seconds(value)
    try:
        return None if number is None else timedelta(seconds=number)
    except (OverflowError, ValueError):  # more than there are days, or no number
        return None
