"""A table of local times laid over instants, right through changes of the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import TypeAlias
from zoneinfo import ZoneInfo

from ..schedule.zone import DAY, Stretch, stretch
from .table import Day, Table

FIRST_DATE = date(1970, 1, 1).toordinal()

View: TypeAlias = tuple[int, int, int, Callable[[int], Sequence[int]]]
"""Begin and end, where the local day began, and what finds positions by minutes since then."""


class LocalTable:
    """A table read in a zone, with slots ``offset`` seconds after what its schedules name.

    Instants are seconds, or for speed whole minutes, since the Unix epoch. What was worked out
    about the part of a day last asked for is kept and replaced as a whole, so threads that race
    only repeat work.
    """

    __slots__ = ("_by_minute", "_by_second", "_offset", "_table", "_zone")

    def __init__(self, table: Table, zone: ZoneInfo, offset: int) -> None:
        self._table = table
        self._zone = zone
        self._offset = offset
        self._by_second: View = (0, 0, 0, _nothing)
        self._by_minute: View = (0, 0, 0, _nothing)

    def at(self, minute: int) -> Sequence[int]:
        """Return the positions with a slot on the first instant of a minute."""
        start, end, midnight, find = self._by_minute
        if not start <= minute < end:
            start, end, midnight, find = self._by_minute = _in_minutes(self._around(minute * 60))
        return find(minute - midnight)

    def slots(self, first: int, last: int) -> Iterator[tuple[int, Sequence[int]]]:
        """Yield the seconds from ``first`` to ``last`` that may be slots, with their positions."""
        while first <= last:
            start, end, midnight, find = self._by_second
            if not start <= first < end:
                start, end, midnight, find = self._by_second = self._around(first)
            for second in range(first + (midnight - first) % 60, min(end, last + 1), 60):
                yield second, find((second - midnight) // 60)
            first = end

    def _around(self, second: int) -> View:
        """Return what holds around a second: one date at one distance from UTC."""
        part = stretch(self._zone, second - self._offset)
        start, end = part.start + self._offset, part.end + self._offset
        if part.gap and second == start:
            made_up = self._after_gap(part)
            return start, start + 1, start, lambda _: made_up
        number = (second - self._offset + part.offset) // DAY
        midnight = number * DAY - part.offset + self._offset
        day = self._day(number)
        # The first second after a gap is a view of its own.
        start = max(start + 1 if part.gap else start, midnight)
        return start, min(end, midnight + DAY), midnight, day.again if part.second_pass else day.at

    def _after_gap(self, part: Stretch) -> tuple[int, ...]:
        """Return the positions due directly after a gap: what is due anyway, and the make-ups."""
        local = part.start + part.offset
        number, second = divmod(local, DAY)
        due = set() if second % 60 else set(self._day(number).at(second // 60))
        # Whole minutes in the gap: the first at or after its beginning, the last before its end.
        first, beyond = -((part.gap - local) // 60), -(-local // 60)
        for number in range(first // 1440, (beyond - 1) // 1440 + 1):
            begin = number * 1440
            times = range(max(first - begin, 0), min(beyond - begin, 1440))
            due.update(self._day(number).made_up(times))
        return tuple(due)

    def _day(self, number: int) -> Day:
        return Day(self._table, date.fromordinal(FIRST_DATE + number))


def _in_minutes(view: View) -> View:
    """Return the same by whole minutes; nothing where its slots are at other seconds."""
    start, end, midnight, find = view
    return -(-start // 60), -(-end // 60), midnight // 60, _nothing if midnight % 60 else find


def _nothing(_: int) -> Sequence[int]:
    return ()
