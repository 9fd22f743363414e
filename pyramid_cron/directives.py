"""``config.add_cron_task``: validate what was written, show it to introspection, register it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from .execute.celery import CelerySender
from .execute.command import Command
from .run import Run
from .schedule import At, Cron, Every, Schedule
from .schedule.duration import seconds, span
from .state import cronwork
from .task import (
    CELERY,
    NAME,
    ONE_ATTEMPT,
    REQUEST,
    THREAD,
    CatchUp,
    Overlap,
    Retry,
    Task,
    jitter_offset,
)

CATEGORY = "cron tasks"
"""The introspection category of tasks."""

SEND_OPTIONS = frozenset(("queue", "priority", "exchange", "routing_key", "headers", "compression"))
"""What may be said of how Celery sends a task."""

LAST = 1000
"""The order of actions that come after all of the application's own."""

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
Field = int | str | Iterable[int] | None


def add_cron_task(
    config: Configurator,
    f: Callable[[dict[str, Any]], Any] | str,
    min: Field = None,  # noqa: A002
    hour: Field = None,
    day: Field = None,
    month: Field = None,
    dow: Field = None,
    idle: bool = False,
    *,
    name: str | None = None,
    schedule: str | Schedule | list[str | Schedule] | None = None,
    every: str | float | timedelta | None = None,
    at: datetime | str | None = None,
    on_demand: bool = False,
    when: Callable[[dict[str, Any]], Any] | str | None = None,
    timezone: str | None = None,
    priority: int = 0,
    overlap: str = "skip",
    catch_up: str = "once",
    grace: str | float | timedelta | None = "1h",
    retry: int | Retry | None = None,
    timeout: str | float | timedelta | None = None,
    pause_after: int | None = None,
    jitter: str | float | timedelta | None = None,
    weight: int = 1,
    executor: str = "request",
    monitor: str | None = None,
    celery: dict[str, Any] | None = None,
    description: str | None = None,
) -> None:
    """Register a task: a function that runs in the application when its schedule says so.

    :param f: what to run: a callable that takes one argument, the ``system`` mapping, or its dotted
        name, relative to the calling package where it begins with a dot. It may be ``async def``.
    :param min: minutes, 0 to 59.
    :param hour: hours, 0 to 23.
    :param day: days of the month, 1 to 31.
    :param month: months, 1 to 12.
    :param dow: days of the week. Integers count like :meth:`datetime.date.weekday`, 0 is Monday;
        in strings, as in a crontab, 0 and 7 are Sunday.
    :param idle: run after the other tasks, and only while the tick has time left.
    :param name: how the task is called, unique in the application. Default: ``module.qualname``
        of ``f``.
    :param schedule: a crontab line's five fields (``"*/5 * * * *"``), an alias (``"@hourly"``), a
        :class:`~pyramid_cron.Cron`, :class:`~pyramid_cron.Every` or :class:`~pyramid_cron.At`, or a
        list of these: the task runs when any of them says so.
    :param every: an interval: ``"90s"``, ``"30m"``, ``"6h"``, ``"1d"``, seconds, or a timedelta.
    :param at: a moment at which to run once: an aware datetime or ISO 8601 text with an offset.
    :param on_demand: has no schedule; runs only when asked for.
    :param when: a callable (or its dotted name) that takes ``system``; if its answer is false, the
        slot is skipped, with the reason ``condition``.
    :param timezone: the IANA name of the zone the schedule is meant in. Default: ``cron.timezone``.
    :param priority: tasks with a higher one run earlier within a tick.
    :param overlap: what to do with a slot while an earlier run of the task goes on: ``"skip"`` it,
        ``"delay"`` it until that is over (with ``every``, the interval counts from there),
        ``"allow"`` both side by side, or ``"restart"``: cancel the earlier one first.
    :param catch_up: what to do with slots that no tick came for: run the newest of them
        (``"once"``), ``"all"`` one after the other, oldest first, while there is time, or
        ``"none"``.
    :param grace: a slot older than this is not run any more, and recorded as missed. None: there
        is no limit.
    :param retry: how often a slot is tried, as an integer or a :class:`~pyramid_cron.Retry`.
    :param timeout: an interval; a run that takes longer is told to stop by a
        :class:`~pyramid_cron.TaskTimeout` raised in the task.
    :param pause_after: pause the task once so many slots in a row have failed for good.
    :param jitter: an interval; the task's slots are shifted by a share of it (0 <= shift < jitter)
        that depends on its name alone. From two minutes up the shift is in whole minutes.
    :param weight: the task's share of ``cron.capacity`` while it runs outside the request.
    :param monitor: the name under which the monitors in ``cron.monitors`` know the task. Default:
        none is told of it.
    :param executor: where it runs: in the tick's ``"request"``, in a ``"thread"`` of this process
        once the tick has answered, by a ``"celery"`` worker, or by a queue that
        ``config.add_cron_queue`` has added. But for the first it has a request of its own.
    :param celery: what Celery is told when the task is sent: ``queue``, ``priority``,
        ``exchange``, ``routing_key``, ``headers`` or ``compression``.
    :param description: what it is for, in a line. Default: the first line of ``f``'s docstring.

    A field takes an integer, an iterable of integers, or a string in cron's syntax. All fields
    given must match. A field left out that is finer than the finest one given counts as its lowest
    value, any other as ``"*"``: ``hour=2`` is once a day, at 2:00. Without anything that says when,
    the task runs every minute.

    :raises pyramid.exceptions.ConfigurationError: naming the task, the argument, the value and what
        would be right.
    """
    with _naming(f if name is None else name):
        function = _resolve(config, "f", f)
    task_name = _name(function, name)
    with _naming(task_name):
        _check_callable("f", f, function)
        fields = {"min": min, "hour": hour, "day": day, "month": month, "dow": dow}
        schedules = _schedules(
            task_name, fields, schedule=schedule, every=every, at=at, on_demand=on_demand
        )
        unbound = Task(
            name=task_name,
            function=function,
            schedules=schedules,
            timezone=_zone(timezone),
            idle=_flag("idle", idle),
            priority=_integer("priority", priority),
            when=None if when is None else _condition(config, when),
            overlap=_choice("overlap", Overlap, overlap),
            catch_up=_choice("catch_up", CatchUp, catch_up),
            grace=None if grace is None else span(grace, what="grace", least=1),
            retry=_retry(retry),
            timeout=None if timeout is None else span(timeout, what="timeout", least=0.001),
            pause_after=None if pause_after is None else _count("pause_after", pause_after),
            offset=_offset(task_name, jitter, schedules),
            executor=_text("executor", executor),
            celery=_send_options(celery, executor),
            weight=_count("weight", weight),
            monitor=None if monitor is None else _monitor(monitor),
            description=_description(function, description),
        )
    _register(config, unbound)


