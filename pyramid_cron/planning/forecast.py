"""The slots to come of one task or schedule, and the planned runs of all tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from ..schedule import Schedule
from ..task import Task
from .slots import SlotCalendar


def following_slots(schedule: Task | Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the slots of a task or a schedule after a moment (aware), in UTC and in order."""
    while (slot := schedule.following(after)) is not None:
        yield slot
        after = slot


class PlannedRun(NamedTuple):
    """A slot that a task has in the schedule."""

    #: Aware, in UTC.
    slot: datetime
    #: The task's name.
    task: str


def forecast(
    tasks: tuple[Task, ...], calendar: SlotCalendar, since: datetime, until: datetime
) -> Iterator[PlannedRun]:
    """Yield the slots with ``since < slot <= until`` in the order in which ticks would run them.

    ``calendar`` is that of the tasks; moments are aware.
    """
    ranks = _rank_tasks(tasks)
    for slot, positions in calendar.slots_after(since):
        if slot > until:
            return
        for position in sorted(positions, key=ranks.__getitem__):
            yield PlannedRun(slot, tasks[position].name)


def _rank_tasks(tasks: tuple[Task, ...]) -> list[tuple[bool, int, int]]:
    """Return for each task its place among all that are due at the same moment."""
    return [(task.idle, -task.priority, position) for position, task in enumerate(tasks)]
