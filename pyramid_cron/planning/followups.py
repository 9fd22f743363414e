"""Due slots of a task with fixed delay (``every`` with ``overlap="delay"``).

Its next slot waits on record as a rule: the end of a run creates it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ..run import Run, RunReason, RunState, TaskTimeout, Trigger, WaitReason
from ..task import Task
from .catch_up import SkippedSlots, catch_up, is_on_time, skip_slots
from .snapshot import Snapshot, WaitingRun, make_slot_run, pause_of

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


@dataclass(slots=True)
class FixedDelayWork:
    """What a tick has to do for a task with fixed delay."""

    #: The slots of its schedule that count.
    slots: Sequence[datetime] = ()
    #: Waiting runs that are on time, or go on waiting.
    waiting: list[WaitingRun] = field(default_factory=list)
    #: Waiting runs that this tick finds late, and that run.
    late: list[WaitingRun] = field(default_factory=list)
    #: Wait for what will not come, and are deleted.
    dequeue: list[WaitingRun] = field(default_factory=list)
    skipped: list[SkippedSlots] = field(default_factory=list)


def plan_fixed_delay(
    task: Task,
    slots: Sequence[datetime],
    waiting_runs: Sequence[WaitingRun],
    snapshot: Snapshot,
    now: datetime,
) -> FixedDelayWork:
    """Return what there is to do for the due slots of its schedule and its waiting runs.

    It has at most one next slot; its schedule only supplies the first.
    """
    work = FixedDelayWork()
    for run in waiting_runs:
        _triage(work, task, run, snapshot, now)
    skipped = [skip.waiting_run for skip in work.skipped]
    late_slots = {run.slot for run in work.late}
    upcoming = [
        run
        for run in snapshot.fixed_delay_waiting.get(task.key, ())
        if run not in skipped and run.slot not in late_slots
    ]
    next_run = next_waiting(task, [*upcoming, *work.late], now)
    work.dequeue += [
        run
        for run in upcoming
        if run is not next_run and run.trigger is Trigger.SCHEDULE and run.not_before > now
    ]
    # A run by hand, or of a backfill, has no follow-up.
    has_followup = any(
        active_run.run.origin == task.origin for active_run in snapshot.active_of(task.key)
    )
    if next_run is None and not has_followup:
        work.slots = _newest_runnable(task, slots, snapshot, now) if skipped else slots
    return work


def _triage(
    work: FixedDelayWork, task: Task, waiting_run: WaitingRun, snapshot: Snapshot, now: datetime
) -> None:
    """Treat a waiting run as due slots are treated, at the first tick that finds it due."""
    if waiting_run.trigger is not Trigger.SCHEDULE:
        work.waiting.append(waiting_run)
        return
    is_new = snapshot.last_tick is None or waiting_run.due_since > snapshot.last_tick
    rules = snapshot.pause_rules
    at_now = pause_of(task, now, rules)
    pause = pause_of(task, waiting_run.slot, rules)
    if at_now or (not pause and (not is_new or is_on_time(waiting_run.slot, now))):
        # Until a pause ends, it stands for the task's next slot.
        work.waiting.append(waiting_run)
    elif pause:
        work.skipped.append(_skip(task, waiting_run, RunReason.PAUSED, pause.reason))
    else:
        runs, _ = catch_up(task, [waiting_run.slot], now)
        work.late += [replace(waiting_run, trigger=run.trigger) for run in runs]
        if not runs:
            work.skipped.append(_skip(task, waiting_run, RunReason.MISSED))


def _skip(
    task: Task, waiting_run: WaitingRun, reason: RunReason, detail: str | None = None
) -> SkippedSlots:
    return skip_slots(task, waiting_run.slot, 1, reason, detail, waiting_run)


def _newest_runnable(
    task: Task, slots: Sequence[datetime], snapshot: Snapshot, now: datetime
) -> Sequence[datetime]:
    """Return the newest slot of the schedule if it may still run; older ones were never its own."""
    rules = snapshot.pause_rules
    newest = [slot for slot in slots if not pause_of(task, slot, rules)][-1:]
    runs, _ = catch_up(task, newest, now)
    return newest if runs else ()


def next_waiting(
    task: Task, waiting_runs: Iterable[WaitingRun], now: datetime
) -> WaitingRun | None:
    """Return the next run of a task with fixed delay, of those that wait.

    Ones further ahead than :func:`max_wait` are stale: their interval was longer once, or a clock
    was wrong. The retry of a slot that is over may be as far ahead as the task has asked for.
    """
    near = [
        run
        for run in waiting_runs
        if run.not_before - now <= max_wait(task)
        or (run.trigger is Trigger.RETRY and run.slot <= now)
    ]
    return min(near, key=lambda run: run.not_before, default=None)


def max_wait(task: Task) -> timedelta:
    """Return how far ahead the follow-up of a task with fixed delay may lie.

    A minute is for the clocks of hosts, which differ.
    """
    retry_delay = task.retry.delay_after(task.retry.attempts - 1)
    return max(task.fixed_delay or TICK_INTERVAL, retry_delay) + TICK_INTERVAL
