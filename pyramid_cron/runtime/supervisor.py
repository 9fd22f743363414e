"""One thread per process that keeps the record true while tasks run.

It writes what happened, renews the leases of what this process runs, and tells tasks to stop whose
time is up or whose end somebody asked for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from ..clock import Stopwatch
from ..errors import StoreError
from ..run import Run, RunState, TaskCancelled, TaskTimeout
from ..store.claims import ClaimTransaction
from ..store.results import FailurePause
from ..store.store import Store
from ..store.write_buffer import WriteBuffer
from .execution import Execution
from .executions import Executions, QueuedEvent
from .warn_once import StoreWarnings

SUPERVISOR_INTERVAL_SECONDS = 0.2
"""Seconds within which what happened is written, and what is asked for is done."""

SUPERVISOR_IDLE_SECONDS = 30.0
"""Seconds without anything to do after which the thread ends, until it is needed again."""

CANCEL_GRACE = timedelta(seconds=5)
"""How long a task that was told to stop may take for it, before it is given up."""

SHUTDOWN_CANCEL_SHARE = 0.05
"""The part of the time to finish, when the process stops, that is left for being told to stop.

Servers kill a process after a time of their own, which may well be as long.
"""

SHUTDOWN_EXPIRY_SECONDS = 10.0
"""Seconds after which a process that was told to stop, and has not, goes on to work."""

log = logging.getLogger("pyramid_cron")


class Supervisor:
    """What watches over the runs of this process, which are ``held``."""

    def __init__(
        self,
        store: Store,
        write_buffer: WriteBuffer,
        executions: Executions,
        prune_history: Callable[[], None] = lambda: None,
        notify: Callable[[Sequence[QueuedEvent]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._write_buffer = write_buffer
        self.executions = executions
        self._prune_history = prune_history
        self._notify = notify
        self._is_closed = False
        self._store_warnings = StoreWarnings(
            lambda: self._ticks_in_progress > 0, lambda: not self.executions.has_valid_leases()
        )
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._prune_lock = threading.Lock()
        self._work_event = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_overdue_events = False
        self._ticks_in_progress = 0
        self._interrupt_at = self._abandon_at = float("-inf")

    def reset_after_fork(self) -> None:
        """Begin anew in a forked process: runs and the thread are the parent's."""
        self._reset()
        self.executions.reset_after_fork()

    # What the tick asks for.

    def supervise(self, runs: Iterable[Run], clock: Stopwatch) -> None:
        """Watch over runs that were just claimed, until what became of them is written."""
        with self._lock:
            self.executions.add(runs, clock)
        self.wake()

    @contextmanager
    def supervising(self, runs: Sequence[Run], clock: Stopwatch) -> Iterator[None]:
        """Watch over runs that the block begins; if it raises, a later tick has the others."""
        self.supervise(runs, clock)
        try:
            yield
        except BaseException:
            self.requeue_unstarted(runs)
            raise

    def hand_off(self, run_id: str) -> bool:
        """Watch over a run no longer, which goes to another process; False if it is not ours."""
        return not self.is_stopping and self.executions.hand_off(run_id)

    def cancel(self, run_id: str) -> None:
        """Tell a run to stop, if it is one of this process."""
        self.executions.cancel(run_id)

    def flush(self) -> None:
        """Write all results so far; the caller reports a StoreError, and they stay buffered."""
        with self._store_warnings.tracking():
            self._flush()

    def _flush(self) -> None:
        pauses: Sequence[FailurePause] = ()
        with self._write_buffer.drain() as batch:
            if batch:
                pauses = self._store.write_batch(batch)
        self.executions.remove_finished(batch)
        self.executions.add_pause_events(pauses)

    @contextmanager
    def claim_transaction(self, clock: Stopwatch) -> Iterator[ClaimTransaction]:
        """Give the desk at which slots are claimed, after all that is known here is on record."""
        held = [live.run.id for live in self.executions.all()]
        with (
            self._store_warnings.tracking(),
            self._write_buffer.drain() as noted,
            self._store.claim_transaction(clock.now(), self.executions.new_lease(clock)) as desk,
        ):
            desk.write_batch(noted)
            desk.renew_leases(held)
            yield desk
        self.executions.remove_finished(noted)
        self.executions.add_pause_events(desk.failure_pauses)

    @contextmanager
    def tick_in_progress(self) -> Iterator[None]:
        """Let it be known that a tick is there, which tells of its trouble itself."""
        with self._lock:
            self._ticks_in_progress += 1
        try:
            yield
        finally:
            with self._lock:
                self._ticks_in_progress -= 1

    def requeue(self, execution: Execution) -> Run:
        """Give a slot back to whoever ticks next, since it is not begun with here."""
        why = "the process stopped before it began" if self.is_stopping else "it could not begin"
        return self.executions.requeue(execution, why)

    def requeue_unstarted(self, runs: Iterable[Run]) -> None:
        """Let a later tick have those of these runs that are held here and were not begun."""
        for run in runs:
            live = self.executions.get(run.id)
            if live is not None and not live.is_abandoned and live.run.state is RunState.CLAIMED:
                self.requeue(live)
                self.wake()

    def wake(self) -> None:
        """Do what there is to do, from a moment from now on."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._loop, name="pyramid_cron", daemon=True)
                self._thread.start()
            self._is_closed = False
            self._work_event.set()

    # What the thread does.

    def _loop(self) -> None:
        while self._wait_for_work():
            time.sleep(SUPERVISOR_INTERVAL_SECONDS)
            self._work_event.clear()
            self._check_executions()
            if self._write_buffer.is_empty:
                self._prune()
            if self.executions or self.executions.has_events or not self._write_buffer.is_empty:
                self._work_event.set()

    def _wait_for_work(self) -> bool:
        """Wait for something to do; False once there was nothing for long."""
        if self._work_event.wait(SUPERVISOR_IDLE_SECONDS):
            return True
        with self._lock:
            if self._work_event.is_set():
                return True
            self._thread = None
            return False

    def _check_executions(self) -> None:
        for live in self.executions.all():
            if live.is_past_deadline():
                live.interrupt(TaskTimeout("ran longer than its timeout"))
            if live.is_unresponsive(CANCEL_GRACE) and not live.is_abandoned:
                if live.run.state is not RunState.CLAIMED:
                    self.executions.abandon(live)
                elif not self.is_stopping:  # else its slot is given back
                    self.executions.cancel_unstarted(live)
            if not live.is_start_recorded and live.run.state is RunState.RUNNING:
                # Only now: most tasks are over before anybody could see them run.
                live.is_start_recorded = True
                live.update(lambda run: run)
        with self._store_warnings.reporting():
            self._flush()
            self.executions.heartbeat()
        # A tick tells by itself before it answers; but one may take long, or be stuck.
        if self.executions.has_events and (self._has_overdue_events or not self._ticks_in_progress):
            self._notify(self.executions.drain_events())
        self._has_overdue_events = self.executions.has_events

    def _prune(self) -> None:
        with self._prune_lock:
            if self._is_closed:
                return
            try:
                self._prune_history()
            except StoreError as error:
                # The next tick meets the same trouble, and tells.
                log.info("old runs could not be forgotten: %s", error)

    # Stopping.

    @property
    def is_stopping(self) -> bool:
        """Whether this process was told to stop, so that no more runs are to begin."""
        return time.monotonic() < self._abandon_at + SHUTDOWN_EXPIRY_SECONDS

    def request_shutdown(self, timeout: float) -> None:
        """Start no more runs, and stop in ``patience`` seconds those that still go on then."""
        if self.is_stopping or not (self._ticks_in_progress or self.executions):
            return
        self._set_deadlines(timeout)
        # A signal handler must not wait, and its thread may be the one that a task runs in.
        threading.Thread(
            target=self._stop_executions, name="pyramid_cron stop", daemon=True
        ).start()

    def withdraw_shutdown(self) -> None:
        """Let runs begin again: whether the process stops is for who called the tick to say."""
        self._abandon_at = float("-inf")

    def shutdown(self, timeout: float) -> None:
        """Let runs finish for ``patience`` seconds, stop those that do not, and write it all."""
        with self._prune_lock:
            self._is_closed = True
        if not self.executions and self._write_buffer.is_empty:
            return
        if not self.is_stopping:
            # No thread: at the end of a process none can be started any more.
            self._set_deadlines(timeout)
        self._stop_executions()

    def _set_deadlines(self, timeout: float) -> None:
        self._abandon_at = time.monotonic() + timeout
        self._interrupt_at = self._abandon_at - timeout * SHUTDOWN_CANCEL_SHARE

    def _stop_executions(self) -> None:
        self._wait_until_finished(self._interrupt_at)
        for live in self.executions.unfinished():
            live.interrupt(TaskCancelled("the process stopped"), by_shutdown=True)
        self._wait_until_finished(
            max(self._abandon_at, time.monotonic() + SUPERVISOR_INTERVAL_SECONDS)
        )
        for live in self.executions.unfinished():
            if live.run.state is RunState.CLAIMED:
                self.requeue(live)
            else:
                self.executions.abandon(live)
        with self._store_warnings.reporting(is_last=True):
            self._flush()

    def _wait_until_finished(self, deadline: float) -> None:
        while self.executions.unfinished() and time.monotonic() < deadline:
            time.sleep(0.05)
