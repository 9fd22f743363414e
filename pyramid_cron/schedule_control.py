"""Stored schedules as whoever made them sees them: making one, and how it is now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .app import CronApp
from .planning.schedule_book import StoredSchedule
from .planning.snapshot import PauseRule, active_pause
from .run import as_payload
from .schedule_arguments import SCHEDULE_ARGUMENTS, ScheduleTimes, check_when, make_times
from .serializers import JSONObject, instant_or_none, pause_data
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
    #: ``ok``, ``paused``, ``disabled``, ``orphaned`` (its task is away) or ``broken`` (this version
    #: of the application can't read it).
    state: str
    #: When it is, in plain English.
    description: str
    #: The arguments that say when it is, as JSON values.
    when: Mapping[str, Any]
    #: The IANA name of its zone.
    timezone: str
    #: Its next slot; None if it has none.
    next: datetime | None
    #: Slots that are later count.
    changed: datetime
    #: The pause in effect; None if it is not paused.
    paused: PauseRule | None = None


def schedule_data(status: ScheduleStatus) -> JSONObject:
    """Return a stored schedule as a flat JSON object; what says when it is has all arguments."""
    return {
        "name": status.name,
        "task": status.task,
        "payload": status.payload,
        "enabled": status.enabled,
        **{argument: status.when.get(argument) for argument in SCHEDULE_ARGUMENTS},
        "state": status.state,
        "description": status.description,
        "next": instant_or_none(status.next),
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


def describe_schedule(
    cron: CronApp, schedule: StoredSchedule, rules: Sequence[PauseRule]
) -> ScheduleStatus:
    """Return a stored schedule as it is now; ``rules`` are the pause rules, oldest first."""
    now = cron.clock()
    task = cron.find_task(schedule.task)
    command = None if task is None else task.command
    pause = active_pause(schedule.task, now, rules, schedule.name, command=command)
    times = _times_of(cron, schedule)
    state = _state_of(cron, schedule, times, pause)
    return ScheduleStatus(
        name=schedule.name,
        task=schedule.task,
        payload=schedule.payload,
        enabled=schedule.is_enabled,
        state=state,
        description="" if times is None else times.describe(),
        when=schedule.arguments,
        timezone=str(schedule.arguments.get("timezone", cron.settings.timezone)),
        next=times.following(now) if times is not None and state == "ok" else None,
        changed=schedule.changed,
        paused=pause,
    )


def _times_of(cron: CronApp, schedule: StoredSchedule) -> ScheduleTimes | None:
    try:
        return make_times(schedule.name, schedule.arguments, cron.settings.timezone)
    except Exception:  # logged when it came
        return None


def _state_of(
    cron: CronApp, schedule: StoredSchedule, times: ScheduleTimes | None, pause: PauseRule | None
) -> str:
    if schedule.task not in cron.task_registry.by_name:
        return "orphaned"
    if times is None:
        return "broken"
    if not schedule.is_enabled:
        return "disabled"
    return "ok" if pause is None else "paused"
