"""Which of a task's slots since the last tick run, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..run import Reason, Trigger
from ..task import CatchUp, Task

ON_TIME = timedelta(minutes=1)
"""A slot that a tick comes for within this time was not missed."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot (aware, UTC) that is to run, and why."""

    moment: datetime
    trigger: Trigger


@dataclass(frozen=True, slots=True)
class Skipped:
    """Slots that do not run: how many, the newest of them (aware, UTC), and why."""

    newest: datetime
    count: int
    reason: Reason


def catch_up(
    task: Task, slots: Sequence[datetime], now: datetime
) -> tuple[list[Slot], list[Skipped]]:
    """Return the slots to run, oldest first, and those that are skipped.

    ``slots`` are the task's slots since its last tick, oldest first. One older than the task's
    ``grace`` is missed; of the others ``catch_up`` says how many run.
    """
    oldest = now - task.grace if task.grace is not None else None
    late = [slot for slot in slots if oldest is not None and slot < oldest]
    rest = slots[len(late) :]
    skipped = _skipped(late, Reason.MISSED)
    if task.catch_up is CatchUp.ALL:
        return [_slot(slot, now) for slot in rest], skipped
    if task.catch_up is CatchUp.NONE:
        missed = [slot for slot in rest if not on_time(slot, now)]
        skipped = _skipped([*late, *missed], Reason.MISSED)
        rest = rest[len(missed) :]
    return [_slot(slot, now) for slot in rest[-1:]], [
        *skipped,
        *_skipped(rest[:-1], Reason.SUPERSEDED),
    ]


def on_time(slot: datetime, now: datetime) -> bool:
    """Return whether a slot is not late at a moment."""
    return now - slot < ON_TIME


def _slot(moment: datetime, now: datetime) -> Slot:
    return Slot(moment, Trigger.SCHEDULE if on_time(moment, now) else Trigger.CATCH_UP)


def _skipped(slots: Sequence[datetime], reason: Reason) -> list[Skipped]:
    return [Skipped(slots[-1], len(slots), reason)] if slots else []
