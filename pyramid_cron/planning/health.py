"""How an application's cron is: a state for each task, worked out from plain facts and a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from ..run import Run, RunState, first_id
from ..task import REQUEST_EXECUTOR, THREAD_EXECUTOR, CatchUp, Task
from .followups import max_wait
from .pauses import PauseRule
from .snapshot import ActiveRun

MomentFormat = Callable[[datetime], str]
"""Returns a moment (aware, UTC) as text."""

TICK_SILENCE_LIMIT = timedelta(minutes=3)
"""How long no tick may come before that is unhealthy."""

SLOT_LATE_AFTER = timedelta(minutes=3)
"""How long a slot may be due before it is late, or wait for a worker once it was sent."""

BACKLOG_LATE_AFTER = timedelta(hours=1)
"""The same for what may wait until a tick has time: idle tasks, slots that are caught up."""

STUCK_DURATION_FACTOR = 10
"""How many times its usual duration a run without a timeout may take."""

STUCK_MIN_DURATION = timedelta(minutes=10)
"""What such a run may take in any case."""


class HealthState(str, Enum):
    """How a task is; each member equals its own lower-case text."""

    OK = "ok"
    LATE = "late"
    MISSED = "missed"
    FAILING = "failing"
    STUCK = "stuck"
    PAUSED = "paused"
    ORPHANED = "orphaned"

    __str__ = str.__str__

    @property
    def is_healthy(self) -> bool:
        """Whether nobody has to look after a task in this state."""
        return self in (HealthState.OK, HealthState.PAUSED, HealthState.ORPHANED)


@dataclass(frozen=True, slots=True)
class TaskHealthInput:
    """What is known of one task; moments are aware, in UTC.

    ``task`` is None where it is not registered. ``ticked`` is the last tick that knew it,
    ``waits_since`` from when on the oldest slot that waits could have run (backfills aside),
    ``goes_on`` from when on one of its schedule can (None: none waits), ``last`` its newest run
    that is over, ``failed`` whether that was a failure, ``missed`` whether the newest record of it
    is a slot that was missed, ``usual`` the seconds that its successes took on average.
    """

    name: str
    task: Task | None
    last_tick: datetime | None = None
    active: Sequence[ActiveRun] = ()
    waiting_since: datetime | None = None
    next_waiting_at: datetime | None = None
    pause: PauseRule | None = None
    last_run: Run | None = None
    has_failed: bool = False
    has_missed: bool = False
    mean_duration: float | None = None


@dataclass(frozen=True, slots=True)
class TaskHealth:
    """How one task is.

    ``detail`` says in a line what there is to say of that, ``next`` is its next slot (aware, UTC;
    None if there is none), ``last`` its newest run that is over and still on record.
    """

    name: str
    state: HealthState
    detail: str | None = None
    next: datetime | None = None
    last: Run | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How an application's cron is.

    ``last_tick`` is the moment of the last tick (aware, UTC), ``since_last_tick`` the seconds since
    then; both are None if there was none.
    """

    is_healthy: bool
    tasks: tuple[TaskHealth, ...]
    last_tick: datetime | None
    since_last_tick: float | None

    def describe_problems(self) -> list[str]:
        """Return a line for each thing that is unhealthy; none if all is well."""
        lines = [
            f"{each.name}: {each.state}, {each.detail}"
            for each in self.tasks
            if _is_unhealthy(each)
        ]
        silence = self.describe_silence()
        return lines if silence is None else [silence, *lines]

    def describe_silence(self) -> str | None:
        """Return a line that says for how long no tick has come; None if that is not too long."""
        if self.since_last_tick is None:
            return "no tick has come yet"
        if self.since_last_tick > TICK_SILENCE_LIMIT.total_seconds():
            return f"no tick has come for {self.since_last_tick:.0f} s"
        return None


def assess(
    inputs: Iterable[TaskHealthInput],
    last_tick: datetime | None,
    now: datetime,
    format_moment: MomentFormat,
) -> Health:
    """Return how everything is at ``now`` (aware, UTC); ``show`` puts moments into details."""
    tasks = tuple(assess_task(each, now, format_moment) for each in inputs)
    silence = None if last_tick is None else max(now - last_tick, timedelta(0))
    ticking = silence is not None and silence <= TICK_SILENCE_LIMIT
    return Health(
        is_healthy=ticking and not any(_is_unhealthy(each) for each in tasks),
        tasks=tasks,
        last_tick=last_tick,
        since_last_tick=None if silence is None else silence.total_seconds(),
    )


def assess_task(
    task_input: TaskHealthInput, now: datetime, format_moment: MomentFormat
) -> TaskHealth:
    """Return how one task is at ``now`` (aware, UTC): the first state in this order that fits."""
    first = _first_unhandled_slot(task_input, now)
    following = _next_slot(task_input, first, now)
    state, detail = _find_state(task_input, first, now, format_moment)
    return TaskHealth(task_input.name, state, detail, following, task_input.last_run)


