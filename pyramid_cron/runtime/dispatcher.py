"""What a process does between ticks: it makes a beat whenever something may begin.

It sleeps until the next slot between two minutes, until a waiting run may begin, or until it is
woken: a run has ended or was released here, or one was deferred here. What other processes put on
record it finds within a second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pyramid.registry import Registry

from ..errors import StoreError
from ..logs import WarnOnce
from ..run import Run
from ..store.waiting import peek_waiting
from .cron_parts import CronParts
from .request_scope import make_request, own_request
from .supervisor import RELEASE_AFTER_SECONDS, Supervisor
from .tick import run_beat, run_tick

POLL_SECONDS = 1.0
"""Seconds within which a run is found that another process has put on record."""

TICK_SILENCE_SECONDS = 120.0
"""Seconds after the last hit in which the process goes on by itself."""

HUNG_HIT_SECONDS = 10.0
"""Seconds after which a hit without an answer may keep others from coming.

Then beats handle the slots on whole minutes, too. A worker of a server may have one thread.
"""

BEAT_WAIT_SECONDS = RELEASE_AFTER_SECONDS + 0.5
"""Seconds after which a beat that takes long is left alone, and another one may be made."""

MINUTE = timedelta(minutes=1)

log = logging.getLogger("pyramid_cron")


@dataclass(frozen=True, slots=True)
class WaitingPeek:
    """What waits on record."""

    #: The ids of runs that may begin now, or of many those that may first; and of runs whose lease
    #: has passed.
    startable_ids: frozenset[str]
    #: When the next of the others may begin (aware, UTC); None if there is none.
    next_not_before: datetime | None


@dataclass(frozen=True, slots=True)
class DispatcherPorts:
    """What a dispatcher asks of its application, and has it do."""

    #: Returns the moment it is, aware and in UTC.
    clock: Callable[[], datetime]
    #: Returns the first slot after a moment that is not on a whole minute; None if there is none.
    next_slot: Callable[[datetime], datetime | None]
    #: Returns until when this process has handled slots; None before the first tick.
    window_end: Callable[[], datetime | None]
    #: Returns what waits on record at a moment.
    peek: Callable[[datetime], WaitingPeek]
    #: Returns whether threads go on with what waits for room by themselves.
    is_draining: Callable[[], bool]
    #: Makes a beat; its arguments are the moment, the seconds for what needs time, the URL.
    beat: Callable[[datetime, float, Mapping[str, Any]], object]
    #: Makes the tick of a minute.
    tick: Callable[[datetime, Mapping[str, Any]], object]


class Dispatcher:
    """Makes the beats of one application in this process, and with a self-trigger its ticks.

    ``budget`` is how many seconds a tick has, which its beats share. Without ``makes_beats`` it
    makes ticks alone.
    """

    def __init__(
        self, supervisor: Supervisor, ports: DispatcherPorts, budget: float, makes_beats: bool
    ) -> None:
        self._supervisor = supervisor
        self._ports = ports
        self._budget = budget
        self._makes_beats = makes_beats
        self._problems = WarnOnce()
        self._starts_after_fork = False
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin anew in a forked process: the thread is the parent's, and so are its ticks."""
        #: Whether this process makes the minutes' ticks itself.
        self.makes_ticks = False
        self._is_stopped = False
        self._lock = threading.Lock()
        self._wake_event = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_hit = float("-inf")
        #: When hits came that have no answer yet.
        self._open_hits: set[float] = set()
        self._url_environ: Mapping[str, Any] = {}
        self._has_news = False
        self._seen_ids: frozenset[str] = frozenset()
        self._next_not_before: datetime | None = None
        self._next_tick: datetime | None = None
        #: The latest tick or beat, and whether one has failed since the last that did not.
        self._latest: _Call | None = None
        self._has_failed = False
        if self._starts_after_fork:
            self._starts_after_fork = False
            self.start_ticking()

    def start_ticking(self, *, after_fork: bool = False, at_once: bool = False) -> None:
        """Make the ticks of all minutes from the next one on, or ``at_once``; and beats.

        With ``after_fork`` processes that are forked from this one do so instead.
        """
        self._starts_after_fork = after_fork
        if not after_fork:
            self.makes_ticks = True
            self._next_tick = self._ports.clock() if at_once else None
            self.start()

    def stop(self) -> None:
        """Make no more ticks and beats."""
        self._is_stopped = True
        self._wake_event.set()

    # What ticks and threads call.

    @contextmanager
    def hit(self, url_environ: Mapping[str, Any]) -> Iterator[None]:
        """Go on between ticks from now on: a hit has come, for this URL; the block is its tick."""
        self._last_hit = came = time.monotonic()
        self._url_environ = url_environ
        self._is_stopped = False
        with self._lock:
            self._open_hits.add(came)
        if self._makes_beats:
            self.start()
        try:
            yield
        finally:
            with self._lock:
                self._open_hits.discard(came)  # it is the parent's in a forked process

    @property
    def is_awake(self) -> bool:
        """Whether it goes on between ticks just now."""
        return self._thread is not None

    def start(self) -> None:
        """Have the thread run, where a thread can be had."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            thread = self._supervisor.make_thread("dispatcher", self.run)
            try:
                thread.start()
            except RuntimeError as error:
                log.info("no thread between ticks, all waits for the next tick: %s", error)
            else:
                self._thread = thread

    def wake(self) -> None:
        """Look at what waits: there may be more of it, or more room.

        Threads that go on with what waits need no help.
        """
        self._has_news = True
        if not self._ports.is_draining():
            self._wake_event.set()

    # What the thread does.

    def run(self) -> None:
        """Make beats until ticks stop coming, or the process stops."""
        while self._goes_on():
            self._wake_event.wait(self._seconds_until_next())
            self._wake_event.clear()
            try:
                self._make_what_is_due()
            except StoreError as error:
                self._has_failed = True
                log.info("no beat: %s", error)
            except Exception:
                self._has_failed = True
                log.exception("no beat: internal error")

    def _goes_on(self) -> bool:
        with self._lock:
            silence = time.monotonic() - self._last_hit
            is_ticking = silence < TICK_SILENCE_SECONDS or bool(self._open_hits)
            has_reason = (is_ticking and self._makes_beats) or self.makes_ticks
            if has_reason and not (self._is_stopped or self._supervisor.is_stopping):
                return True
            self._thread = None
            return False

    def _seconds_until_next(self) -> float:
        if self._has_failed or self._is_claiming():
            return POLL_SECONDS
        now = self._ports.clock()
        moments = [self._next_tick]
        if self._makes_beats:
            moments += [self._next_not_before, self._next_slot()]
        delays = [(moment - now).total_seconds() for moment in moments if moment is not None]
        return min(max(0.0, min(delays, default=POLL_SECONDS)), POLL_SECONDS)

    def _next_slot(self) -> datetime | None:
        """Return the next slot between minutes that this process has not handled.

        Or the next minute, whose hit may not come.
        """
        window_end = self._ports.window_end()
        if window_end is None:
            return None
        slot = self._ports.next_slot(window_end)
        if not self._has_hung_hit():
            return slot
        minute = window_end.replace(second=0, microsecond=0) + MINUTE
        return minute if slot is None else min(slot, minute)

    def _has_hung_hit(self) -> bool:
        with self._lock:
            oldest = min(self._open_hits, default=None)
        return oldest is not None and time.monotonic() - oldest > HUNG_HIT_SECONDS

    def _is_claiming(self) -> bool:
        """Return whether the latest tick or beat still waits for its claims: the store is busy."""
        window_end, latest = self._ports.window_end(), self._latest
        if latest is None or latest.is_over.is_set() or window_end is None:
            return False
        return window_end < latest.at

    def _make_what_is_due(self) -> None:
        now = self._ports.clock()
        if self._is_claiming():
            return
        has_failed, self._has_failed = self._has_failed, False
        if self.makes_ticks and self._is_minute_due(now):
            environ = self._url_environ
            self._last_hit = time.monotonic()
            self._call_in_thread("tick", now, lambda: self._ports.tick(now, environ))
            return
        if not self._makes_beats:
            return
        had_news = self._has_news and not self._ports.is_draining()
        self._has_news = self._has_news and not had_news
        peek = self._ports.peek(now)
        new_ids = peek.startable_ids - self._seen_ids
        self._seen_ids, self._next_not_before = peek.startable_ids, peek.next_not_before
        slot = self._next_slot()
        is_slot_due = slot is not None and slot <= now
        if new_ids or (had_news and peek.startable_ids) or is_slot_due or has_failed:
            budget = max(0.0, self._budget - (time.monotonic() - self._last_hit))
            environ = self._url_environ
            self._call_in_thread("beat", now, lambda: self._ports.beat(now, budget, environ))

    def _is_minute_due(self, now: datetime) -> bool:
        if self._next_tick is not None and now < self._next_tick:
            return False
        is_first = self._next_tick is None
        self._next_tick = now.replace(second=0, microsecond=0) + MINUTE
        return not is_first

    def _call_in_thread(self, name: str, at: datetime, function: Callable[[], object]) -> None:
        """Call a function in a thread of its own, so that a task that hangs holds up no beat."""
        started = _Call(at)

        def call() -> None:
            try:
                function()
            except StoreError as error:
                self._has_failed = True
                if self._problems.add(str(error)):
                    log.warning("%s failed: %s", name, error)
            except Exception as error:
                self._has_failed = True
                if self._problems.add(repr(error)):
                    log.exception("%s failed: internal error", name)
            else:
                self._problems.clear()
            finally:
                started.is_over.set()

        if self._supervisor.start_thread(name, call):
            self._latest = started
            started.is_over.wait(BEAT_WAIT_SECONDS)
        else:
            self._has_failed = True


@dataclass(frozen=True, slots=True)
class _Call:
    """A tick or beat in a thread of its own."""

    at: datetime
    is_over: threading.Event = field(default_factory=threading.Event)


PEEK_LIMIT = 1000
"""Waiting runs by which a dispatcher notices that there are new ones."""


def go_on_with_queue(cron: CronParts, registry: Registry, run: Run) -> None:
    """In a queue's worker: send what waits for the room that a run has left, of its queue."""
    task = cron.find_task(run.task)
    if task is None or not cron.settings.beats:
        return
    now = cron.clock()
    try:
        startable_ids, _ = peek_waiting(cron.store, now, 1)
        if startable_ids:
            executors = (task.executor,)
            run_beat(cron, registry, now, budget=0, url_environ={}, executors=executors)
    except StoreError as error:
        log.info("what waits for %s is left to the next tick: %s", task.executor, error)


