"""What one application's cron is made of: one :class:`Cronwork` per registry."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from pyramid.registry import Registry
from zope.interface import Interface

from .clock import utc_now
from .due.after import exhausted, following
from .due.slots import SlotCalendar, roster_id
from .execute.held import Held, News
from .execute.supervise import Supervisor
from .execute.thread import Threads
from .run import Run
from .settings import Settings
from .store.journal import Journal
from .store.outcomes import Outcome
from .store.store import Store
from .task import REQUEST, Schedules, Task

MINUTE = timedelta(minutes=1)

PIECE = 500
"""How many old runs are forgotten at once, so that nobody has to wait for it."""

PIECES = 20
"""How many pieces are forgotten in a row."""


class Source(Protocol):
    """Where tasks come from that may change while the application runs.

    ``problems`` are what is wrong there, a line each.
    """

    @property
    def problems(self) -> Sequence[str]:
        """Return what is wrong there now."""
        ...

    def look(self) -> None:
        """Register what is new, take away what has gone."""
        ...


class ICronwork(Interface):  # type: ignore[misc]
    """Under which the registry keeps its :class:`Cronwork`."""


class Tasks:
    """The registered tasks, in order of registration, and what is derived from them."""

    __slots__ = ("_positions", "all", "by_name", "calendar", "paced", "roster")

    def __init__(self, registered: Mapping[str, Task]) -> None:
        self.by_name = registered
        self.all = tuple(registered.values())
        self.calendar = SlotCalendar((task.schedules, task.offset) for task in self.all)
        self.roster = roster_id(registered)
        self.paced = frozenset(task.name for task in self.all if task.pace is not None)
        self._positions: Mapping[str, int] | None = None

    def named(self, name: str) -> Task:
        """Return the task of this name; LookupError if there is none."""
        if not isinstance(name, str):
            raise LookupError(f"there is no cron task named {name!r}: a name is text")
        if name not in self.by_name:
            near = difflib.get_close_matches(name, self.by_name, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise LookupError(f"there is no cron task named {name!r}{hint}")
        return self.by_name[name]

    def weight(self, name: str) -> int:
        """Return what a task's run takes of ``cron.capacity``: nothing, if it is in a request."""
        task = self.by_name[name]
        return 0 if task.executor == REQUEST else task.weight

    def position(self, name: str) -> int:
        """Return the place of a task in the order of registration."""
        if self._positions is None:  # seldom needed, and not small
            self._positions = {name: position for position, name in enumerate(self.by_name)}
        return self._positions[name]


class Cronwork:
    """The settings, tasks and store of one application.

    ``queues`` are what sends runs to other processes, by executor. ``tell`` is called with what
    happened outside of ticks. ``latest`` is the moment of the latest
    tick (aware, UTC), None before the first.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], datetime] = utc_now,
        tell: Callable[[Sequence[News]], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.guard = settings.guard()
        self.store = Store(settings.url, settings.table_prefix)
        self.journal = Journal()
        held = Held(
            self.store, self.journal, settings.lease, self.outcome, wall=lambda: self.clock()
        )
        self.supervisor = Supervisor(self.store, self.journal, held, self.tidy_up, tell)
        self.threads = Threads(self.supervisor)
        self.queues: dict[str, Callable[[Run], object]] = {}
        self.latest: datetime | None = None
        self.sources: list[Source] = []
        self._tidied: datetime | None = None
        self._looked: datetime | None = None
        self._registered: dict[str, Task] = {}
        self._schedules: dict[Schedules, Schedules] = {}
        self._tasks: Tasks | None = None
        self._gathering = threading.Lock()

    def close(self) -> None:
        """Stop what runs, put it on record, and close the connections to the store."""
        self.supervisor.stop(self.settings.shutdown_timeout.total_seconds())
        self.store.database.dispose()

    def outcome(self, run: Run, stopped: bool = False) -> Outcome:
        """Return what is to be put on record of a run, and what comes of it.

        ``stopped`` is whether it was told to end as its process stopped.
        """
        task = self._registered.get(run.task)
        if task is None or not run.state.final:
            return Outcome(run)
        pause_after = task.pause_after if exhausted(task, run) else None
        return Outcome(run, following(task, run, stopped), pause_after, task.retry.attempts)

    def tidy_up(self) -> None:
        """Forget what is older than ``cron.retention``, once a minute, in pieces."""
        now = self.latest
        if now is None or (self._tidied is not None and now - self._tidied < MINUTE):
            return
        self._tidied = now
        for _ in range(PIECES):
            if self.store.prune(now - self.settings.retention, PIECE) < PIECE:
                break

    def register(self, task: Task) -> None:
        """Add a task, or put it in place of the one that has its name."""
        with self._gathering:
            self._begin_anew()
            # Tasks with equal schedules share them, which most of a task's memory goes into.
            shared = self._schedules.setdefault(task.schedules, task.schedules)
            self._registered[task.name] = replace(task, schedules=shared)

    def unregister(self, name: str) -> None:
        """Take a task away, if there is one of this name."""
        with self._gathering:
            if name in self._registered:
                self._begin_anew()
                del self._registered[name]

    def registered(self, name: str) -> Task | None:
        """Return the task of this name, or None."""
        return self._registered.get(name)

    def _begin_anew(self) -> None:
        """Let what goes on keep the tasks it has; the next tick has others, and asks the store."""
        if self._tasks is not None:
            self._registered, self._tasks = dict(self._registered), None
            self.latest = None

    def look_around(self, now: datetime | None = None) -> None:
        """Notice what has changed where tasks come from, once a minute."""
        if not self.sources:
            return
        minute = (now or self.clock()).replace(second=0, microsecond=0)
        if minute != self._looked:
            self._looked = minute
            self._look()

    def _look(self) -> None:
        for source in self.sources:
            source.look()

    def sought(self, name: str) -> Task:
        """Return the task of this name; one not known yet is looked for before the LookupError."""
        if name not in self.tasks.by_name:
            self._look()
        return self.tasks.named(name)

    @property
    def problems(self) -> list[str]:
        """What is wrong where tasks come from, a line each."""
        return [problem for source in self.sources for problem in source.problems]

    @property
    def tasks(self) -> Tasks:
        """The tasks, put into a calendar when first needed after the last registration."""
        with self._gathering:
            if self._tasks is None:
                self._tasks = Tasks(self._registered)
                self._schedules.clear()
            return self._tasks


def cronwork(registry: Registry) -> Cronwork:
    """Return the cron of this application; LookupError if it does not include pyramid_cron."""
    found: Cronwork | None = registry.queryUtility(ICronwork)
    if found is None:
        raise LookupError('this application has no cron: config.include("pyramid_cron") is missing')
    return found
