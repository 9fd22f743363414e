"""A run: its state, its trigger, its reason, its id, and what the store can hold of it."""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, TypeAlias


class RunState(str, Enum):
    """The state of a run; each member equals its own text.

    ``is_active`` is whether a process owns a run in this state, ``is_final`` whether it is over,
    ``is_failure`` whether it failed by itself, so that it may be retried.
    """

    WAITING = "waiting"
    CLAIMED = "claimed"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"
    SKIPPED = "skipped"

    __str__ = str.__str__

    def __init__(self, text: str) -> None:
        self.is_active = text in ("claimed", "running")
        self.is_final = not (self.is_active or text == "waiting")
        self.is_failure = text in ("failed", "timed_out", "lost")


class Trigger(str, Enum):
    """Why a run exists; each member equals its own text."""

    SCHEDULE = "schedule"
    CATCH_UP = "catch_up"
    RETRY = "retry"
    MANUAL = "manual"
    DEFERRED = "deferred"
    BACKFILL = "backfill"

    __str__ = str.__str__

    @property
    def is_scheduled(self) -> bool:
        """Whether the task's schedule is why, and nobody's request, nor a failure."""
        return self in (Trigger.SCHEDULE, Trigger.CATCH_UP)


class RunReason(str, Enum):
    """Why a slot was skipped; each member equals its own text."""

    OVERLAP = "overlap"
    PAUSED = "paused"
    MISSED = "missed"
    SUPERSEDED = "superseded"
    CONDITION = "condition"
    CAPACITY = "capacity"

    __str__ = str.__str__


class WaitReason(str, Enum):
    """Why a run waits; each member equals its own text."""

    #: Another attempt, whose delay is not over.
    RETRY = "retry"
    #: No room: ``cron.capacity`` is used up, or no process has taken it yet.
    ROOM = "room"
    #: Another run of the task is active.
    OVERLAP = "overlap"
    #: A tick had no time left for it.
    TIME = "time"
    #: It is to run at a later moment.
    LATER = "later"

    __str__ = str.__str__


SCHEDULE_ORIGIN = "schedule"
"""The origin of the slots of a task's schedule."""

BACKFILL_ORIGIN = "backfill"
"""The origin of a backfill's slots, which run while no other run of the task is active."""

PARALLEL_BACKFILL_ORIGIN = "backfill:allow"
"""The origin of a backfill's slots that run beside other runs of the task."""

BACKFILL_ORIGINS = (BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN)


TaskKey: TypeAlias = str | tuple[str, str]
"""A task's name; with a stored schedule of the task the names of both."""


def make_task_key(task: str, schedule: str | None) -> TaskKey:
    """Return the key of a task or, with the name of a stored schedule, of the two."""
    return task if schedule is None else (task, schedule)


def make_schedule_origin(schedule: str | None) -> str:
    """Return the origin of the slots of a stored schedule; of None, of the task's own schedule.

    Names are longer than an origin may be.
    """
    if schedule is None:
        return SCHEDULE_ORIGIN
    return f"stored:{hashlib.sha256(schedule.encode()).hexdigest()[:32]}"


def make_adhoc_origin() -> str:
    """Return the origin of a run that somebody asked for: it competes with no other run."""
    return f"adhoc:{random.getrandbits(64):016x}"


class TaskInterrupted(BaseException):
    """Raised in a task that has to stop.

    Not an Exception, so that a task which handles its own errors does not take it for one of them.
    """


class TaskTimeout(TaskInterrupted):
    """Raised in a task that ran longer than its ``timeout``."""


class TaskCancelled(TaskInterrupted):
    """Raised in a task whose run was cancelled."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come."""

    done: float
    #: None where it is unknown.
    total: float | None = None
    message: str | None = None


