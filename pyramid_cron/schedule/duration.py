"""Durations as users write them: ``"90s"``, ``"30m"``, seconds, or a timedelta."""

from __future__ import annotations

import operator
import re
from datetime import timedelta
from typing import Any

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

LONGEST = timedelta(days=36_525)
"""A hundred years: what is counted from now with more than that leaves the calendar."""


def seconds(value: object, *, what: str, least: int = 1) -> int:
    """Return a duration in whole seconds.

    Takes text (``"90s"``, ``"30m"``, ``"6h"``, ``"1d"``, ``"90"``), a number of seconds or a
    timedelta. Raises ValueError, naming it ``what``, for anything else, for parts of a second, for
    less than ``least`` seconds and for more than a hundred years.
    """
    length = _length(value)
    if length is None or not least <= length <= LONGEST // timedelta(seconds=1):
        raise ValueError(
            f"{what}={value!r}: use '90s', '30m', '6h', '1d', whole seconds or a timedelta,"
            f" at least {least}s and at most {LONGEST.days}d"
        )
    return length


def _length(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        parts = re.fullmatch(r"([0-9]{1,15})([smhd]?)", value.strip())
        return int(parts[1]) * _UNITS[parts[2]] if parts else None
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


def span(value: object, *, what: str, least: float = 0.0, most: timedelta = LONGEST) -> timedelta:
    """Return a duration that may have parts of a second, in the same notations.

    Raises ValueError, naming it ``what``, for anything else, for less than ``least`` seconds and
    for more than ``most``.
    """
    found = _span(value)
    if found is None or not timedelta(seconds=least) <= found <= most:
        raise ValueError(
            f"{what}={value!r}: use '90s', '30m', '6h', '1d', seconds or a timedelta, at least"
            f" {least:g}s and at most {most.days}d"
        )
    return found


def _span(value: object) -> timedelta | None:
    if isinstance(value, timedelta):
        return value
    number = value if isinstance(value, float) else _length(value)
    try:
        return None if number is None else timedelta(seconds=number)
    except (OverflowError, ValueError):  # more than there are days, or no number
        return None
