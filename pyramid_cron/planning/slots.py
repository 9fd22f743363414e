"""The due slots of every task, and the calendar that finds them.

A slot is due in the window (last tick, now]. The calendar is a heap of the next slot of every
distinct schedule: what is due is popped, what follows is pushed.
"""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush, heapreplace
from itertools import chain
from typing import NamedTuple, TypeAlias

from ..run import RunReason
from ..schedule import At, Cron, Every, Schedule
from ..schedule.base import Limited, ask_following
from ..schedule.every_days import EveryDays
from ..schedule.zones import to_utc
from ..task import Schedules, Task
from .catch_up import SkippedSlots

SLOT_RESOLUTION = timedelta.resolution

LONG_WINDOW = timedelta(hours=1)
"""Slots of a longer window are worked out one schedule after the other, which is faster then."""

SLOT_LOOK_BACK = timedelta(days=30)
"""Older slots are not even counted, unless a task's ``grace`` is longer, or without limit."""

MAX_WALKS = 2
"""Walks that a calendar keeps: two ticks at a time may have different windows."""

Entry: TypeAlias = tuple[Sequence[Schedule], int]
"""One task: its schedules, any of which makes a slot, and how many seconds later its slots are."""


@dataclass(frozen=True, slots=True)
class TaskSet:
    """The tasks that one version of the application knows, and until when it has handled slots.

    During a deployment two versions may tick in turn. A tick of the one says nothing about tasks
    that only the other has.
    """

    id: str
    task_names: frozenset[str]
    #: Aware, in UTC.
    window_end: datetime


def compute_task_set_id(task_names: Iterable[str]) -> str:
    """Return the id that every process with the same task names computes."""
    return hashlib.sha256("\n".join(sorted(task_names)).encode()).hexdigest()[:32]


def window_start(
    now: datetime, last_end: datetime | None, known_since: datetime | None = None
) -> datetime:
    """Return the moment after which slots are due: the end of the last window with the task.

    Where there was none, the window begins with the minute of ``known_since``, when the application
    came to know the task. Where the clock was set back, it begins with the minute of ``now``.
    """
    if last_end is None or last_end > now:
        since = now if known_since is None or last_end is not None else known_since
        return since.replace(second=0, microsecond=0) - SLOT_RESOLUTION
    return last_end


def missed_one_shots(tasks: Iterable[Task], start: datetime) -> list[SkippedSlots]:
    """Return the moments of one-shot tasks up to a moment, before which nothing knew the tasks."""
    return [
        SkippedSlots(task.name, slot, 1, RunReason.MISSED)
        for task in tasks
        for schedule in task.schedules
        if isinstance(schedule, At)
        and (slot := schedule.moment + timedelta(seconds=task.offset)) <= start
    ]


def window_starts(
    task_names: Iterable[str],
    now: datetime,
    own_end: datetime | None,
    newer_task_sets: Sequence[TaskSet],
    known_since: datetime | None = None,
) -> list[datetime]:
    """Return the start of every task's window where other versions ticked after this one did."""
    own = () if own_end is None else (own_end,)

    def start(name: str) -> datetime:
        newer = [task_set.window_end for task_set in newer_task_sets if name in task_set.task_names]
        return window_start(now, max((*own, *newer), default=None), known_since)

    return [start(name) for name in task_names]


def slots_since(
    tasks: Sequence[Task],
    calendar: SlotCalendar,
    starts: Sequence[datetime] | datetime,
    now: datetime,
) -> Iterator[tuple[int, Sequence[datetime]]]:
    """Yield the position of each task that has slots in its window, with those slots in order.

    ``starts`` are the starts of the tasks' windows, or of all of them.
    """
    first = starts if isinstance(starts, datetime) else min(starts, default=now)
    if now - first > LONG_WINDOW:
        yield from _slots_by_schedule(tasks, starts, now)
        return
    slots_by_position: dict[int, list[datetime]] = {}
    for slot, position in calendar.due(first, now):
        if isinstance(starts, datetime) or slot > starts[position]:
            slots_by_position.setdefault(position, []).append(slot)
    yield from slots_by_position.items()


ScheduleWindow = tuple[Schedules, int, datetime]


