"""Which of a task's slots since the last tick run, and what becomes of the others."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from types import MappingProxyType

from ..run import RunReason, Trigger
from ..task import CatchUp, Task
from .snapshot import WaitingRun, make_slot_run

SLOT_ON_TIME_LIMIT = timedelta(minutes=1)
"""A slot that a tick comes for within this time was not missed."""

CONDENSE_LIMIT_SLOTS = 100
"""More slots of a task than this are condensed."""

NO_COUNTS: Mapping[datetime, int] = MappingProxyType({})
"""Every slot stands for itself only."""


@dataclass(frozen=True, slots=True)
class SkippedSlots:
    """Slots of a task that do not run; one skipped run records them all."""

    task: str
    #: The newest of them, aware, in UTC.
    newest: datetime
    count: int
    reason: RunReason
    #: What the record says besides, in a line.
    detail: str | None = None
    #: The waiting run that is skipped, if one is.
    waiting_run: WaitingRun | None = None
    #: The name of the stored schedule whose slots they are; None for the task's own.
    schedule: str | None = None


def skip_slots(
    task: Task,
    newest: datetime,
    count: int,
    reason: RunReason,
    detail: str | None = None,
    waiting_run: WaitingRun | None = None,
) -> SkippedSlots:
    """Return slots of a task's schedule, own or stored, that do not run."""
    return SkippedSlots(
        task.name, newest, count, reason, detail, waiting_run, schedule=task.schedule_name
    )


def catch_up(
    task: Task,
    slots: Sequence[datetime],
    now: datetime,
    counts: Mapping[datetime, int] = NO_COUNTS,
) -> tuple[list[WaitingRun], list[SkippedSlots]]:
    """Return the slots to run, oldest first, and those that are skipped.

    ``slots`` are the task's slots since its last tick, oldest first, and ``counts`` how many a slot
    stands for where these are several. One older than the task's ``grace`` is missed; of the others
    ``catch_up`` says how many run.
    """
    first = 0 if task.grace is None else bisect_left(slots, now - task.grace)
    if task.catch_up is CatchUp.NONE:
        first = max(first, bisect_right(slots, now - SLOT_ON_TIME_LIMIT))
    last = first if task.catch_up is CatchUp.ALL else max(first, len(slots) - 1)
    parts = ((slots[:first], RunReason.MISSED), (slots[first:last], RunReason.SUPERSEDED))
    skipped = [
        skip_slots(task, part[-1], count_slots(part, counts), reason)
        for part, reason in parts
        if part
    ]
    return [make_slot_run(task, slot, _trigger(slot, now)) for slot in slots[last:]], skipped


def _trigger(slot: datetime, now: datetime) -> Trigger:
    return Trigger.SCHEDULE if is_on_time(slot, now) else Trigger.CATCH_UP


def condense(
    task: Task, slots: Sequence[datetime], now: datetime, changes: Iterable[datetime]
) -> tuple[list[datetime], Mapping[datetime, int]]:
    """Return a few slots that stand for all of a task's, and for how many each of them stands.

    What becomes of neighbouring slots only differs at the task's ``grace``, at ``changes`` (when
    pauses begin and end), and at the newest: a slot of its own stands before and after each of
    these. The oldest slot and all that may run remain.
    """
    changes, end = list(changes), len(slots)
    if task.grace is not None:
        changes.append(now - task.grace)
    if task.catch_up is CatchUp.ALL:
        end = 0 if task.grace is None else bisect_left(slots, now - task.grace)
    cuts = {bisect_left(slots, change, hi=end) for change in changes}
    cuts |= {0, 1, bisect_right(slots, now - SLOT_ON_TIME_LIMIT, hi=end), end}
    cuts |= {cut - 1 for cut in cuts}
    spans = list(pairwise(sorted(cut for cut in cuts if 0 <= cut <= end)))
    counts = {slots[stop - 1]: stop - start for start, stop in spans if stop - start > 1}
    return [*(slots[stop - 1] for _, stop in spans), *slots[end:]], counts


def count_slots(slots: Sequence[datetime], counts: Mapping[datetime, int]) -> int:
    """Return how many slots these stand for."""
    return sum(counts.get(slot, 1) for slot in slots) if counts else len(slots)


def is_on_time(slot: datetime, now: datetime) -> bool:
    """Return whether a slot is not late at a moment."""
    return now - slot < SLOT_ON_TIME_LIMIT
