"""The due slots of every task, and the calendar that finds them.

A slot is due in the window (last tick, now]. The calendar is a heap of the next slot of every
distinct schedule: what is due is popped, what follows is pushed.
"""

from __future__ import annotations

import hashlib
import threading
from array import array
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush, heapreplace
from itertools import chain
from typing import NamedTuple, TypeAlias

from ..run import RunReason
from ..schedule import At, Cron, Every, Schedule
from ..schedule.base import Limited, ask_following
from ..schedule.every import EveryDays
from ..schedule.zones import to_utc
from ..task import Schedules, Task
from .catch_up import SkippedSlots, skip_slots

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
        skip_slots(task, slot, 1, RunReason.MISSED)
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
    costs at most one question for each distinct schedule. An entry that comes or goes costs what it
    has itself. Threads may share a calendar.
    """

    __slots__ = ("_lock", "_shared", "_walks")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._shared: dict[tuple[Schedule, int], _SharedSchedule] = {}
        self._walks: list[_Walk] = []
        self._lock = threading.Lock()
        for position, entry in enumerate(entries):
            self.add(position, entry)

    def add(self, position: int, entry: Entry) -> None:
        """Take an entry in at a position that no other has."""
        schedules, offset = entry
        with self._lock:
            for schedule in dict.fromkeys(schedules):
                shared = self._shared.get((schedule, offset))
                if shared is None:
                    shared = _SharedSchedule(schedule, offset, array("I"))
                    self._shared[schedule, offset] = shared
                    for walk in self._walks:
                        walk.add(shared)
                insort(shared.positions, position)

    def drop(self, position: int, entry: Entry) -> None:
        """Leave out the entry at a position, as it was taken in."""
        schedules, offset = entry
        with self._lock:
            for schedule in dict.fromkeys(schedules):
                shared = self._shared[schedule, offset]
                shared.positions.remove(position)
                if not shared.positions:
                    del self._shared[schedule, offset]
                    for walk in self._walks:
                        walk.note_drop()

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

        To ask for one moment after the other costs what is passed by.
        """
        after = to_utc(after, "after")
        with self._lock:
            walk = self._take_walk(after)
            walk.skip(after)
            slot = walk.first()
            self._put_back(walk)
        return slot

    def slots_after(self, since: datetime) -> Iterator[tuple[datetime, Sequence[int]]]:
        """Yield the slots after an aware moment, in order, each with the positions of its entries.

        They may have no end. It is a walk of its own, and costs :meth:`due` nothing.
        """
        with self._lock:
            shared = tuple(self._shared.values())
        return _Walk(shared, to_utc(since, "since")).go()

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
            return _Walk(self._shared.values(), since)
        self._walks.remove(nearest)
        return nearest

    def _put_back(self, walk: _Walk) -> None:
        self._walks = [walk, *self._walks][:MAX_WALKS]


class _SharedSchedule(NamedTuple):
    """A schedule, how many seconds later the slots are, and the positions of its entries, sorted.

    Without positions it is one that no entry has any more.
    """

    schedule: Schedule
    offset: int
    positions: array[int]

    def following(self, after: datetime) -> datetime | None:
        """Return the first slot after a moment; None if there is none."""
        shift = timedelta(seconds=self.offset)
        slot = ask_following(self.schedule, after - shift)
        return None if slot is None else slot + shift


MIN_DROPS = 100
"""So many dropped schedules may stay in a walk, and more only while they are fewer than others."""


class _Walk:
    """A heap of the next slot of each schedule, all of them after the moment that is reached.

    One that has none and may have some later, as it failed or gave up a search, is asked again when
    the walk goes on. One that was dropped goes when its slot comes, if not before.
    """

    __slots__ = ("_drops", "_heap", "_silent", "_taken", "reached")

    def __init__(self, schedules: Iterable[_SharedSchedule], since: datetime) -> None:
        self.reached = since
        self._heap: list[tuple[datetime, int, _SharedSchedule]] = []
        self._silent: list[_SharedSchedule] = []
        self._taken = self._drops = 0
        for shared in schedules:
            self.add(shared)

    def add(self, shared: _SharedSchedule) -> None:
        """Take in a schedule, from the moment that is reached."""
        slot = shared.following(self.reached)
        if slot is not None:
            self._push(slot, shared)
        elif not shared.schedule.none_is_final:
            self._silent.append(shared)

    def note_drop(self) -> None:
        """Take note that a schedule has no entries any more; leave out such ones once many."""
        self._drops += 1
        if self._drops > MIN_DROPS and self._drops > len(self._heap) // 2:
            self._drops = 0
            self._heap = [item for item in self._heap if item[2].positions]
            heapify(self._heap)
            self._silent = [shared for shared in self._silent if shared.positions]

    def _push(self, slot: datetime, shared: _SharedSchedule) -> None:
        self._taken += 1  # schedules have no order
        heappush(self._heap, (slot, self._taken, shared))

    def _ask_silent(self, after: datetime) -> None:
        silent, self._silent = self._silent, []
        for shared in silent:
            slot = shared.following(after) if shared.positions else None
            if slot is not None:
                self._push(slot, shared)
            elif shared.positions and not shared.schedule.none_is_final:
                self._silent.append(shared)

    def skip(self, until: datetime) -> None:
        """Leave out the slots up to a moment."""
        while self._heap and self._heap[0][0] <= until:
            self._advance(until)
        if self._silent:
            self._ask_silent(until)
        self.reached = until

    def go(self, until: datetime | None = None) -> Iterator[tuple[datetime, Sequence[int]]]:
        """Yield the slots up to a moment, in order, with their positions in order."""
        while self._heap and (until is None or self._heap[0][0] <= until):
            slot = self._heap[0][0]
            due: list[Sequence[int]] = []
            while self._heap and self._heap[0][0] == slot:
                if positions := self._advance(slot).positions:
                    due.append(positions)
            if due:
                yield slot, due[0] if len(due) == 1 else sorted(set(chain.from_iterable(due)))
        if until is not None:
            self.reached = until

    def first(self) -> datetime | None:
        """Return the first slot after the moment that is reached; None if there is none."""
        while self._heap and not self._heap[0][2].positions:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _advance(self, after: datetime) -> _SharedSchedule:
        """Put the slot that follows a moment in place of the first one; return its schedule."""
        _, number, shared = self._heap[0]
        slot = shared.following(after) if shared.positions else None
        if slot is not None:
            heapreplace(self._heap, (slot, number, shared))
            return shared
        heappop(self._heap)
        if shared.positions and not shared.schedule.none_is_final:
            self._silent.append(shared)
        return shared
