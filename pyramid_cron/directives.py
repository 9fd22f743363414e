"""``config.add_cron_task`` and ``add_cron_queue``: check the arguments, register the task."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

import venusian
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request

from . import arguments
from .app import CronApp, get_cron
from .arguments import is_generator_function, takes_system
from .run import Run
from .runtime.programs import Command
from .runtime.queues import CelerySender
from .schedule import Schedule
from .schedule.quantities import parse_count, parse_integer
from .task import (
    BUILT_IN_EXECUTORS,
    CELERY_EXECUTOR,
    PROCESS_EXECUTOR,
    REQUEST_EXECUTOR,
    CatchUp,
    Overlap,
    Retry,
    Task,
)

INTROSPECTION_CATEGORY = "cron tasks"
"""The introspection category of tasks."""

AFTER_APPLICATION_ORDER = 1000
"""The order of actions that come after all of the application's own."""

FieldArgument = int | str | Iterable[int] | None


def add_cron_task(
    config: Configurator,
    f: Callable[[dict[str, Any]], Any] | str,
    min: FieldArgument = None,  # noqa: A002
    hour: FieldArgument = None,
    day: FieldArgument = None,
    month: FieldArgument = None,
    dow: FieldArgument = None,
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
    transactional: bool = True,
    lost_attempts: int | None = None,
    jitter: str | float | timedelta | None = None,
    weight: int = 1,
    executor: str = "request",
    lock: str | None = None,
    labels: Mapping[str, str] | None = None,
    monitor: str | Mapping[str, str] | None = None,
    celery: dict[str, Any] | None = None,
    description: str | None = None,
    **unknown: Any,
) -> None:
    """Register a task: a function that runs in the application when its schedule says so.

    :param f: what to run: a callable that takes one argument, the ``system`` mapping, or none, or
        its dotted name, relative to the calling package where it begins with a dot. It may be
        ``async def``.
    :param min: minutes, 0 to 59.
    :param hour: hours, 0 to 23.
    :param day: days of the month, 1 to 31.
    :param month: months, 1 to 12.
    :param dow: days of the week. Integers count like :meth:`datetime.date.weekday`, 0 is Monday;
        in strings, as in a crontab, 0 and 7 are Sunday.
    :param idle: run after the other tasks, and only while the tick has time left.
    :param name: the name of the task, unique in the application. Default: ``module.qualname``
        of ``f``.
    :param schedule: a crontab line's five fields (``"*/5 * * * *"``), an alias (``"@hourly"``), a
        :class:`~pyramid_cron.Cron`, :class:`~pyramid_cron.Every`, :class:`~pyramid_cron.At` or
        other :class:`~pyramid_cron.Schedule`, or a list of these: the task runs when any of them
        says so.
    :param every: an interval of at least 1 s: ``"10s"``, ``"30m"``, ``"6h"``, ``"1d"``, whole
        seconds, or a timedelta.
    :param at: a moment at which to run once: an aware datetime or ISO 8601 text with an offset.
    :param on_demand: has no schedule; runs only when asked for.
    :param when: a callable (or its dotted name) that takes ``system``; if it returns a false value,
        the slot is skipped, with the reason ``condition``.
    :param timezone: the IANA name of the zone the schedule is meant in. Default: ``cron.timezone``.
    :param priority: tasks with a higher one run earlier within a tick.
    :param overlap: what to do with a slot while an earlier run of the task is active: ``"skip"``
        it, ``"delay"`` it until that is over (with ``every``, the interval counts from there),
        ``"allow"`` both side by side, or ``"restart"``: cancel the earlier one first.
    :param catch_up: what to do with slots that no tick came for: run the newest of them
        (``"once"``), ``"all"`` one after the other, oldest first, while there is time, or
        ``"none"``.
    :param grace: an interval of at least 1 s; a slot that is older is recorded as missed instead of
        run. None: there is no limit.
    :param retry: how often a slot is tried, as an integer or a :class:`~pyramid_cron.Retry`.
    :param timeout: an interval of 0.001 s to 100 years; in a run that takes longer a
        :class:`~pyramid_cron.TaskTimeout` is raised.
    :param pause_after: pause the task after this many slots in a row have failed, retries included;
        1 or more.
    :param transactional: with ``config.set_cron_session``, whether the end of a run is written in
        the task's own transaction. False for a task that ends its transactions itself, or has its
        work elsewhere.
    :param lost_attempts: how many lost attempts at a slot are made good by another one at once,
        beside what ``retry`` gives; 0 or more. Default: 1 where the end of a run is written in the
        task's own transaction, else 0.
    :param jitter: an interval of whole seconds, up to 100 years; the task's slots are shifted by a
        share of it (0 <= shift < jitter) that depends on its name alone. From two minutes up the
        shift is in whole minutes.
    :param weight: the task's share of ``cron.capacity`` while it runs outside the request; from 1
        to ``cron.capacity``.
    :param lock: the name of a lock: runs of tasks with the same one never go on side by side, on
        whatever hosts. ``overlap``, which can't be ``"allow"`` then, says what to do with a slot
        while another run has the lock.
    :param labels: what the task is listed and found by, such as ``{"team": "billing"}``: on pages,
        by ``pcron list`` and in metrics.
    :param monitor: the name under which the monitors in ``cron.monitors`` know the task, or a
        mapping of services to names, such as ``{"healthchecks": "nightly", "mail":
        "ops@shop.example"}``; those not in it get no reports. Default: its runs are not reported.
    :param executor: where it runs: in the tick's ``"request"``, in a ``"thread"`` of this process
        once the tick has answered, in a ``"process"`` of its own, which needs the setting
        ``cron.config_uri``, by a ``"worker"``, by a ``"celery"`` worker, or by a queue that
        ``config.add_cron_queue`` has added. Except with ``"request"``, the run has its own request.
    :param celery: options with which Celery sends the task: ``queue``, ``priority``,
        ``exchange``, ``routing_key``, ``headers`` or ``compression``.
    :param description: what it is for, in a line. Default: the first line of ``f``'s docstring.

    A field takes an integer, an iterable of integers, or a string in cron's syntax. All fields
    given must match. A field left out that is finer than the finest one given counts as its lowest
    value, any other as ``"*"``: ``hour=2`` is once a day, at 2:00. Without anything that says when,
    the task runs every minute.

    :raises pyramid.exceptions.ConfigurationError: naming the task, the argument, the value and what
        would be right.
    """
    with arguments.naming_task(f if name is None else name):
        function = arguments.resolve(config, "f", f)
    task_name = arguments.parse_task_name(function, name)
    with arguments.naming_task(task_name):
        arguments.check_known("add_cron_task", unknown, TASK_ARGUMENTS)
        takes_system = arguments.check_function(f, function)
        fields = {"min": min, "hour": hour, "day": day, "month": month, "dow": dow}
        schedules = arguments.parse_schedules(
            task_name, fields, schedule=schedule, every=every, at=at, on_demand=on_demand
        )
        unbound = Task(
            name=task_name,
            function=function,
            takes_system=takes_system,
            command=function.line if isinstance(function, Command) else None,
            schedules=schedules,
            timezone=arguments.parse_timezone(timezone),
            idle=arguments.parse_flag("idle", idle),
            priority=parse_integer("priority", priority),
            when=arguments.parse_condition(config, when),
            overlap=arguments.parse_choice("overlap", Overlap, overlap),
            catch_up=arguments.parse_choice("catch_up", CatchUp, catch_up),
            grace=arguments.parse_grace(grace),
            retry=arguments.parse_retry(retry),
            timeout=arguments.parse_timeout(timeout),
            pause_after=arguments.parse_pause_after(pause_after),
            transactional=arguments.parse_flag("transactional", transactional),
            lost_attempts=arguments.parse_lost_attempts(lost_attempts),
            offset=arguments.parse_jitter(task_name, jitter, schedules),
            executor=arguments.parse_executor(executor),
            celery=arguments.parse_send_options(celery, executor),
            weight=parse_count("weight", weight),
            lock=arguments.parse_lock(lock, overlap),
            labels=arguments.parse_labels(labels),
            monitor=arguments.parse_monitor(monitor),
            description=arguments.parse_description(function, description),
        )
    _register(config, unbound)


