"""What comes after a run: another attempt, or the next slot of a task that paces itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from ..run import Run, RunState, Trigger
from ..task import Task
from .facts import Pending

MINUTE = timedelta(minutes=1)


def whole(moment: datetime) -> datetime:
    """Return the beginning of the second that a moment is in, from which delays count.

    A run ends some milliseconds after its tick came, and a minute later so does the next tick: it
    must not lose a minute to them.
    """
    return moment.replace(microsecond=0)


def following(task: Task, run: Run, stopped: bool = False) -> list[Pending]:
    """Return what is to wait for a later tick once a run has ended as it did.

    ``stopped`` is whether it was told to end as its process stopped. What somebody asked to end is
    not tried again, even if its process did not live to hear of it.
    """
    assert run.finished is not None
    failed = run.state.failure and not run.called_off
    again = failed or (stopped and run.state is RunState.CANCELLED)
    if again and run.attempt < task.retry.attempts:
        return [
            Pending(
                task.name,
                run.slot,
                Trigger.RETRY,
                whole(run.finished) + task.retry.wait(run.attempt),
                attempt=run.attempt + 1,
                nonce=run.nonce,
                payload=run.payload,
            )
        ]
    if task.pace is None or run.nonce:
        return []
    # From the beginning of the minute it ended in: ticks come by the minute, and a task that takes
    # a second must not lose a minute each time.
    end = whole(run.finished)
    if task.pace >= MINUTE:
        end = end.replace(second=0)
    slot = end + task.pace
    return [Pending(task.name, slot, Trigger.SCHEDULE, slot)]


def reach(task: Task) -> timedelta:
    """Return how far ahead what follows a run of a task that paces itself may lie.

    A minute is for the clocks of hosts, which differ.
    """
    return max(task.pace or MINUTE, task.retry.wait(task.retry.attempts - 1)) + MINUTE


def comes_next(task: Task, waiting: Iterable[Pending], now: datetime) -> Pending | None:
    """Return what a task that paces itself goes on with, of what waits of its schedule.

    What is out of reach does not count: it is from before its interval was made shorter, or by a
    clock that was wrong.
    """
    near = [each for each in waiting if each.not_before - now <= reach(task)]
    return min(near, key=lambda each: each.not_before, default=None)


def exhausted(task: Task, run: Run) -> bool:
    """Return whether a run is a failure that will not be tried again."""
    return run.state.failure and run.attempt >= task.retry.attempts
