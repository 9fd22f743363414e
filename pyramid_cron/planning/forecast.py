"""What would run over a span of time, without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from ..task import Task
from .slots import SlotCalendar


class PlannedRun(NamedTuple):
    """A slot (aware, UTC) and the name of the task that would run."""

    slot: datetime
    task: str


def forecast(
    tasks: tuple[Task, ...], calendar: SlotCalendar, since: datetime, until: datetime
) -> Iterator[PlannedRun]:
    """Yield the slots with ``since < slot <= until`` in the order in which ticks would run them.

    ``calendar`` is that of the tasks.
    """
    places = _rank_tasks(tasks)
    for slot, positions in calendar.slots_after(since):
        if slot > until:
            return
        for position in sorted(positions, key=places.__getitem__):
            yield PlannedRun(slot, tasks[position].name)


def _rank_tasks(tasks: tuple[Task, ...]) -> list[int]:
    """Return for each task its place among all when they run at the same time."""
    ranked = sorted(range(len(tasks)), key=lambda at: (tasks[at].idle, -tasks[at].priority))
    places = [0] * len(tasks)
    for place, at in enumerate(ranked):
        places[at] = place
    return places