@dataclass(frozen=True)
class Run:
    """One attempt to carry out one slot, or one request by hand. Moments are aware, in UTC."""

    id: str
    #: The task's name.
    task: str
    #: When the task was meant to run; for a run by hand, when it was requested. Of several skipped
    #: slots, the newest.
    slot: datetime
    #: 1 for the first attempt at the slot.
    attempt: int
    trigger: Trigger
    state: RunState
    #: The host and process that claimed the run; empty and 0 while it waits.
    host: str
    pid: int
    #: Why it was skipped; None if it was not.
    reason: RunReason | None = None
    #: How many slots a skipped run stands for.
    count: int = 1
    #: None if it has not begun.
    started: datetime | None = None
    #: None if it is not over.
    finished: datetime | None = None
    #: The last line of the traceback, or what else is to say of its end; at most 1,000 characters.
    error: str | None = None
    traceback: str | None = None
    #: What was logged during the run.
    log: str | None = None
    progress: Progress | None = None
    #: A JSON value.
    payload: Any = None
    #: What made it: ``schedule``, ``stored:…``, ``backfill`` or ``adhoc:…``. Runs of other origins
    #: compete not.
    origin: str = SCHEDULE_ORIGIN
    #: The name of the stored schedule that it is of; None if it is of none.
    schedule: str | None = None
    #: When it may begin, while it waits; None afterwards.
    not_before: datetime | None = None
    #: Why it waits; None afterwards.
    why: WaitReason | None = None
    #: When a process claimed or skipped it; None while it waits.
    claimed: datetime | None = None
    #: Of the deferred runs of a task with the same key there is only one.
    key: str | None = None
    #: What a program wrote; None for other tasks.
    stdout: str | None = None
    stderr: str | None = None
    #: The exit status of its program, or of its process where that ended too early; a signal's
    #: number below 0. None for other runs.
    exit_status: int | None = None
    #: How many attempts at its slot before it were lost, and made good by one more each.
    lost_count: int = 0
    #: Until when its process had its lease when the store was read; None while none carries it out.
    lease_until: datetime | None = field(default=None, compare=False, repr=False)
    #: Whether its cancellation was requested when the store was read.
    is_cancel_requested: bool = field(default=False, compare=False, repr=False)
    #: Whether its error leaves no other attempt; known to the process that it ended in.
    is_given_up: bool = field(default=False, compare=False, repr=False)
    #: How long after its end the next attempt is due, where its error says so; known there alone.
    retry_after: timedelta | None = field(default=None, compare=False, repr=False)

    @property
    def task_key(self) -> TaskKey:
        """The task, with the stored schedule if there is one."""
        return make_task_key(self.task, self.schedule)

    @property
    def output(self) -> str | None:
        """What was logged during the run, then what a program wrote; None if nothing."""
        if self.stdout is None and self.stderr is None:
            return self.log
        return "".join(filter(None, (self.log, self.stdout, self.stderr))) or None

    def heartbeat(self, lease: timedelta) -> datetime | None:
        """Return when its process last gave a sign of life; None while none carries it out.

        ``lease`` is how long a lease lasts.
        """
        return None if self.lease_until is None else self.lease_until - lease

    def elapsed(self, now: datetime) -> float | None:
        """Return the seconds since it began, if it goes on at ``now``; None otherwise."""
        if self.started is None or self.finished is not None:
            return None
        return max(0.0, (now - self.started).total_seconds())

    @property
    def duration(self) -> float | None:
        """Seconds from start to finish; None before it is over, or if it never started."""
        if self.started is None or self.finished is None:
            return None
        return (self.finished - self.started).total_seconds()


def evolve(run: Run, **changes: Any) -> Run:
    """Return the run with some of its values changed: what ``dataclasses.replace`` does, faster.

    Every run that a tick makes is changed at least twice.
    """
    new = object.__new__(Run)
    object.__setattr__(new, "__dict__", vars(run) | changes)
    return new


RUN_ID_PATTERN = re.compile(r"[0-9a-f]{26}")
"""Matches the id of a run."""


def make_run_ids(moment: datetime, count: int) -> list[str]:
    """Return ids for runs claimed together at ``moment``: they sort in time and in the order given.

    All ids of one call share everything but their last five characters, so the rows of one claim
    lie side by side in the store's primary key.
    """
    batch = make_id_prefix(moment)
    return [f"{batch}{number:05x}" for number in range(count)]


def make_id_prefix(moment: datetime) -> str:
    """Return 21 hexadecimal digits: milliseconds since the epoch, then 36 random bits."""
    # An id is no secret, and Python seeds anew after a fork.
    return f"{first_id(moment)}{random.getrandbits(36):09x}"


def first_id(moment: datetime) -> str:
    """Return what sorts before every id made at ``moment`` or later."""
    return f"{max(0, int(moment.timestamp() * 1000)):012x}"


MAX_PAYLOAD_CHARACTERS = 4 * 1024 * 1024
"""Characters of JSON that a payload may have: every database accepts a row with it."""


def as_payload(value: Any) -> Any:
    """Return a value as the task will receive it: a copy, by way of JSON.

    Raises TypeError or ValueError for a value that is not JSON, as NaN is not, or is too long.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"payload: must be JSON; {error}") from None
    if len(text) > MAX_PAYLOAD_CHARACTERS:
        raise ValueError(
            f"payload: has {len(text):,} characters of JSON, at most {MAX_PAYLOAD_CHARACTERS:,} are"
            " kept; give the task the key of what is stored elsewhere"
        )
    return json.loads(text)
