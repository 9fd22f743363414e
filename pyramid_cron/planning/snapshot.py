"""What the store knew at the moment of a tick, as plain values."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from ..run import (
    BACKFILL_ORIGINS,
    SCHEDULE_ORIGIN,
    Run,
    RunState,
    TaskKey,
    Trigger,
    WaitReason,
    make_task_key,
)
from ..task import Task

REGEX_PREFIX = "re:"
"""What a pattern begins with that is a regular expression and no glob."""

COMMAND_PREFIX = "command:"
"""What a pattern begins with that is for the command lines of tasks and not for their names."""


@dataclass(frozen=True, slots=True)
class PauseRule:
    """Tasks that match a pattern are paused or resumed. Moments are aware, in UTC."""

    since: datetime
    #: True for a pause, False for a resume.
    is_pause: bool
    #: A glob, or a regular expression after ``re:``; of command lines after ``command:``.
    pattern: str
    #: The end of a pause; None if it has no end.
    until: datetime | None = None
    reason: str | None = None
    #: Whether the task gave up: its ``pause_after`` paused it, and nobody else.
    is_give_up: bool = False


def active_pause(
    name: str,
    at: datetime,
    rules: Sequence[PauseRule],
    schedule: str | None = None,
    *,
    command: str | None,
) -> PauseRule | None:
    """Return the pause that a task is in at a moment, or None. ``rules`` are oldest first.

    Of a stored schedule of the task, rules may match the one name or the other. ``command`` is the
    task's command line.
    """
    names = (name,) if schedule is None else (name, schedule)
    for rule in reversed(rules):
        if rule.since <= at and matches_any(rule.pattern, names, command):
            is_paused = rule.is_pause and (rule.until is None or at < rule.until)
            return rule if is_paused else None
    return None


def pause_of(task: Task, at: datetime, rules: Sequence[PauseRule]) -> PauseRule | None:
    """Return the pause that a task, or its stored schedule, is in at a moment, or None."""
    return active_pause(task.name, at, rules, task.schedule_name, command=task.command)


def list_give_ups(rules: Sequence[PauseRule]) -> set[str]:
    """Return the names of the tasks and stored schedules that ever gave up, in these rules."""
    # The pattern is a name, with the signs of a glob in brackets.
    return {re.sub(r"\[([*?[])\]", r"\1", rule.pattern) for rule in rules if rule.is_give_up}


def list_pause_changes(rules: Sequence[PauseRule]) -> set[datetime]:
    """Return the moments at which a pause of any task may begin or end."""
    return {moment for rule in rules for moment in (rule.since, rule.until) if moment is not None}


def matches_any(pattern: str, names: Iterable[str], command: str | None) -> bool:
    """Return whether a pattern matches a name or, after ``command:``, the task's command line.

    Raises ValueError for a pattern that is wrong.
    """
    is_for_command = pattern.startswith(COMMAND_PREFIX)
    matches = text_matcher(pattern[len(COMMAND_PREFIX) :] if is_for_command else pattern)
    if is_for_command:
        return command is not None and bool(matches(command))
    return any(map(matches, names))


def check_pattern(pattern: Any) -> None:
    """Refuse a pattern that is wrong; ValueError says what would be right."""
    if not isinstance(pattern, str):
        raise ValueError(
            f"pattern={pattern!r}: must be text, a glob, or a regular expression after re:; after"
            " command: of command lines"
        )
    matches_any(pattern, (), "")


def exact_pattern(name: str) -> str:
    """Return the pattern that matches only this name."""
    pattern = glob.escape(name)
    is_prefixed = name.startswith((REGEX_PREFIX, COMMAND_PREFIX))
    return f"[{name[0]}]{pattern[1:]}" if is_prefixed else pattern


@lru_cache(maxsize=256)
def text_matcher(pattern: str) -> Callable[[str], object]:
    """Return the test whether a text matches a glob, or after ``re:`` a regular expression.

    A regular expression may match anywhere in the text. Raises ValueError for one that is wrong.
    """
    if not pattern.startswith(REGEX_PREFIX):
        return re.compile(fnmatch.translate(pattern)).match
    try:
        return re.compile(pattern[len(REGEX_PREFIX) :]).search
    except re.error as error:
        raise ValueError(f"pattern={pattern!r}: no regular expression: {error}") from error


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run that is known and not claimed. All moments are aware, in UTC.

    It exists once by task, slot, attempt and origin.
    """

    task: str
    slot: datetime
    trigger: Trigger
    #: When it may begin. Earlier than the slot if this run superseded an older one that waited.
    not_before: datetime
    attempt: int = 1
    origin: str = SCHEDULE_ORIGIN
    payload: Any = field(default=None, compare=False)
    #: The id under which it is on record; None if it is not on record yet.
    id: str | None = field(default=None, compare=False)
    #: Why it waits, if it is to wait.
    why: WaitReason = field(default=WaitReason.LATER, compare=False)
    #: The key that it was deferred with.
    key: str | None = field(default=None, compare=False)
    #: The name of the stored schedule that it is of; None if it is of none.
    schedule: str | None = None
    #: As in :class:`~pyramid_cron.Run`.
    lost_count: int = field(default=0, compare=False)

    @property
    def task_key(self) -> TaskKey:
        """The task, with the stored schedule if there is one."""
        return make_task_key(self.task, self.schedule)

    @property
    def due_since(self) -> datetime:
        """The moment from which it is overdue, together with those that it superseded."""
        return min(self.slot, self.not_before)

    @property
    def is_backfill(self) -> bool:
        """Whether a backfill runs this slot, so that the schedule does not."""
        return self.origin in BACKFILL_ORIGINS


