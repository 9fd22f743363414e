"""Searching a local clock: minutes of local time, without zones.

Minutes are counted from the Unix epoch on the local clock. ``times`` is a mask of the minutes of a
day, bits 0 (midnight) to 1439.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from itertools import chain

from .dates import DateRule
from .masks import highest_bit, lowest_bit
from .zones import END_SECOND, EPOCH_ORDINAL

DAY_MINUTES = 1440

#: The last minute of the calendar. Before its first day nobody asks.
LAST_MINUTE = END_SECOND // 60 - 1

#: Years after which a schedule with any slots has had one: 29 February on a Monday takes 40 years
#: when there is none in a century year between.
_SEARCH_YEARS = 41


@lru_cache(maxsize=4096)
def minutes_of_day(minutes: int, hours: int) -> int:
    """Combine masks of minutes (bits 0 to 59) and hours (0 to 23) to one of minutes of a day."""
    times = 0
    for hour in range(24):
        if hours >> hour & 1:
            times |= minutes << 60 * hour
    return times


def minute_at_or_after(times: int, dates: DateRule, minute: int) -> int | None:
    """Return the first matching minute at or after ``minute``; None when there is none for long."""
    if minute > LAST_MINUTE:
        return None
    day, of_day = divmod(minute, DAY_MINUTES)
    today = date.fromordinal(day + EPOCH_ORDINAL)
    days = dates.day_mask(today.year, today.month) >> today.day
    if days & 1 and (rest := times >> of_day):
        return day * DAY_MINUTES + of_day + lowest_bit(rest)
    if days > 1:
        return (day + lowest_bit(days & -2)) * DAY_MINUTES + lowest_bit(times)
    for start, days in _months_after(dates, today, today.year + _SEARCH_YEARS):
        return (start + lowest_bit(days)) * DAY_MINUTES + lowest_bit(times)
    return None


def minute_at_or_before(times: int, dates: DateRule, minute: int) -> int | None:
    """Return the last matching minute at or before ``minute``; None when there is none for long."""
    day, of_day = divmod(min(minute, LAST_MINUTE), DAY_MINUTES)
    today = date.fromordinal(day + EPOCH_ORDINAL)
    days = dates.day_mask(today.year, today.month) & (2 << today.day) - 1
    if days >> today.day and (rest := times & (2 << of_day) - 1):
        return day * DAY_MINUTES + highest_bit(rest)
    if days := days & (1 << today.day) - 1:
        return (day - today.day + highest_bit(days)) * DAY_MINUTES + highest_bit(times)
    for start, days in _months_before(dates, today):
        return (start + highest_bit(days)) * DAY_MINUTES + highest_bit(times)
    return None


def day_masks_between(dates: DateRule, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Go through the matching days from ``first`` to ``last``, counted from the epoch, by month.

    Each month that has any gives its first such day, and all of them as bits relative to it.
    """
    day = date.fromordinal(first + EPOCH_ORDINAL)
    start = first - day.day
    month = (start, dates.day_mask(day.year, day.month) >> day.day << day.day)
    for start, days in chain(
        [month], _months_after(dates, day, day.year + 1 + (last - first) // 365)
    ):
        left = last - start
        if left < 31:
            days &= (2 << max(left, 0)) - 1
        if days > 1:
            yield start + lowest_bit(days), days >> lowest_bit(days)


def _months_after(dates: DateRule, day: date, end: int) -> Iterator[tuple[int, int]]:
    """Go through the months after that of ``day``, to the year ``end``, which have matching days.

    Gives for each the number of the day before its first, and the mask of its matching days.
    """
    year, month = day.year, day.month
    while True:
        if later := dates.months >> month + 1:
            month += 1 + lowest_bit(later)
        else:
            year, month = year + 1, lowest_bit(dates.months)
        if year > min(end, 9999):
            return
        if days := dates.day_mask(year, month):
            yield date(year, month, 1).toordinal() - EPOCH_ORDINAL - 1, days


def _months_before(dates: DateRule, day: date) -> Iterator[tuple[int, int]]:
    year, month, end = day.year, day.month, max(day.year - _SEARCH_YEARS, 1)
    while True:
        if earlier := dates.months & (1 << month) - 1:
            month = highest_bit(earlier)
        else:
            year, month = year - 1, highest_bit(dates.months)
        if year < end:
            return
        if days := dates.day_mask(year, month):
            yield date(year, month, 1).toordinal() - EPOCH_ORDINAL - 1, days
