"""Which tasks have a slot when, by a heap of each distinct schedule's next slot."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from heapq import heapify, heappop, heapreplace
from itertools import chain
from typing import NamedTuple, TypeAlias

from ..schedule import Schedule
from ..schedule.moments import in_utc

Entry: TypeAlias = tuple[Sequence[Schedule], int]
"""One task: its schedules, any of which makes a slot, and how many seconds later its slots are."""

WALKS = 2
"""From so many moments a calendar can go on: two ticks at a time may have different windows."""


class SlotCalendar:
    """The slots of many tasks together.

    Entries are known by their position, and equal schedules are asked once. Only ``following`` is
    asked of a schedule. To go on where the last window ended costs what is due; any other window
    costs at most one question for each distinct schedule. Threads may share a calendar.
    """

    __slots__ = ("_lock", "_schedules", "_walks")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._schedules = _shared_schedules(entries)
        self._walks: list[_Walk] = []
        self._lock = threading.Lock()

    def due(self, since: datetime, until: datetime) -> list[tuple[datetime, int]]:
        """Return every slot in (since, until] with the position of its entry, sorted and each once.

        Moments are aware in any zone, slots are in UTC; a naive moment is a ValueError. All slots
        come at once: for a long span use :meth:`slots_after`.
        """
        since, until = in_utc(since, "since"), in_utc(until, "until")
        if until <= since:
            return []
        with self._lock:
            walk = self._take_walk(since)
            walk.skip(since)
            slots = [(slot, at) for slot, positions in walk.go(until) for at in positions]
            self._put_back(walk)
        return slots

    def next_slot(self, after: datetime) -> datetime | None:
        """Return the first slot of all after an aware moment, in UTC; None if there is none.

        At the end of the last window it is known already.
        """
        after = in_utc(after, "after")
        with self._lock:
            walk = self._take_walk(after)
            slot = walk.peek(after)
            self._put_back(walk)
        return slot

    def slots_after(self, since: datetime) -> Iterator[tuple[datetime, Sequence[int]]]:
        """Yield the slots after an aware moment, in order, each with the positions of its entries.

        They may have no end. It is a walk of its own, and costs :meth:`due` nothing.
        """
        return _Walk(self._schedules, in_utc(since, "since")).go()

    def _take_walk(self, since: datetime) -> _Walk:
        """Take the walk that has come nearest to a moment, or begin one there.

        One that a schedule interrupts by an error has lost its place, and is not put back.
        """
        nearest = max(
            (walk for walk in self._walks if walk.reached <= since),
            key=lambda walk: walk.reached,
            default=None,
        )
        if nearest is None:
            return _Walk(self._schedules, since)
        self._walks.remove(nearest)
        return nearest

    def _put_back(self, walk: _Walk) -> None:
        self._walks = [walk, *self._walks][:WALKS]


class _SharedSchedule(NamedTuple):
    """A schedule, how many seconds later the slots are, and the positions of its entries."""

    schedule: Schedule
    offset: int
    positions: Sequence[int]

    def following(self, after: datetime) -> datetime | None:
        """Return the first slot after a moment; ValueError if the schedule's is not after it."""
        shift = timedelta(seconds=self.offset)
        slot = self.schedule.following(after - shift)
        if slot is None:
            return None
        slot += shift
        if slot <= after:  # else it would be due for ever
            raise ValueError(f"{self.schedule!r}: its slot {slot} does not follow {after}")
        return slot


def _shared_schedules(entries: Iterable[Entry]) -> tuple[_SharedSchedule, ...]:
    positions: dict[tuple[Schedule, int], array[int]] = {}
    for position, (schedules, offset) in enumerate(entries):
        for schedule in dict.fromkeys(schedules):
            positions.setdefault((schedule, offset), array("I")).append(position)
    return tuple(_SharedSchedule(*key, at) for key, at in positions.items())


class _Walk:
    """A heap of the next slot of each schedule, all of them after the moment that is reached."""

    __slots__ = ("_heap", "_schedules", "reached")

    def __init__(self, schedules: Sequence[_SharedSchedule], since: datetime) -> None:
        self._schedules = schedules
        self.reached = since
        self._heap = [
            (slot, number)
            for number, schedule in enumerate(schedules)
            if (slot := schedule.following(since)) is not None
        ]
        heapify(self._heap)

    def skip(self, until: datetime) -> None:
        """Leave out the slots up to a moment."""
        while self._heap and self._heap[0][0] <= until:
            self._advance(until)
        self.reached = until

    def go(self, until: datetime | None = None) -> Iterator[tuple[datetime, Sequence[int]]]:
        """Yield the slots up to a moment, in order, with their positions in order."""
        heap = self._heap
        while heap and (until is None or heap[0][0] <= until):
            slot = heap[0][0]
            due: list[Sequence[int]] = []
            while heap and heap[0][0] == slot:
                due.append(self._advance(slot).positions)
            yield slot, due[0] if len(due) == 1 else sorted(set(chain.from_iterable(due)))
        if until is not None:
            self.reached = until

    def peek(self, after: datetime) -> datetime | None:
        """Return the first slot after a moment, which is not before the one reached."""
        if self._heap and self._heap[0][0] > after:
            return self._heap[0][0]
        slots = [
            slot if slot > after else self._schedules[number].following(after)
            for slot, number in self._heap
        ]
        return min((slot for slot in slots if slot is not None), default=None)

    def _advance(self, after: datetime) -> _SharedSchedule:
        """Put the slot that follows a moment in place of the first one; return its schedule."""
        _, number = self._heap[0]
        schedule = self._schedules[number]
        slot = schedule.following(after)
        if slot is None:
            heappop(self._heap)
        else:
            heapreplace(self._heap, (slot, number))
        return schedule