def _register(config: Configurator, task: Task) -> None:
    introspectable = config.introspectable(CATEGORY, task.name, task.name, "cron task")
    introspectable.update(_shown(task))

    def register() -> None:
        cron = cronwork(config.registry)
        bound = _in_zone(task, task.timezone or cron.settings.timezone)
        introspectable.update(_shown(bound))
        _check_weight(bound, cron.settings.capacity)
        cron.register(bound)

    config.action(("cron task", task.name), register, introspectables=(introspectable,))
    if task.executor not in (REQUEST, THREAD):
        config.action(None, lambda: _check_queue(config, task), order=LAST)


def add_cron_queue(config: Configurator, name: str, send: Callable[[Run], object]) -> None:
    """Let tasks with ``executor=name`` be carried out by a task queue.

    :param name: how the queue is called.
    :param send: a callable that takes a :class:`~pyramid_cron.Run` and sends its ``id`` to a
        worker, which calls ``scheduler(registry).carry_out(id)``. If it raises, the run waits, and
        is sent at a later tick.

    :raises pyramid.exceptions.ConfigurationError: if the name is taken, or ``send`` no callable.
    """
    if not isinstance(name, str) or not name or name in (REQUEST, THREAD, CELERY):
        raise ConfigurationError(
            f"cron queue: name={name!r}: must be text, and none of 'request', 'thread', 'celery'"
        )
    if not callable(send):
        raise ConfigurationError(f"cron queue {name!r}: send={send!r}: must be callable")

    def register() -> None:
        cronwork(config.registry).queues[name] = send

    config.action(("cron queue", name), register)


