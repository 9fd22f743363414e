"""What carrying runs out needs of an application's cron."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from weakref import WeakSet

from pyramid.request import Request
from sqlalchemy import Engine

from ..planning.capacity import WorkerThreads
from ..planning.schedule_book import ScheduleBook
from ..registry import TaskRegistry
from ..run import Run
from ..settings import Settings
from ..store.results import Outcome
from ..store.store import Store
from ..store.write_buffer import WriteBuffer
from ..task import Task
from .supervisor import Supervisor
from .threads import BackgroundThreads


class CronParts(Protocol):
    """The parts of a :class:`~pyramid_cron.app.CronApp`, which says more of each."""

    settings: Settings
    clock: Callable[[], datetime]
    store: Store
    write_buffer: WriteBuffer
    supervisor: Supervisor
    background_threads: BackgroundThreads
    schedule_book: ScheduleBook
    queues: dict[str, Callable[[Run], object]]
    get_session: Callable[[Request], Any] | None
    is_session_checked: bool
    shared_engines: WeakSet[Engine]
    known_since: datetime
    last_tick: datetime | None
    window_end: datetime | None
    handled_version: int

    @property
    def task_registry(self) -> TaskRegistry:
        """The tasks as they are now, with their calendar; computed after a registration."""

    @property
    def is_awake(self) -> bool:
        """Whether this process goes on between ticks just now."""

    def get_task(self, name: str) -> Task:
        """Return the task of this name, also if a source has it only now."""

    def find_task(self, name: str, schedule: str | None = None) -> Task | None:
        """Return the task of this name, or None; with a stored schedule as it is for that."""

    def has_thread_for(self, task: Task) -> bool:
        """Return whether runs of a task are for threads of this process."""

    def needs_process(self, task: Task) -> bool:
        """Return whether a run of a task is carried out by a process of its own."""

    def is_transactional(self, task: Task) -> bool:
        """Return whether the end of the task's runs is written in its own transaction."""

    def worker_threads(self) -> WorkerThreads:
        """Return what this process takes of the runs for workers just now."""

    def outcome_of(self, run: Run, by_shutdown: bool = False) -> Outcome:
        """Return what the store records of a run, and its follow-ups."""

    def next_slot_between(self, after: datetime) -> datetime | None:
        """Return the first slot after a moment that is not on a whole minute; None without one."""

    def note_window(self, end: datetime, version: int) -> None:
        """Take note that slots up to a moment are handled, with this version of the schedules."""

    def lost_attempts_of(self, task: Task) -> int:
        """Return how many lost attempts at a slot of the task are made good."""

    def on_deferred(self) -> None:
        """Take note that a waiting run was put on record or moved in this process."""

    def refresh_schedules(self, version: int | None = None) -> None:
        """Learn what has changed of the stored schedules up to a version; by default up to now."""

    def refresh_sources(self, now: datetime | None = None) -> None:
        """Register what has changed in the sources of tasks, once a minute."""
