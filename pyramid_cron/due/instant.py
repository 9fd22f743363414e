"""Slots that need no local time: periods and single moments."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ..schedule.zone import EPOCH

INSTANT = timedelta.resolution


class Period(NamedTuple):
    """Entries with a slot every so many seconds, counted from ``offset`` after the Unix epoch."""

    seconds: int
    offset: int
    positions: tuple[int, ...]

    def at(self, minute: int) -> Sequence[int]:
        """Return the positions with a slot on the first instant of a minute since the epoch."""
        return () if (minute * 60 - self.offset) % self.seconds else self.positions

    def slots(self, first: int, last: int) -> Iterator[tuple[int, Sequence[int]]]:
        """Yield the seconds from ``first`` to ``last`` that are slots, each with all positions."""
        for second in range(first + (self.offset - first) % self.seconds, last + 1, self.seconds):
            yield second, self.positions


class Once:
    """Entries with a slot at single moments (aware, UTC), to the microsecond."""

    __slots__ = ("_moments", "_positions")

    def __init__(self, slots: Iterable[tuple[datetime, int]]) -> None:
        ordered = sorted(slots)
        self._moments = [moment for moment, _ in ordered]
        self._positions = [position for _, position in ordered]

    def at(self, minute: int) -> Sequence[int]:
        """Return the positions with a slot on the first instant of a minute since the epoch."""
        moment = EPOCH + timedelta(minutes=minute)
        return [i for _, positions in self.between(moment - INSTANT, moment) for i in positions]

    def between(self, since: datetime, until: datetime) -> Iterator[tuple[datetime, Sequence[int]]]:
        """Yield the slots in (since, until], each with one position, in order."""
        first, beyond = bisect_right(self._moments, since), bisect_right(self._moments, until)
        for number in range(first, beyond):
            yield self._moments[number], (self._positions[number],)
