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
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from .. import events, logs
from ..clock import Stopwatch
from ..due.facts import Pending
from ..run import Run, RunState, TaskCancelled, TaskTimeout, Trigger, changed
from ..store.desk import Desk
from ..store.engine import StoreError
from ..store.journal import Journal
from ..store.outcomes import Noted, Outcome, Paused
from ..store.store import Store
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

News = tuple[Any, ...]
"""A kind of event and its values."""

log = logging.getLogger("pyramid_cron")


class Supervisor:
    """What watches over the runs of this process."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        lease: timedelta,
        outcome: Callable[[Run, bool], Outcome],
        wall: Callable[[], datetime],
        housekeeping: Callable[[], None] = lambda: None,
        tell: Callable[[Sequence[News]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._journal = journal
        self._lease = lease
        self._outcome = outcome
        self._wall = wall
        self._housekeeping = housekeeping
        self._tell = tell
        self._news: list[News] = []
        self._is_old_news = False
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._held: dict[str, Live] = {}
        self._tidying = threading.Lock()
        self._closed = False
        self._ticks = 0
        self._told_at = self._over_at = float("-inf")
        self._trouble = Trouble(lambda: self._ticks > 0, self._is_late)

    # What the tick asks for.

    def hold(self, runs: Iterable[Run], clock: Stopwatch) -> None:
        """Watch over runs that were just claimed, until what became of them is written."""
        lease = self._lease_from(clock)
        with self._lock:
            self._mind_forks()
            self._held |= {run.id: Live(run, clock, self._wall, lease) for run in runs}
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

    def live(self, run_id: str) -> Live | None:
        """Return a run that is held, or None if it is not ours any more.

        After a pause longer than the lease (a frozen process, a sleeping computer) the store has
        the last word; where that can't be asked, the lease stays as it is.
        """
        live = self._held.get(run_id)
        if live is not None and not live.ours():
            with suppress(StoreError):
                self._renew([live])
        return self._held.get(run_id)

    def let_go(self, run_id: str) -> bool:
        """Watch over a run no longer, which goes to another process; False if it is not ours."""
        live = self._held.get(run_id)
        if live is None or live.given_up or self.stopping:
            return False
        return self._held.pop(run_id, None) is not None

    def cancel(self, run_id: str) -> None:
        """Tell a run to stop, if it is one of this process."""
        live = self._held.get(run_id)
        if live is not None and self._pid == os.getpid():
            live.interrupt(TaskCancelled("was cancelled"))

    def call_off(self, live: Live) -> Run:
        """Put on record that a run is over which was told to stop before it began."""
        live.given_up = True
        run = changed(
            live.run,
            state=RunState.CANCELLED,
            finished=live.clock.now(),
            error=f"{live.interruption} before it began",
        )
        logs.Lines().ended(run)
        self._end(run)
        return run

    def write(self) -> None:
        """Write what has happened so far. Raises StoreError; what is not written stays noted."""
        paused: Sequence[Paused] = ()
        with self._trouble.remembering(), self._journal.taking() as noted:
            if noted:
                paused = self._store.write(noted)
        self._release(noted)
        self._note_paused(paused)

    @contextmanager
    def deciding(self, clock: Stopwatch) -> Iterator[Desk]:
        """Give the desk at which slots are claimed, after all that is known here is on record."""
        held = [live.run.id for live in list(self._held.values())]
        with (
            self._trouble.remembering(),
            self._journal.taking() as noted,
            self._store.deciding(clock.now(), self._lease_from(clock)) as desk,
        ):
            desk.write(noted)
            desk.renew(held)
            yield desk
        self._release(noted)
        self._note_paused(desk.paused)

    def _lease_from(self, clock: Stopwatch) -> datetime:
        return max(clock.now(), self._wall()) + self._lease

    def take_news(self) -> list[News]:
        """Return what has happened that nobody was told of yet."""
        news, self._news = self._news, []
        return news

    def _note_paused(self, paused: Iterable[Paused]) -> None:
        self._news += [(events.TaskPaused, each.task, None, each.reason) for each in paused]

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
        run = live.run
        now = live.clock.now()
        later = Pending(
            run.task,
            run.slot,
            Trigger.RETRY,
            now,
            attempt=run.attempt + 1,
            nonce=run.nonce,
            payload=run.payload,
        )
        error = "the process stopped before it began" if self.stopping else "it could not begin"
        left = changed(run, state=RunState.CANCELLED, finished=now, error=error)
        live.given_up = True
        self._journal.note(Outcome(left, [later]))
        logs.Lines().ended(left)
        return left

    def give_back(self, runs: Iterable[Run]) -> None:
        """Let a later tick have those of these runs that are held here and were not begun."""
        for run in runs:
            live = self.live(run.id)
            if live is not None and not live.given_up and live.run.state is RunState.CLAIMED:
                self.leave(live)
                self.wake()

    def _release(self, noted: Noted) -> None:
        for outcome in noted.outcomes:
            if outcome.run.state.final:
                self._held.pop(outcome.run.id, None)

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
            self._pid, self._thread, self._held = os.getpid(), None, {}
            self._told_at = self._over_at = float("-inf")

    # What the thread does.

    def _work(self) -> None:
        while self._is_wanted():
            time.sleep(PAUSE)
            self._wanted.clear()
            self._watch()
            if self._journal.empty:
                self._tidy_up()
            if self._held or self._news or not self._journal.empty:
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
        for live in list(self._held.values()):
            if live.overdue():
                live.interrupt(TaskTimeout("ran longer than its timeout"))
            if live.stuck(PATIENCE) and not live.given_up:
                if live.run.state is not RunState.CLAIMED:
                    self._give_up(live)
                elif not self.stopping:  # else its slot is given back
                    self.call_off(live)
            if not live.on_record and live.run.state is RunState.RUNNING:
                # Only now: most tasks are over before anybody could see them run.
                live.on_record = True
                live.change()
        with self._trouble.telling():
            self.write()
            self._keep_hold()
        # A tick tells by itself before it answers; but one may take long, or be stuck.
        if self._news and (self._is_old_news or not self._ticks):
            self._tell(self.take_news())
        self._is_old_news = bool(self._news)

    def _tidy_up(self) -> None:
        with self._tidying:
            if self._closed:
                return
            try:
                self._housekeeping()
            except StoreError as error:
                # The next tick meets the same trouble, and tells.
                log.info("old runs could not be forgotten: %s", error)

    def _keep_hold(self) -> None:
        held = list(self._held.values())
        if not held:
            return
        for run_id in self._store.cancelled():
            self.cancel(run_id)
        third = self._lease / 3
        late = [live for live in held if live.lease - live.moment() < 2 * third]
        if late:
            self._renew(late)

    def _renew(self, lives: list[Live]) -> None:
        leases = {live.run.id: live.moment() + self._lease for live in lives}
        ours = self._store.renew(list(leases), max(leases.values()))
        for live in lives:
            if live.run.id in ours:
                live.lease = leases[live.run.id]
            else:
                self._held.pop(live.run.id, None)
                live.interrupt(TaskCancelled("was taken for lost, since its lease had passed"))
                log.warning("%s run=%s is not ours any more", live.run.task, live.run.id)

    def _give_up(self, live: Live) -> None:
        """Put on record that a run is over which does not end, so that it blocks nothing."""
        live.given_up = True
        if live.kill():
            then, told = "it was killed", "does not stop in time; it is killed"
        else:
            then = "it could not be stopped and may still be going on"
            told = "does not stop; it is given up"
        timed_out = isinstance(live.interruption, TaskTimeout)
        run = changed(
            live.run,
            state=RunState.TIMED_OUT if timed_out else RunState.CANCELLED,
            finished=live.clock.now(),
            error=f"{live.interruption}; {then}",
            **live.written(),
        )
        log.warning("%s run=%s %s", run.task, run.id, told)
        self._end(run, live.stopped)

    def _end(self, run: Run, stopped: bool = False) -> None:
        self._journal.note(self._outcome(run, stopped))
        self._news.append((events.ENDS[run.state], run))

    def _is_late(self) -> bool:
        return not all(live.ours() for live in list(self._held.values()))

    # Stopping.

    @property
    def stopping(self) -> bool:
        """Whether this process was told to stop, so that no more runs are to begin."""
        return time.monotonic() < self._over_at + OUTLIVED

    def begin_to_stop(self, patience: float) -> None:
        """Start no more runs, and stop in ``patience`` seconds those that still go on then."""
        if self._pid != os.getpid() or self.stopping or not (self._ticks or self._held):
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
        if self._pid != os.getpid() or not (self._held or not self._journal.empty):
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
        for live in self._going_on():
            live.interrupt(TaskCancelled("the process stopped"), stopped=True)
        self._await_ends(max(self._over_at, time.monotonic() + PAUSE))
        for live in self._going_on():
            if live.run.state is RunState.CLAIMED:
                self.leave(live)
            else:
                self._give_up(live)
        with self._trouble.telling(last=True):
            self.write()

    def _await_ends(self, until: float) -> None:
        while self._going_on() and time.monotonic() < until:
            time.sleep(0.05)

    def _going_on(self) -> list[Live]:
        return [
            live
            for live in list(self._held.values())
            if not (live.given_up or live.run.state.final)
        ]
