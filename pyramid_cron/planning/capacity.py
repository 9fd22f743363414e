"""Which runs outside the request begin: as many as there is room for, in strict order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ..run import PARALLEL_BACKFILL_ORIGIN, TaskKey, Trigger
from ..task import WORKER_EXECUTOR, CatchUp, Overlap, Task
from .snapshot import WaitingRun


@dataclass(frozen=True, slots=True)
class WorkerThreads:
    """What this process takes of the runs of tasks with ``executor="worker"``."""

    #: How many threads are free for them; 0 in a process that is no worker.
    free: int = 0
    #: Whether it takes the runs of a task with this name.
    takes: Callable[[str], object] = bool


NO_WORKER = WorkerThreads()


class Candidate(NamedTuple):
    """A run that could begin now, and its task."""

    task: Task
    waiting_run: WaitingRun

    @property
    def is_last(self) -> bool:
        """Whether it begins after all that are not: it is idle, or a backfill."""
        return self.task.idle or self.waiting_run.trigger is Trigger.BACKFILL

    @property
    def is_exclusive(self) -> bool:
        """Whether no other run of the task may be active beside it."""
        return (
            self.task.overlap is not Overlap.ALLOW
            and self.waiting_run.origin != PARALLEL_BACKFILL_ORIGIN
        )


@dataclass(slots=True)
class Allocation:
    """What becomes of candidates."""

    start: list[WaitingRun] = field(default_factory=list)
    wait: list[WaitingRun] = field(default_factory=list)
    #: Have waited for longer than their task's ``grace``.
    expired: list[WaitingRun] = field(default_factory=list)


def allocate(
    candidates: Iterable[Candidate],
    room: int,
    now: datetime,
    worker: WorkerThreads = NO_WORKER,
    held_locks: Collection[str | None] = (),
) -> Allocation:
    """Share out free capacity among candidates, which come in order.

    One that does not fit keeps those behind it waiting, however light they are: a heavy one would
    otherwise never have its turn. One that waits for another run of its own task or stored
    schedule, for a worker, or for a lock keeps nobody. ``held_locks`` are those that this tick's
    own runs hold.
    """
    allocation = Allocation()
    exclusive_tasks: set[TaskKey] = set()
    locks = {*held_locks} - {None}
    free_threads = worker.free
    for candidate in candidates:
        task, run = candidate
        is_for_worker = task.executor == WORKER_EXECUTOR
        has_thread = not is_for_worker or (free_threads > 0 and bool(worker.takes(task.name)))
        if _is_past_grace(candidate, now) and (
            room < task.weight or not _can_wait_for_itself(task)
        ):
            allocation.expired.append(run)
        elif (
            not has_thread
            or task.lock in locks
            or (candidate.is_exclusive and run.task_key in exclusive_tasks)
        ):
            allocation.wait.append(run)
        elif task.weight <= room:
            room -= task.weight
            free_threads -= is_for_worker
            if candidate.is_exclusive:
                exclusive_tasks.add(run.task_key)
            locks |= {task.lock} - {None}
            allocation.start.append(run)
        else:
            room = 0
            allocation.wait.append(run)
    return allocation


def _is_past_grace(candidate: Candidate, now: datetime) -> bool:
    """Return whether ``grace`` is over; retries and what somebody asked for wait for ever."""
    task, run = candidate
    return run.trigger.is_scheduled and task.grace is not None and now - run.slot > task.grace


def _can_wait_for_itself(task: Task) -> bool:
    """Return whether slots may have waited for the task's own runs, and not for room."""
    return task.overlap is Overlap.DELAY or task.catch_up is CatchUp.ALL