def _find_state(
    task_input: TaskHealthInput,
    first_slot: datetime | None,
    now: datetime,
    format_moment: MomentFormat,
) -> tuple[HealthState, str | None]:
    if task_input.task is None:
        return HealthState.ORPHANED, "on record, but not registered"
    if detail := _describe_stuck(task_input, task_input.task, now, format_moment):
        return HealthState.STUCK, detail
    if task_input.pause is not None:
        return HealthState.PAUSED, _describe_pause(task_input.pause, format_moment)
    if detail := _describe_late(task_input, task_input.task, first_slot, now, format_moment):
        return HealthState.LATE, detail
    if task_input.has_missed:
        return HealthState.MISSED, "no tick came in time for its newest slot"
    if task_input.has_failed:
        return HealthState.FAILING, _describe_failure(task_input.last_run)
    return HealthState.OK, None


def _describe_stuck(
    task_input: TaskHealthInput, task: Task, now: datetime, format_moment: MomentFormat
) -> str | None:
    for active in task_input.active:
        if active.lease_until < now:
            return f"gave no sign of life within its lease: {active.describe(format_moment)}"
        if _is_unclaimed_by_worker(active.run, task, now):
            minutes = SLOT_LATE_AFTER // timedelta(minutes=1)
            told = active.describe(format_moment)
            return f"was sent, and no worker has taken it up within {minutes} minutes: {told}"
        begun = active.run.started
        limit = _duration_limit(task, task_input.mean_duration)
        if begun is not None and limit is not None and now - begun > limit:
            seconds = (now - begun).total_seconds()
            most = limit.total_seconds()
            run_line = active.describe(format_moment)
            return f"goes on for {seconds:.0f} s, more than {most:.0f}: {run_line}"
    return None


def _is_unclaimed_by_worker(run: Run, task: Task, now: datetime) -> bool:
    sent = task.executor not in (REQUEST_EXECUTOR, THREAD_EXECUTOR)
    return sent and run.state is RunState.CLAIMED and run.id < first_id(now - SLOT_LATE_AFTER)


def _duration_limit(task: Task, mean_duration: float | None) -> timedelta | None:
    if task.timeout is not None or mean_duration is None:
        return task.timeout
    return max(STUCK_MIN_DURATION, timedelta(seconds=mean_duration * STUCK_DURATION_FACTOR))


def _describe_late(
    task_input: TaskHealthInput,
    task: Task,
    first_slot: datetime | None,
    now: datetime,
    format_moment: MomentFormat,
) -> str | None:
    if first_slot is not None and now - first_slot > SLOT_LATE_AFTER:
        return f"due since {format_moment(first_slot)}, and no tick has come for it"
    since = task_input.waiting_since
    if since is None or task_input.active:  # what waits for a run that goes on is as it should be
        return None
    patient = task.idle or task.catch_up is CatchUp.ALL
    if now - since > (BACKLOG_LATE_AFTER if patient else SLOT_LATE_AFTER):
        return f"waits to run since {format_moment(since)}"
    return None


def _first_unhandled_slot(task_input: TaskHealthInput, now: datetime) -> datetime | None:
    """Return the first slot that no tick has seen to; a tick puts all that is due on record."""
    if task_input.task is None:
        return None
    paced = task_input.task.fixed_delay is not None and (
        task_input.active or _next_waiting_slot(task_input, now)
    )
    return task_input.task.following(
        now if task_input.last_tick is None or paced else task_input.last_tick
    )


def _next_waiting_slot(task_input: TaskHealthInput, now: datetime) -> datetime | None:
    """Return the next slot where it counts from the end of a run, so that it is on record."""
    if (
        task_input.task is None
        or task_input.task.fixed_delay is None
        or task_input.next_waiting_at is None
    ):
        return None
    return (
        task_input.next_waiting_at
        if task_input.next_waiting_at - now <= max_wait(task_input.task)
        else None
    )


def _next_slot(
    task_input: TaskHealthInput, first_slot: datetime | None, now: datetime
) -> datetime | None:
    if (on_record := _next_waiting_slot(task_input, now)) is not None:
        return on_record
    if task_input.task is None or first_slot is None or first_slot > now:
        return first_slot
    return task_input.task.following(now)


def _describe_pause(pause_rule: PauseRule, format_moment: MomentFormat) -> str:
    until = "" if pause_rule.until is None else f" until {format_moment(pause_rule.until)}"
    reason = "" if pause_rule.reason is None else f": {pause_rule.reason}"
    return f"since {format_moment(pause_rule.since)}{until}{reason}"


def _describe_failure(last_run: Run | None) -> str:
    if last_run is None:
        return "its newest run went wrong"
    # The first line has the error's type; of SQLAlchemy's, the last is a link that fits them all.
    error = "" if last_run.error is None else f": {last_run.error.splitlines()[0].strip()}"
    return f"run {last_run.id} {last_run.state}{error}"


def _is_unhealthy(task: TaskHealth) -> bool:
    return not task.state.is_healthy
