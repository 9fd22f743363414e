"""Which runs are planned in a span of time; nothing is run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from ..task import Task
from .slots import SlotCalendar


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
