"""From matching local minutes to slots: seconds since the Unix epoch, right through shifts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import chain, compress
from zoneinfo import ZoneInfo

from .dates import DateRule
from .zones import END_SECOND, EPOCH, EPOCH_ORDINAL, FIRST_SECOND, OffsetSpan, offset_span_at

DAY_MINUTES = 1440

# No two offsets in the history of a zone are further apart than this, in seconds.
_MAX_SHIFT_SECONDS = 2 * 86_400

# A day's distance from the first moment of the calendar keeps local midnights within it.
_SEARCH_START_SECOND = FIRST_SECOND + 86_400

_DAY_DELTAS = tuple(timedelta(days=n) for n in range(31))
_MINUTE_DELTAS = tuple(timedelta(minutes=n) for n in range(DAY_MINUTES))


@lru_cache(maxsize=256)
def _deltas_since_midnight(times: int) -> tuple[timedelta, ...]:
    return tuple(compress(_MINUTE_DELTAS, map(int, reversed(f"{times:b}"))))


@lru_cache(maxsize=1024)
def _day_numbers(mask: int) -> tuple[int, ...]:
    return tuple(n for n in range(mask.bit_length()) if mask >> n & 1)


@dataclass(frozen=True, slots=True)
class SlotSearch:
    """The slots of matching local minutes in a zone.

    The local minutes are those of ``times`` (bits 0 to 1439, minutes of a day) on ``dates``. With
    ``wildcard`` each is a slot whenever it happens; without, when it first does or, if it is
    skipped, at the first instant after the gap.
    """

    times: int
    dates: DateRule
    is_wildcard: bool
    zone: ZoneInfo

    def at_or_after(self, second: int) -> int | None:
        """Return the first slot at or after ``at``; None when none is left in the calendar."""
        second = max(second, _SEARCH_START_SECOND)
        while second < END_SECOND:
            piece = offset_span_at(self.zone, second)
            if second == piece.start and self._has_gap_slot(piece):
                return second
            found = END_SECOND
            if self.is_wildcard or not piece.is_repeated:
                minute = minute_at_or_after(
                    self.times, self.dates, -(-(second + piece.offset) // 60)
                )
                found = END_SECOND if minute is None else minute * 60 - piece.offset
                if found < min(piece.end, END_SECOND):
                    return found
            # With no match on the local clock until then, nothing far from here happens before.
            near = piece.is_repeated or piece.end - second < _MAX_SHIFT_SECONDS
            second = piece.end if near else max(piece.end, found - _MAX_SHIFT_SECONDS)
        return None

    def at_or_before(self, second: int) -> int | None:
        """Return the last slot at or before ``at``; None when there was none in the calendar."""
        second = min(second, END_SECOND - 1)
        while second >= _SEARCH_START_SECOND:
            piece = offset_span_at(self.zone, second)
            found = _SEARCH_START_SECOND - 1
            if self.is_wildcard or not piece.is_repeated:
                minute = minute_at_or_before(self.times, self.dates, (second + piece.offset) // 60)
                found = _SEARCH_START_SECOND - 1 if minute is None else minute * 60 - piece.offset
                if found >= max(piece.start, _SEARCH_START_SECOND):
                    return found
            if self._has_gap_slot(piece):
                return piece.start
            near = piece.is_repeated or second - piece.start < _MAX_SHIFT_SECONDS
            second = piece.start - 1 if near else min(piece.start - 1, found + _MAX_SHIFT_SECONDS)
        return None

    def between(self, first: int, last: int) -> Iterator[datetime]:
        """Go through the slots from ``first`` to ``last``, both included, as moments in UTC."""
        at, last = max(first, _SEARCH_START_SECOND), min(last, END_SECOND - 1)
        while at <= last:
            piece = offset_span_at(self.zone, at)
            start, end = at + piece.offset, min(piece.end - 1, last) + piece.offset
            if at == piece.start and self._has_gap_slot(piece):
                yield EPOCH + timedelta(seconds=at)
                start += 1
            if self.is_wildcard or not piece.is_repeated:
                yield from self._slots_at_offset(-(-start // 60), end // 60, piece.offset)
            at = piece.end

    def _has_gap_slot(self, span: OffsetSpan) -> bool:
        """Tell whether a slot was skipped directly before ``piece`` and is made up at its start."""
        if self.is_wildcard or not span.gap:
            return False
        resumed = span.start + span.offset
        minute = minute_at_or_after(self.times, self.dates, -(-(resumed - span.gap) // 60))
        return minute is not None and minute * 60 < resumed

    def _slots_at_offset(self, first: int, last: int, offset: int) -> Iterator[datetime]:
        """Go through the local minutes from ``first`` to ``last``, all of one offset."""
        last = min(last, LAST_MINUTE)
        if first > last:
            return
        times = _deltas_since_midnight(self.times)
        (first_day, opening), (last_day, closing) = (
            divmod(first, DAY_MINUTES),
            divmod(last, DAY_MINUTES),
        )
        for start, days in day_masks_between(self.dates, first_day, last_day):
            base = EPOCH + timedelta(days=start, seconds=-offset)
            for day in _day_numbers(days):
                today = times
                if start + day == last_day:
                    today = today[: (self.times & (2 << closing) - 1).bit_count()]
                if start + day == first_day:
                    today = today[(self.times & (1 << opening) - 1).bit_count() :]
                midnight = base + _DAY_DELTAS[day]
                for time in today:
                    yield midnight + time


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


def lowest_bit(mask: int) -> int:
    """Return the lowest number in ``mask``, which isn't empty."""
    return (mask & -mask).bit_length() - 1


def highest_bit(mask: int) -> int:
    """Return the highest number in ``mask``, which isn't empty."""
    return mask.bit_length() - 1
