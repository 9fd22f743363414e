"""Which dates a schedule names: days of the month, months and weekdays, and how they combine."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, field
from functools import lru_cache

from .fields import DAY, DOW, Choice, Nth

#: The weekday (0 is Monday) on which a month of a year begins, and its length.
shape = lru_cache(maxsize=4096)(monthrange)

_EVERY_WEEK = 1 << 0 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28


@dataclass(frozen=True, slots=True)
class Dates:
    """A rule for dates; made by `combine`, which gives equal rules equal values."""

    #: Bits 1 to 31.
    monthdays: int
    #: Whether the last day of a month is one of them.
    last: bool
    #: Bits 1 to 12.
    months: int
    #: Bits 0 (Monday) to 6 (Sunday).
    weekdays: int
    nth: Nth | None
    #: Whether the day of the month or that of the week is enough; otherwise both must match.
    either: bool
    #: Whether both must match because one began with ``*``, which is how a crontab says it.
    starred: bool
    # Filled as needed: the days of each shape a month can have, 7 first weekdays by 4 lengths.
    _shapes: list[int] = field(
        default_factory=lambda: [-1] * 28, init=False, repr=False, compare=False
    )

    def match(self, year: int, month: int, day: int) -> bool:
        """Tell whether the rule names this date."""
        return self.days(year, month) >> day & 1 == 1

    def days(self, year: int, month: int) -> int:
        """Return the days of this month which the rule names, as bits 1 to 31."""
        if not self.months >> month & 1:
            return 0
        first, length = shape(year, month)
        slot = 4 * first + length - 28
        days = self._shapes[slot]
        if days < 0:
            days = self._shapes[slot] = self._days(first, length)
        return days

    def _days(self, first: int, length: int) -> int:
        whole = (2 << length) - 2
        by_day = self.monthdays & whole | (1 << length if self.last else 0)
        by_weekday = _repeat(self.weekdays, first) & whole
        if self.nth:
            by_weekday |= _nth_days(self.nth, first, length)
        return by_day | by_weekday if self.either else by_day & by_weekday


def _repeat(weekdays: int, first: int) -> int:
    """Return the days, from bit 1 on, with these weekdays in a month that begins on ``first``."""
    week = weekdays >> first | weekdays << (7 - first) & 127
    return week * _EVERY_WEEK << 1


def _nth_days(nth: Nth, first: int, length: int) -> int:
    days = 0
    for n, weekdays in enumerate(nth[:5]):
        days |= _repeat(weekdays, first) & 127 << (1 + 7 * n)
    days |= _repeat(nth[5], first) & 127 << (length - 6)
    return days & (2 << length) - 2


def combine(day: Choice, month: Choice, dow: Choice, *, either: bool) -> Dates | None:
    """Make a rule of three fields; None if there is never such a date.

    ``either`` says that the day or the weekday is enough. Equal rules become the same object, so
    that they share what they have worked out.
    """
    every_day, every_weekday = day.mask == DAY.full, dow.mask == DOW.full
    if either and (every_day or every_weekday):
        return _dates(DAY.full, False, month.mask, DOW.full, None, False, False)
    last = day.last and not every_day
    starred = (day.star or dow.star) and not (every_day or every_weekday)
    return _dates(day.mask, last, month.mask, dow.mask, dow.nth, either, starred)


@lru_cache(maxsize=4096)
def _dates(
    monthdays: int,
    last: bool,
    months: int,
    weekdays: int,
    nth: Nth | None,
    either: bool,
    starred: bool,
) -> Dates | None:
    dates = Dates(monthdays, last, months, weekdays, nth, either, starred)
    # Within 28 years of one century each month has begun on every weekday, February in leap years
    # too.
    found = any(dates.days(year, month) for year in range(2000, 2028) for month in range(1, 13))
    return dates if found else None
