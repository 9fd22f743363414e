"""How an application's cron is: a state for each task, from plain values and a moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from ..run import Run, RunState
from ..task import BUILT_IN_EXECUTORS, WORKER_EXECUTOR, CatchUp, Task
from .followups import max_wait
from .snapshot import ActiveRun, PauseRule

MomentFormat = Callable[[datetime], str]
"""Returns a moment (aware, UTC) as text: in UTC, or in the reader's zone."""

TICK_SILENCE_LIMIT = timedelta(minutes=2)
"""How long after the last tick the application is unhealthy."""

WORKER_SILENCE_LIMIT = timedelta(minutes=2)
"""How long after a worker was there last the tasks for workers are stuck."""

SLOT_LATE_AFTER = timedelta(minutes=3)
"""How long a slot may be due before it is late, or be handed off before it is stuck."""

BACKLOG_LATE_AFTER = timedelta(hours=1)
"""As SLOT_LATE_AFTER, for idle tasks and backlog, which may wait."""

STUCK_DURATION_FACTOR = 10
"""Times its mean duration that a run without a timeout may take."""

STUCK_MIN_DURATION = timedelta(minutes=10)
"""How long such a run may take in any case."""


class HealthState(str, Enum):
    """How a task is, the worst state first; each member equals its own text.

    ``is_healthy`` is whether nobody has to look after a task in this state.
    """

    STUCK = "stuck"
    GAVE_UP = "gave_up"
    LATE = "late"
    MISSED = "missed"
    FAILING = "failing"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    OK = "ok"
    ORPHANED = "orphaned"

    __str__ = str.__str__

    def __init__(self, text: str) -> None:
        self.is_healthy = text not in ("stuck", "gave_up", "late", "missed", "failing")


@dataclass(frozen=True, slots=True)
class TaskHealthInput:
    """What the store knows about one task; moments are aware, in UTC."""

    name: str
    #: None if it is not registered.
    task: Task | None
    #: The name of the task of which this is a stored schedule; None if it is a task.
    schedule_of: str | None = None
    #: Until when slots of the task are handled, by ticks and beats that knew it.
    window_end: datetime | None = None
    #: When a worker was there last; None if none ever was.
    worker_seen: datetime | None = None
    #: Whether a run of it was given up in this process, and still has its thread.
    is_stuck: bool = False
    active: Sequence[ActiveRun] = ()
    #: When the oldest of its waiting runs could have begun, backfills aside.
    waiting_since: datetime | None = None
    #: When the next of its schedule's waiting runs may begin.
    next_waiting_at: datetime | None = None
    #: Whether a run of it waits that could begin by now, or is another attempt.
    is_waiting: bool = False
    #: Whether another attempt waits.
    is_retry_waiting: bool = False
    pause: PauseRule | None = None
    #: Its newest run that is over, was not skipped, and is still on record.
    last_run: Run | None = None
    #: Whether its newest run failed.
    has_failed: bool = False
    #: Whether its newest record is a missed slot.
    has_missed: bool = False
    #: Seconds that its successes took on average.
    mean_duration: float | None = None


