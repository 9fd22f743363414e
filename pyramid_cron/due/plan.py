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
    while since < until:
        end = min(since + STEP, until)
        found = [(slot, *_rank(tasks[at]), at) for slot, at in index.due(since, end)]
        for slot, _, _, at in sorted(found):
            yield Planned(slot, tasks[at].name)
        since = end


def _rank(task: Task) -> tuple[bool, int]:
    return task.idle, -task.priority
