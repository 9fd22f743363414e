"""One field of a schedule: integers or cron text to a bit mask.

Strings are cron, where 0 and 7 are Sunday. Integers are Python, where 0 is Monday as in
``datetime.weekday()``. Either way bit *n* of a mask stands for the value *n*, and bit 0 of a
day-of-week mask for Monday.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from .quantities import to_integer


class FieldSpec(NamedTuple):
    """One of the five fields: its name, its position, its lowest and highest value."""

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
MONTH_FIELD = FieldSpec(
    "month",
    3,
    1,
    12,
    (
        *("jan", "feb", "mar", "apr", "may", "jun"),
        *("jul", "aug", "sep", "oct", "nov", "dec"),
    ),
)
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
    if type(value) is int and field.low <= value <= field.high:
        return FieldValue(1 << value)
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
    number = to_integer(value)
    if number is not None:
        yield number
        return
    if isinstance(value, bool | bytes | bytearray) or not isinstance(value, Iterable):
        refuse(field, value, f"use cron text, an int or an iterable of ints, {field.integer_range}")
    for item in value:
        number = to_integer(item)
        if number is None:
            refuse(field, value, f"{item!r} is no int, use ints or one string of cron text")
        yield number


def _range_hint(field: FieldSpec, value: object) -> str:
    """Suggest ``range(0, 24, 3)`` for ``(0, 24, 3)``."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        return ""
    start, stop, step = (to_integer(number) for number in value)
    if start is not None and stop is not None and step:
        numbers = range(start, stop, step)
        if numbers and field.low <= min(numbers) and max(numbers) <= field.high:
            return f"; did you mean {numbers}?"
    return ""


def refuse(field: FieldSpec, value: object, reason: str) -> NoReturn:
    """Raise the ValueError for a bad field."""
    raise ValueError(f"{field.name}={value!r}: {reason}")


@lru_cache(maxsize=4096)
def mask_values(mask: int) -> tuple[int, ...]:
    """Return the numbers in ``mask``, in order."""
    return tuple(number for number in range(mask.bit_length()) if mask >> number & 1)


_NUMBER_OR_NAME = "[0-9]{1,9}|[a-z]{3}"
_LIST_ITEM = re.compile(
    rf"(?:\*|({_NUMBER_OR_NAME})(?:-({_NUMBER_OR_NAME}))?)(?:/([0-9]{{1,9}}))?", re.ASCII
)

_HASH_SYNTAX = re.compile(r"h\b.*")
_WHOLE_EXPRESSION_HINT = "is a whole expression: give it as schedule=, or to Cron alone"
_UNSUPPORTED_SYNTAX = (
    (re.compile(r"\s*(\S+\s+){4}\S+\s*|@[a-z]+"), _WHOLE_EXPRESSION_HINT),
    (re.compile(r".*\s.*", re.DOTALL), "no spaces within a field, join a list by commas alone"),
    (re.compile(r"r\b.*"), "R would be another time at each start, use H"),
    (re.compile(r"(.*,)?(\d+w|w\d+|lw)(,.*)?"), "W (the nearest working day) is not supported"),
    (re.compile(r"(.*,)?[0-7]l(,.*)?"), "write L5 for the last Friday of the month"),
)


_LONE_STEP = re.compile("[^,]+/([0-9]{1,9})")
_INTERVAL_UNITS = {"min": "m", "hour": "h", "day": "d"}


def parse_text(field: FieldSpec, text: str, name: str | None = None) -> FieldValue:
    """Read one field; ``name`` is the task's, with which ``H`` is hashed."""
    _check_lone_step(field, text)
    choice = _parse_plain(field, text)
    return _parse_special(field, text, name) if choice is None else choice


def _check_lone_step(field: FieldSpec, text: str) -> None:
    """Refuse a step that leaves the field at once: ``*/90`` as a minute would be each hour.

    In a list, as ``*/100,1-7``, it is a way to begin with ``*``.
    """
    parts = _LONE_STEP.fullmatch(text)
    size = field.high - field.low + 1
    if parts is None or int(parts[1]) <= size:
        return
    unit = _INTERVAL_UNITS.get(field.name)
    instead = f", or every='{int(parts[1])}{unit}'" if unit else ""
    reason = f"a step of {int(parts[1])} is larger than the field and would only ever be its first"
    refuse(field, text, f"{reason} value; use a step of up to {size}{instead}")


@lru_cache(maxsize=4096)
def _parse_plain(field: FieldSpec, text: str) -> FieldValue | None:
    """Read names, lists, ranges and steps; None when ``text`` holds anything else."""
    if text == "?" and field in (DAY_FIELD, DOW_FIELD):
        text = "*"
    mask = 0
    for item in text.lower().split(","):
        values = _item_values(field, text, item)
        if values is None:
            return None
        for value in values:
            mask |= 1 << value
    return FieldValue(
        _to_monday_first(mask) if field is DOW_FIELD else mask, has_star=text.startswith("*")
    )


