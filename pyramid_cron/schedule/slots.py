"""From matching local minutes to slots: seconds since the Unix epoch, right through shifts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import compress
from zoneinfo import ZoneInfo

from .dates import Dates
from .local import DAY, LATEST, at_or_after, at_or_before, days_between
from .zone import BEYOND, EPOCH, FIRST, Stretch, stretch

# No two offsets in the history of a zone are further apart than this, in seconds.
_FAR = 2 * 86_400

# A day's distance from the first moment of the calendar keeps local midnights within it.
_FIRST = FIRST + 86_400

_DAYS = tuple(timedelta(days=n) for n in range(31))
_MINUTES = tuple(timedelta(minutes=n) for n in range(DAY))


@lru_cache(maxsize=256)
def _since_midnight(times: int) -> tuple[timedelta, ...]:
    return tuple(compress(_MINUTES, map(int, reversed(f"{times:b}"))))


@lru_cache(maxsize=1024)
def _bits(mask: int) -> tuple[int, ...]:
    return tuple(n for n in range(mask.bit_length()) if mask >> n & 1)


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of matching local minutes in a zone.

    The local minutes are those of ``times`` (bits 0 to 1439, minutes of a day) on ``dates``. With
    ``wildcard`` each is a slot whenever it happens; without, when it first does or, if it is
    skipped, at the first instant after the gap.
    """

    times: int
    dates: Dates
    wildcard: bool
    zone: ZoneInfo

    def at_or_after(self, at: int) -> int | None:
        """Return the first slot at or after ``at``; None when none is left in the calendar."""
        at = max(at, _FIRST)
        while at < BEYOND:
            piece = stretch(self.zone, at)
            if at == piece.start and self._made_up(piece):
                return at
            found = BEYOND
            if self.wildcard or not piece.second_pass:
                minute = at_or_after(self.times, self.dates, -(-(at + piece.offset) // 60))
                found = BEYOND if minute is None else minute * 60 - piece.offset
                if found < min(piece.end, BEYOND):
                    return found
            # With no match on the local clock until then, nothing far from here happens before.
            near = piece.second_pass or piece.end - at < _FAR
            at = piece.end if near else max(piece.end, found - _FAR)
        return None

    def at_or_before(self, at: int) -> int | None:
        """Return the last slot at or before ``at``; None when there was none in the calendar."""
        at = min(at, BEYOND - 1)
        while at >= _FIRST:
            piece = stretch(self.zone, at)
            found = _FIRST - 1
            if self.wildcard or not piece.second_pass:
                minute = at_or_before(self.times, self.dates, (at + piece.offset) // 60)
                found = _FIRST - 1 if minute is None else minute * 60 - piece.offset
                if found >= max(piece.start, _FIRST):
                    return found
            if self._made_up(piece):
                return piece.start
            near = piece.second_pass or at - piece.start < _FAR
            at = piece.start - 1 if near else min(piece.start - 1, found + _FAR)
        return None

    def between(self, first: int, last: int) -> Iterator[datetime]:
        """Go through the slots from ``first`` to ``last``, both included, as moments in UTC."""
        at, last = max(first, _FIRST), min(last, BEYOND - 1)
        while at <= last:
            piece = stretch(self.zone, at)
            start, end = at + piece.offset, min(piece.end - 1, last) + piece.offset
            if at == piece.start and self._made_up(piece):
                yield EPOCH + timedelta(seconds=at)
                start += 1
            if self.wildcard or not piece.second_pass:
                yield from self._even(-(-start // 60), end // 60, piece.offset)
            at = piece.end

    def _made_up(self, piece: Stretch) -> bool:
        """Tell whether a slot was skipped directly before ``piece`` and is made up at its start."""
        if self.wildcard or not piece.gap:
            return False
        resumed = piece.start + piece.offset
        minute = at_or_after(self.times, self.dates, -(-(resumed - piece.gap) // 60))
        return minute is not None and minute * 60 < resumed

    def _even(self, first: int, last: int, offset: int) -> Iterator[datetime]:
        """Go through the local minutes from ``first`` to ``last``, all of one offset."""
        last = min(last, LATEST)
        if first > last:
            return
        times = _since_midnight(self.times)
        (first_day, opening), (last_day, closing) = divmod(first, DAY), divmod(last, DAY)
        for start, days in days_between(self.dates, first_day, last_day):
            base = EPOCH + timedelta(days=start, seconds=-offset)
            for day in _bits(days):
                today = times
                if start + day == last_day:
                    today = today[: (self.times & (2 << closing) - 1).bit_count()]
                if start + day == first_day:
                    today = today[(self.times & (1 << opening) - 1).bit_count() :]
                midnight = base + _DAYS[day]
                for time in today:
                    yield midnight + time
