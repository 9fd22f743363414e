"""A registered task: when and how it runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from itertools import chain
from typing import Any

from .run import TaskKey, make_schedule_origin, make_task_key
from .schedule import Every, Schedule
from .schedule.base import ask_between, ask_following
from .schedule.fields import hash_name
from .schedule.frozen import seal
from .schedule.quantities import parse_count, parse_duration

MAX_TASK_NAME_CHARACTERS = 200
"""Characters that a task's name may have: as many as the store's columns take."""

TASK_NAME_PATTERN = re.compile(
    rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{MAX_TASK_NAME_CHARACTERS}}}"
)
"""Matches the name of a task: printable, and not too long."""

LABEL_NAME_PATTERN = re.compile("[A-Za-z0-9_.-]{1,63}")
"""Matches the name of a task's label."""

MONITOR_SERVICES = ("healthchecks", "steadycron", "sentry", "mail")
"""The services that get reports of runs."""

Schedules = tuple[Schedule, ...]

System = Mapping[str, Any]
"""A task's argument: request, registry, time_left, run, payload and progress."""


class Overlap(str, Enum):
    """What to do with a slot while another run of the task is active."""

    SKIP = "skip"
    DELAY = "delay"
    ALLOW = "allow"
    RESTART = "restart"

    __str__ = str.__str__


class CatchUp(str, Enum):
    """What to do with slots that no tick came for in time."""

    ONCE = "once"
    ALL = "all"
    NONE = "none"

    __str__ = str.__str__


@seal
@dataclass(frozen=True, slots=True, init=False)
class Retry:
    """How often and when a failed slot is retried.

    ``delay`` and ``max_delay`` are seconds, text such as ``"5m"``, or a timedelta; ``max_delay``
    must not be less than ``delay``. ``on`` is a class of errors, or several, after which alone
    there is another attempt; a run that took longer than its ``timeout`` ended by
    :class:`~pyramid_cron.TaskTimeout`. A run that was lost with its process, or cancelled because
    that stopped, raised none: whatever ``on`` says, it is tried again.

    Raises ValueError naming the argument, the value and what would be right.
    """

    #: How many runs a slot has at most, the first one included.
    attempts: int
    #: Seconds between the first attempt's failure and the second attempt.
    delay: float
    #: How many times as long as the one before every further delay is, at least 1.
    factor: float
    #: Seconds that no delay exceeds.
    max_delay: float
    #: The errors after which there is another attempt.
    on: tuple[type[BaseException], ...]

    def __init__(
        self,
        attempts: int = 3,
        delay: float | str | timedelta = 30,
        factor: float = 2,
        max_delay: float | str | timedelta = 3600,
        on: type[BaseException] | Iterable[type[BaseException]] = (BaseException,),
    ) -> None:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            raise ValueError(f"factor={factor!r}: must be a number")
        if not 1 <= factor < float("inf"):
            raise ValueError(f"factor={factor!r}: must be 1 or more")
        first, longest = (
            parse_duration(delay, argument="delay"),
            parse_duration(max_delay, argument="max_delay"),
        )
        if first > longest:
            raise ValueError(
                f"delay={delay!r}: must not be more than max_delay={max_delay!r}; give a longer"
                " max_delay, or a shorter delay"
            )
        object.__setattr__(self, "attempts", parse_count("attempts", attempts))
        object.__setattr__(self, "delay", first.total_seconds())
        object.__setattr__(self, "factor", factor)
        object.__setattr__(self, "max_delay", longest.total_seconds())
        object.__setattr__(self, "on", _parse_error_classes(on))

    def delay_after(self, attempt: int) -> timedelta:
        """Return how long after the attempt of this number (from 1) the next one is due."""
        try:
            delay = self.delay * float(self.factor) ** (attempt - 1)
        except OverflowError:
            delay = self.max_delay
        return timedelta(seconds=min(delay, self.max_delay))

    def covers(self, error_class: type[BaseException]) -> bool:
        """Return whether there is another attempt after an error of this class."""
        return issubclass(error_class, self.on)


def _parse_error_classes(on: Any) -> tuple[type[BaseException], ...]:
    classes = (on,) if isinstance(on, type) else tuple(on) if isinstance(on, Iterable) else ()
    are_errors = all(isinstance(one, type) and issubclass(one, BaseException) for one in classes)
    if not (classes and are_errors):
        raise ValueError(
            f"on={on!r}: must be a class of errors such as ConnectionError, or several"
        )
    return classes


REQUEST_EXECUTOR = "request"
"""The executor of tasks that run in the tick's request."""

THREAD_EXECUTOR = "thread"
"""The executor of tasks that run in a thread of this process, after the tick has answered."""

PROCESS_EXECUTOR = "process"
"""The executor of tasks that run in a process of their own, ``pcron … execute``."""

WORKER_EXECUTOR = "worker"
"""The executor of tasks that run in a process of ``pcron … work``, on any host with the store."""

BUILT_IN_EXECUTORS = (REQUEST_EXECUTOR, THREAD_EXECUTOR, PROCESS_EXECUTOR, WORKER_EXECUTOR)
"""The executors that need no queue."""

CELERY_EXECUTOR = "celery"
"""The executor of tasks that run in a Celery worker."""

