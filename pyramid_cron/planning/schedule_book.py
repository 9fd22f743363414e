"""The stored schedules that a process knows, and which of them are due."""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from ..task import Schedules, Task, slots_between
from .slots import LONG_WINDOW, SlotCalendar, is_on_minutes


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A recurring schedule of a task that was made while the application runs."""

    name: str
    #: The name of its task.
    task: str
    #: When it is: the arguments of ``add_cron_task`` for that, as JSON values.
    arguments: Mapping[str, Any] = field(hash=False)
    #: Slots that are later count (aware, UTC).
    changed: datetime
    #: A JSON value.
    payload: Any = field(default=None, hash=False)
    is_enabled: bool = True
    #: How many changes of stored schedules there were up to its last one.
    version: int = 0


class BookEntry(NamedTuple):
    """A stored schedule as far as ticks need it; there may be very many."""

    name: str
    task: str
    schedules: Schedules
    #: Seconds by which its slots are later than its schedules' (its share of the jitter).
    offset: int
    timezone: str
    #: Slots that are later count (aware, UTC).
    changed: datetime
    version: int

    def as_task(self, task: Task, payload: Any = None) -> Task:
        """Return the task as it is for this schedule."""
        return replace(
            task,
            schedules=self.schedules,
            offset=self.offset,
            timezone=self.timezone,
            schedule_name=self.name,
            payload=payload,
        )


class TaskWindow(NamedTuple):
    """The slots of a task that a tick looks at. Moments are aware, in UTC."""

    #: Slots after this one.
    start: datetime
    #: Older slots are not even counted.
    oldest: datetime


class DueEntry(NamedTuple):
    """A stored schedule that has due slots."""

    entry: BookEntry
    slots: Sequence[datetime]
    #: Whether it has changed since the last tick, so that the slots of its window are its own.
    is_news: bool


class ScheduleBook:
    """The stored schedules that are enabled, by name, and their calendar.

    A change costs what it changes. Threads may share a book.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all, to begin anew."""
        #: The version up to which it knows all changes.
        self.version = 0
        self.calendar = SlotCalendar()
        #: The slots that are not on a whole minute.
        self.between_calendar = SlotCalendar()
        self._entries: list[BookEntry | None] = []
        self._free: list[int] = []
        self._positions: dict[str, int] = {}
        #: The positions of what no tick of this process has looked at yet.
        self._news = array("I")
        self.renew_lock()

    def renew_lock(self) -> None:
        """Hold no lock, also in a forked process whose parent's threads did."""
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._positions)

    def get(self, name: str) -> BookEntry | None:
        """Return the stored schedule of this name; None if it is none that is enabled."""
        with self._lock:
            position = self._positions.get(name)
            return None if position is None else self._entries[position]

    def names(self) -> list[str]:
        """Return the names of all, in order."""
        with self._lock:
            return sorted(self._positions)

    def task_of(self, name: str) -> str:
        """Return the task of the stored schedule of this name; the name if it is none's."""
        entry = self.get(name)
        return name if entry is None else entry.task

    def entries(self) -> list[BookEntry]:
        """Return all, by their names."""
        with self._lock:
            known = [entry for entry in self._entries if entry is not None]
        return sorted(known)

    def put(self, entry: BookEntry) -> None:
        """Take in a stored schedule, in place of the one of its name; changes come in order."""
        with self._lock:
            if entry.version <= self.version:  # another thread was faster
                return
            self.drop(entry.name, entry.version)
            position = self._free.pop() if self._free else len(self._entries)
            if position == len(self._entries):
                self._entries.append(None)
            self._entries[position] = entry._replace(task=sys.intern(entry.task))
            self._positions[entry.name] = position
            self.calendar.add(position, (entry.schedules, entry.offset))
            if between := _between_minutes(entry):
                self.between_calendar.add(position, (between, entry.offset))
            self._news.append(position)

    def note_version(self, version: int) -> None:
        """Take note that all changes up to a version are known."""
        with self._lock:
            self.version = max(self.version, version)

    def drop(self, name: str, version: int) -> None:
        """Leave out the stored schedule of this name, if it is there."""
        with self._lock:
            if version <= self.version:
                return
            self.version = version
            position = self._positions.pop(name, None)
            if position is None:
                return
            entry = self._entries[position]
            assert entry is not None
            self._entries[position] = None
            self._free.append(position)
            self.calendar.drop(position, (entry.schedules, entry.offset))
            if between := _between_minutes(entry):
                self.between_calendar.drop(position, (between, entry.offset))

    def due(
        self,
        window_of: Callable[[str], TaskWindow | None],
        first: datetime,
        now: datetime,
        handled_version: int,
    ) -> list[DueEntry]:
        """Return the schedules that have slots in their windows.

        The window of a schedule begins with that of its task, which ``window_of`` returns for the
        task's name (None for a task that is away), or with its last change if that is later.
        ``first`` is the first of all beginnings. What has changed after ``handled_version`` no
        tick has looked at: its window begins with its change in any case.
        """
        with self._lock:
            news = self._select_news(handled_version)
            news_names = {entry.name for entry in news}
            due = [
                DueEntry(entry, slots, is_news=False)
                for entry, slots in self._slots_since(window_of, first, now)
                if entry.name not in news_names
            ]
        for entry in news:
            window = window_of(entry.task)
            if window is not None:
                start = max(entry.changed, window.oldest)
                if slots := slots_between(entry.schedules, entry.offset, start, now):
                    due.append(DueEntry(entry, slots, is_news=True))
        return due

    def slots_after(self, since: datetime) -> Iterator[tuple[datetime, list[BookEntry]]]:
        """Yield the slots after an aware moment, in order, each with the schedules that have it."""
        entries = tuple(self._entries)
        for slot, positions in self.calendar.slots_after(since):
            known = [entries[position] for position in positions if position < len(entries)]
            yield slot, [entry for entry in known if entry is not None]

    def _select_news(self, handled_version: int) -> list[BookEntry]:
        entries = {
            position: entry
            for position in self._news
            if (entry := self._entries[position]) is not None and entry.version > handled_version
        }
        self._news = array("I", entries)
        return list(entries.values())

    def _slots_since(
        self, window_of: Callable[[str], TaskWindow | None], first: datetime, now: datetime
    ) -> Iterator[tuple[BookEntry, Sequence[datetime]]]:
        if now - first > LONG_WINDOW:
            yield from self._slots_by_schedule(window_of, now)
            return
        slots_by_position: dict[int, list[datetime]] = {}
        for slot, position in self.calendar.due(first, now):
            slots_by_position.setdefault(position, []).append(slot)
        for position, slots in slots_by_position.items():
            entry = self._entries[position]
            assert entry is not None
            window = window_of(entry.task)
            if window is not None:
                start = max(window.start, entry.changed)
                if in_window := [slot for slot in slots if slot > start]:
                    yield entry, in_window

    def _slots_by_schedule(
        self, window_of: Callable[[str], TaskWindow | None], now: datetime
    ) -> Iterator[tuple[BookEntry, Sequence[datetime]]]:
        """Go through the distinct schedules: only one's slots are in memory at a time."""
        groups: dict[tuple[Schedules, int, datetime], list[BookEntry]] = {}
        for entry in self._entries:
            window = None if entry is None else window_of(entry.task)
            if entry is not None and window is not None:
                start = max(window.start, window.oldest, entry.changed)
                groups.setdefault((entry.schedules, entry.offset, start), []).append(entry)
        for (schedules, offset, start), entries in groups.items():
            if slots := slots_between(schedules, offset, start, now):
                yield from ((entry, slots) for entry in entries)


def _between_minutes(entry: BookEntry) -> Schedules:
    """Return the schedules that have slots between two minutes."""
    return tuple(
        schedule for schedule in entry.schedules if not is_on_minutes(schedule, entry.offset)
    )
