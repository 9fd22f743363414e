"""From matching local minutes to slots: seconds since the Unix epoch, right through shifts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import compress
from zoneinfo import ZoneInfo

from .dates import DateRule
from .local import (
    DAY_MINUTES,
    LAST_MINUTE,
    day_masks_between,
    minute_at_or_after,
    minute_at_or_before,
)
from .zones import END_SECOND, EPOCH, FIRST_SECOND, OffsetSpan, offset_span_at

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
