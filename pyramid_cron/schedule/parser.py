"""A cron expression, or fields by keyword, as masks."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from .fields import (
    ALL_FIELDS,
    DAY_FIELD,
    DOW_FIELD,
    HOUR_FIELD,
    MINUTE_FIELD,
    FieldSpec,
    FieldValue,
    NthWeekdays,
    parse_integers,
    parse_text,
    refuse,
)

#: The weekday (0 is Monday) on which a month of a year begins, and its length.
month_shape = lru_cache(maxsize=4096)(monthrange)

_WEEK_STARTS_MASK = 1 << 0 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28


@dataclass(frozen=True, slots=True)
class DateRule:
    """A rule for dates; made by `combine`, which gives equal rules equal values."""

    #: Bits 1 to 31.
    monthdays: int
    #: Whether the last day of a month is one of them.
    has_last_day: bool
    #: Bits 1 to 12.
    months: int
    #: Bits 0 (Monday) to 6 (Sunday).
    weekdays: int
    nth_weekdays: NthWeekdays | None
    #: Whether the day of the month or that of the week is enough; otherwise both must match.
    either_day_matches: bool
    #: Whether both must match because one began with ``*``, which is how a crontab says it.
    has_star: bool
    # Filled as needed: the days of each shape a month can have, 7 first weekdays by 4 lengths.
    _mask_by_shape: list[int] = field(
        default_factory=lambda: [-1] * 28, init=False, repr=False, compare=False
    )

    def matches(self, year: int, month: int, day: int) -> bool:
        """Tell whether the rule names this date."""
        return self.day_mask(year, month) >> day & 1 == 1

    def day_mask(self, year: int, month: int) -> int:
        """Return the days of this month which the rule names, as bits 1 to 31."""
        if not self.months >> month & 1:
            return 0
        first, length = month_shape(year, month)
        slot = 4 * first + length - 28
        days = self._mask_by_shape[slot]
        if days < 0:
            days = self._mask_by_shape[slot] = self._compute_day_mask(first, length)
        return days

    def _compute_day_mask(self, first_weekday: int, month_length: int) -> int:
        all_days = (2 << month_length) - 2
        by_day = self.monthdays & all_days | (1 << month_length if self.has_last_day else 0)
        by_weekday = _weekday_mask(self.weekdays, first_weekday) & all_days
        if self.nth_weekdays:
            by_weekday |= _nth_weekday_mask(self.nth_weekdays, first_weekday, month_length)
        return by_day | by_weekday if self.either_day_matches else by_day & by_weekday


def _weekday_mask(weekdays: int, first_weekday: int) -> int:
    """Return the days, from bit 1 on, with these weekdays, as if every month had 35 days."""
    week = weekdays >> first_weekday | weekdays << (7 - first_weekday) & 127
    return week * _WEEK_STARTS_MASK << 1


def _nth_weekday_mask(nth_weekdays: NthWeekdays, first_weekday: int, month_length: int) -> int:
    days = 0
    for n, weekdays in enumerate(nth_weekdays[:5]):
        days |= _weekday_mask(weekdays, first_weekday) & 127 << (1 + 7 * n)
    days |= _weekday_mask(nth_weekdays[5], first_weekday) & 127 << (month_length - 6)
    return days & (2 << month_length) - 2


def combine_fields(
    day: FieldValue, month: FieldValue, dow: FieldValue, *, either_day_matches: bool
) -> DateRule | None:
    """Make a rule of three fields; None if there is never such a date.

    ``either_day_matches``: the day or the weekday is enough. Equal rules become the same object, so
    that they share their masks of days.
    """
    every_day, every_weekday = day.mask == DAY_FIELD.full_mask, dow.mask == DOW_FIELD.full_mask
    if either_day_matches and (every_day or every_weekday):
        return _make_date_rule(
            DAY_FIELD.full_mask, False, month.mask, DOW_FIELD.full_mask, None, False, False
        )
    last = day.has_last_day and not every_day
    starred = (day.has_star or dow.has_star) and not (every_day or every_weekday)
    return _make_date_rule(
        day.mask, last, month.mask, dow.mask, dow.nth_weekdays, either_day_matches, starred
    )


@lru_cache(maxsize=4096)
def _make_date_rule(
    monthdays: int,
    has_last_day: bool,
    months: int,
    weekdays: int,
    nth_weekdays: NthWeekdays | None,
    either_day_matches: bool,
    has_star: bool,
) -> DateRule | None:
    dates = DateRule(
        monthdays, has_last_day, months, weekdays, nth_weekdays, either_day_matches, has_star
    )
    # Within 28 years of one century each month has begun on every weekday, February in leap years
    # too.
    exists = any(
        dates.day_mask(year, month) for year in range(2000, 2028) for month in range(1, 13)
    )
    return dates if exists else None


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
