"""The cron of one application, wired together: one :class:`CronApp` per Pyramid registry."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakSet

from pyramid.registry import Registry
from pyramid.request import Request
from sqlalchemy import Engine
from zope.interface import Interface

from .clock import utc_now
from .logs import WarnOnce
from .planning.capacity import NO_WORKER, WorkerThreads
from .planning.followups import followups, is_exhausted
from .planning.schedule_book import BookEntry, ScheduleBook
from .registry import TaskRegistry, TaskSource
from .run import Run
from .runtime.dispatcher import Dispatcher
from .runtime.executions import Executions, QueuedEvent
from .runtime.process_hooks import ForkHook
from .runtime.programs import Command
from .runtime.shutdown import reset_signals_after_fork
from .runtime.supervisor import Supervisor
from .runtime.threads import BackgroundThreads
from .schedule_arguments import ScheduleTimes, TimesByText, make_times
from .settings import Settings
from .store.engine import is_in_memory
from .store.results import Outcome
from .store.retention import prune
from .store.store import Store
from .store.stored_schedules import ScheduleNews, read_news, read_version
from .store.write_buffer import WriteBuffer
from .task import PROCESS_EXECUTOR, THREAD_EXECUTOR, WORKER_EXECUTOR, Schedules, Task

PRUNE_INTERVAL = timedelta(minutes=1)

PRUNE_BATCH_SIZE = 500
"""Runs that one transaction deletes, so that it is short."""

PRUNE_MAX_BATCHES = 20
"""Batches that are deleted in a row."""

NEWS_BATCH_SIZE = 5_000
"""Changed schedules that are in memory at once, as rows, while they are read."""


log = logging.getLogger("pyramid_cron")


class ICronApp(Interface):  # type: ignore[misc]
    """The interface under which a registry has its :class:`CronApp`."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker process takes of the runs of tasks with ``executor="worker"``."""

    #: How many it runs at once.
    threads: int
    #: Whether it takes the runs of a task with this name.
    takes: Callable[[str], object]