TASK_ARGUMENTS = frozenset(inspect.signature(add_cron_task).parameters) - {"config", "unknown"}
"""The arguments of a task."""


def _register(config: Configurator, task: Task) -> None:
    introspectable = config.introspectable(
        INTROSPECTION_CATEGORY, task.name, task.name, "cron task"
    )
    introspectable.update(_introspection_of(task))

    registered: list[Task] = []

    def register() -> None:
        cron = get_cron(config.registry)
        bound = _with_timezone(task, task.timezone or cron.settings.timezone)
        introspectable.update(_introspection_of(bound))
        with arguments.naming_task(task.name):
            arguments.check_slots(bound.schedules, cron.clock())
            check_weight(task.executor, task.weight, cron.settings.capacity)
            _check_process(task, cron.settings.config_uri)
        cron.register(bound)
        registered.append(bound)

    def check() -> None:
        if config.autocommit or registered:  # else another task replaced it
            with arguments.naming_task(task.name):
                check_executor(get_cron(config.registry), task.executor)

    if task.executor not in BUILT_IN_EXECUTORS:
        # First: with autocommit, a task that is refused must not be registered.
        config.action(None, check, order=AFTER_APPLICATION_ORDER)
    config.action(("cron task", task.name), register, introspectables=(introspectable,))


