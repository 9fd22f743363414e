"""Monitors: services elsewhere that get reports of runs, and never harm one.

Each monitor has a queue, from which a thread of its own delivers the reports.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry
from zope.interface import Interface

from .. import events
from ..app import CronApp, get_cron
from ..planning.followups import is_exhausted
from ..runtime.process_hooks import call_at_exit
from ..task import Task
from .delivery import (
    DeliveryError,
    DeliveryQueue,
    Monitor,
    Report,
    ReportKind,
    deployment_of,
    report_of,
)
from .http_monitors import Healthchecks, SteadyCron, get

__all__ = ["Monitoring", "check_monitors", "get_monitoring", "subscribe_monitors"]

EXIT_FLUSH_SECONDS = 3.0
"""Seconds that waiting reports have to be delivered when the process ends."""


class IMonitoring(Interface):  # type: ignore[misc]
    """The interface under which a registry has its :class:`Monitoring`."""


class Monitoring:
    """Reports the runs and ticks of one application to its monitors."""

    def __init__(self, cron: CronApp, registry: Registry) -> None:
        settings = cron.settings
        self._deployment = deployment_of(settings)
        self._heartbeat_url = settings.heartbeat_url
        self._heartbeat_queue = DeliveryQueue("heartbeat")
        self._monitors = [
            (_make_monitor(name, cron, registry), DeliveryQueue(name)) for name in settings.monitors
        ]
        self._queues = [self._heartbeat_queue, *(queue for _, queue in self._monitors)]
        for monitor, queue in self._monitors:
            cron.fork_hook.add(monitor.reset_after_fork)
            cron.fork_hook.add(queue.reset_after_fork)
        cron.fork_hook.add(self._heartbeat_queue.reset_after_fork)
        call_at_exit(self, lambda monitoring: monitoring.flush(EXIT_FLUSH_SECONDS))

    def on_run(self, event: events.RunEvent) -> None:
        """Report to each monitor that knows its task what happened to a run."""
        cron, run = get_cron(event.registry), event.run
        task = cron.find_task(run.task)
        if task is None or task.monitor is None or isinstance(event, events.RunRetrying):
            return
        lost_attempts = cron.lost_attempts_of(task)
        is_retrying = run.state.is_failure and not is_exhausted(task, run, lost_attempts)
        report = report_of(task, run, self._deployment, is_retrying=is_retrying)
        if report is not None:
            self._put(report)

    def on_pause(self, event: events.TaskPaused) -> None:
        """Report that a task, or a stored schedule of it, gave up."""
        cron = get_cron(event.registry)
        name = cron.schedule_book.task_of(event.task)
        schedule = None if name == event.task else event.task
        task = cron.find_task(name, schedule) if event.is_give_up else None
        if task is not None:
            self._put(Report(ReportKind.GAVE_UP, task, "", text=event.reason or ""))

    def _put(self, report: Report) -> None:
        """Have each monitor deliver a report that takes such, and knows the task."""
        names = report.task.monitor_names
        for monitor, queue in self._monitors:
            if report.kind in monitor.kinds and (name := names.get(monitor.name)) is not None:
                queue.put(partial(monitor.send, replace(report, monitor=name)), name)

    def on_tick(self, _event: events.TickFinished) -> None:
        """Request the heartbeat URL, if there is one."""
        if self._heartbeat_url is not None:
            self._heartbeat_queue.put(partial(get, self._heartbeat_url))

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for all queues to drain; return whether they did."""
        until = time.monotonic() + timeout
        for queue in self._queues:  # all of them: they deliver at the same time
            queue.flush(max(0.0, until - time.monotonic()))
        return all(queue.flush(0) for queue in self._queues)

    def check(self, tasks: Iterable[Task]) -> None:
        """Raise ConfigurationError for a task whose ``monitor`` one of the monitors refuses."""
        for task, name, monitor in self._named(tasks):
            if (problem := monitor.problem(name)) is not None:
                where = (
                    f"monitor={name!r}"
                    if isinstance(task.monitor, str)
                    else (f"monitor={task.monitor!r}: {monitor.name}")
                )
                raise ConfigurationError(f"cron task {task.name!r}: {where}: {problem}")

    def ask(self, tasks: Iterable[Task]) -> Iterator[str]:
        """Ask each service for the names of tasks; yield a line for each that it does not know."""
        for task, name, monitor in self._named(tasks):
            try:
                monitor.ask(name)
            except DeliveryError as error:
                yield f"task {task.name!r}: monitor={name!r}: {monitor.name}: {error}"

    def _named(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, str, Monitor]]:
        """Yield each task with each monitor that knows it, and the name."""
        for task, (monitor, _) in product(tasks, self._monitors):
            if (name := task.monitor_names.get(monitor.name)) is not None:
                yield task, name, monitor


def subscribe_monitors(config: Configurator) -> None:
    """Subscribe the monitors of the settings to the events of runs and ticks, if there are any."""
    cron = get_cron(config.registry)
    if not cron.settings.monitors and cron.settings.heartbeat_url is None:
        return
    monitoring = Monitoring(cron, config.registry)
    config.registry.registerUtility(monitoring, IMonitoring)
    config.add_subscriber(monitoring.on_run, events.RunEvent)
    config.add_subscriber(monitoring.on_pause, events.TaskPaused)
    config.add_subscriber(monitoring.on_tick, events.TickFinished)


def get_monitoring(registry: Registry) -> Monitoring | None:
    """Return the monitoring of this application; None if it has none."""
    monitoring: Monitoring | None = registry.queryUtility(IMonitoring)
    return monitoring


def check_monitors(registry: Registry) -> None:
    """Raise ConfigurationError for a task whose ``monitor`` one of the monitors refuses."""
    if (monitoring := get_monitoring(registry)) is not None:
        monitoring.check(get_cron(registry).task_registry.tasks)


def _make_monitor(name: str, cron: CronApp, registry: Registry) -> Monitor:
    # The module of a package is imported only if its monitor is in the settings.
    settings = cron.settings
    if name == "steadycron":
        return SteadyCron(settings)
    if name == "sentry":
        from .sentry import Sentry

        return Sentry(settings)
    if name == "mail":
        from .mail import Mail

        return Mail(cron, registry)
    return Healthchecks(settings)