def make_dispatcher(cron: CronParts, registry: Registry, *, is_worker: bool = False) -> Dispatcher:
    """Return a dispatcher for an application, which makes beats once a hit has come.

    A worker makes beats whatever ``cron.beats`` says, and puts on record that it is there.
    """

    def peek(now: datetime) -> WaitingPeek:
        cron.refresh_schedules()
        startable_ids, next_not_before = peek_waiting(
            cron.store, now, PEEK_LIMIT, includes_expired=True
        )
        return WaitingPeek(frozenset(startable_ids), next_not_before)

    def beat(now: datetime, budget: float, url_environ: Mapping[str, Any]) -> None:
        run_beat(cron, registry, now, budget=budget, url_environ=url_environ)

    def tick(now: datetime, url_environ: Mapping[str, Any]) -> None:
        blank_request = make_request(registry, cron.settings.base_url, url_environ)
        with own_request(registry, blank_request) as request:
            run_tick(cron, request, now)
        if is_worker:
            cron.store.record_worker(now)

    ports = DispatcherPorts(
        clock=lambda: cron.clock(),
        next_slot=cron.next_slot_between,
        window_end=lambda: cron.window_end,
        peek=peek,
        is_draining=lambda: cron.background_threads.is_draining,
        beat=beat,
        tick=tick,
    )
    return Dispatcher(
        cron.supervisor, ports, cron.settings.budget, cron.settings.beats or is_worker
    )