def make_slot_run(task: Task, slot: datetime, trigger: Trigger = Trigger.SCHEDULE) -> WaitingRun:
    """Return the first attempt at a slot of a task's schedule, own or stored."""
    return WaitingRun(
        task.name,
        slot,
        trigger,
        slot,
        origin=task.origin,
        payload=task.payload,
        schedule=task.schedule_name,
    )


def as_run(waiting_run: WaitingRun) -> Run:
    """Return a waiting run that has an id as it is on record."""
    assert waiting_run.id is not None
    return Run(
        waiting_run.id,
        waiting_run.task,
        waiting_run.slot,
        waiting_run.attempt,
        waiting_run.trigger,
        RunState.WAITING,
        host="",
        pid=0,
        payload=waiting_run.payload,
        origin=waiting_run.origin,
        not_before=waiting_run.not_before,
        why=waiting_run.why,
        key=waiting_run.key,
        schedule=waiting_run.schedule,
        lost_count=waiting_run.lost_count,
    )


def as_waiting_run(run: Run) -> WaitingRun:
    """Return a run on record as planning has it while it waits."""
    return WaitingRun(
        run.task,
        run.slot,
        run.trigger,
        run.not_before or run.slot,
        run.attempt,
        run.origin,
        run.payload,
        id=run.id,
        why=run.why or WaitReason.LATER,
        key=run.key,
        schedule=run.schedule,
        lost_count=run.lost_count,
    )


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that is claimed or running, in whatever process."""

    run: Run
    #: When its lease expires, unless its process renews it.
    lease_until: datetime
    #: Its share of the capacity; 0 if it runs in a request.
    weight: int = 0
    #: The lock that it holds; None if it holds none.
    lock: str | None = None

    def __str__(self) -> str:
        return self.describe(datetime.isoformat)

    def describe(self, format_moment: Callable[[datetime], str]) -> str:
        """Return the run, its process and its lease in a line."""
        run = self.run
        until = format_moment(self.lease_until)
        return f"run {run.id} on {run.host} (pid {run.pid}), lease until {until}"


def is_stuck(task: Task, stuck: Collection[TaskKey]) -> bool:
    """Return whether a task or stored schedule is among stuck ones, or one with its lock is."""
    return task.key in stuck or (task.lock is not None and task.name in stuck)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the store knew at the moment of a tick."""

    #: The waiting runs that may begin.
    waiting: Sequence[WaitingRun] = ()
    #: By task or stored schedule, oldest first.
    active: Mapping[TaskKey, Sequence[ActiveRun]] = field(default_factory=dict)
    #: By task or stored schedule with fixed delay, all that wait of it, due or not.
    fixed_delay_waiting: Mapping[TaskKey, Sequence[WaitingRun]] = field(default_factory=dict)
    #: Oldest first.
    pause_rules: Sequence[PauseRule] = ()
    #: The tick before this one; None if it is unknown.
    last_tick: datetime | None = None
    #: Those of which this process has given up a run that still has its thread.
    stuck_tasks: Collection[TaskKey] = ()

    def active_of(self, key: TaskKey) -> Sequence[ActiveRun]:
        """Return the active runs of a task, or of a stored schedule, oldest first."""
        return self.active.get(key, ())

    def lock_holders(self, lock: str | None) -> Sequence[ActiveRun]:
        """Return the active runs of whatever tasks that hold a lock; none for None."""
        if lock is None:
            return ()
        active_runs = (run for runs in self.active.values() for run in runs)
        return [active_run for active_run in active_runs if active_run.lock == lock]

    @property
    def background_weight(self) -> int:
        """The weight of all runs outside of requests, over all processes and hosts."""
        return sum(
            active_run.weight for active_runs in self.active.values() for active_run in active_runs
        )


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one tick did."""

    #: The tick's id.
    tick: str
    #: Its moment, aware, in UTC.
    now: datetime
    #: As they ended; those outside the request are only claimed, and begin after the answer.
    runs: tuple[Run, ...] = ()
    #: One for the slots of a task that were skipped for the same reason.
    skipped: tuple[Run, ...] = ()
    #: Due, and left to a later tick.
    waiting: tuple[WaitingRun, ...] = ()
