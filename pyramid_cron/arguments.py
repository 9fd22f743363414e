"""The arguments of a task: each is checked, and parsed to the value that the task has.

Each function returns the value, or raises ValueError that names the argument, its value and what
would be right; :func:`naming_task` adds the name of the task.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from .schedule import At, Cron, Every, Schedule
from .schedule.base import Limited, check_schedule
from .schedule.quantities import (
    MAX_DURATION,
    parse_count,
    parse_duration,
    parse_integer,
    parse_seconds,
)
from .schedule.zones import get_zone
from .task import (
    CELERY_EXECUTOR,
    LABEL_NAME_PATTERN,
    MONITOR_SERVICES,
    ONE_ATTEMPT,
    TASK_NAME_PATTERN,
    Overlap,
    Retry,
    Schedules,
    compute_jitter_offset,
)
from .text import suggest

CELERY_SEND_OPTIONS = frozenset(
    ("queue", "priority", "exchange", "routing_key", "headers", "compression")
)
"""The options of Celery for sending a task."""

FOREIGN_ARGUMENTS = {
    "min": ("minute", "minutes"),
    "hour": ("hours",),
    "day": ("days", "day_of_month", "dom"),
    "month": ("months", "month_of_year"),
    "dow": ("day_of_week", "weekday", "weekdays", "days_of_week"),
    "schedule": ("cron", "crontab", "cronspec", "expression", "crontab_expression"),
    "every": ("interval", "period", "second", "seconds", "run_every"),
    "at": ("run_at", "run_date", "date", "eta"),
    "timezone": ("tz", "zone", "tzinfo", "time_zone"),
    "name": ("id", "job_id", "task_name"),
    "grace": ("misfire_grace_time", "expires", "ttl"),
    "retry": ("retries", "max_retries", "attempts"),
    "timeout": ("time_limit", "max_runtime"),
    "executor": ("queue", "backend"),
    "catch_up": ("coalesce", "catchup", "misfire"),
    "overlap": ("max_instances", "concurrency", "without_overlapping"),
    "lock": ("mutex", "concurrency_key", "queueing_lock", "locks"),
    "labels": ("tags", "label", "metadata"),
    "schedule=Every('1h').starting(moment)": ("starting", "start_date", "start"),
    "schedule=Every('1h').ending(moment)": ("ending", "end_date", "end"),
    "schedule=Every('1h').excluding(dates)": ("excluding", "exclude", "holidays"),
}
"""What other schedulers call an argument, by what it is called here."""

MAX_MOMENT = datetime.max.replace(tzinfo=timezone.utc)

EnumT = TypeVar("EnumT", bound=Enum)


@contextmanager
def naming_task(task_name: object) -> Iterator[None]:
    """Turn an error about an argument into a ConfigurationError that names the task, too."""
    try:
        yield
    except ConfigurationError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"cron task {task_name!r}: {error}") from error


def check_known(directive: str, arguments: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Refuse arguments that a directive does not have; ValueError says which was meant."""
    for argument, value in arguments.items():
        if argument not in allowed:
            hint = _suggest_argument(argument, allowed) or f"; use {', '.join(sorted(allowed))}"
            raise ValueError(f"{argument}={value!r}: {directive} has no such argument{hint}")


def _suggest_argument(argument: str, allowed: Collection[str]) -> str:
    for meant, foreign in FOREIGN_ARGUMENTS.items():
        if argument.lower() in foreign and meant.partition("=")[0] in allowed:
            return f"; did you mean {meant!r}?" if meant.isidentifier() else f"; use {meant}"
    return suggest(argument.lower(), allowed)


def resolve(config: Configurator, argument: str, value: Any) -> Callable[[Any], Any]:
    """Return a callable, by itself or by its dotted name."""
    try:
        function = config.maybe_dotted(value)
    except Exception as error:
        raise ValueError(
            f"{argument}={value!r} can't be imported ({type(error).__name__}: {error});"
            " use a callable or its dotted name, such as '.tasks.nightly' or 'app.tasks:nightly'"
        ) from error
    if not callable(function):
        raise ValueError(
            f"{argument}={value!r} is no callable; use a function that takes one argument, the"
            " system mapping"
        )
    return function  # type: ignore[no-any-return]


