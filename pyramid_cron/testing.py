"""Tests of an application's tasks: time is an argument, nothing sleeps, nothing is patched."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from pyramid.registry import Registry
from sqlalchemy import make_url

from .action_record import ActionKind, make_action
from .app import CronApp, get_cron
from .clock import Stopwatch
from .planning.forecast import PlannedRun, forecast
from .planning.snapshot import TickReport
from .run import Run
from .runtime.request_scope import find_actor, own_request, run_manually
from .runtime.tick import run_beat, run_tick_and_wait, wait_for_background_runs
from .schedule.zones import to_utc
from .store.engine import is_in_memory
from .store.retention import forget_all
from .store.waiting import peek_waiting

MINUTE = timedelta(minutes=1)


class CronTester:
    """Makes ticks and runs in an application under test, at moments of the test's choice.

    :param app: what ``config.make_wsgi_app()`` returned, a WebTest ``TestApp`` around it, or the
        application's registry.

    Tasks run as in production: with a request, a transaction each, and records in the application's
    store. Where ``cron.url`` is not set, that is in memory. After a tick or a run at some moment
    the application's clock goes on from that moment, also for ``request.cron``. Nothing happens
    between ticks but by :meth:`advance`.

    As a context manager it calls :meth:`reset` in the end, and the application has its own store
    and its own beats again.

    Moments are aware, in any zone. Raises TypeError for any other ``app``, LookupError for an
    application that does not include pyramid_cron.
    """

    def __init__(self, app: Any) -> None:
        self.registry = _find_registry(app)
        self._cron = get_cron(self.registry)
        self._original = _State(self._cron)
        if self._cron.dispatcher is not None:
            self._cron.dispatcher.stop()
            self._cron.dispatcher = None
        is_url_set = "cron.url" in self.registry.settings
        if not (is_url_set or is_in_memory(self._cron.store.database.url)):
            self._cron.store.connect_to(make_url("sqlite://"))
        self._forget_moments()

    def _forget_moments(self) -> None:
        #: The moment of the last tick, beat or run; None before the first.
        self._moment: datetime | None = None
        #: Whether a moment was given, so that the clock is no longer the real one.
        self._is_clock_set = False

    def __enter__(self) -> CronTester:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.reset()
        self._original.restore_store(self._cron)

    def reset(self) -> None:
        """Forget all that is on record, and put the application's clock back.

        A store that ``cron.url`` names is emptied, too: let that be the tests' own. Raises
        StoreError if it can't be used.
        """
        self._cron.supervisor.flush()
        if is_in_memory(self._cron.store.database.url):
            self._cron.store.database.dispose()
        else:
            forget_all(self._cron.store)
        self._cron.schedule_book.clear()
        self._original.restore_clock(self._cron)
        self._forget_moments()

    def tick(self, at: datetime | None = None) -> TickReport:
        """Make one tick at an aware moment (default: the application's clock); return its report.

        The first window begins with the minute of the first moment that was given, as to
        :meth:`run`; later ticks run the slots since the tick before. The tick waits for the runs in
        threads of this process and reports how they ended. Runs that it sends to a queue are
        reported as ``claimed``, those that can't be sent as ``waiting``.

        Raises ValueError if ``at`` is naive, StoreError if the store can't be used.
        """
        moment = self._set_clock(at)
        return run_tick_and_wait(self._cron, self.registry, moment)

    def advance(self, until: datetime) -> list[TickReport]:
        """Make the ticks and beats up to an aware moment, in order; return their reports.

        There is a tick at every full minute after the last tick or run. Between them, unless
        ``cron.beats`` is false, there is a beat at each moment at which something may begin: slots
        between minutes, retries, deferred runs, and what waits for room as soon as there is some.
        Before the first tick or run there is nothing to go on from, and so one tick, at ``until``.

        Raises ValueError if ``until`` is naive or before the last tick or run, StoreError if the
        store can't be used.
        """
        end = to_utc(until, "until")
        if self._moment is None:
            return [self.tick(end)]
        if end < self._moment:
            last = self._moment.isoformat()
            raise ValueError(f"until={until!r}: is before the last tick or run, at {last}")
        reports: list[TickReport] = []
        while (moment := self._next_moment()) <= end:
            if moment == _floor_to_minute(moment):
                reports.append(self.tick(moment))
            if self._cron.settings.beats:
                reports += self._beat_until_at_rest(moment)
        self._set_clock(end)
        return reports

    def _next_moment(self) -> datetime:
        """Return the next moment after the last one at which there is a tick or a beat."""
        assert self._moment is not None
        next_minute = _floor_to_minute(self._moment) + MINUTE
        if not self._cron.settings.beats:
            return next_minute
        self._cron.refresh_schedules()
        slot = self._cron.next_slot_between(self._moment)
        _, not_before = peek_waiting(self._cron.store, self._moment, 1)
        return min(moment for moment in (next_minute, slot, not_before) if moment is not None)

    def _beat_until_at_rest(self, moment: datetime) -> list[TickReport]:
        """Make beats at a moment as long as there is something that begins."""
        reports: list[TickReport] = []
        while self._is_due(moment):
            self._set_clock(moment)
            beat = run_beat(self._cron, self.registry, moment, budget=0, url_environ={})
            reports.append(wait_for_background_runs(self._cron, beat))
            if not reports[-1].runs:
                break
        self._set_clock(moment)
        return reports

    def _is_due(self, moment: datetime) -> bool:
        """Return whether there is a slot since the last tick or beat, or a run that may begin."""
        startable_ids, _ = peek_waiting(self._cron.store, moment, 1)
        window_end = self._cron.window_end
        if startable_ids or window_end is None:
            return bool(startable_ids)
        slot = self._cron.next_slot_between(window_end)
        return slot is not None and slot <= moment

    def run(self, name: str, payload: Any = None, at: datetime | None = None) -> Run:
        """Run one task by hand at an aware moment (default: now); return the run as it ended.

        Raises LookupError if there is no such task, TypeError or ValueError if ``payload`` is not
        JSON, ValueError if ``at`` is naive, StoreError if the store can't be used.
        """
        task, moment = self._cron.task_registry.get(name), self._set_clock(at)
        with own_request(self.registry) as request:
            action = make_action(ActionKind.RUN, moment, find_actor(request), task=name)
            return run_manually(self._cron, request, task, payload, action)

    def simulate(self, since: datetime, until: datetime) -> list[PlannedRun]:
        """Return the slots with ``since < slot <= until``, in UTC, and their tasks; run nothing.

        Raises ValueError if a moment is naive.
        """
        tasks = self._cron.task_registry
        start, end = to_utc(since, "since"), to_utc(until, "until")
        self._cron.refresh_schedules()
        book = self._cron.schedule_book
        return list(forecast(tasks.tasks, tasks.calendar, start, end, book))

    def _set_clock(self, at: datetime | None) -> datetime:
        """Set the application's clock, unless ``at`` is None; return its moment in UTC."""
        if at is None:
            self._moment = self._cron.clock()
            return self._moment
        self._moment = moment = to_utc(at, "at")
        if not self._is_clock_set:
            self._is_clock_set, self._cron.known_since = True, moment
        self._cron.clock = Stopwatch(moment).now
        self._cron.starts_processes = False  # they would have another clock
        return moment


class _State:
    """What of an application a tester changes, as it was before."""

    def __init__(self, cron: CronApp) -> None:
        self._clock, self._known_since = cron.clock, cron.known_since
        self._starts_processes = cron.starts_processes
        self._last_tick, self._window_end = cron.last_tick, cron.window_end
        self._dispatcher, self._database = cron.dispatcher, cron.store.database

    def restore_clock(self, cron: CronApp) -> None:
        cron.clock, cron.known_since = self._clock, self._known_since
        cron.starts_processes = self._starts_processes
        cron.last_tick, cron.window_end = self._last_tick, self._window_end
        cron.handled_version = 0

    def restore_store(self, cron: CronApp) -> None:
        cron.dispatcher = self._dispatcher
        if cron.store.database is not self._database:
            cron.store.use(self._database)


def _floor_to_minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _find_registry(app: Any) -> Registry:
    wrapped = getattr(app, "app", None)
    for registry in (app, getattr(app, "registry", None), getattr(wrapped, "registry", None)):
        if isinstance(registry, Registry):
            return registry
    raise TypeError(f"{app!r} is neither a Pyramid application nor its registry")