def _item_values(field: FieldSpec, text: str, item: str) -> Iterable[int] | None:
    """Return the values of one item of a list; None if it is none of ``* 5 5/2 1-5 1-5/2``."""
    parts = _LIST_ITEM.fullmatch(item)
    if parts is None:
        return None
    first, last, step = parts.groups()
    low = _parse_token(field, text, first) if first else field.low
    high = _parse_token(field, text, last) if last else low if first and not step else field.high
    if low is None or high is None:
        return None
    if step and int(step) == 0:
        refuse(field, text, "a step of 0 leads nowhere, use 1 or more")
    return _range_values(field, low, high, int(step or 1))


def _parse_token(field: FieldSpec, text: str, token: str) -> int | None:
    """Return what a number or name stands for; None for a name this field doesn't know."""
    if not token.isdigit():
        return field.names.index(token) + field.low if token in field.names else None
    value = int(token)
    if not field.low <= value <= field.high + (field is DOW_FIELD):
        refuse(field, text, f"{value} is out of range, use {field.syntax}")
    return value


def _range_values(field: FieldSpec, low: int, high: int, step: int) -> Iterable[int]:
    size = field.high - field.low + 1
    if low > field.high:  # 7 begins a range as 0 does, but may end one that began with 0
        low, high = low - size, high % size
    if high < low:
        high += size
    return (field.low + (value - field.low) % size for value in range(low, high + 1, step))


def _parse_special(field: FieldSpec, text: str, name: str | None) -> FieldValue:
    """Read what croniter has to: ``L``, ``5#2`` and ``H``."""
    for pattern, reason in _UNSUPPORTED_SYNTAX:
        if pattern.fullmatch(text.lower()):
            refuse(field, text, reason)
    if name is None and _HASH_SYNTAX.fullmatch(text.lower()):
        refuse(field, text, "H is hashed with a task's name, so it needs a task; or use a number")
    items = text.lower().split(",")
    plain = [choice for item in items if (choice := _parse_plain(field, item))]
    special = ",".join(item for item in items if not _parse_plain(field, item))
    values, nth_by_weekday = _expand_by_croniter(field, text, special, name)
    if nth_by_weekday and plain:
        refuse(field, text, "weekdays and nth weekdays of the month don't mix in one field")
    _expand_by_croniter(field, text, text, name)  # refuses a wrong combination, such as H,5
    if nth_by_weekday:
        return FieldValue(0, nth_weekdays=_nth_weekdays_of(nth_by_weekday))
    mask = field.full_mask if values == ["*"] else _mask_of(field, values)
    for choice in plain:
        mask |= choice.mask
    return FieldValue(mask, has_star=text.startswith("*"), has_last_day="l" in values)


def _mask_of(field: FieldSpec, values: list[int | str]) -> int:
    mask = sum(1 << value for value in values if isinstance(value, int))
    return _to_monday_first(mask) if field is DOW_FIELD else mask


def _nth_weekdays_of(nth_by_weekday: dict[int, set[int | str]]) -> NthWeekdays:
    masks = [0] * 6
    for weekday, occurrences in nth_by_weekday.items():
        for n in occurrences:
            masks[n - 1 if isinstance(n, int) else 5] |= _to_monday_first(1 << weekday)
    first, second, third, fourth, fifth, last = masks
    return first, second, third, fourth, fifth, last


def _to_monday_first(mask: int) -> int:
    """Turn a mask of cron's weekdays (bit 0 is Sunday) into one of Python's (bit 0 is Monday)."""
    return mask >> 1 | (mask & 1) << 6


def hash_name(name: str, purpose: str) -> bytes:
    """Hash a task's name for one purpose, such as a field or the jitter, apart from all others.

    It is the same on every host, always.
    """
    return hashlib.sha256(f"{purpose} {name}".encode()).digest()


def _expand_by_croniter(
    field: FieldSpec, text: str, part: str, name: str | None
) -> tuple[list[int | str], dict[int, set[int | str]]]:
    from croniter import croniter  # few schedules need it: with L, # or H

    expression = " ".join(part if n == field.position else "*" for n in range(5))
    hash_id = hash_name(name, field.name) if name is not None else None
    try:
        values, nth_by_weekday = croniter.expand(expression, hash_id=hash_id)
    except ValueError:
        refuse(field, text, f"not understood as cron text, use {field.syntax}")
    return values[field.position], nth_by_weekday