def _slots_by_schedule(
    tasks: Sequence[Task], starts: Sequence[datetime] | datetime, now: datetime
) -> Iterator[tuple[int, Sequence[datetime]]]:
    """Go through the distinct schedules one by one: only one's slots are in memory at a time."""
    for (_, _, start), positions in _group_by_schedule(tasks, starts, now).items():
        if slots := tasks[positions[0]].between(start, now):
            for position in positions:
                yield position, slots


def _group_by_schedule(
    tasks: Sequence[Task], starts: Sequence[datetime] | datetime, now: datetime
) -> Mapping[ScheduleWindow, list[int]]:
    positions: dict[ScheduleWindow, list[int]] = {}
    for position, task in enumerate(tasks):
        start = starts if isinstance(starts, datetime) else starts[position]
        if task.grace is not None:
            start = max(start, now - max(SLOT_LOOK_BACK, task.grace))
        positions.setdefault((task.schedules, task.offset, start), []).append(position)
    return positions


def is_on_minutes(schedule: Schedule, offset: int) -> bool:
    """Return whether all slots of a schedule, so many seconds later, are on whole minutes.

    Of a schedule of one's own nothing is known.
    """
    if offset % 60:
        return False
    if isinstance(schedule, Limited):
        return is_on_minutes(schedule.schedule, offset)
    kind = type(schedule)  # a subclass may have other slots
    if isinstance(schedule, At) and kind is At:
        return schedule.moment.second == 0 == schedule.moment.microsecond
    if isinstance(schedule, Every) and kind is Every:
        return schedule.seconds % 60 == 0
    return kind in (Cron, EveryDays)


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
        since, until = to_utc(since, "since"), to_utc(until, "until")
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
        after = to_utc(after, "after")
        with self._lock:
            walk = self._take_walk(after)
            slot = walk.peek(after)
            self._put_back(walk)
        return slot

    def slots_after(self, since: datetime) -> Iterator[tuple[datetime, Sequence[int]]]:
        """Yield the slots after an aware moment, in order, each with the positions of its entries.

        They may have no end. It is a walk of its own, and costs :meth:`due` nothing.
        """
        return _Walk(self._schedules, to_utc(since, "since")).go()

    def _take_walk(self, since: datetime) -> _Walk:
        """Take the walk that has come nearest to a moment, or begin one there.

        One that an error interrupts has lost its place, and is not put back.
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
        self._walks = [walk, *self._walks][:MAX_WALKS]


class _SharedSchedule(NamedTuple):
    """A schedule, how many seconds later the slots are, and the positions of its entries."""

    schedule: Schedule
    offset: int
    positions: Sequence[int]

    def following(self, after: datetime) -> datetime | None:
        """Return the first slot after a moment; None if there is none."""
        shift = timedelta(seconds=self.offset)
        slot = ask_following(self.schedule, after - shift)
        return None if slot is None else slot + shift


def _shared_schedules(entries: Iterable[Entry]) -> tuple[_SharedSchedule, ...]:
    positions: dict[tuple[Schedule, int], array[int]] = {}
    for position, (schedules, offset) in enumerate(entries):
        for schedule in dict.fromkeys(schedules):
            positions.setdefault((schedule, offset), array("I")).append(position)
    return tuple(_SharedSchedule(*key, at) for key, at in positions.items())


class _Walk:
    """A heap of the next slot of each schedule, all of them after the moment that is reached.

    One that has none and may have some later, as it failed or gave up a search, is asked again when
    the walk goes on.
    """

    __slots__ = ("_heap", "_schedules", "_silent", "reached")

    def __init__(self, schedules: Sequence[_SharedSchedule], since: datetime) -> None:
        self._schedules = schedules
        self.reached = since
        self._heap: list[tuple[datetime, int]] = []
        self._silent = list(range(len(schedules)))
        self._ask_silent(since)

    def _ask_silent(self, after: datetime) -> None:
        numbers, self._silent = self._silent, []
        for number in numbers:
            schedule = self._schedules[number]
            slot = schedule.following(after)
            if slot is not None:
                heappush(self._heap, (slot, number))
            elif not schedule.schedule.none_is_final:
                self._silent.append(number)

    def skip(self, until: datetime) -> None:
        """Leave out the slots up to a moment."""
        while self._heap and self._heap[0][0] <= until:
            self._advance(until)
        if self._silent:
            self._ask_silent(until)
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
            if not schedule.schedule.none_is_final:
                self._silent.append(number)
        else:
            heapreplace(self._heap, (slot, number))
        return schedule