@dataclass(frozen=True, slots=True)
class TaskHealth:
    """How one task is."""

    name: str
    state: HealthState
    #: Why it is in this state, in a line.
    detail: str | None = None
    #: Its next slot (aware, UTC); None if there is none, and while it is paused.
    next: datetime | None = None
    #: Its newest run that is over, was not skipped, and is still on record.
    last: Run | None = None
    #: The name of the stored schedule of the task whose health it is; None for the task's own.
    schedule: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How an application's cron is."""

    is_healthy: bool
    tasks: tuple[TaskHealth, ...]
    #: The moment of the last tick (aware, UTC); None if there was none.
    last_tick: datetime | None
    #: The seconds since then.
    since_last_tick: float | None
    #: The stored schedules that somebody has to look after, by their names.
    schedules: tuple[TaskHealth, ...] = ()

    @property
    def is_ticking(self) -> bool:
        """Whether the last tick came not too long ago."""
        return self.describe_silence() is None

    @property
    def unhealthy_tasks(self) -> list[TaskHealth]:
        """The tasks that somebody has to look after, the worst state first."""
        return [task for task in self.tasks_by_urgency if not task.state.is_healthy]

    @property
    def tasks_by_urgency(self) -> list[TaskHealth]:
        """The tasks, those that somebody has to look after first, the worst state first."""
        return sorted(self.tasks, key=_urgency)

    def count_states(self) -> dict[HealthState, int]:
        """Return the number of tasks in each state, the worst state first."""
        counts = Counter(task.state for task in self.tasks)
        return {state: counts[state] for state in HealthState}

    def describe_problems(self) -> list[str]:
        """Return a line for each thing that is unhealthy; none if all is well."""
        lines = [
            f"{task.name}: {task.state}, {task.detail}"
            for task in self.tasks
            if not task.state.is_healthy
        ]
        lines += [
            f"{one.name}, schedule {one.schedule}: {one.state}, {one.detail}"
            for one in self.schedules
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
    schedules: Iterable[TaskHealth] = (),
) -> Health:
    """Return how everything is at ``now`` (aware, UTC).

    ``format_moment`` writes the moments in details. ``schedules`` is how stored schedules are, or
    those that may need a look.
    """
    unhealthy = tuple(one for one in schedules if not one.state.is_healthy)
    tasks = tuple(assess_task(task_input, now, format_moment) for task_input in inputs)
    silence = None if last_tick is None else max(now - last_tick, timedelta(0))
    is_ticking = silence is not None and silence <= TICK_SILENCE_LIMIT
    return Health(
        is_healthy=is_ticking and not unhealthy and all(task.state.is_healthy for task in tasks),
        tasks=tasks,
        last_tick=last_tick,
        since_last_tick=None if silence is None else silence.total_seconds(),
        schedules=unhealthy,
    )


def _urgency(task: TaskHealth) -> int:
    """Return the place of a task among those that somebody has to look after; healthy ones last."""
    states = list(HealthState)
    return len(states) if task.state.is_healthy else states.index(task.state)


def assess_task(
    task_input: TaskHealthInput, now: datetime, format_moment: MomentFormat
) -> TaskHealth:
    """Return how one task is at ``now`` (aware, UTC): the first state in this order that fits."""
    first_slot = _first_unhandled_slot(task_input, now)
    state, detail = _find_state(task_input, first_slot, now, format_moment)
    next_slot = None if task_input.pause else _next_slot(task_input, first_slot, now)
    name, schedule = task_input.name, None
    if task_input.schedule_of is not None:
        name, schedule = task_input.schedule_of, name
    return TaskHealth(name, state, detail, next_slot, task_input.last_run, schedule)


def _find_state(
    task_input: TaskHealthInput,
    first_slot: datetime | None,
    now: datetime,
    format_moment: MomentFormat,
) -> tuple[HealthState, str | None]:
    if task_input.task is None:
        is_stored = task_input.schedule_of is not None
        what = "its task is not registered" if is_stored else "on record, but not registered"
        return HealthState.ORPHANED, what
    if detail := _describe_stuck(task_input, task_input.task, now, format_moment):
        return HealthState.STUCK, detail
    if (pause := task_input.pause) is not None:
        state = HealthState.GAVE_UP if pause.is_give_up else HealthState.PAUSED
        return state, _describe_pause(pause, format_moment)
    if detail := _describe_late(task_input, task_input.task, first_slot, now, format_moment):
        return HealthState.LATE, detail
    if task_input.has_missed:
        return HealthState.MISSED, "no tick came in time for its newest slot"
    if task_input.has_failed and not _is_tried_again(task_input):
        return HealthState.FAILING, _describe_failure(task_input.last_run)
    return _find_activity(task_input, format_moment)


def _is_tried_again(task_input: TaskHealthInput) -> bool:
    """Return whether another attempt waits or runs, so that the slot has not failed yet."""
    is_retry_active = any(active.run.attempt > 1 for active in task_input.active)
    return task_input.is_retry_waiting or is_retry_active


