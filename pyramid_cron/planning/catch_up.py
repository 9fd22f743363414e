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

SLOT_ON_TIME_LIMIT = timedelta(minutes=1)
"""A slot that a tick comes for within this time was not missed."""

MANY = 100
"""More slots of a task than this are condensed."""

NO_COUNTS: Mapping[datetime, int] = MappingProxyType({})
"""Each slot stands for itself only."""


@dataclass(frozen=True, slots=True)
class DueSlot:
    """A slot (aware, UTC) that is to run, and why."""

    moment: datetime
    trigger: Trigger


@dataclass(frozen=True, slots=True)
class SkippedSlots:
    """Slots that do not run: how many, the newest of them (aware, UTC), and why."""

    newest: datetime
    count: int
    reason: RunReason


def catch_up(
    task: Task,
    slots: Sequence[datetime],
    now: datetime,
    counts: Mapping[datetime, int] = NO_COUNTS,
) -> tuple[list[DueSlot], list[SkippedSlots]]:
    """Return the slots to run, oldest first, and those that are skipped.

    ``slots`` are the task's slots since its last tick, oldest first, and ``counts`` how many each
    of them stands for where these are several. One older than the task's ``grace`` is missed; of
    the others ``catch_up`` says how many run.
    """
    first = 0 if task.grace is None else bisect_left(slots, now - task.grace)
    if task.catch_up is CatchUp.NONE:
        first = max(first, bisect_right(slots, now - SLOT_ON_TIME_LIMIT))
    skipped = _make_skipped_slots(slots[:first], RunReason.MISSED, counts)
    last = first if task.catch_up is CatchUp.ALL else max(first, len(slots) - 1)
    skipped += _make_skipped_slots(slots[first:last], RunReason.SUPERSEDED, counts)
    return [_make_due_slot(slot, now) for slot in slots[last:]], skipped


def condense(
    task: Task, slots: Sequence[datetime], now: datetime, changes: Iterable[datetime]
) -> tuple[list[datetime], Mapping[datetime, int]]:
    """Return a few slots that stand for all of a task's, and how many each of them stands for.

    What becomes of slots that are next to each other only differs at the task's ``grace``, at
    ``changes`` (when pauses begin and end), and at the newest: each of these begins with a slot of
    its own and ends with one. The oldest slot and all that may run are still there.
    """
    changes, end = list(changes), len(slots)
    if task.grace is not None:
        changes.append(now - task.grace)
    if task.catch_up is CatchUp.ALL:
        end = 0 if task.grace is None else bisect_left(slots, now - task.grace)
    cuts = {bisect_left(slots, change, hi=end) for change in changes}
    cuts |= {0, 1, bisect_right(slots, now - SLOT_ON_TIME_LIMIT, hi=end), end}
    cuts |= {cut - 1 for cut in cuts}
    pieces = list(pairwise(sorted(cut for cut in cuts if 0 <= cut <= end)))
    counts = {slots[stop - 1]: stop - start for start, stop in pieces if stop - start > 1}
    return [*(slots[stop - 1] for _, stop in pieces), *slots[end:]], counts


def total(slots: Sequence[datetime], counts: Mapping[datetime, int]) -> int:
    """Return how many slots these stand for."""
    return sum(counts.get(slot, 1) for slot in slots)


def is_on_time(slot: datetime, now: datetime) -> bool:
    """Return whether a slot is not late at a moment."""
    return now - slot < SLOT_ON_TIME_LIMIT


def _make_due_slot(moment: datetime, now: datetime) -> DueSlot:
    return DueSlot(moment, Trigger.SCHEDULE if is_on_time(moment, now) else Trigger.CATCH_UP)


def _make_skipped_slots(
    slots: Sequence[datetime], reason: RunReason, counts: Mapping[datetime, int]
) -> list[SkippedSlots]:
    return [SkippedSlots(slots[-1], total(slots, counts), reason)] if slots else []