def add_cron_queue(config: Configurator, name: str, send: Callable[[Run], object]) -> None:
    """Add a task queue, which runs the tasks with ``executor=name``.

    :param name: the name of the queue.
    :param send: a callable that takes a :class:`~pyramid_cron.Run` and sends its ``id`` to a
        worker, which calls ``scheduler(registry).execute(id)``. If it raises, the run waits, and
        is sent at a later tick.

    :raises pyramid.exceptions.ConfigurationError: if the name is taken, or ``send`` no callable.
    """
    if not isinstance(name, str) or not name or name in (*BUILT_IN_EXECUTORS, CELERY_EXECUTOR):
        raise ConfigurationError(
            f"cron queue: name={name!r}: must be text, and none of 'request', 'thread', 'process',"
            " 'worker', 'celery'"
        )
    if not callable(send):
        raise ConfigurationError(f"cron queue {name!r}: send={send!r}: must be callable")

    def register() -> None:
        get_cron(config.registry).queues[name] = send

    config.action(("cron queue", name), register)


def set_cron_session(config: Configurator, f: Callable[[Request], Any] | str) -> None:
    """Name the SQLAlchemy session that the tasks' work goes through.

    :param f: a callable that takes a request and returns its session or connection, or its dotted
        name. It is called for each task's run: in the tick's request, or in the run's own.

    The store has to lie in the same database. The end of a run is then written in the task's own
    transaction, so that work and record are committed together or not at all, and what a task or a
    request defers is a row of its transaction. A session or connection that no transaction manager
    commits is committed after the task, and rolled back if it fails.

    :raises pyramid.exceptions.ConfigurationError: if ``f`` is no callable.
    """
    try:
        get_session = arguments.resolve(config, "f", f)
    except ValueError as error:
        raise ConfigurationError(f"set_cron_session: {error}") from error

    def register() -> None:
        get_cron(config.registry).get_session = get_session

    config.action("cron session", register)


def check_executor(cron: CronApp, executor: str) -> None:
    """Refuse an unknown executor; ValueError names those there are."""
    if executor == CELERY_EXECUTOR and CELERY_EXECUTOR not in cron.queues:
        try:
            cron.queues[CELERY_EXECUTOR] = CelerySender(cron)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
    names = [
        *BUILT_IN_EXECUTORS,
        CELERY_EXECUTOR,
        *sorted({*cron.queues} - {CELERY_EXECUTOR}),
    ]
    arguments.parse_one_of("executor", names, executor)


def check_weight(executor: str, weight: int, capacity: int) -> None:
    """Refuse a weight that exceeds the capacity."""
    if executor != REQUEST_EXECUTOR and weight > capacity:
        raise ValueError(
            f"weight={weight!r}: it would never run, since cron.capacity is {capacity}; make one"
            " smaller or the other larger"
        )


def _check_process(task: Task, config_uri: str | None) -> None:
    """Refuse a task for processes that could not load the application; a program needs none."""
    if task.executor == PROCESS_EXECUTOR and not (config_uri or isinstance(task.function, Command)):
        raise ValueError(
            "executor='process': needs the setting cron.config_uri, the application's ini file,"
            " such as production.ini or production.ini#shop"
        )


