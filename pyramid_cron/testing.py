"""Tests of an application's tasks: time is an argument, nothing sleeps, nothing is patched."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pyramid.registry import Registry

from .app import get_cron
from .clock import Stopwatch
from .planning.forecast import PlannedRun, forecast
from .run import Run
from .runtime.own_request import own_request
from .runtime.request_scope import run_manually
from .runtime.tick import run_tick_and_wait
from .schedule.zones import to_utc
from .tick_report import TickReport


class CronTester:
    """Makes ticks and runs in an application under test, at moments of the test's choice.

    :param app: what ``config.make_wsgi_app()`` returned, a WebTest ``TestApp`` around it, or the
        application's registry.

    Tasks run as in production: with a request, a transaction each, and records in the application's
    store. ``cron.url = sqlite://`` keeps that in memory. After a tick or a run at some moment the
    application's clock goes on from that moment, also for ``request.cron``. What would run in a
    process of its own runs in a thread.

    Moments are aware, in any zone. Raises TypeError for any other ``app``, LookupError for an
    application that does not include pyramid_cron.
    """

    def __init__(self, app: Any) -> None:
        self.registry = _find_registry(app)
        self._cron = get_cron(self.registry)
        self._cron.starts_processes = False  # they would have another clock
        self._has_begun = False

    def tick(self, at: datetime | None = None) -> TickReport:
        """Make one tick at an aware moment (default: the application's clock); return its report.

        The first tick runs the slots of its own minute, later ones those since the tick before. The
        tick waits for the runs in threads of this process and reports how they ended. Runs that it
        sends to a queue are reported as ``claimed``, those that can't be sent as ``waiting``.

        Raises ValueError if ``at`` is naive, StoreError if the store can't be used.
        """
        moment = self._set_clock(at)
        return run_tick_and_wait(self._cron, self.registry, moment)

    def run(self, name: str, payload: Any = None, at: datetime | None = None) -> Run:
        """Run one task by hand at an aware moment (default: now); return the run as it ended.

        Raises LookupError if there is no such task, TypeError or ValueError if ``payload`` is not
        JSON, ValueError if ``at`` is naive, StoreError if the store can't be used.
        """
        task, moment = self._cron.task_registry.get(name), self._set_clock(at)
        with own_request(self.registry) as request:
            return run_manually(self._cron, request, task, payload, moment)

    def simulate(self, since: datetime, until: datetime) -> list[PlannedRun]:
        """Return the slots with ``since < slot <= until``, in UTC, and their tasks; run nothing.

        Raises ValueError if a moment is naive.
        """
        tasks = self._cron.task_registry
        start, end = to_utc(since, "since"), to_utc(until, "until")
        return list(forecast(tasks.tasks, tasks.calendar, start, end))

    def _set_clock(self, at: datetime | None) -> datetime:
        """Set the application's clock, unless ``at`` is None; return its moment in UTC."""
        if at is None:
            return self._cron.clock()
        moment = to_utc(at, "at")
        if not self._has_begun:
            self._has_begun = True
            self._cron.known_since = moment
        self._cron.clock = Stopwatch(moment).now
        return moment


def _find_registry(app: Any) -> Registry:
    wrapped = getattr(app, "app", None)
    for registry in (app, getattr(app, "registry", None), getattr(wrapped, "registry", None)):
        if isinstance(registry, Registry):
            return registry
    raise TypeError(f"{app!r} is neither a Pyramid application nor its registry")
