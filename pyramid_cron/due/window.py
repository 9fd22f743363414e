"""Each task's slots since a tick last looked: the window (last tick, now]."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..task import Schedules, Task
from .slots import SlotCalendar

INSTANT = timedelta.resolution

LONG = timedelta(hours=1)
"""In a longer window it takes less time to go through one schedule after the other."""

LOOK_BACK = timedelta(days=30)
"""Older slots are not even counted, unless a task's ``grace`` is longer, or without limit."""


@dataclass(frozen=True, slots=True)
class Roster:
    """The tasks that one version of the app knows, and when it last ticked (aware, UTC).

    During a deployment two versions may tick in turn. A tick of the one says nothing about tasks
    that only the other has.
    """

    id: str
    names: frozenset[str]
    last_tick: datetime


def roster_id(names: Iterable[str]) -> str:
    """Return the id that every process with the same task names computes."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]


def window_start(now: datetime, last_tick: datetime | None) -> datetime:
    """Return the moment after which slots are looked for: the last tick.

    For a task that no tick has known yet, and after the clock was set back, it is the beginning of
    the minute, itself included.
    """
    if last_tick is None or last_tick > now:
        return now.replace(second=0, microsecond=0) - INSTANT
    return last_tick


def window_starts(
    names: Iterable[str], now: datetime, mine: datetime | None, newer: Sequence[Roster]
) -> list[datetime]:
    """Return the start of each task's window where other versions ticked after this one did."""
    own = () if mine is None else (mine,)

    def start(name: str) -> datetime:
        others = [each.last_tick for each in newer if name in each.names]
        return window_start(now, max((*own, *others), default=None))

    return [start(name) for name in names]


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
    if now - first > LONG:
        yield from _long(tasks, starts, now)
        return
    found: dict[int, list[datetime]] = {}
    for slot, position in calendar.due(first, now):
        if isinstance(starts, datetime) or slot > starts[position]:
            found.setdefault(position, []).append(slot)
    yield from found.items()


Kind = tuple[Schedules, int, datetime]


def _long(
    tasks: Sequence[Task], starts: Sequence[datetime] | datetime, now: datetime
) -> Iterator[tuple[int, Sequence[datetime]]]:
    """Go through the distinct schedules one by one, so that only one's slots are held at once."""
    for (_, _, start), positions in _alike(tasks, starts, now).items():
        if slots := tasks[positions[0]].between(start, now):
            for position in positions:
                yield position, slots


def _alike(
    tasks: Sequence[Task], starts: Sequence[datetime] | datetime, now: datetime
) -> Mapping[Kind, list[int]]:
    found: dict[Kind, list[int]] = {}
    for position, task in enumerate(tasks):
        start = starts if isinstance(starts, datetime) else starts[position]
        if task.grace is not None:
            start = max(start, now - max(LOOK_BACK, task.grace))
        found.setdefault((task.schedules, task.offset, start), []).append(position)
    return found
