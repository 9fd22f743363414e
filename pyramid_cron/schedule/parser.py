"""A cron expression, or fields by keyword, as masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .dates import DateRule, combine_fields
from .fields import (
    ALL_FIELDS,
    DOW_FIELD,
    HOUR_FIELD,
    MINUTE_FIELD,
    FieldSpec,
    FieldValue,
    parse_integers,
    parse_text,
    refuse,
)

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

# How coarse a field is. Day and day of the week are equally fine.
_COARSENESS = {"min": 0, "hour": 1, "day": 2, "dow": 2, "month": 3}


MAX_HASH_TRIES = 100
"""How many dates are tried for ``H`` before the schedule is refused as having none."""


class NoDateError(ValueError):
    """Raised for fields that each are right, but no date has them all."""

    def __init__(self) -> None:
        super().__init__("there is no such date, so it would never run")


class CronFields(NamedTuple):
    """Which local minutes a schedule names."""

    #: Bits 0 to 59.
    minutes: int
    #: Bits 0 to 23.
    hours: int
    dates: DateRule
    #: Whether the minute or the hour begins with ``*`` or covers its whole range.
    is_wildcard: bool


def parse_expression(expression: object, task_name: str | None) -> CronFields:
    """Read a five-field cron expression by the rules of Debian's crontab."""
    if not isinstance(expression, str):
        raise ValueError(f"expression={expression!r}: use a string such as '30 2 * * *'")
    try:
        return _combine_values(_split_expression(expression), task_name, all_match=False)
    except ValueError as error:
        raise ValueError(f"expression={expression!r}: {error}") from None


def _split_expression(expression: str) -> list[str]:
    if not expression.isascii():
        raise ValueError("use ASCII characters only")
    fields = expression.split()
    if len(fields) == 1 and fields[0].startswith("@"):
        if fields[0].lower() not in _ALIASES:
            raise ValueError(f"use five fields or one of {', '.join(_ALIASES)}")
        fields = _ALIASES[fields[0].lower()].split()
    if len(fields) != 5:
        raise ValueError(
            f"{len(fields)} fields, use five: minute hour day month day-of-week"
            + (", without seconds or years" if len(fields) > 5 else "")
        )
    return fields


def parse_fields(fields: Mapping[str, object], task_name: str | None) -> CronFields:
    """Combine fields given by keyword, all of which must match; None means omitted.

    An omitted field finer than the finest one given counts as its lowest value, any other omitted
    field as ``*``.
    """
    fields = {name: value for name, value in fields.items() if value is not None}
    finest = min((_COARSENESS[name] for name in fields), default=0)
    values = [
        fields.get(field.name, field.low if _COARSENESS[field.name] < finest else "*")
        for field in ALL_FIELDS
    ]
    # No finer than the day, so that no day of the week is the lowest.
    values[DOW_FIELD.position] = fields.get("dow", "*")
    try:
        return _combine_values(values, task_name, all_match=True)
    except NoDateError as error:
        arguments = [
            f"{name}={fields[name]!r}" for name in ("day", "month", "dow") if name in fields
        ]
        raise ValueError(f"{', '.join(arguments)}: {error}") from None


def _combine_values(
    values: Sequence[object], task_name: str | None, *, all_match: bool
) -> CronFields:
    field_values = _parse_values(values, task_name)
    dates = _date_rule(field_values, all_match)
    if dates is None and task_name is not None:
        dates = _date_rule_by_rehash(values, task_name, all_match)
    if dates is None:
        raise NoDateError
    minute, hour = field_values[:2]
    starred = minute.has_star or hour.has_star
    wildcard = starred or minute.mask == MINUTE_FIELD.full_mask or hour.mask == HOUR_FIELD.full_mask
    return CronFields(minute.mask, hour.mask, dates, wildcard)


def _parse_values(values: Sequence[object], task_name: str | None) -> list[FieldValue]:
    return [
        _parse_value(field, value, task_name)
        for field, value in zip(ALL_FIELDS, values, strict=True)
    ]


def _parse_value(field: FieldSpec, value: object, task_name: str | None) -> FieldValue:
    if not isinstance(value, str):
        return parse_integers(field, value)
    if not value.isascii():
        refuse(field, value, "use ASCII characters only")
    return parse_text(field, value, task_name)


def _date_rule(field_values: Sequence[FieldValue], all_match: bool) -> DateRule | None:
    """Return the dates; by Debian's crontab either day field is enough if neither has a star."""
    _, _, day, month, dow = field_values
    return combine_fields(
        day, month, dow, either_day_matches=not (all_match or day.has_star or dow.has_star)
    )


def _date_rule_by_rehash(
    values: Sequence[object], task_name: str, all_match: bool
) -> DateRule | None:
    """Return other dates where ``H`` has picked one that does not exist, as 31 February.

    Whether a schedule is right must not depend on the name.
    """
    minute, hour, day, month, dow = values
    in_each_month = [minute, hour, "h(1-28)" if day in ("h", "H") else day, month, dow]
    for salt in range(MAX_HASH_TRIES):
        field_values = _parse_values(in_each_month, f"{task_name}{salt or ''}")
        if (dates := _date_rule(field_values, all_match)) is not None:
            return dates
    return None
