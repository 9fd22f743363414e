"""Which tasks have a slot when; the cost follows what is due, not what is registered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from ..schedule import At, Cron, Every
from ..schedule.moments import floor
from ..schedule.zone import EPOCH
from .instant import Once, Period
from .local import LocalTable
from .table import Table

SECOND = timedelta(seconds=1)

Schedule: TypeAlias = Cron | Every | At
Entry: TypeAlias = tuple[tuple[Schedule, ...], int]
"""One task: its schedules, any of which makes a slot, and how many seconds later its slots are."""

S = TypeVar("S", Cron, Every, At)


class Index:
    """The slots of many tasks together.

    Entries are known by their position. What an index answers never changes, and threads may share
    it.
    """

    __slots__ = ("_once", "_only", "_recurring", "_repeats")

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = tuple(entries)
        self._recurring: tuple[LocalTable | Period, ...] = (*_tables(entries), *_periods(entries))
        self._once = _once(entries)
        self._repeats = any(len(schedules) > 1 for schedules, _ in entries)
        alone = len(self._recurring) == 1 and not (self._once or self._repeats)
        self._only = self._recurring[0] if alone else None

    def at(self, epoch_minute: int) -> Sequence[int]:
        """Return the positions with a slot on the first instant of a minute, in no order.

        Minutes are counted from the Unix epoch, in UTC.
        """
        if self._only:
            return self._only.at(epoch_minute)
        due: list[int] = []
        for source in self._recurring:
            due += source.at(epoch_minute)
        if self._once:
            due += self._once.at(epoch_minute)
        return list(set(due)) if self._repeats else due

    def due(self, since: datetime, until: datetime) -> list[tuple[datetime, int]]:
        """Return every slot in (since, until] with the position of its entry, sorted and each once.

        Moments are aware in any zone, slots are in UTC; a naive moment is a ValueError. The cost
        grows with the minutes between the two and with the slots found there, which all come at
        once: ask for long spans in pieces.
        """
        found: dict[datetime, list[int]] = defaultdict(list)
        for slot, positions in self._slots(since, until):
            found[slot] += positions
        unique: Callable[[list[int]], Iterable[int]] = set if self._repeats else iter
        return [(slot, i) for slot in sorted(found) for i in sorted(unique(found[slot]))]

    def _slots(self, since: datetime, until: datetime) -> Iterator[tuple[datetime, Sequence[int]]]:
        # A slot on a whole second comes after ``since`` from the next whole second on.
        first, last = floor(since, "since") + 1, floor(until, "until")
        for source in self._recurring:
            for second, positions in source.slots(first, last):
                if positions:
                    yield EPOCH + second * SECOND, positions
        if self._once:
            yield from self._once.between(since, until)


def _of_kind(kind: type[S], entries: Iterable[Entry]) -> Iterator[tuple[S, int, int]]:
    """Yield the schedules of one kind, each with its entry's offset and position."""
    for position, (schedules, offset) in enumerate(entries):
        for schedule in schedules:
            if isinstance(schedule, kind):
                yield schedule, offset, position


def _tables(entries: Iterable[Entry]) -> list[LocalTable]:
    crons: dict[tuple[ZoneInfo, int], list[tuple[Cron, int]]] = defaultdict(list)
    for cron, offset, position in _of_kind(Cron, entries):
        crons[cron.zone, offset].append((cron, position))
    return [LocalTable(Table(found), *where) for where, found in crons.items()]


def _periods(entries: Iterable[Entry]) -> list[Period]:
    periods: dict[tuple[int, int], list[int]] = defaultdict(list)
    for every, offset, position in _of_kind(Every, entries):
        periods[every.seconds, offset % every.seconds].append(position)
    return [Period(*when, tuple(positions)) for when, positions in periods.items()]


def _once(entries: Iterable[Entry]) -> Once | None:
    slots = [(at.moment + offset * SECOND, i) for at, offset, i in _of_kind(At, entries)]
    return Once(slots) if slots else None
