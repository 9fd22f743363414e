"""The slots to come of one task or schedule, and the planned runs of all tasks."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from ..schedule import Schedule
from ..task import Task
from .schedule_book import ScheduleBook
from .slots import SlotCalendar


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


def next_runs(tasks: Sequence[Task], since: datetime, limit: int) -> list[PlannedRun]:
    """Return the next slots after a moment (aware), in the order in which ticks would run them."""
    walks = [
        _ranked_slots(task, rank, since)
        for task, rank in zip(tasks, _rank_tasks(tasks), strict=True)
    ]
    return [PlannedRun(slot, name) for slot, _, name in islice(heapq.merge(*walks), limit)]


def _ranked_slots(
    task: Task, rank: tuple[bool, int, int], since: datetime
) -> Iterator[tuple[datetime, tuple[bool, int, int], str]]:
    return ((slot, rank, task.name) for slot in following_slots(task, since))


def _rank_tasks(tasks: Sequence[Task]) -> list[tuple[bool, int, int]]:
    """Return for each task its place among all that are due at the same moment."""
    return [(task.idle, -task.priority, position) for position, task in enumerate(tasks)]
