"""Searching a local clock: minutes of local time, without zones.

Minutes are counted from the Unix epoch on the local clock. ``times`` is a mask of the minutes of a
day, bits 0 (midnight) to 1439.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from itertools import chain

from .dates import Dates
from .masks import highest, lowest
from .zone import BEYOND

DAY = 1440
_EPOCH = date(1970, 1, 1).toordinal()

#: The last minute of the calendar. Before its first day nobody asks.
LATEST = BEYOND // 60 - 1

#: Years after which a schedule with any slots has had one: 29 February on a Monday takes 40 years
#: when there is none in a century year between.
_YEARS = 41


@lru_cache(maxsize=4096)
def times_of_day(minutes: int, hours: int) -> int:
    """Combine masks of minutes (bits 0 to 59) and hours (0 to 23) to one of minutes of a day."""
    times = 0
    for hour in range(24):
        if hours >> hour & 1:
            times |= minutes << 60 * hour
    return times


def at_or_after(times: int, dates: Dates, minute: int) -> int | None:
    """Return the first matching minute at or after ``minute``; None when there is none for long."""
    if minute > LATEST:
        return None
    day, of_day = divmod(minute, DAY)
    today = date.fromordinal(day + _EPOCH)
    days = dates.days(today.year, today.month) >> today.day
    if days & 1 and (rest := times >> of_day):
        return day * DAY + of_day + lowest(rest)
    if days > 1:
        return (day + lowest(days & -2)) * DAY + lowest(times)
    for start, days in _months_after(dates, today, today.year + _YEARS):
        return (start + lowest(days)) * DAY + lowest(times)
    return None


def at_or_before(times: int, dates: Dates, minute: int) -> int | None:
    """Return the last matching minute at or before ``minute``; None when there is none for long."""
    day, of_day = divmod(min(minute, LATEST), DAY)
    today = date.fromordinal(day + _EPOCH)
    days = dates.days(today.year, today.month) & (2 << today.day) - 1
    if days >> today.day and (rest := times & (2 << of_day) - 1):
        return day * DAY + highest(rest)
    if days := days & (1 << today.day) - 1:
        return (day - today.day + highest(days)) * DAY + highest(times)
    for start, days in _months_before(dates, today):
        return (start + highest(days)) * DAY + highest(times)
    return None


def days_between(dates: Dates, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Go through the matching days from ``first`` to ``last``, counted from the epoch, by month.

    Each month that has any gives its first such day, and all of them as bits relative to it.
    """
    day = date.fromordinal(first + _EPOCH)
    start = first - day.day
    month = (start, dates.days(day.year, day.month) >> day.day << day.day)
    for start, days in chain(
        [month], _months_after(dates, day, day.year + 1 + (last - first) // 365)
    ):
        left = last - start
        if left < 31:
            days &= (2 << max(left, 0)) - 1
        if days > 1:
            yield start + lowest(days), days >> lowest(days)


def _months_after(dates: Dates, day: date, end: int) -> Iterator[tuple[int, int]]:
    """Go through the months after that of ``day``, to the year ``end``, which have matching days.

    Gives for each the number of the day before its first, and the mask of its matching days.
    """
    year, month = day.year, day.month
    while True:
        if later := dates.months >> month + 1:
            month += 1 + lowest(later)
        else:
            year, month = year + 1, lowest(dates.months)
        if year > min(end, 9999):
            return
        if days := dates.days(year, month):
            yield date(year, month, 1).toordinal() - _EPOCH - 1, days


def _months_before(dates: Dates, day: date) -> Iterator[tuple[int, int]]:
    year, month, end = day.year, day.month, max(day.year - _YEARS, 1)
    while True:
        if earlier := dates.months & (1 << month) - 1:
            month = highest(earlier)
        else:
            year, month = year - 1, highest(dates.months)
        if year < end:
            return
        if days := dates.days(year, month):
            yield date(year, month, 1).toordinal() - _EPOCH - 1, days
