"""The slots to come of one task or schedule, and the planned runs of all tasks."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from ..schedule import Schedule
from ..task import Task
from .schedule_book import BookEntry, ScheduleBook
from .slots import SlotCalendar
from .snapshot import PauseRule, pause_of


def following_slots(schedule: Task | Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the slots of a task or a schedule after a moment (aware), in UTC and in order."""
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
    stored = _forecast_stored(book, ranks, since, until)
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
            planned_run = PlannedRun(slot, task.name)
            planned_run.schedule = names[position]
            yield planned_run


def _forecast_stored(
    book: ScheduleBook,
    ranks: Mapping[str, tuple[bool, int, int]],
    since: datetime,
    until: datetime,
) -> Iterator[PlannedRun]:
    """Yield the slots of stored schedules whose tasks are there."""
    for slot, entries in book.slots_after(since):
        if slot > until:
            return
        known = [entry for entry in entries if entry.task in ranks]
        for entry in sorted(known, key=lambda entry: (ranks[entry.task], entry.name)):
            planned_run = PlannedRun(slot, entry.task)
            planned_run.schedule = entry.name
            yield planned_run


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
