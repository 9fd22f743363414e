"""What comes after a run: another attempt, or the next slot of a task that paces itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from ..run import Run, RunState, Trigger
from ..task import Task
from .snapshot import WaitingRun

TICK_INTERVAL = timedelta(minutes=1)


def floor_to_second(moment: datetime) -> datetime:
    """Return the beginning of the second that a moment is in, from which delays count.

    A run ends some milliseconds after its tick came, and a minute later so does the next tick: it
    must not lose a minute to them.
    """
    return moment.replace(microsecond=0)


def retry_of(run: Run, not_before: datetime) -> WaitingRun:
    """Return the next attempt at a run's slot, which begins at a moment (aware, UTC) or later."""
    return WaitingRun(
        run.task,
        run.slot,
        Trigger.RETRY,
        not_before,
        attempt=run.attempt + 1,
        nonce=run.nonce,
        payload=run.payload,
    )


def followups(task: Task, run: Run, is_shutdown: bool = False) -> list[WaitingRun]:
    """Return what is to wait for a later tick once a run has ended as it did.

    ``stopped`` is whether it was told to end as its process stopped. What somebody asked to end is
    not tried again, even if its process did not live to hear of it.
    """
    assert run.finished is not None
    failed = run.state.is_failure and not run.is_cancel_requested
    again = failed or (is_shutdown and run.state is RunState.CANCELLED)
    if again and run.attempt < task.retry.attempts:
        delay = task.retry.delay_after(run.attempt)
        return [retry_of(run, floor_to_second(run.finished) + delay)]
    if task.fixed_delay is None or run.nonce:
        return []
    # From the beginning of the minute it ended in: ticks come by the minute, and a task that takes
    # a second must not lose a minute each time.
    end = floor_to_second(run.finished)
    if task.fixed_delay >= TICK_INTERVAL:
        end = end.replace(second=0)
    slot = end + task.fixed_delay
    return [WaitingRun(task.name, slot, Trigger.SCHEDULE, slot)]


def max_wait(task: Task) -> timedelta:
    """Return how far ahead what follows a run of a task that paces itself may lie.

    A minute is for the clocks of hosts, which differ.
    """
    return (
        max(task.fixed_delay or TICK_INTERVAL, task.retry.delay_after(task.retry.attempts - 1))
        + TICK_INTERVAL
    )


def next_waiting(task: Task, waiting: Iterable[WaitingRun], now: datetime) -> WaitingRun | None:
    """Return what a task that paces itself goes on with, of what waits of its schedule.

    What is out of reach does not count: it is from before its interval was made shorter, or by a
    clock that was wrong.
    """
    near = [each for each in waiting if each.not_before - now <= max_wait(task)]
    return min(near, key=lambda each: each.not_before, default=None)


def is_exhausted(task: Task, run: Run) -> bool:
    """Return whether a run is a failure that will not be tried again."""
    return run.state.is_failure and run.attempt >= task.retry.attempts
