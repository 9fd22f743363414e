"""From matching local minutes to slots: seconds since the Unix epoch, right through shifts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import chain, compress
from zoneinfo import ZoneInfo

from .fields import mask_values
from .parser import DateRule
from .zones import (
    DAY_SECONDS,
    END_SECOND,
    EPOCH,
    EPOCH_ORDINAL,
    FIRST_SECOND,
    OffsetSpan,
    offset_span_at,
)

_DAY_MINUTES = 1440

_MINUTE = timedelta(minutes=1)
_LOCAL_EPOCH = EPOCH.replace(tzinfo=None)

# No two offsets in the history of a zone are further apart than this, in seconds.
_MAX_SHIFT_SECONDS = 2 * DAY_SECONDS

# A day's distance from the first moment of the calendar keeps local midnights within it.
_SEARCH_START_SECOND = FIRST_SECOND + DAY_SECONDS

# The last minute of the calendar.
_LAST_MINUTE = END_SECOND // 60 - 1

# Years after which a schedule with any slots has had one: 29 February on a Monday takes 40 years
# when there is none in a century year between.
_SEARCH_YEARS = 41

_DAY_DELTAS = tuple(timedelta(days=n) for n in range(31))
_MINUTE_DELTAS = tuple(timedelta(minutes=n) for n in range(_DAY_MINUTES))


@lru_cache(maxsize=256)
def _deltas_since_midnight(times: int) -> tuple[timedelta, ...]:
    return tuple(compress(_MINUTE_DELTAS, map(int, reversed(f"{times:b}"))))


@dataclass(frozen=True, slots=True)
class SlotSearch:
    """The slots of matching local minutes in a zone."""

    #: The minutes of a day, as bits 0 to 1439.
    times: int
    dates: DateRule
    #: Whether each local minute is a slot whenever it happens. Otherwise it is one when it happens
    #: first or, if it is skipped, at the first instant after the gap.
    is_wildcard: bool
    zone: ZoneInfo

    def at_or_after(self, second: int) -> int | None:
        """Return the first slot at or after ``second``; None if the calendar has none."""
        second = max(second, _SEARCH_START_SECOND)
        while second < END_SECOND:
            span = offset_span_at(self.zone, second)
            if second == span.start and self._has_gap_slot(span):
                return second
            slot = END_SECOND
            if self.is_wildcard or not span.is_repeated:
                minute = self._minute_at_or_after(-(-(second + span.offset) // 60))
                slot = END_SECOND if minute is None else minute * 60 - span.offset
                if slot < min(span.end, END_SECOND):
                    return slot
            # With no match on the local clock until then, nothing far from here happens before.
            near = span.is_repeated or span.end - second < _MAX_SHIFT_SECONDS
            second = span.end if near else max(span.end, slot - _MAX_SHIFT_SECONDS)
        return None

    def at_or_before(self, second: int) -> int | None:
        """Return the last slot at or before ``second``; None if the calendar has none."""
        second = min(second, END_SECOND - 1)
        while second >= _SEARCH_START_SECOND:
            span = offset_span_at(self.zone, second)
            slot = _SEARCH_START_SECOND - 1
            if self.is_wildcard or not span.is_repeated:
                minute = self._minute_at_or_before((second + span.offset) // 60)
                slot = _SEARCH_START_SECOND - 1 if minute is None else minute * 60 - span.offset
                if slot >= max(span.start, _SEARCH_START_SECOND):
                    return slot
            if self._has_gap_slot(span):
                return span.start
            near = span.is_repeated or second - span.start < _MAX_SHIFT_SECONDS
            second = span.start - 1 if near else min(span.start - 1, slot + _MAX_SHIFT_SECONDS)
        return None

    def between(self, first: int, last: int) -> Iterator[datetime]:
        """Go through the slots from ``first`` to ``last``, both included, as moments in UTC."""
        at, last = max(first, _SEARCH_START_SECOND), min(last, END_SECOND - 1)
        while at <= last:
            span = offset_span_at(self.zone, at)
            start, end = at + span.offset, min(span.end - 1, last) + span.offset
            if at == span.start and self._has_gap_slot(span):
                yield EPOCH + timedelta(seconds=at)
                start += 1
            if self.is_wildcard or not span.is_repeated:
                yield from self._slots_at_offset(-(-start // 60), end // 60, span.offset)
            at = span.end

    def _has_gap_slot(self, span: OffsetSpan) -> bool:
        """Tell whether a slot was skipped directly before ``span`` and is made up at its start."""
        if self.is_wildcard or not span.gap:
            return False
        resumed = span.start + span.offset
        minute = self._minute_at_or_after(-(-(resumed - span.gap) // 60))
        return minute is not None and minute * 60 < resumed

    def _slots_at_offset(self, first: int, last: int, offset: int) -> Iterator[datetime]:
        """Go through the local minutes from ``first`` to ``last``, all of one offset."""
        last = min(last, _LAST_MINUTE)
        if first > last:
            return
        times = _deltas_since_midnight(self.times)
        first_day, opening = divmod(first, _DAY_MINUTES)
        last_day, closing = divmod(last, _DAY_MINUTES)
        for start, days in _day_masks_between(self.dates, first_day, last_day):
            base = EPOCH + timedelta(days=start, seconds=-offset)
            for day in mask_values(days):
                today = times
                if start + day == last_day:
                    today = today[: (self.times & (2 << closing) - 1).bit_count()]
                if start + day == first_day:
                    today = today[(self.times & (1 << opening) - 1).bit_count() :]
                midnight = base + _DAY_DELTAS[day]
                for time in today:
                    yield midnight + time

    def local_times(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Go through the matching local minutes with ``start <= time < end``, none of them aware.

        They are what the fields say, whether or not the clocks of the zone show them.
        """
        minute = self._minute_at_or_after(-((_LOCAL_EPOCH - start) // _MINUTE))
        while minute is not None and (time := _LOCAL_EPOCH + minute * _MINUTE) < end:
            yield time
            minute = self._minute_at_or_after(minute + 1)

    def matching_minutes(self, minute: int) -> tuple[int, int]:
        """Return the first and the end of the minutes of a day that match around ``minute``."""
        later = self.times >> minute
        length = lowest_bit(~later)
        earlier = ~self.times & (1 << minute) - 1
        return (earlier.bit_length(), minute + length) if length else (minute, minute)

    def _minute_at_or_after(self, minute: int) -> int | None:
        """Return the first matching minute at or after ``minute``; None if there is none."""
        if minute > _LAST_MINUTE:
            return None
        day, of_day = divmod(minute, _DAY_MINUTES)
        today = date.fromordinal(day + EPOCH_ORDINAL)
        days = self.dates.day_mask(today.year, today.month) >> today.day
        if days & 1 and (remaining := self.times >> of_day):
            return day * _DAY_MINUTES + of_day + lowest_bit(remaining)
        if days > 1:
            return (day + lowest_bit(days & -2)) * _DAY_MINUTES + lowest_bit(self.times)
        for start, days in _months_after(self.dates, today, today.year + _SEARCH_YEARS):
            return (start + lowest_bit(days)) * _DAY_MINUTES + lowest_bit(self.times)
        return None

    def _minute_at_or_before(self, minute: int) -> int | None:
        """Return the last matching minute at or before ``minute``; None if there is none."""
        day, of_day = divmod(min(minute, _LAST_MINUTE), _DAY_MINUTES)
        today = date.fromordinal(day + EPOCH_ORDINAL)
        days = self.dates.day_mask(today.year, today.month) & (2 << today.day) - 1
        if days >> today.day and (earlier := self.times & (2 << of_day) - 1):
            return day * _DAY_MINUTES + highest_bit(earlier)
        if days := days & (1 << today.day) - 1:
            return (day - today.day + highest_bit(days)) * _DAY_MINUTES + highest_bit(self.times)
        for start, days in _months_before(self.dates, today):
            return (start + highest_bit(days)) * _DAY_MINUTES + highest_bit(self.times)
        return None


@lru_cache(maxsize=4096)
@lru_cache(maxsize=4096)
def minutes_of_day(minutes: int, hours: int) -> int:
    """Combine masks of minutes (bits 0 to 59) and hours (0 to 23) to one of minutes of a day."""
    times = 0
    for hour in range(24):
        if hours >> hour & 1:
            times |= minutes << 60 * hour
    return times


def _day_masks_between(dates: DateRule, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Go through the matching days from ``first`` to ``last``, counted from the epoch, by month.

    Each month that has any gives its first such day, and all of them as bits relative to it.
    """
    day = date.fromordinal(first + EPOCH_ORDINAL)
    start = first - day.day
    month = (start, dates.day_mask(day.year, day.month) >> day.day << day.day)
    end_year = day.year + 1 + (last - first) // 365
    for start, days in chain([month], _months_after(dates, day, end_year)):
        days_to_last = last - start
        if days_to_last < 31:
            days &= (2 << max(days_to_last, 0)) - 1
        if days > 1:
            yield start + lowest_bit(days), days >> lowest_bit(days)


def _months_after(dates: DateRule, day: date, end: int) -> Iterator[tuple[int, int]]:
    """Go through the months after that of ``day``, to the year ``end``, which have matching days.

    Gives for each the number of the day before its first, and the mask of its matching days.
    """
    year, month = day.year, day.month
    while True:
        if next_months := dates.months >> month + 1:
            month += 1 + lowest_bit(next_months)
        else:
            year, month = year + 1, lowest_bit(dates.months)
        if year > min(end, 9999):
            return
        if days := dates.day_mask(year, month):
            yield date(year, month, 1).toordinal() - EPOCH_ORDINAL - 1, days


def _months_before(dates: DateRule, day: date) -> Iterator[tuple[int, int]]:
    year, month, end = day.year, day.month, max(day.year - _SEARCH_YEARS, 1)
    while True:
        if previous_months := dates.months & (1 << month) - 1:
            month = highest_bit(previous_months)
        else:
            year, month = year - 1, highest_bit(dates.months)
        if year < end:
            return
        if days := dates.day_mask(year, month):
            yield date(year, month, 1).toordinal() - EPOCH_ORDINAL - 1, days


def lowest_bit(mask: int) -> int:
    """Return the lowest number in ``mask``, which isn't empty."""
    return (mask & -mask).bit_length() - 1


def highest_bit(mask: int) -> int:
    """Return the highest number in ``mask``, which isn't empty."""
    return mask.bit_length() - 1
