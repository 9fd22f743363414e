"""Which of the runs outside the request begin: as many as there is room for, in strict order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ..run import Trigger
from ..task import CatchUp, Overlap, Task
from .facts import BESIDE, Pending


class Candidate(NamedTuple):
    """A slot that could begin now, and its task."""

    task: Task
    pending: Pending

    @property
    def last(self) -> bool:
        """Whether it begins only after all that is not so: it is idle, or fills in old slots."""
        return self.task.idle or self.pending.trigger is Trigger.BACKFILL

    @property
    def alone(self) -> bool:
        """Whether no other run of the task may go on beside it."""
        return self.task.overlap is not Overlap.ALLOW and self.pending.nonce != BESIDE


@dataclass(slots=True)
class Shares:
    """What begins, what waits on, and what has waited for longer than its task's ``grace``."""

    begin: list[Pending] = field(default_factory=list)
    wait: list[Pending] = field(default_factory=list)
    expired: list[Pending] = field(default_factory=list)


def share(candidates: Iterable[Candidate], room: int, now: datetime) -> Shares:
    """Share out the room that is left among candidates, which come in order.

    One that does not fit keeps those behind it waiting, however light they are: a heavy one would
    otherwise never have its turn. One that waits for another run of its own task keeps nobody.
    """
    shares = Shares()
    begun: set[str] = set()
    for each in candidates:
        task = each.task
        if _too_old(each, now) and (room < task.weight or not _waits_for_itself(task)):
            shares.expired.append(each.pending)
        elif each.alone and task.name in begun:
            shares.wait.append(each.pending)
        elif task.weight <= room:
            room -= task.weight
            if each.alone:
                begun.add(task.name)
            shares.begin.append(each.pending)
        else:
            room = 0
            shares.wait.append(each.pending)
    return shares


def _too_old(candidate: Candidate, now: datetime) -> bool:
    """Return whether ``grace`` is over; what somebody asked for, and retries, wait for ever."""
    task, pending = candidate
    scheduled = pending.trigger in (Trigger.SCHEDULE, Trigger.CATCH_UP)
    return scheduled and task.grace is not None and now - pending.slot > task.grace


def _waits_for_itself(task: Task) -> bool:
    """Return whether slots may have waited for the task's own runs, and not for room."""
    return task.overlap is Overlap.DELAY or task.catch_up is CatchUp.ALL
