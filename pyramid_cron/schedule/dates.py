"""Which dates a schedule names: days of the month, months and weekdays, and how they combine."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, field
from functools import lru_cache

from .fields import DAY_FIELD, DOW_FIELD, FieldValue, NthWeekdays

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
