"""Monitors: services elsewhere that are told of runs, and that harm none.

What there is to tell is put on a queue of the monitor's own, from where a thread sends it.
"""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Iterable

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry
from zope.interface import Interface

from .. import events
from ..app import get_cron
from ..planning.followups import is_exhausted
from ..settings import Settings
from ..task import Task
from .delivery import DeliveryQueue
from .healthchecks import Healthchecks
from .http_client import get
from .report import Monitor, Report, deployment_of, report_of

__all__ = ["Monitoring", "check_monitors", "get_monitoring", "subscribe_monitors"]

EXIT_FLUSH_SECONDS = 3.0
"""Seconds that are left at the end of the process to send what waits."""


class IMonitoring(Interface):  # type: ignore[misc]
    """Under which the registry keeps its :class:`Monitoring`."""


class Monitoring:
    """What one application tells its monitors."""

    def __init__(self, settings: Settings) -> None:
        self._deployment = deployment_of(settings)
        self._delivery_queues = [DeliveryQueue(each) for each in _make_monitors(settings)]
        self._heartbeat_queue = None
        if (url := settings.heartbeat_url) is not None:
            self._heartbeat_queue = DeliveryQueue(_Heartbeat(url))
        _flush_at_exit(self)

    def on_run(self, event: events.RunEvent) -> None:
        """Tell each monitor what happened to a run, if its task has a monitor."""
        task = get_cron(event.registry).task_registry.by_name.get(event.run.task)
        if task is None or task.monitor is None or isinstance(event, events.RunRetrying):
            return
        again = event.run.state.is_failure and not is_exhausted(task, event.run)
        report = report_of(task, event.run, self._deployment, is_retrying=again)
        if report is not None:
            for courier in self._delivery_queues:
                courier.put(report)

    def on_tick(self, _event: events.TickFinished) -> None:
        """Send a heartbeat."""
        if self._heartbeat_queue is not None:
            self._heartbeat_queue.put(None)

    def flush(self, timeout: float) -> bool:
        """Wait until all is sent that was to be; return whether it was within so many seconds."""
        until = time.monotonic() + timeout
        couriers = [*self._delivery_queues, *filter(None, [self._heartbeat_queue])]
        # Each has its chance: they send at the same time.
        done = [each.flush(max(0.0, until - time.monotonic())) for each in couriers]
        return all(done)

    def check(self, tasks: Iterable[Task]) -> None:
        """Raise ConfigurationError for a task that a monitor could not be told of."""
        for task in tasks:
            for courier in self._delivery_queues if task.monitor is not None else ():
                if (problem := courier.monitor.problem(task.monitor)) is not None:
                    raise ConfigurationError(
                        f"cron task {task.name!r}: monitor={task.monitor!r}: {problem}"
                    )


def subscribe_monitors(config: Configurator, settings: Settings) -> None:
    """Subscribe to what the monitors are to be told, if there are any."""
    if not settings.monitors and settings.heartbeat_url is None:
        return
    made = Monitoring(settings)
    config.registry.registerUtility(made, IMonitoring)
    if settings.monitors:
        config.add_subscriber(made.on_run, events.RunEvent)
    if settings.heartbeat_url is not None:
        config.add_subscriber(made.on_tick, events.TickFinished)


def get_monitoring(registry: Registry) -> Monitoring | None:
    """Return what tells the monitors of this application; None if it has none."""
    found: Monitoring | None = registry.queryUtility(IMonitoring)
    return found


def check_monitors(registry: Registry) -> None:
    """Raise ConfigurationError for a task that one of the monitors could not be told of."""
    if (made := get_monitoring(registry)) is not None:
        made.check(get_cron(registry).task_registry.tasks)


def _flush_at_exit(monitoring: Monitoring) -> None:
    reference = weakref.ref(monitoring)

    def at_exit() -> None:
        if (found := reference()) is not None:
            found.flush(EXIT_FLUSH_SECONDS)

    # Does not keep an application alive that nobody else needs.
    weakref.finalize(monitoring, atexit.unregister, at_exit)
    atexit.register(at_exit)


def _make_monitors(settings: Settings) -> list[Monitor]:
    return [_make_monitor(name, settings) for name in settings.monitors]


def _make_monitor(name: str, settings: Settings) -> Monitor:
    # Their SDKs are there only where they are asked for.
    if name == "steadycron":
        from .steadycron import SteadyCron

        return SteadyCron(settings)
    if name == "sentry":
        from .sentry import Sentry

        return Sentry(settings)
    return Healthchecks(settings)


class _Heartbeat:
    """What is told of each tick, and of nothing else."""

    name = "heartbeat"

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, _report: Report | None) -> None:
        get(self._url)