def parse_task_name(function: Callable[[Any], Any], name: Any) -> str:
    """Return a task's name; for None the module and qualname of its function."""
    if name is None:
        inner = _unwrap_partial(function)
        owner = inner if hasattr(inner, "__qualname__") else type(inner)
        name = f"{owner.__module__}.{owner.__qualname__}"
    if not isinstance(name, str) or not TASK_NAME_PATTERN.fullmatch(name):
        raise ConfigurationError(
            f"cron task: name={name!r}: must be text of 1 to 200 printable characters"
        )
    return name


def _unwrap_partial(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the function that a partial calls; any other function itself."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def check_function(value: Any, function: Callable[..., Any]) -> bool:
    """Refuse a task's function that can't be called; return whether it takes the system mapping."""
    _check_is_no_generator("f", value, function)
    try:
        return takes_system(function)
    except ValueError as error:
        raise ValueError(f"f={value!r} {error}") from error


def check_callable(argument: str, value: Any, function: Callable[..., Any]) -> None:
    """Refuse a function that can't be called with the system mapping alone, or is a generator."""
    _check_is_no_generator(argument, value, function)
    try:
        if takes_system(function):
            return
        reason = f"takes (); {_SYSTEM_HINT}"
    except ValueError as error:
        reason = str(error).removesuffix(_OR_NONE)
    raise ValueError(f"{argument}={value!r} {reason}")


_SYSTEM_HINT = "it must take one argument, the system mapping"
_OR_NONE = ", or none"


def takes_system(function: Callable[..., Any], *bound: object) -> bool:
    """Return whether a function takes the system mapping after ``bound``, or nothing more.

    Raises ValueError for a function that takes something else.
    """
    signature = _signature_of(function)
    if signature is None:
        inner = _signature_of(function.func) if isinstance(function, functools.partial) else None
        if inner is None:
            return True  # some builtins have no signature
        raise ValueError(f"gives what can't be given: what it calls takes {inner}")
    for arguments, answer in (((*bound, {}), True), (bound, False)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return answer
    raise ValueError(f"takes {signature}; {_SYSTEM_HINT}{_OR_NONE}")


def _check_is_no_generator(argument: str, value: Any, function: Callable[..., Any]) -> None:
    if is_generator_function(_unwrap_partial(function)):
        raise ValueError(
            f"{argument}={value!r} is a generator function: to call it runs nothing of it; use"
            " a function without yield"
        )


def _signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        # Of the wrapper, not of what it wraps: that may take more, which the wrapper adds.
        return inspect.signature(function, follow_wrapped=False)
    except ValueError:
        return None


def is_generator_function(function: Callable[..., Any]) -> bool:
    """Return whether calling a function only makes a generator."""
    return any(
        inspect.isgeneratorfunction(candidate) or inspect.isasyncgenfunction(candidate)
        for candidate in (function, type(function).__call__)
    )


def parse_condition(config: Configurator, when: Any) -> Callable[[Any], Any] | None:
    """Return the callable ``when``; None for None."""
    if when is None:
        return None
    condition = resolve(config, "when", when)
    check_callable("when", when, condition)
    return condition


def parse_flag(argument: str, value: Any) -> bool:
    """Return a boolean; no other value is one."""
    if not isinstance(value, bool):
        raise ValueError(f"{argument}={value!r}: must be True or False")
    return value


def parse_pause_after(value: Any) -> int | None:
    """Return after how many failures in a row the task is paused; None for never."""
    return None if value is None else parse_count("pause_after", value)


def parse_lost_attempts(value: Any) -> int | None:
    """Return how many lost attempts are made good; None for the default."""
    if value is None:
        return None
    number = parse_integer("lost_attempts", value)
    if number < 0:
        raise ValueError(f"lost_attempts={value!r}: must be 0 or more")
    return number


def parse_one_of(argument: str, names: Collection[str], value: Any) -> str:
    """Return text that is one of these names."""
    if not isinstance(value, str) or value not in names:
        choices = ", ".join(map(repr, names))
        raise ValueError(f"{argument}={value!r}: must be one of {choices}")
    return value


def parse_executor(value: Any) -> str:
    """Return the name of an executor; a queue may be added later."""
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"executor={value!r}: must be 'request', 'thread', 'process', 'worker', 'celery' or the"
            " name of a queue"
        )
    return value


def parse_send_options(options: Any, executor: Any) -> dict[str, Any]:
    """Return the options with which Celery sends the task."""
    if options is None:
        return {}
    if executor != CELERY_EXECUTOR:
        raise ValueError(f"celery={options!r}: only for executor='celery', not {executor!r}")
    if not isinstance(options, dict) or not CELERY_SEND_OPTIONS.issuperset(options):
        names = ", ".join(sorted(CELERY_SEND_OPTIONS))
        raise ValueError(f"celery={options!r}: must be a dict with some of {names}")
    return dict(options)


def parse_choice(argument: str, enum_class: type[EnumT], value: Any) -> EnumT:
    """Return the member of an enumeration of text that has this value."""
    return enum_class(parse_one_of(argument, [member.value for member in enum_class], value))


def parse_grace(value: Any) -> timedelta | None:
    """Return how old a slot may become; None for no limit, or one of more than 100 years."""
    if value is None:
        return None
    grace = parse_duration(value, argument="grace", min_seconds=1, max_duration=timedelta.max)
    return None if grace > MAX_DURATION else grace


def parse_timeout(value: Any) -> timedelta | None:
    """Return how long a run may take; None for no limit."""
    return None if value is None else parse_duration(value, argument="timeout", min_seconds=0.001)


def parse_retry(value: Any) -> Retry:
    """Return how often and when a slot is tried."""
    if value is None:
        return ONE_ATTEMPT
    if isinstance(value, Retry):
        return value
    return Retry(attempts=parse_count("retry", value))


def parse_jitter(task_name: str, jitter: Any, schedules: tuple[Any, ...]) -> int:
    """Return the task's offset: the seconds by which its slots are shifted."""
    if jitter is None:
        return 0
    if not schedules:
        raise ValueError(f"jitter={jitter!r}: a task that runs on demand has no slots to shift")
    longest = parse_seconds(jitter, argument="jitter")
    for schedule in schedules:
        if isinstance(schedule, At) and MAX_MOMENT - schedule.moment < timedelta(seconds=longest):
            raise ValueError(f"jitter={jitter!r}: shifts {schedule!r} out of the calendar")
    return compute_jitter_offset(task_name, longest)


def parse_monitor(monitor: Any) -> str | dict[str, str] | None:
    """Return the name that monitors know the task by, or the names by services; None for none."""
    if monitor is None:
        return None
    if not isinstance(monitor, Mapping):
        return _parse_monitor_name(monitor, monitor)
    if not monitor:
        raise ValueError(f"monitor={monitor!r}: names no service; use None for none")
    for service in monitor:
        if service not in MONITOR_SERVICES:
            hint = suggest(service, MONITOR_SERVICES) if isinstance(service, str) else ""
            raise ValueError(
                f"monitor={monitor!r}: there is no service {service!r}"
                f"{hint or '; use ' + ', '.join(MONITOR_SERVICES)}"
            )
    return {service: _parse_monitor_name(monitor, name) for service, name in monitor.items()}


def _parse_monitor_name(monitor: Any, name: Any) -> str:
    if not isinstance(name, str) or not TASK_NAME_PATTERN.fullmatch(name.strip()):
        at_fault = "" if name is monitor else f"{name!r} "
        raise ValueError(
            f"monitor={monitor!r}: {at_fault}must be a name of 1 to 200 characters, none of them a"
            " control character, or a mapping of such names by services"
        )
    return name.strip()


def parse_description(function: Callable[[Any], Any], description: Any) -> str:
    """Return the description; for None the first line of the function's docstring."""
    if description is None:
        return (inspect.getdoc(_unwrap_partial(function)) or "").partition("\n")[0]
    if not isinstance(description, str):
        raise ValueError(f"description={description!r}: must be text")
    return description


def parse_lock(lock: Any, overlap: Any) -> str | None:
    """Return the name of the lock that runs of the task hold; None for none."""
    if lock is None:
        return None
    if not isinstance(lock, str) or not TASK_NAME_PATTERN.fullmatch(lock):
        raise ValueError(f"lock={lock!r}: must be text of 1 to 200 printable characters")
    if overlap == Overlap.ALLOW:
        raise ValueError(
            f"lock={lock!r}: means nothing with overlap='allow', by which runs go on side by side;"
            " use 'skip', 'delay' or 'restart'"
        )
    return lock


def parse_labels(labels: Any) -> dict[str, str]:
    """Return the labels by their names; none for None."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise ValueError(f"labels={labels!r}: must be a mapping such as {{'team': 'billing'}}")
    for name, text in labels.items():
        if not isinstance(name, str) or not LABEL_NAME_PATTERN.fullmatch(name):
            raise ValueError(
                f"labels={labels!r}: the name {name!r} must be ASCII letters, digits, '_', '-' and"
                " '.', no more than 63"
            )
        if not isinstance(text, str) or not TASK_NAME_PATTERN.fullmatch(text):
            raise ValueError(
                f"labels={labels!r}: {name!r} must be text of 1 to 200 printable characters"
            )
    return dict(labels)


ArgumentT = TypeVar("ArgumentT")


def parse_schedules(
    task_name: str,
    fields: dict[str, Any],
    *,
    schedule: Any,
    every: Any,
    at: Any,
    on_demand: Any,
) -> Schedules:
    """Return the schedules of a task, none on demand; ValueError for two ways of saying when."""
    fields = {name: value for name, value in fields.items() if value is not None}
    ways = {
        "schedule": schedule,
        "every": every,
        "at": at,
        "on_demand": parse_flag("on_demand", on_demand) or None,
    }
    ways = {way: value for way, value in ways.items() if value is not None}
    if len(ways) + bool(fields) > 1:
        raise ValueError(
            f"{_join_arguments(fields | ways)} each say when;"
            " use one of fields, schedule, every, at, on_demand"
        )
    if on_demand:
        return ()
    if every is not None:
        return (_construct("every", Every, every),)
    if at is not None:
        return (_construct("at", At, at),)
    if schedule is not None:
        return _parse_schedule_list(task_name, schedule)
    return (Cron.for_task(task_name, **fields) if fields else Cron("* * * * *"),)


def _join_arguments(arguments: dict[str, Any]) -> str:
    """Return the arguments as they were written: ``min=0, hour=2 and every='1h'``."""
    *written, last = [f"{argument}={value!r}" for argument, value in arguments.items()]
    return f"{', '.join(written)} and {last}"


def _parse_schedule_list(task_name: str, schedule: Any) -> Schedules:
    several = schedule if isinstance(schedule, (list, tuple, set, frozenset)) else [schedule]
    if not several:
        raise ValueError(f"schedule={schedule!r} is empty; use on_demand=True for no schedule")
    return tuple(dict.fromkeys(_parse_schedule(task_name, value) for value in several))


def _parse_schedule(task_name: str, schedule: Any) -> Schedule:
    if isinstance(schedule, Schedule):
        try:
            check_schedule(schedule)
        except ValueError as error:
            raise ValueError(f"schedule={schedule!r}: {error}") from None
        return schedule
    if isinstance(schedule, str):
        make = partial(Cron.for_task, task_name)
        return _construct("schedule", make, schedule, alias="expression")
    raise ValueError(
        f"schedule={schedule!r}: must be five cron fields as text, a Cron, Every, At or other"
        " Schedule, or a list of these"
    )


def check_slots(schedules: Schedules, now: datetime) -> None:
    """Refuse a schedule whose bounds and exclusions leave no slot; ValueError names it."""
    for schedule in schedules:
        try:
            is_empty = isinstance(schedule, Limited) and schedule.is_empty(now)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"schedule={schedule!r}: it failed by {reason}") from error
        if is_empty:
            raise ValueError(
                f"schedule={schedule!r}: no slot was found that is within its bounds and not"
                " excluded, so it would never run"
            )


def _construct(
    argument: str, make: Callable[[Any], ArgumentT], value: Any, alias: str = ""
) -> ArgumentT:
    """Return the schedule made of a value; an error names the argument, not its ``alias``."""
    try:
        return make(value)
    except (TypeError, ValueError) as error:
        reason = str(error).removeprefix(f"{alias or argument}={value!r}: ")
        raise ValueError(f"{argument}={value!r}: {reason}") from error


def parse_timezone(timezone: Any) -> str:
    """Return the zone's name; an empty one for None, the application's own."""
    if timezone is None:
        return ""
    try:
        return str(get_zone(timezone).key)
    except ValueError as error:
        raise ValueError(
            f"timezone={timezone!r} is no IANA time zone; use a name such as 'Europe/Berlin'"
        ) from error
