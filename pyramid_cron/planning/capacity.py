"""Which of the runs outside the request begin: as many as there is room for, in strict order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ..run import Trigger
from ..task import CatchUp, Overlap, Task
from .snapshot import PARALLEL_BACKFILL_ORIGIN, WaitingRun


class Candidate(NamedTuple):
    """A slot that could begin now, and its task."""

    task: Task
    waiting_run: WaitingRun

    @property
    def is_last(self) -> bool:
        """Whether it begins only after all that is not so: it is idle, or fills in old slots."""
        return self.task.idle or self.waiting_run.trigger is Trigger.BACKFILL

    @property
    def is_exclusive(self) -> bool:
        """Whether no other run of the task may go on beside it."""
        return (
            self.task.overlap is not Overlap.ALLOW
            and self.waiting_run.nonce != PARALLEL_BACKFILL_ORIGIN
        )


@dataclass(slots=True)
class Allocation:
    """What begins, what waits on, and what has waited for longer than its task's ``grace``."""

    start: list[WaitingRun] = field(default_factory=list)
    wait: list[WaitingRun] = field(default_factory=list)
    expired: list[WaitingRun] = field(default_factory=list)


def allocate(candidates: Iterable[Candidate], room: int, now: datetime) -> Allocation:
    """Share out the room that is left among candidates, which come in order.

    One that does not fit keeps those behind it waiting, however light they are: a heavy one would
    otherwise never have its turn. One that waits for another run of its own task keeps nobody.
    """
    shares = Allocation()
    begun: set[str] = set()
    for each in candidates:
        task = each.task
        if _is_past_grace(each, now) and (room < task.weight or not _can_wait_for_itself(task)):
            shares.expired.append(each.waiting_run)
        elif each.is_exclusive and task.name in begun:
            shares.wait.append(each.waiting_run)
        elif task.weight <= room:
            room -= task.weight
            if each.is_exclusive:
                begun.add(task.name)
            shares.start.append(each.waiting_run)
        else:
            room = 0
            shares.wait.append(each.waiting_run)
    return shares


def _is_past_grace(candidate: Candidate, now: datetime) -> bool:
    """Return whether ``grace`` is over; what somebody asked for, and retries, wait for ever."""
    task, pending = candidate
    scheduled = pending.trigger in (Trigger.SCHEDULE, Trigger.CATCH_UP)
    return scheduled and task.grace is not None and now - pending.slot > task.grace


def _can_wait_for_itself(task: Task) -> bool:
    """Return whether slots may have waited for the task's own runs, and not for room."""
    return task.overlap is Overlap.DELAY or task.catch_up is CatchUp.ALL