def _check_queue(config: Configurator, task: Task) -> None:
    cron = cronwork(config.registry)
    if task.executor == CELERY and CELERY not in cron.queues:
        cron.queues[CELERY] = CelerySender(cron)
    names = [REQUEST, THREAD, CELERY, *sorted({*cron.queues} - {CELERY})]
    with _naming(task.name):
        _one_of("executor", names, task.executor)


def _check_weight(task: Task, capacity: int) -> None:
    if task.executor != REQUEST and task.weight > capacity:
        raise ConfigurationError(
            f"cron task {task.name!r}: weight={task.weight!r}: it would never run, since"
            f" cron.capacity is {capacity}; make one smaller or the other larger"
        )


def _shown(task: Task) -> dict[str, Any]:
    command = task.function.line if isinstance(task.function, Command) else None
    return ({} if command is None else {"command": command}) | {
        "name": task.name,
        "callable": task.function,
        "schedule": task.describe(),
        "timezone": task.timezone,
        "idle": task.idle,
        "priority": task.priority,
        "when": task.when,
        "overlap": task.overlap.value,
        "catch_up": task.catch_up.value,
        "grace": task.grace,
        "retry": task.retry,
        "timeout": task.timeout,
        "pause_after": task.pause_after,
        "jitter": task.offset,
        "weight": task.weight,
        "executor": task.executor,
        "monitor": task.monitor,
        "celery": task.celery,
        "description": task.description,
    }


def _in_zone(task: Task, zone: str) -> Task:
    """Return the task with those of its schedules that have no zone of their own in this one."""
    schedules = tuple(
        schedule.bound(zone) if isinstance(schedule, Cron) else schedule
        for schedule in task.schedules
    )
    return replace(task, schedules=schedules, timezone=zone)


@contextmanager
def _naming(task_name: object) -> Iterator[None]:
    """Turn an error about an argument into one that names the task, too."""
    try:
        yield
    except ConfigurationError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"cron task {task_name!r}: {error}") from error


def _resolve(config: Configurator, argument: str, value: Any) -> Callable[[Any], Any]:
    try:
        found = config.maybe_dotted(value)
    except Exception as error:
        raise ValueError(
            f"{argument}={value!r} can't be imported ({type(error).__name__}: {error});"
            " use a callable or its dotted name, such as '.tasks.nightly' or 'app.tasks:nightly'"
        ) from error
    if not callable(found):
        raise ValueError(
            f"{argument}={value!r} is no callable; use a function that takes one argument, the"
            " system mapping"
        )
    return found  # type: ignore[no-any-return]


def _name(function: Callable[[Any], Any], name: Any) -> str:
    if name is None:
        named = function.func if isinstance(function, functools.partial) else function
        if not hasattr(named, "__qualname__"):
            named = type(named)
        name = f"{named.__module__}.{named.__qualname__}"
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigurationError(
            f"cron task: name={name!r}: must be text of 1 to 200 printable characters"
        )
    return name


