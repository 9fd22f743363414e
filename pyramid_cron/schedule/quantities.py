"""Durations as users write them: ``"90s"``, ``"30m"``, seconds, or a timedelta."""

from __future__ import annotations

import operator
import re
from datetime import timedelta
from typing import Any

_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

MAX_DURATION = timedelta(days=36_525)
"""A hundred years: what is counted from now with more than that leaves the calendar."""


def parse_seconds(value: object, *, argument: str, min_seconds: int = 1) -> int:
    """Return a duration in whole seconds.

    Takes text (``"90s"``, ``"30m"``, ``"6h"``, ``"1d"``, ``"90"``), a number of seconds or a
    timedelta. Raises ValueError, naming it ``what``, for anything else, for parts of a second, for
    less than ``least`` seconds and for more than a hundred years.
    """
    length = _to_whole_seconds(value)
    if length is None or not min_seconds <= length <= MAX_DURATION // timedelta(seconds=1):
        raise ValueError(
            f"{argument}={value!r}: use '90s', '30m', '6h', '1d', whole seconds or a timedelta,"
            f" at least {min_seconds}s and at most {MAX_DURATION.days}d"
        )
    return length


def _to_whole_seconds(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        parts = re.fullmatch(r"([0-9]{1,15})([smhd]?)", value.strip())
        return int(parts[1]) * _UNIT_SECONDS[parts[2]] if parts else None
    if isinstance(value, timedelta):
        value = (
            value / timedelta(seconds=1) if value.microseconds else value // timedelta(seconds=1)
        )
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return operator.index(value)
    except TypeError:
        return None


def parse_duration(
    value: object,
    *,
    argument: str,
    min_seconds: float = 0.0,
    max_duration: timedelta = MAX_DURATION,
) -> timedelta:
    """Return a duration that may have parts of a second, in the same notations.

    Raises ValueError, naming it ``what``, for anything else, for less than ``least`` seconds and
    for more than ``most``.
    """
    found = _to_timedelta(value)
    if found is None or not timedelta(seconds=min_seconds) <= found <= max_duration:
        raise ValueError(
            f"{argument}={value!r}: use '90s', '30m', '6h', '1d', seconds or a timedelta, at least"
            f" {min_seconds:g}s and at most {max_duration.days}d"
        )
    return found


def _to_timedelta(value: object) -> timedelta | None:
    if isinstance(value, timedelta):
        return value
    number = value if isinstance(value, float) else _to_whole_seconds(value)
    try:
        return None if number is None else timedelta(seconds=number)
    except (OverflowError, ValueError):  # more than there are days, or no number
        return None


MAX_INTEGER = 2**31 - 1
"""The largest integer that each database keeps."""


def parse_integer(argument: str, value: Any) -> int:
    """Return an integer that can be kept; ValueError names the argument otherwise."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ValueError(f"{argument}={value!r}: must be an integer")
    if abs(number) > MAX_INTEGER:
        raise ValueError(f"{argument}={value!r}: must be {-MAX_INTEGER} to {MAX_INTEGER}")
    return number


def parse_count(argument: str, value: Any) -> int:
    """Return an integer that is 1 or more."""
    number = parse_integer(argument, value)
    if number < 1:
        raise ValueError(f"{argument}={value!r}: must be 1 or more")
    return number
