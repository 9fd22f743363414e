"""Cron text: what one field of a crontab says, as bit masks.

The syntax is croniter's in five fields. Names, lists, ranges and steps are read here, since
croniter takes ``5-5`` for the whole range and loses count of a step in a range that wraps
(``21-2/2``); the rest is left to croniter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from croniter import croniter

from .fields import DAY_FIELD, DOW_FIELD, FieldSpec, FieldValue, NthWeekdays, refuse

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


def parse_text(field: FieldSpec, text: str, name: str | None = None) -> FieldValue:
    """Read one field; ``name`` is the task's, with which ``H`` is hashed."""
    choice = _parse_plain(field, text)
    return _parse_special(field, text, name) if choice is None else choice


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
    """Read what is left to croniter: ``L``, ``5#2`` and ``H``."""
    for pattern, reason in _UNSUPPORTED_SYNTAX:
        if pattern.fullmatch(text.lower()):
            refuse(field, text, reason)
    if name is None and _HASH_SYNTAX.fullmatch(text.lower()):
        refuse(field, text, "H is hashed with a task's name, so it needs a task; or use a number")
    items = text.lower().split(",")
    plain = [choice for item in items if (choice := _parse_plain(field, item))]
    special = ",".join(item for item in items if not _parse_plain(field, item))
    values, counted = _expand_by_croniter(field, text, special, name)
    if counted and plain:
        refuse(field, text, "weekdays and nth weekdays of the month don't mix in one field")
    _expand_by_croniter(
        field, text, text, name
    )  # what is wrong in each other's company, such as H,5
    if counted:
        return FieldValue(0, nth_weekdays=_nth_weekdays_of(counted))
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


def _expand_by_croniter(
    field: FieldSpec, text: str, part: str, name: str | None
) -> tuple[list[int | str], dict[int, set[int | str]]]:
    expression = " ".join(part if n == field.position else "*" for n in range(5))
    try:
        values, counted = croniter.expand(
            expression, hash_id=name.encode() if name is not None else None
        )
    except ValueError:
        refuse(field, text, f"not understood as cron text, use {field.syntax}")
    return values[field.position], counted
