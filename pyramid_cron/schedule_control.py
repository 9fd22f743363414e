"""Stored schedules as whoever made them sees them: making one, and how it is now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .app import CronApp
from .health_report import assess_schedules
from .planning.health import TaskHealth, assess_task
from .planning.schedule_book import StoredSchedule
from .planning.snapshot import PauseRule, active_pause
from .run import Run, as_payload
from .schedule_arguments import SCHEDULE_ARGUMENTS, ScheduleTimes, check_when
from .schedule_health import make_schedule_input
from .serializers import JSONObject, instant_or_none, pause_data, run_summary
from .store.queries import read_overview
from .store.schedule_records import NO_RECORD, read_records
from .task import TASK_NAME_PATTERN, Task
from .text import format_instant, suggest


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """A stored schedule at the moment of the call. Moments are aware, in UTC."""

    name: str
    #: The name of its task.
    task: str
    #: A JSON value, which its runs receive.
    payload: Any
    #: Whether it makes any slots.
    enabled: bool
    #: Its state of health, as a task has one: ``orphaned`` if its task is away. Besides these,
    #: ``disabled``, or ``broken`` if this version of the application can't read it.
    state: str
    #: When it is, in plain English.
    description: str
    #: The arguments that say when it is, as JSON values.
    when: Mapping[str, Any]
    #: The IANA name of its zone.
    timezone: str
    #: Its next slot; None if it has none, and while it is paused.
    next: datetime | None
    #: Slots that are later count.
    changed: datetime
    #: The pause in effect; None if it is not paused.
    paused: PauseRule | None = None
    #: Why it is in its state, in a line.
    detail: str | None = None
    #: Its newest run that is over, was not skipped, and is still on record.
    last: Run | None = None


def schedule_data(status: ScheduleStatus) -> JSONObject:
    """Return a stored schedule as a flat JSON object; what says when it is has all arguments."""
    return {
        "name": status.name,
        "task": status.task,
        "payload": status.payload,
        "enabled": status.enabled,
        **{argument: status.when.get(argument) for argument in SCHEDULE_ARGUMENTS},
        "state": status.state,
        "detail": status.detail,
        "description": status.description,
        "next": instant_or_none(status.next),
        "last": status.last and run_summary(status.last),
        "changed": format_instant(status.changed),
        "paused": pause_data(status.paused),
    }


def make_schedule(
    cron: CronApp,
    name: Any,
    task_name: Any,
    payload: Any,
    enabled: Any,
    when: Mapping[str, Any],
) -> tuple[StoredSchedule, ScheduleTimes]:
    """Return a stored schedule as it is from now on, and when it is.

    Raises ValueError naming the argument, its value and what would be right.
    """
    task = check_names(cron, name, task_name)
    if not isinstance(enabled, bool):
        raise ValueError(f"enabled={enabled!r}: must be True or False")
    try:
        payload = as_payload(payload)
    except TypeError as error:
        raise ValueError(str(error)) from None
    now = cron.clock()
    arguments, times = check_when(name, when, task.timezone, now)
    return StoredSchedule(name, task.name, arguments, now, payload, enabled), times


def check_names(cron: CronApp, name: Any, task_name: Any) -> Task:
    """Return the task of a new schedule; ValueError for a wrong name of either."""
    tasks = cron.task_registry.by_name
    if not isinstance(name, str) or not TASK_NAME_PATTERN.fullmatch(name):
        raise ValueError(f"name={name!r}: must be text of 1 to 200 printable characters")
    if name in tasks:
        raise ValueError(f"name={name!r}: is a task's; give the schedule another name")
    if not isinstance(task_name, str) or task_name not in tasks:
        hint = suggest(task_name, tasks) if isinstance(task_name, str) else ""
        raise ValueError(f"task={task_name!r}: there is no such cron task{hint}")
    return tasks[task_name]


def describe_schedules(cron: CronApp, schedules: Sequence[StoredSchedule]) -> list[ScheduleStatus]:
    """Return stored schedules as they are now. Raises StoreError."""
    now = cron.clock()
    overview = read_overview(cron.store, cron.task_registry.task_set_id, now)
    with cron.store.read_session() as session:
        records = read_records(session, [schedule.name for schedule in schedules])
    pairs = [(schedule, records.get(schedule.name, NO_RECORD)) for schedule in schedules]
    healths = {health.schedule: health for health in assess_schedules(cron, overview, pairs, now)}
    rules = overview.pause_rules
    return [
        _make_status(cron, schedule, healths.get(schedule.name), rules, now)
        for schedule in schedules
    ]


def describe_new(cron: CronApp, schedule: StoredSchedule) -> ScheduleStatus:
    """Return a stored schedule as it is when it is made: its runs so far are not looked at."""
    now, rules = cron.clock(), cron.store.pause_rules()
    schedule_input = make_schedule_input(cron, schedule, rules, now)
    health = None
    if schedule_input is not None:
        health = assess_task(schedule_input, now, format_instant)
    return _make_status(cron, schedule, health, rules, now)


def _make_status(
    cron: CronApp,
    schedule: StoredSchedule,
    health: TaskHealth | None,
    rules: Sequence[PauseRule],
    now: datetime,
) -> ScheduleStatus:
    times = cron.find_times(schedule.name, schedule.arguments)
    task = cron.find_task(schedule.task)
    command = None if task is None else task.command
    pause = active_pause(schedule.task, now, rules, schedule.name, command=command)
    state = "broken" if schedule.is_enabled else "disabled"
    return ScheduleStatus(
        name=schedule.name,
        task=schedule.task,
        payload=schedule.payload,
        enabled=schedule.is_enabled,
        state=state if health is None else health.state.value,
        detail=None if health is None else health.detail,
        description="" if times is None else times.describe(),
        when=schedule.arguments,
        timezone=str(schedule.arguments.get("timezone", cron.settings.timezone)),
        next=None if health is None else health.next,
        last=None if health is None else health.last,
        changed=schedule.changed,
        paused=pause,
    )
