"""One field of a schedule: integers or cron text to a bit mask.

Strings are cron, where 0 and 7 are Sunday. Integers are Python, where 0 is Monday as in
``datetime.weekday()``. Either way bit *n* of a mask stands for the value *n*, and bit 0 of a
day-of-week mask for Monday.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, NoReturn


class FieldSpec(NamedTuple):
    """What one of the five fields is called, where it stands and what it ranges over."""

    name: str
    position: int
    low: int
    high: int
    #: Names cron text may use, the first standing for ``low``.
    names: tuple[str, ...] = ()

    @property
    def full_mask(self) -> int:
        """The mask of all values."""
        return (2 << self.high) - (1 << self.low)

    @property
    def integer_range(self) -> str:
        """What integers may be, for messages."""
        return "0 (Monday) to 6 (Sunday)" if self is DOW_FIELD else f"{self.low} to {self.high}"

    @property
    def syntax(self) -> str:
        """What cron text may be made of, for messages."""
        if self is DOW_FIELD:
            return "0 to 7 (0 and 7 are Sunday) or sun to sat"
        return f"{self.low} to {self.high}" + (" or jan to dec" if self is MONTH_FIELD else "")


MINUTE_FIELD = FieldSpec("min", 0, 0, 59)
HOUR_FIELD = FieldSpec("hour", 1, 0, 23)
DAY_FIELD = FieldSpec("day", 2, 1, 31)
_MONTH_ABBREVIATIONS = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
MONTH_FIELD = FieldSpec("month", 3, 1, 12, _MONTH_ABBREVIATIONS)
DOW_FIELD = FieldSpec("dow", 4, 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
ALL_FIELDS = (MINUTE_FIELD, HOUR_FIELD, DAY_FIELD, MONTH_FIELD, DOW_FIELD)

#: Masks of the weekdays wanted on their 1st, 2nd, 3rd, 4th, 5th and last day in a month.
NthWeekdays = tuple[int, int, int, int, int, int]


class FieldValue(NamedTuple):
    """What one field allows."""

    mask: int
    #: Whether it was written with a leading ``*`` (or as ``?``), to which cron gives a meaning.
    has_star: bool = False
    #: ``L`` in the day field: the last day of the month, whatever its number.
    has_last_day: bool = False
    #: ``5#2`` and ``L5`` in the day-of-week field.
    nth_weekdays: NthWeekdays | None = None


def parse_integers(field: FieldSpec, value: object) -> FieldValue:
    """Read an int or an iterable of ints; anything with ``__index__`` is one, a bool is not."""
    mask = 0
    for number in _iterate_integers(field, value):
        if not field.low <= number <= field.high:
            hint = _range_hint(field, value)
            refuse(field, value, f"{number} is out of range, use {field.integer_range}{hint}")
        mask |= 1 << number
    if not mask:
        refuse(field, value, f"nothing to match, use {field.integer_range}")
    return FieldValue(mask)


def _iterate_integers(field: FieldSpec, value: Any) -> Iterator[int]:
    number = _to_integer(value)
    if number is not None:
        yield number
        return
    if isinstance(value, bool | bytes | bytearray) or not isinstance(value, Iterable):
        refuse(field, value, f"use cron text, an int or an iterable of ints, {field.integer_range}")
    for item in value:
        number = _to_integer(item)
        if number is None:
            refuse(field, value, f"{item!r} is no int, use ints or one string of cron text")
        yield number


def _to_integer(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _range_hint(field: FieldSpec, value: object) -> str:
    """Suggest ``range(0, 24, 3)`` to who wrote ``(0, 24, 3)``."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        return ""
    start, stop, step = (_to_integer(each) for each in value)
    if start is not None and stop is not None and step:
        meant = range(start, stop, step)
        if meant and field.low <= min(meant) and max(meant) <= field.high:
            return f"; did you mean {meant}?"
    return ""


def refuse(field: FieldSpec, value: object, reason: str) -> NoReturn:
    """Raise the ValueError for a bad field."""
    raise ValueError(f"{field.name}={value!r}: {reason}")


def mask_values(mask: int) -> list[int]:
    """Return the numbers in ``mask``, in order."""
    return [number for number in range(mask.bit_length()) if mask >> number & 1]
