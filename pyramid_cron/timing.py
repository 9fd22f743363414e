"""Which of the ways to say when was used for a task, and the schedules that it means."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from .arguments import parse_flag
from .schedule import At, Cron, Every
from .schedule.zones import get_zone

ArgumentT = TypeVar("T")


def parse_schedules(
    task_name: str,
    fields: dict[str, Any],
    *,
    schedule: Any,
    every: Any,
    at: Any,
    on_demand: Any,
) -> tuple[Cron | Every | At, ...]:
    """Return the schedules of a task, none if it has none; ValueError if it says when twice."""
    given = {key: value for key, value in fields.items() if value is not None}
    ways = {
        "schedule": schedule,
        "every": every,
        "at": at,
        "on_demand": parse_flag("on_demand", on_demand) or None,
    }
    said = {way: value for way, value in ways.items() if value is not None}
    if len(said) + bool(given) > 1:
        raise ValueError(
            f"{_join_arguments(given | said)} each say when; use one of fields, schedule, every, at, on_demand"
        )
    if on_demand:
        return ()
    if every is not None:
        return (_construct("every", Every, every),)
    if at is not None:
        return (_construct("at", At, at),)
    if schedule is not None:
        return _parse_schedule_list(task_name, schedule)
    return (Cron.for_task(task_name, **given) if given else Cron("* * * * *"),)


def _join_arguments(arguments: dict[str, Any]) -> str:
    """Return the arguments as they were written: ``min=0, hour=2 and every='1h'``."""
    *written, last = [f"{argument}={value!r}" for argument, value in arguments.items()]
    return f"{', '.join(written)} and {last}"


def _parse_schedule_list(task_name: str, schedule: Any) -> tuple[Cron | Every | At, ...]:
    several = schedule if isinstance(schedule, (list, tuple, set, frozenset)) else [schedule]
    if not several:
        raise ValueError(f"schedule={schedule!r} is empty; use on_demand=True for no schedule")
    found = [_parse_schedule(task_name, each) for each in several]
    return tuple(dict.fromkeys(found))


def _parse_schedule(task_name: str, schedule: Any) -> Cron | Every | At:
    if isinstance(schedule, (Cron, Every, At)):
        return schedule
    if isinstance(schedule, str):
        make = partial(Cron.for_task, task_name)
        return _construct("schedule", make, schedule, alias="expression")
    raise ValueError(
        f"schedule={schedule!r}: must be five cron fields as text, a Cron, Every or At, or a list"
    )


def _construct(
    argument: str, make: Callable[[Any], ArgumentT], value: Any, alias: str = ""
) -> ArgumentT:
    """Return what is made of a value, which is ``called`` something else where that is done."""
    try:
        return make(value)
    except (TypeError, ValueError) as error:
        reason = str(error).removeprefix(f"{alias or argument}={value!r}: ")
        raise ValueError(f"{argument}={value!r}: {reason}") from error


def parse_timezone(timezone: Any) -> str:
    """Return the zone's name, or an empty one where the application's own is meant."""
    if timezone is None:
        return ""
    try:
        return str(get_zone(timezone).key)
    except ValueError as error:
        raise ValueError(
            f"timezone={timezone!r} is no IANA time zone; use a name such as 'Europe/Berlin'"
        ) from error