def _introspection_of(task: Task) -> dict[str, Any]:
    return ({} if task.command is None else {"command": task.command}) | {
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
        "transactional": task.transactional,
        "lost_attempts": task.lost_attempts,
        "jitter": task.offset,
        "weight": task.weight,
        "executor": task.executor,
        "lock": task.lock,
        "labels": task.labels,
        "monitor": task.monitor,
        "celery": task.celery,
        "description": task.description,
    }


def _with_timezone(task: Task, zone: str) -> Task:
    """Return the task in this zone, with its schedules that have no zone of their own."""
    schedules = tuple(schedule.with_timezone(zone) for schedule in task.schedules)
    return replace(task, schedules=schedules, timezone=zone)


_UNBOUND_METHODS = (staticmethod, classmethod)

TaskT = TypeVar("TaskT", bound=Callable[..., Any])


@overload
def cron_task(f: TaskT, /) -> TaskT: ...


@overload
def cron_task(
    *fields: Any, attr: str | None = None, category: str = "pyramid", **arguments: Any
) -> Callable[[TaskT], TaskT]: ...


def cron_task(
    *fields: Any, attr: str | None = None, category: str = "pyramid", **arguments: Any
) -> Any:
    """Have ``config.scan()`` register a function, class or method as a task.

    With no parentheses it runs every minute. A function may be decorated several times, with
    different names. A class is made for each run: it is called with ``system`` if it takes an
    argument, and so is its method.

    :param fields: ``min``, ``hour``, ``day``, ``month``, ``dow`` and ``idle`` by position.
    :param attr: on a class, the name of the method to call. A method that is decorated itself needs
        none.
    :param category: the category of decorators that ``config.scan()`` has to ask for.
        ``"pyramid"`` is the one that it looks for by itself.
    :param arguments: everything else is as for ``config.add_cron_task``, and is checked by the
        scan.
    """
    if len(fields) == 1 and (callable(fields[0]) or isinstance(fields[0], _UNBOUND_METHODS)):
        return _attach(fields[0], attr, category, (), arguments)

    def decorate(f: TaskT) -> TaskT:
        return _attach(f, attr, category, fields, arguments)

    return decorate


def _attach(
    f: TaskT, attr: str | None, category: str, fields: tuple[Any, ...], arguments: dict[str, Any]
) -> TaskT:
    def register(context: Any, name: str, ob: Any) -> None:  # noqa: ARG001
        method = attr or (f.__name__ if info.scope == "class" else None)
        function = ob if method is None else MethodTask(ob, method)
        config = context.config.with_package(info.module)
        config.add_cron_task(function, *fields, _info=info.codeinfo, **arguments)

    info = venusian.attach(f, register, category=category, depth=2)
    return f


class MethodTask:
    """A method as a task: it is called on a new instance of its class for each run."""

    def __init__(self, cls: type, attr: str) -> None:
        """Raise ConfigurationError where there is no such method, or it can't be called."""
        self.__module__, self.__qualname__ = cls.__module__, f"{cls.__qualname__}.{attr}"
        try:
            method = _find_method(cls, attr)
            self._needs_instance = not isinstance(
                inspect.getattr_static(cls, attr), _UNBOUND_METHODS
            )
            self._class_takes_system = self._needs_instance and takes_system(cls)
            self._takes_system = takes_system(method, *([cls] if self._needs_instance else []))
        except ValueError as error:
            name = f"{self.__module__}.{self.__qualname__}"
            raise ConfigurationError(f"cron task {name!r}: attr={attr!r}: {error}") from None
        self.__doc__ = inspect.getdoc(method)
        self._cls, self._attr = cls, attr

    def __call__(self, system: Any) -> Any:
        """Call the method, with ``system`` if it takes an argument."""
        owner: Any = self._cls
        if self._needs_instance:
            owner = owner(system) if self._class_takes_system else owner()
        method = getattr(owner, self._attr)
        return method(system) if self._takes_system else method()

    def __repr__(self) -> str:
        return f"<method {self.__module__}.{self.__qualname__}>"


def _find_method(cls: Any, attr: str) -> Callable[..., Any]:
    method = getattr(cls, attr, None) if isinstance(cls, type) else None
    if not callable(method):
        raise ValueError(f"{cls!r} has no such method")
    if is_generator_function(method):
        raise ValueError("is a generator function: to call it runs nothing of it")
    return method  # type: ignore[no-any-return]