ONE_ATTEMPT = Retry(attempts=1)
DEFAULT_GRACE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Task:
    """A registered task."""

    name: str
    function: Callable[..., Any]
    #: It runs when any of these says so; without any, on demand only.
    schedules: Schedules
    #: The IANA name of its zone.
    timezone: str
    #: Whether it runs last in a tick, and only while there is time.
    idle: bool = False
    #: Higher runs first.
    priority: int = 0
    #: A false answer skips the slot.
    when: Callable[[System], Any] | None = None
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.ONCE
    #: A slot older than this is missed; None for no limit.
    grace: timedelta | None = DEFAULT_GRACE
    retry: Retry = ONE_ATTEMPT
    #: How long a run may take; None for no limit.
    timeout: timedelta | None = None
    #: How many failures in a row pause it; None if they never do.
    pause_after: int | None = None
    #: Whether its run's end is written in its own transaction, where that can be.
    transactional: bool = True
    #: How many lost attempts at a slot are made good by another; None for the default.
    lost_attempts: int | None = None
    #: Seconds by which its slots are later than its schedules' (its share of the jitter).
    offset: int = 0
    #: Its name in monitors, or its names by services; None if it has none.
    monitor: str | Mapping[str, str] | None = field(default=None, hash=False)
    description: str = ""
    #: The command line that it runs; None if it is a function.
    command: str | None = None
    #: Whether the function takes the system mapping; otherwise it takes nothing.
    takes_system: bool = True
    #: Where it runs: in the ``request`` of the tick, in a ``thread``, or in the queue of this name.
    executor: str = REQUEST_EXECUTOR
    #: Its share of ``cron.capacity`` while it runs outside the request.
    weight: int = 1
    #: Runs of tasks with the same lock never go on at the same time, on whatever hosts.
    lock: str | None = None
    #: What it is listed and found by, such as its team.
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: Options for Celery when it is sent there.
    celery: Mapping[str, Any] = field(default_factory=dict, hash=False)
    #: The name of the stored schedule for which this is the task; None for its own schedules.
    schedule_name: str | None = None
    #: What the stored schedule has its runs receive, a JSON value.
    payload: Any = field(default=None, hash=False)

    @property
    def key(self) -> TaskKey:
        """Its name, with that of the stored schedule if there is one."""
        return make_task_key(self.name, self.schedule_name)

    @property
    def origin(self) -> str:
        """The origin of its slots."""
        return make_schedule_origin(self.schedule_name)

    @property
    def fixed_delay(self) -> timedelta | None:
        """How long after the end of a run the next one is due, with fixed delay; else None.

        It is the interval of a task with ``every`` and ``overlap="delay"``.
        """
        if self.overlap is Overlap.DELAY and len(self.schedules) == 1:
            [schedule] = self.schedules
            if isinstance(schedule, Every) and schedule.is_steady:
                return timedelta(seconds=schedule.seconds)
        return None

    @property
    def monitor_names(self) -> Mapping[str, str]:
        """Its names by the services that know it by one."""
        return names_by_service(self.monitor)

    def has_label(self, wanted: str) -> bool:
        """Return whether it has a label: ``"team:billing"``, or ``"team"`` with whatever text."""
        name, separator, text = wanted.partition(":")
        return name in self.labels and (not separator or self.labels[name] == text)

    def following(self, after: datetime) -> datetime | None:
        """Return the first slot after an aware moment, in UTC; None if there is none."""
        return following_slot_of(self.schedules, self.offset, after)

    def between(self, since: datetime, until: datetime) -> list[datetime]:
        """Return the slots with ``since < slot <= until`` (aware moments), in order and in UTC."""
        return slots_between(self.schedules, self.offset, since, until)

    def describe(self) -> str:
        """Return its schedule in plain English."""
        if not self.schedules:
            return "on demand"
        return describe_schedules(self.schedules, self.offset)


def describe_monitor(monitor: str | Mapping[str, str]) -> str:
    """Return the name that monitors know a task by, or the names with their services, as text."""
    if isinstance(monitor, str):
        return monitor
    return ", ".join(f"{service} {name}" for service, name in monitor.items())


def names_by_service(monitor: str | Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the names by services that an argument ``monitor`` stands for: one is for all."""
    if monitor is None:
        return {}
    return dict.fromkeys(MONITOR_SERVICES, monitor) if isinstance(monitor, str) else monitor


def slots_between(
    schedules: Schedules, offset: int, since: datetime, until: datetime
) -> list[datetime]:
    """Return the slots of any of the schedules, ``offset`` seconds later, in order and in UTC.

    They are those with ``since < slot <= until`` (aware moments).
    """
    shift = timedelta(seconds=offset)
    by_schedule = [ask_between(schedule, since - shift, until - shift) for schedule in schedules]
    slots = by_schedule[0] if len(by_schedule) == 1 else sorted(set(chain(*by_schedule)))
    return [slot + shift for slot in slots] if offset else slots


def following_slot_of(schedules: Schedules, offset: int, after: datetime) -> datetime | None:
    """Return the first slot of the schedules, ``offset`` seconds later, after an aware moment."""
    shift = timedelta(seconds=offset)
    slots = [ask_following(schedule, after - shift) for schedule in schedules]
    return min((slot + shift for slot in slots if slot is not None), default=None)


def describe_schedules(schedules: Schedules, offset: int) -> str:
    """Return in plain English when any of the schedules is, ``offset`` seconds later."""
    text = ", and ".join(schedule.describe() for schedule in schedules)
    return f"{text}, {timedelta(seconds=offset)} later" if offset else text


def compute_jitter_offset(name: str, jitter: int) -> int:
    """Return the seconds by which the task's slots are later: 0 <= offset < ``jitter`` (seconds).

    The same name has the same offset on every host, always. For a jitter of two minutes or more it
    is a whole number of minutes: a trigger that comes once a minute has no use for seconds.
    """
    unit = 60 if jitter >= 120 else 1
    number = int.from_bytes(hash_name(name, "jitter"), "big")
    return number % -(-jitter // unit) * unit