def _check_callable(argument: str, given: Any, function: Callable[[Any], Any]) -> None:
    """Refuse what can't be called with the system mapping alone."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # some builtins do not tell
    try:
        signature.bind({})
    except TypeError as error:
        raise ValueError(
            f"{argument}={given!r} takes {signature}; it must take one argument, the system mapping"
        ) from error


def _condition(config: Configurator, when: Any) -> Callable[[Any], Any]:
    condition = _resolve(config, "when", when)
    _check_callable("when", when, condition)
    return condition


def _schedules(
    task_name: str,
    fields: dict[str, Any],
    *,
    schedule: Any,
    every: Any,
    at: Any,
    on_demand: Any,
) -> tuple[Cron | Every | At, ...]:
    given = {key: value for key, value in fields.items() if value is not None}
    ways = {
        "fields": given or None,
        "schedule": schedule,
        "every": every,
        "at": at,
        "on_demand": _flag("on_demand", on_demand) or None,
    }
    said = [way for way, value in ways.items() if value is not None]
    if len(said) > 1:
        raise ValueError(
            f"{_and(said, given)} each say when; use one of fields, schedule, every, at, on_demand"
        )
    if on_demand:
        return ()
    if every is not None:
        return (_argument("every", Every, every),)
    if at is not None:
        return (_argument("at", At, at),)
    if schedule is not None:
        return _several(task_name, schedule)
    return (Cron._named(task_name, **given) if given else Cron("* * * * *"),)


def _and(said: list[str], given: dict[str, Any]) -> str:
    """Return the arguments as they were written: ``min, hour and every``."""
    written = [each for way in said for each in (given if way == "fields" else [way])]
    return f"{', '.join(written[:-1])} and {written[-1]}"


def _several(task_name: str, schedule: Any) -> tuple[Cron | Every | At, ...]:
    several = schedule if isinstance(schedule, (list, tuple, set, frozenset)) else [schedule]
    if not several:
        raise ValueError(f"schedule={schedule!r} is empty; use on_demand=True for no schedule")
    found = [_one(task_name, each) for each in several]
    return tuple(dict.fromkeys(found))


def _one(task_name: str, schedule: Any) -> Cron | Every | At:
    if isinstance(schedule, (Cron, Every, At)):
        return schedule
    if isinstance(schedule, str):
        return _argument("schedule", lambda text: Cron._named(task_name, text), schedule)
    raise ValueError(
        f"schedule={schedule!r}: must be five cron fields as text, a Cron, Every or At, or a list"
    )


def _argument(argument: str, make: Callable[[Any], T], value: Any) -> T:
    try:
        return make(value)
    except (TypeError, ValueError) as error:
        said = f"{argument}={value!r}: "
        raise ValueError(said + str(error).removeprefix(said)) from error


def _zone(timezone: Any) -> str:
    """Return the zone's name, or an empty one where the application's own is meant."""
    if timezone is None:
        return ""
    try:
        return str(ZoneInfo(timezone).key)
    except Exception as error:
        raise ValueError(
            f"timezone={timezone!r} is no IANA time zone; use a name such as 'Europe/Berlin'"
        ) from error


def _flag(argument: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{argument}={value!r}: must be True or False")
    return value


def _integer(argument: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{argument}={value!r}: must be an integer")
    return value


def _count(argument: str, value: Any) -> int:
    if _integer(argument, value) < 1:
        raise ValueError(f"{argument}={value!r}: must be 1 or more")
    return int(value)


def _one_of(argument: str, names: Collection[str], value: Any) -> str:
    if not isinstance(value, str) or value not in names:
        shown = ", ".join(repr(each) for each in names)
        raise ValueError(f"{argument}={value!r}: must be one of {shown}")
    return value


def _text(argument: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"{argument}={value!r}: must be 'request', 'thread', 'celery' or the name of a queue"
        )
    return value


def _send_options(options: Any, executor: Any) -> dict[str, Any]:
    if options is None:
        return {}
    if executor != CELERY:
        raise ValueError(f"celery={options!r}: only for executor='celery', not {executor!r}")
    if not isinstance(options, dict) or not SEND_OPTIONS.issuperset(options):
        known = ", ".join(sorted(SEND_OPTIONS))
        raise ValueError(f"celery={options!r}: must be a dict with some of {known}")
    return dict(options)


def _choice(argument: str, kind: type[E], value: Any) -> E:
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(repr(each.value) for each in kind)
        raise ValueError(f"{argument}={value!r}: must be one of {names}") from None


def _retry(value: Any) -> Retry:
    if value is None:
        return ONE_ATTEMPT
    if isinstance(value, Retry):
        return value
    return Retry(attempts=_count("retry", value))


def _offset(task_name: str, jitter: Any, schedules: tuple[Any, ...]) -> int:
    if jitter is None:
        return 0
    if not schedules:
        raise ValueError(f"jitter={jitter!r}: a task that runs on demand has no slots to shift")
    return jitter_offset(task_name, seconds(jitter, what="jitter"))


def _monitor(monitor: Any) -> str:
    if not isinstance(monitor, str) or not NAME.fullmatch(monitor.strip()):
        raise ValueError(
            f"monitor={monitor!r}: must be a name of 1 to 200 characters, none of them a control"
            " character"
        )
    return monitor.strip()


def _description(function: Callable[[Any], Any], description: Any) -> str:
    if description is None:
        return (inspect.getdoc(function) or "").partition("\n")[0]
    if not isinstance(description, str):
        raise ValueError(f"description={description!r}: must be text")
    return description
