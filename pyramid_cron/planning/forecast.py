"""The slots to come of one task or schedule, and the planned runs of all tasks."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple, Protocol

from ..task import Task
from .schedule_book import BookEntry, ScheduleBook
from .slots import SlotCalendar
from .snapshot import PauseRule, pause_of


class HasSlots(Protocol):
    """What has slots: a task, a schedule, or the times of a stored schedule."""

    def following(self, after: datetime, /) -> datetime | None:
        """Return the first slot after an aware moment, in UTC; None if there is none."""
        ...


def following_slots(schedule: HasSlots, after: datetime) -> Iterator[datetime]:
    """Yield the slots after a moment (aware), in UTC and in order."""
    while (slot := schedule.following(after)) is not None:
        yield slot
        after = slot


class _SlotOfTask(NamedTuple):
    slot: datetime
    task: str


class PlannedRun(_SlotOfTask):
    """A slot that a task has: ``slot`` (aware, in UTC), ``task``, its name, and ``schedule``.

    The last is the name of the stored schedule whose slot it is; None for the task's own. It takes
    no part in comparisons.
    """

    schedule: str | None = None

    @classmethod
    def of(cls, slot: datetime, task: str, schedule: str | None) -> PlannedRun:
        """Return the slot of a task, or of a stored schedule of it."""
        planned_run = cls(slot, task)
        planned_run.schedule = schedule
        return planned_run


def forecast(
    tasks: tuple[Task, ...],
    calendar: SlotCalendar,
    since: datetime,
    until: datetime,
    book: ScheduleBook | None = None,
) -> Iterator[PlannedRun]:
    """Yield the slots with ``since < slot <= until`` in the order in which ticks would run them.

    ``calendar`` is that of the tasks, ``book`` has their stored schedules; moments are aware.
    """
    own = _forecast_own(tasks, calendar, since, until)
    if book is None or not len(book):
        return own
    ranks = dict(zip((task.name for task in tasks), _rank_tasks(tasks), strict=True))
    stored = takewhile(lambda run: run.slot <= until, forecast_stored(tasks, book, since))
    return heapq.merge(own, stored, key=lambda run: (run.slot, ranks[run.task]))


def active_calendar(
    tasks: Sequence[Task], calendar: SlotCalendar, rules: Sequence[PauseRule], now: datetime
) -> SlotCalendar:
    """Return the calendar of those of the tasks that are not paused for good.

    ``calendar`` is that of all; ``rules`` are the pause rules, oldest first; ``now`` is aware.
    """
    pauses = [pause_of(task, now, rules) for task in tasks]
    if all(pause is None or pause.until for pause in pauses):
        return calendar
    active = SlotCalendar()
    for position, (task, pause) in enumerate(zip(tasks, pauses, strict=True)):
        if pause is None or pause.until:
            active.add(position, (task.schedules, task.offset))
    return active


def forecast_task(
    task: Task, entries: Iterable[BookEntry], since: datetime, until: datetime
) -> Iterator[PlannedRun]:
    """Yield the slots of one task as :func:`forecast` does; of ``entries`` those of the task."""
    own_entries = [entry for entry in entries if entry.task == task.name]
    names = [None, *(entry.name for entry in own_entries)]
    calendar = SlotCalendar()
    calendar.add(0, (task.schedules, task.offset))
    for position, entry in enumerate(own_entries, start=1):
        calendar.add(position, (entry.schedules, entry.offset))
    for slot, positions in calendar.slots_after(since):
        if slot > until:
            return
        for position in sorted(positions):
            yield PlannedRun.of(slot, task.name, names[position])


def forecast_stored(
    tasks: tuple[Task, ...], book: ScheduleBook, since: datetime
) -> Iterator[PlannedRun]:
    """Yield the slots after a moment (aware) of stored schedules whose tasks are there."""
    ranks = dict(zip((task.name for task in tasks), _rank_tasks(tasks), strict=True))
    for slot, entries in book.slots_after(since):
        known = [entry for entry in entries if entry.task in ranks]
        for entry in sorted(known, key=lambda entry: (ranks[entry.task], entry.name)):
            yield PlannedRun.of(slot, entry.task, entry.name)


def _forecast_own(
    tasks: tuple[Task, ...], calendar: SlotCalendar, since: datetime, until: datetime
) -> Iterator[PlannedRun]:
    ranks = _rank_tasks(tasks)
    for slot, positions in calendar.slots_after(since):
        if slot > until:
            return
        for position in sorted(positions, key=ranks.__getitem__):
            yield PlannedRun(slot, tasks[position].name)


def _rank_tasks(tasks: Sequence[Task]) -> list[tuple[bool, int, int]]:
    """Return for each task its place among all that are due at the same moment."""
    return [(task.idle, -task.priority, position) for position, task in enumerate(tasks)]
