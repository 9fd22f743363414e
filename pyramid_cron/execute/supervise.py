"""One thread per process that keeps the record true while tasks run.

It writes what happened, renews the leases of what this process runs, and tells tasks to stop whose
time is up or whose end somebody asked for.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from ..clock import Stopwatch
from ..run import Run, RunState, TaskCancelled, TaskTimeout
from ..store.desk import Desk
from ..store.engine import StoreError
from ..store.journal import Journal
from ..store.outcomes import Paused
from ..store.store import Store
from .held import Held, News
from .live import Live
from .trouble import Trouble

PAUSE = 0.2
"""Seconds within which what happened is written, and what is asked for is done."""

IDLE = 30.0
"""Seconds without anything to do after which the thread ends, until it is needed again."""

PATIENCE = timedelta(seconds=5)
"""How long a task that was told to stop may take for it, before it is given up."""

LAST_PART = 0.05
"""The part of the time to finish, when the process stops, that is left for being told to stop.

Servers kill a process after a time of their own, which may well be as long.
"""

OUTLIVED = 10.0
"""Seconds after which a process that was told to stop, and has not, goes on to work."""

log = logging.getLogger("pyramid_cron")


class Supervisor:
    """What watches over the runs of this process, which are ``held``."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        held: Held,
        housekeeping: Callable[[], None] = lambda: None,
        tell: Callable[[Sequence[News]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._journal = journal
        self.held = held
        self._housekeeping = housekeeping
        self._tell = tell
        self._is_old_news = False
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._tidying = threading.Lock()
        self._closed = False
        self._ticks = 0
        self._told_at = self._over_at = float("-inf")
        self._trouble = Trouble(lambda: self._ticks > 0, lambda: not self.held.all_ours())

    # What the tick asks for.

    def hold(self, runs: Iterable[Run], clock: Stopwatch) -> None:
        """Watch over runs that were just claimed, until what became of them is written."""
        with self._lock:
            self._mind_forks()
            self.held.add(runs, clock)
        self.wake()

    @contextmanager
    def holding(self, runs: Sequence[Run], clock: Stopwatch) -> Iterator[None]:
        """Watch over runs that the block begins; if it raises, a later tick has the others."""
        self.hold(runs, clock)
        try:
            yield
        except BaseException:
            self.give_back(runs)
            raise

    def let_go(self, run_id: str) -> bool:
        """Watch over a run no longer, which goes to another process; False if it is not ours."""
        return not self.stopping and self.held.let_go(run_id)

    def cancel(self, run_id: str) -> None:
        """Tell a run to stop, if it is one of this process."""
        if self._pid == os.getpid():
            self.held.cancel(run_id)

    def write(self) -> None:
        """Write what has happened so far. Raises StoreError; what is not written stays noted."""
        paused: Sequence[Paused] = ()
        with self._trouble.remembering(), self._journal.taking() as noted:
            if noted:
                paused = self._store.write(noted)
        self.held.release(noted)
        self.held.note_paused(paused)

    @contextmanager
    def deciding(self, clock: Stopwatch) -> Iterator[Desk]:
        """Give the desk at which slots are claimed, after all that is known here is on record."""
        held = [live.run.id for live in self.held.lives()]
        with (
            self._trouble.remembering(),
            self._journal.taking() as noted,
            self._store.deciding(clock.now(), self.held.lease_from(clock)) as desk,
        ):
            desk.write(noted)
            desk.renew(held)
            yield desk
        self.held.release(noted)
        self.held.note_paused(desk.paused)

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """Let it be known that a tick is there, which tells of its trouble itself."""
        with self._lock:
            self._ticks += 1
        try:
            yield
        finally:
            with self._lock:
                self._ticks -= 1

    def leave(self, live: Live) -> Run:
        """Give a slot back to whoever ticks next, since it is not begun with here."""
        why = "the process stopped before it began" if self.stopping else "it could not begin"
        return self.held.leave(live, why)

    def give_back(self, runs: Iterable[Run]) -> None:
        """Let a later tick have those of these runs that are held here and were not begun."""
        for run in runs:
            live = self.held.live(run.id)
            if live is not None and not live.given_up and live.run.state is RunState.CLAIMED:
                self.leave(live)
                self.wake()

    def wake(self) -> None:
        """Do what there is to do, from a moment from now on."""
        with self._lock:
            self._mind_forks()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="pyramid_cron", daemon=True)
                self._thread.start()
            self._closed = False
            self._wanted.set()

    def _mind_forks(self) -> None:
        if self._pid != os.getpid():
            # What was held belongs to the process that this one was forked from.
            self._pid, self._thread = os.getpid(), None
            self.held.forget()
            self._told_at = self._over_at = float("-inf")

    # What the thread does.

    def _work(self) -> None:
        while self._is_wanted():
            time.sleep(PAUSE)
            self._wanted.clear()
            self._watch()
            if self._journal.empty:
                self._tidy_up()
            if self.held or self.held.has_news or not self._journal.empty:
                self._wanted.set()

    def _is_wanted(self) -> bool:
        """Wait for something to do; False once there was nothing for long."""
        if self._wanted.wait(IDLE):
            return True
        with self._lock:
            if self._wanted.is_set():
                return True
            self._thread = None
            return False

    def _watch(self) -> None:
        for live in self.held.lives():
            if live.overdue():
                live.interrupt(TaskTimeout("ran longer than its timeout"))
            if live.stuck(PATIENCE) and not live.given_up:
                if live.run.state is not RunState.CLAIMED:
                    self.held.give_up(live)
                elif not self.stopping:  # else its slot is given back
                    self.held.call_off(live)
            if not live.on_record and live.run.state is RunState.RUNNING:
                # Only now: most tasks are over before anybody could see them run.
                live.on_record = True
                live.change()
        with self._trouble.telling():
            self.write()
            self.held.keep()
        # A tick tells by itself before it answers; but one may take long, or be stuck.
        if self.held.has_news and (self._is_old_news or not self._ticks):
            self._tell(self.held.take_news())
        self._is_old_news = self.held.has_news

    def _tidy_up(self) -> None:
        with self._tidying:
            if self._closed:
                return
            try:
                self._housekeeping()
            except StoreError as error:
                # The next tick meets the same trouble, and tells.
                log.info("old runs could not be forgotten: %s", error)

    # Stopping.

    @property
    def stopping(self) -> bool:
        """Whether this process was told to stop, so that no more runs are to begin."""
        return time.monotonic() < self._over_at + OUTLIVED

    def begin_to_stop(self, patience: float) -> None:
        """Start no more runs, and stop in ``patience`` seconds those that still go on then."""
        if self._pid != os.getpid() or self.stopping or not (self._ticks or self.held):
            return
        self._set_times(patience)
        # A signal handler must not wait, and its thread may be the one that a task runs in.
        threading.Thread(target=self._stop_runs, name="pyramid_cron stop", daemon=True).start()

    def carry_on(self) -> None:
        """Let runs begin again: whether the process stops is for who called the tick to say."""
        self._over_at = float("-inf")

    def stop(self, patience: float) -> None:
        """Let runs finish for ``patience`` seconds, stop those that do not, and write it all."""
        with self._tidying:
            self._closed = True
        if self._pid != os.getpid() or not (self.held or not self._journal.empty):
            return
        if not self.stopping:
            # No thread: at the end of a process none can be started any more.
            self._set_times(patience)
        self._stop_runs()

    def _set_times(self, patience: float) -> None:
        self._over_at = time.monotonic() + patience
        self._told_at = self._over_at - patience * LAST_PART

    def _stop_runs(self) -> None:
        self._await_ends(self._told_at)
        for live in self.held.going_on():
            live.interrupt(TaskCancelled("the process stopped"), stopped=True)
        self._await_ends(max(self._over_at, time.monotonic() + PAUSE))
        for live in self.held.going_on():
            if live.run.state is RunState.CLAIMED:
                self.leave(live)
            else:
                self.held.give_up(live)
        with self._trouble.telling(last=True):
            self.write()

    def _await_ends(self, until: float) -> None:
        while self.held.going_on() and time.monotonic() < until:
            time.sleep(0.05)