class CronApp:
    """The settings, tasks, store and threads of one application.

    ``clock`` returns the moment it is, aware and in UTC. ``notify`` sends events from outside of
    ticks to the application's subscribers.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], datetime] = utc_now,
        notify: Callable[[Sequence[QueuedEvent]], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.guard = settings.make_guard()
        self.store = Store(settings.url, settings.table_prefix)
        self.write_buffer = WriteBuffer()
        executions = Executions(
            self.store,
            self.write_buffer,
            settings.lease,
            self.outcome_of,
            wall_clock=lambda: self.clock(),
        )
        self.supervisor = Supervisor(
            self.store, self.write_buffer, executions, self.prune_history, notify
        )
        self.background_threads = BackgroundThreads(self.supervisor)
        self.fork_hook = ForkHook()
        for part in (self.write_buffer, self.supervisor, self.background_threads):
            self.fork_hook.add(part.reset_after_fork)
        self.fork_hook.add(reset_signals_after_fork)
        self.fork_hook.add(self._renew_lock)
        #: Returns a request's SQLAlchemy session or connection; None if the application has named
        #: none.
        self.get_session: Callable[[Request], Any] | None = None
        #: Whether its database is known to be the store's.
        self.is_session_checked = False
        #: The engines of other sessions of which that is known.
        self.shared_engines: WeakSet[Engine] = WeakSet()
        #: What is logged once per process.
        self.warnings = WarnOnce()
        #: What sends a run to a queue, by executor.
        self.queues: dict[str, Callable[[Run], object]] = {}
        #: The moment of this process's last tick (aware, UTC); None before the first.
        self.last_tick: datetime | None = None
        #: Until when this process has handled slots; None before the first tick or beat.
        self.window_end: datetime | None = None
        #: With which version of the stored schedules it has handled them.
        self.handled_version = 0
        #: The stored schedules as far as this process knows.
        self.schedule_book = ScheduleBook()
        self.fork_hook.add(self.schedule_book.renew_lock)
        #: When the application came to know the tasks that no tick has recorded yet.
        self.known_since = clock()
        #: Whether runs may be carried out by processes, which have to see the store; else they
        #: are by threads.
        self.starts_processes = not is_in_memory(settings.url)
        #: What this process takes as a worker; None if it is none.
        self.worker: Worker | None = None
        #: Goes on between ticks; None without ``cron.beats`` and ``cron.self_trigger``.
        self.dispatcher: Dispatcher | None = None
        self.sources: list[TaskSource] = []
        self._last_prune: datetime | None = None
        self._last_refresh: datetime | None = None
        self._tasks_by_name: dict[str, Task] = {}
        self._schedule_pool: dict[Schedules, Schedules] = {}
        self._task_registry: TaskRegistry | None = None
        self._renew_lock()

    def _renew_lock(self) -> None:
        """Hold no lock, also in a forked process whose parent's threads did."""
        self._lock = threading.Lock()

    def use_dispatcher(self, dispatcher: Dispatcher) -> None:
        """Have a dispatcher go on between ticks."""
        self.dispatcher = dispatcher
        self.supervisor.on_room = dispatcher.wake
        self.fork_hook.add(dispatcher.reset_after_fork)

    @property
    def is_awake(self) -> bool:
        """Whether this process goes on between ticks just now."""
        return self.dispatcher is not None and self.dispatcher.is_awake

    def on_deferred(self) -> None:
        """Take note that a waiting run was put on record or moved in this process."""
        if self.dispatcher is not None:
            self.dispatcher.wake()

    def worker_threads(self) -> WorkerThreads:
        """Return what this process takes of the runs for workers just now."""
        if self.worker is None:
            return NO_WORKER
        tasks = self._tasks_by_name
        busy = sum(
            execution.run.task in tasks and tasks[execution.run.task].executor == WORKER_EXECUTOR
            for execution in self.supervisor.executions.unfinished()
        )
        return WorkerThreads(max(0, self.worker.threads - busy), self.worker.takes)

    def has_thread_for(self, task: Task) -> bool:
        """Return whether runs of a task are for threads of this process."""
        if task.executor == WORKER_EXECUTOR:
            return self.worker is not None and bool(self.worker.takes(task.name))
        return task.executor in (THREAD_EXECUTOR, PROCESS_EXECUTOR)

    def needs_process(self, task: Task) -> bool:
        """Return whether a run of a task is carried out by a process of its own.

        A program is a process anyway.
        """
        is_for_process = task.executor == PROCESS_EXECUTOR
        return is_for_process and self.starts_processes and not isinstance(task.function, Command)

    def close(self) -> None:
        """Stop the runs of this process, record how they end, and disconnect from the store."""
        if self.dispatcher is not None:
            self.dispatcher.stop()
        self.supervisor.shutdown(self.settings.shutdown_timeout.total_seconds())
        self.store.database.dispose()

    def outcome_of(self, run: Run, by_shutdown: bool = False) -> Outcome:
        """Return what the store records of a run, and its follow-ups.

        ``by_shutdown``: the run was interrupted because its process stops.
        """
        task = self.find_task(run.task, run.schedule)
        if task is None or not run.state.is_final:
            return Outcome(run)
        lost_attempts = self.lost_attempts_of(task)
        pause_after = task.pause_after if is_exhausted(task, run, lost_attempts) else None
        waiting_runs = followups(task, run, by_shutdown, lost_attempts)
        return Outcome(run, waiting_runs, pause_after, command=task.command)

    def is_transactional(self, task: Task) -> bool:
        """Return whether the end of the task's runs is written in its own transaction."""
        return self.get_session is not None and task.transactional

    def lost_attempts_of(self, task: Task) -> int:
        """Return how many lost attempts at a slot of the task are made good."""
        if task.lost_attempts is not None:
            return task.lost_attempts
        return int(self.is_transactional(task))

    def prune_history(self) -> None:
        """Delete runs older than ``cron.retention``, once a minute, in batches."""
        now = self.last_tick
        if now is None or (
            self._last_prune is not None and now - self._last_prune < PRUNE_INTERVAL
        ):
            return
        self._last_prune = now
        for _ in range(PRUNE_MAX_BATCHES):
            before = now - self.settings.retention
            names = self._tasks_by_name.keys()
            if prune(self.store, before, PRUNE_BATCH_SIZE, names, now) < PRUNE_BATCH_SIZE:
                break

    def register(self, task: Task) -> None:
        """Add a task; it replaces one of the same name."""
        with self._lock:
            self._invalidate()
            # Tasks with equal schedules share them: they are most of a task's memory.
            shared = self._schedule_pool.setdefault(task.schedules, task.schedules)
            self._tasks_by_name[task.name] = replace(task, schedules=shared)

    def unregister(self, name: str) -> None:
        """Remove the task of this name, if there is one."""
        with self._lock:
            if name in self._tasks_by_name:
                self._invalidate()
                del self._tasks_by_name[name]

    def find_task(self, name: str, schedule: str | None = None) -> Task | None:
        """Return the task of this name, or None; with a stored schedule as it is for that.

        For one that is gone it has no schedule.
        """
        task = self._tasks_by_name.get(name)
        if task is None or schedule is None:
            return task
        entry = self.schedule_book.get(schedule)
        if entry is None or entry.task != name:
            return replace(task, schedules=(), schedule_name=schedule)
        return entry.as_task(task)

    def find_times(self, name: str, arguments: Mapping[str, Any]) -> ScheduleTimes | None:
        """Return when a stored schedule is; None if this version can't read it."""
        try:
            return make_times(name, arguments, self.settings.timezone)
        except Exception:  # logged when it came
            return None

    def next_slot_between(self, after: datetime) -> datetime | None:
        """Return the first slot after a moment that is not on a whole minute; None without one."""
        calendars = self.task_registry.between_calendar, self.schedule_book.between_calendar
        slots = [calendar.next_slot(after) for calendar in calendars]
        return min((slot for slot in slots if slot is not None), default=None)

    def note_window(self, end: datetime, version: int) -> None:
        """Take note that slots up to a moment are handled, with this version of the schedules."""
        self.window_end, self.handled_version = end, version

    def refresh_schedules(self, version: int | None = None) -> None:
        """Learn what has changed of the stored schedules up to a version; by default up to now.

        Raises StoreError.
        """
        book = self.schedule_book
        if version is not None and version == book.version:
            return
        times_by_text = TimesByText(self.settings.timezone)
        with self.store.read_session() as session:
            version = read_version(session)
            if version < book.version:  # another store, or one that was emptied
                book.clear()
            known = book.version
            while known < version and (news := read_news(session, known, NEWS_BATCH_SIZE)):
                for one in news:
                    self._take_in(one, times_by_text)
                known = news[-1].version
        book.note_version(version)

    def _take_in(self, news: ScheduleNews, times_by_text: TimesByText) -> None:
        name, version = news.name, news.version
        if news.is_off:
            self.schedule_book.drop(name, version)
            return
        try:
            times = times_by_text.find(name, news.arguments)
        except Exception as error:  # kept by a version that knows more, or a zone that is gone
            log.error("schedule %s is left out: %s", name, error)
            self.schedule_book.drop(name, version)
            return
        when = times.schedules, times.offset, times.timezone
        self.schedule_book.put(BookEntry(name, news.task, *when, news.changed, version))

    def _invalidate(self) -> None:
        """Leave running ticks the registry they have; the next one reads its last tick anew."""
        if self._task_registry is not None:
            self._tasks_by_name, self._task_registry = dict(self._tasks_by_name), None
            self.window_end = None
            self.known_since = self.clock()

    def refresh_sources(self, now: datetime | None = None) -> None:
        """Register what has changed in the sources of tasks, once a minute.

        ``now`` is an aware moment; by default the clock's.
        """
        if not self.sources:
            return
        minute = (now or self.clock()).replace(second=0, microsecond=0)
        if minute != self._last_refresh:
            self._last_refresh = minute
            self._refresh()

    def _refresh(self) -> None:
        for source in self.sources:
            source.refresh()

    def get_task(self, name: str) -> Task:
        """Return the task of this name, also if a source has it only now.

        Raises LookupError if there is none.
        """
        if name not in self.task_registry.by_name:
            self._refresh()
        return self.task_registry.get(name)

    @property
    def problems(self) -> list[str]:
        """The problems of the sources of tasks, a line each."""
        return [problem for source in self.sources for problem in source.problems]

    @property
    def task_registry(self) -> TaskRegistry:
        """The tasks as they are now, with their calendar; computed after a registration."""
        with self._lock:
            if self._task_registry is None:
                self._task_registry = TaskRegistry(self._tasks_by_name)
                self._schedule_pool.clear()
            return self._task_registry


def get_cron(registry: Registry) -> CronApp:
    """Return the cron of this application; LookupError if it does not include pyramid_cron."""
    cron: CronApp | None = registry.queryUtility(ICronApp)
    if cron is None:
        raise LookupError('this application has no cron: config.include("pyramid_cron") is missing')
    return cron