def _find_activity(
    task_input: TaskHealthInput, format_moment: MomentFormat
) -> tuple[HealthState, str | None]:
    """Return the state of a task that nobody has to look after."""
    if task_input.active:
        return HealthState.RUNNING, None
    if not task_input.is_waiting:
        return HealthState.OK, None
    if task_input.is_retry_waiting and task_input.has_failed:
        failure = _describe_failure(task_input.last_run)
        return HealthState.WAITING, f"for another attempt: {failure}"
    since = task_input.waiting_since
    return HealthState.WAITING, None if since is None else f"since {format_moment(since)}"


def _describe_stuck(
    task_input: TaskHealthInput, task: Task, now: datetime, format_moment: MomentFormat
) -> str | None:
    if task_input.is_stuck:
        return "a run was given up, and still has its thread: nothing of it runs in this process"
    seen = task_input.worker_seen
    if task.executor == WORKER_EXECUTOR and (seen is None or now - seen > WORKER_SILENCE_LIMIT):
        since = "yet" if seen is None else f"since {format_moment(seen)}"
        return f"no worker has been there {since}: start one by pcron … work"
    for active in task_input.active:
        if active.lease_until < now:
            return f"gave no sign of life within its lease: {active.describe(format_moment)}"
        if _is_unclaimed_by_worker(active.run, task, now):
            minutes = SLOT_LATE_AFTER // timedelta(minutes=1)
            run_line = active.describe(format_moment)
            return f"was sent, and no worker has taken it up within {minutes} minutes: {run_line}"
        started = active.run.started
        limit = _duration_limit(task, task_input.mean_duration)
        if started is not None and limit is not None and now - started > limit:
            seconds, most = (now - started).total_seconds(), limit.total_seconds()
            run_line = active.describe(format_moment)
            return f"running for {seconds:.0f} s, limit {most:.0f} s: {run_line}"
    return None


def _is_unclaimed_by_worker(run: Run, task: Task, now: datetime) -> bool:
    is_queued = task.executor not in BUILT_IN_EXECUTORS
    if not is_queued or run.state is not RunState.CLAIMED or run.claimed is None:
        return False
    return now - run.claimed > SLOT_LATE_AFTER


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
    if since is None or task_input.active:  # it rightly waits for the active run
        return None
    can_wait = task.idle or task.catch_up is CatchUp.ALL
    if now - since > (BACKLOG_LATE_AFTER if can_wait else SLOT_LATE_AFTER):
        return f"waits to run since {format_moment(since)}"
    return None


def _first_unhandled_slot(task_input: TaskHealthInput, now: datetime) -> datetime | None:
    """Return the first slot that no tick has handled; a tick puts all that is due on record."""
    task, window_end = task_input.task, task_input.window_end
    if task is None:
        return None
    # A window's end still to come is by a clock that was ahead: it has handled no slot after now.
    since = now if window_end is None else min(window_end, now)
    if task.fixed_delay is not None and (task_input.active or _next_waiting_slot(task_input, now)):
        since = now
    return task.following(since)


def _next_waiting_slot(task_input: TaskHealthInput, now: datetime) -> datetime | None:
    """Return the next slot of a task with fixed delay, which waits on record."""
    task, slot = task_input.task, task_input.next_waiting_at
    if task is None or task.fixed_delay is None or slot is None:
        return None
    return slot if slot - now <= max_wait(task) else None


def _next_slot(
    task_input: TaskHealthInput, first_slot: datetime | None, now: datetime
) -> datetime | None:
    if (waiting_slot := _next_waiting_slot(task_input, now)) is not None:
        return waiting_slot
    if task_input.task is None or first_slot is None or first_slot > now:
        return first_slot
    return task_input.task.following(now)


def _describe_pause(pause_rule: PauseRule, format_moment: MomentFormat) -> str:
    until = "" if pause_rule.until is None else f" until {format_moment(pause_rule.until)}"
    reason = "" if pause_rule.reason is None else f": {pause_rule.reason}"
    return f"since {format_moment(pause_rule.since)}{until}{reason}"


def _describe_failure(last_run: Run | None) -> str:
    if last_run is None:
        return "its newest run failed"
    # The first line has the error's type; of SQLAlchemy's, the last is a link that fits them all.
    error = "" if last_run.error is None else f": {last_run.error.splitlines()[0].strip()}"
    return f"run {last_run.id} {last_run.state}{error}"
