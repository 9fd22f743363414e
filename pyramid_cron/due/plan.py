"""What would run over a span of time, without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from ..task import Task
from .index import Index

STEP = timedelta(hours=6)


class Planned(NamedTuple):
    """A slot (aware, UTC) and the name of the task that would run."""

    slot: datetime
    task: str


def plan(
    tasks: tuple[Task, ...], index: Index, since: datetime, until: datetime
) -> Iterator[Planned]:
    """Yield the slots with ``since < slot <= until`` in the order in which ticks would run them."""
    places = _places(tasks)
    in_order = places == sorted(places)
    while since < until:
        end = min(since + STEP, until)
        found = index.due(since, end)
        if not in_order:
            found.sort(key=lambda due: (due[0], places[due[1]]))
        for slot, at in found:
            yield Planned(slot, tasks[at].name)
        since = end


def _places(tasks: tuple[Task, ...]) -> list[int]:
    """Return for each task its place among all when they run at the same time."""
    ranked = sorted(range(len(tasks)), key=lambda at: (tasks[at].idle, -tasks[at].priority))
    places = [0] * len(tasks)
    for place, at in enumerate(ranked):
        places[at] = place
    return places
