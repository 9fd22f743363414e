"""What follows a run: another attempt, or the next slot of a task with fixed delay."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from ..run import Run, RunState, TaskTimeout, Trigger, WaitReason
from ..task import Task
from .snapshot import WaitingRun, make_slot_run

TICK_INTERVAL = timedelta(minutes=1)


def floor_to_second(moment: datetime) -> datetime:
    """Return the beginning of the second that a moment is in, from which delays count.

    A run ends some milliseconds after its tick came, and a minute later so does the next tick: the
    run must not lose a minute to them.
    """
    return moment.replace(microsecond=0)


def followups(
    task: Task, run: Run, is_shutdown: bool = False, lost_attempts: int = 0
) -> list[WaitingRun]:
    """Return the waiting runs that a run's end creates: one or none.

    ``is_shutdown`` is whether it was interrupted as its process stopped. A run whose cancellation
    was requested is not retried, even if its process died before it heard of that. Of a slot's lost
    attempts, ``lost_attempts`` are made good by another one at once, beside what ``retry`` gives.
    """
    assert run.finished is not None
    if is_made_good(run, lost_attempts):
        retry = retry_of(run, floor_to_second(run.finished))
        return [replace(retry, lost_count=run.lost_count + 1)]
    has_failed = run.state.is_failure and not run.is_cancel_requested
    is_stopped = is_shutdown and run.state is RunState.CANCELLED
    delay = next_attempt_delay(task, run) if has_failed or is_stopped else None
    if delay is not None:
        return [retry_of(run, floor_to_second(run.finished) + delay)]
    if task.fixed_delay is None or run.origin != task.origin:
        return []
    # From the beginning of the minute it ended in: ticks come by the minute, and a task that takes
    # a second must not lose a minute each time.
    end = floor_to_second(run.finished)
    if task.fixed_delay >= TICK_INTERVAL:
        end = end.replace(second=0)
    slot = end + task.fixed_delay
    return [replace(make_slot_run(task, slot), payload=run.payload)]


def retry_of(run: Run, not_before: datetime) -> WaitingRun:
    """Return the next attempt at a run's slot, which begins at a moment (aware, UTC) or later."""
    return WaitingRun(
        run.task,
        run.slot,
        Trigger.RETRY,
        not_before,
        attempt=run.attempt + 1,
        origin=run.origin,
        payload=run.payload,
        why=WaitReason.RETRY,
        schedule=run.schedule,
        lost_count=run.lost_count,
    )


def is_made_good(run: Run, lost_attempts: int) -> bool:
    """Return whether a run was lost and is tried again for that, whatever ``retry`` says."""
    is_lost = run.state is RunState.LOST and not run.is_cancel_requested
    return is_lost and run.lost_count < lost_attempts


def next_attempt_delay(task: Task, run: Run) -> timedelta | None:
    """Return how long after the end of a failed run another attempt is due; None without one.

    The run's own error has the say, as far as the task has attempts left.
    """
    attempt = run.attempt - run.lost_count
    if attempt >= task.retry.attempts or run.is_given_up:
        return None
    if run.state is RunState.TIMED_OUT and not task.retry.covers(TaskTimeout):
        return None
    return task.retry.delay_after(attempt) if run.retry_after is None else run.retry_after


def is_exhausted(task: Task, run: Run, lost_attempts: int = 0) -> bool:
    """Return whether a run is a failure that will not be retried."""
    has_next = is_made_good(run, lost_attempts) or next_attempt_delay(task, run) is not None
    return run.state.is_failure and not has_next
