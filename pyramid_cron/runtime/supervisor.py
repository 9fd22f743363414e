"""One thread per process that writes results, renews leases and interrupts runs.

It interrupts those whose timeout is over and those for which cancellation was requested.

Order of locks: supervisor, executions, execution, write buffer; none is held during I/O or while
subscribers run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from ..clock import Stopwatch
from ..errors import StoreError
from ..logs import StoreWarnings
from ..run import Run, RunState, TaskCancelled, TaskTimeout
from ..store.claims import ClaimTransaction
from ..store.handoff import release_runs
from ..store.results import FailurePause, WriteBatch
from ..store.store import Store
from ..store.write_buffer import WriteBuffer, write_what_can_be
from .execution import Execution
from .executions import Executions, QueuedEvent

SUPERVISOR_INTERVAL_SECONDS = 0.2
"""Seconds within which results are written and cancellations delivered."""

RELEASE_AFTER_SECONDS = 1.0
"""Seconds that a run may take before those claimed with it and not begun are released."""

OUTPUT_INTERVAL_SECONDS = 1.5
"""Seconds after which what runs have logged since is written, while they run."""

OUTPUT_PAUSE_SECONDS = 10.0
"""Seconds until the next try where that fails: the store may be locked by what it is about."""

SUPERVISOR_IDLE_SECONDS = 30.0
"""Seconds without work after which the thread ends, until it is needed again."""

CANCEL_GRACE = timedelta(seconds=5)
"""How long an interrupted task may take to end before it is abandoned."""

SHUTDOWN_CANCEL_SHARE = 0.05
"""The part of the shutdown timeout that is left for tasks to end once they are interrupted.

Servers kill a process after a timeout of their own, which may well be as long.
"""

SHUTDOWN_EXPIRY_SECONDS = 10.0
"""Seconds after the shutdown timeout after which a process that still lives starts runs again."""

SHUTDOWN_PROCESS_SECONDS = 1.0
"""Seconds for a run's own process to end by itself after the shutdown timeout, and once killed."""

SHUTDOWN_POLL_SECONDS = 0.05

log = logging.getLogger("pyramid_cron")


class ClaimGroup:
    """Runs that were claimed together, and begin one after the other in one thread."""

    def __init__(self, executions: Sequence[Execution]) -> None:
        self._executions = executions
        self._progressed_at = time.monotonic()
        for execution in executions:
            execution.on_start = self._on_start

    def _on_start(self) -> None:
        self._progressed_at = time.monotonic()

    def held_up(self) -> list[Execution]:
        """Return those that have not begun, if none has begun for :data:`RELEASE_AFTER_SECONDS`."""
        if time.monotonic() - self._progressed_at < RELEASE_AFTER_SECONDS:
            return []
        return [
            execution
            for execution in self._executions
            if execution.run.state is RunState.CLAIMED and not execution.is_abandoned
        ]


class Supervisor:
    """Watches over the executions of one application in this process."""

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
        #: Called when the store knows that runs of this process have ended or were released.
        self.on_room: Callable[[], object] = lambda: None
        self._store_warnings = StoreWarnings(
            is_ticking=lambda: self._ticks_in_progress > 0,
            is_late=lambda: not self.executions.has_valid_leases(),
        )
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._prune_lock = threading.Lock()
        self._work_event = threading.Event()
        self._thread: threading.Thread | None = None
        self._events_waited = False
        self._ticks_in_progress = 0
        self._claim_groups: set[ClaimGroup] = set()
        #: Claims that may be in the store: the answer to their commit was lost.
        self._uncertain_claims: list[Run] = []
        self._interrupt_at = self._abandon_at = float("-inf")
        self._write_outputs_at = float("-inf")

    def reset_after_fork(self) -> None:
        """Begin anew in a forked process: runs and the thread are the parent's."""
        self._reset()
        self.executions.reset_after_fork()

    # What ticks and threads call.

    def supervise(self, runs: Iterable[Run], clock: Stopwatch) -> None:
        """Watch over runs that were just claimed, until their ends are in the store."""
        self.executions.add(runs, clock)
        self.wake()

    @contextmanager
    def supervising(self, runs: Sequence[Run], clock: Stopwatch) -> Iterator[None]:
        """Watch over runs that the block starts one after the other; release what it does not."""
        group = ClaimGroup(self.executions.add(runs, clock))
        with self._lock:
            self._claim_groups.add(group)
        self.wake()
        try:
            yield
        finally:
            with self._lock:
                self._claim_groups.discard(group)
            self.release_unstarted(run.id for run in runs)

    def hand_off(self, run_id: str) -> bool:
        """Stop supervising a run before it is handed off; False if its lease is gone."""
        return not self.is_stopping and self.executions.hand_off(run_id)

    def cancel(self, run_id: str) -> None:
        """Cancel a run if this process owns it."""
        self.executions.cancel(run_id)

    def flush(self) -> None:
        """Write all results so far.

        Raises StoreError, which the caller reports; the results stay in the buffer then.
        """
        try:
            self._flush()
        except StoreError as error:
            self._store_warnings.add_reported(error)
            raise

    def flush_or_warn(self, run: Run) -> None:
        """Write all results so far; where that fails, the thread repeats it."""
        try:
            self.flush()
        except StoreError as error:
            log.warning("run=%s: results not written yet, will retry: %s", run.id, error)
            self.wake()

    def _flush(self) -> None:
        pauses: Sequence[FailurePause] = ()
        with self._write_buffer.drain() as batch:
            if batch:
                pauses = write_what_can_be(self._store, batch)
        self._settle(batch, pauses)

    def _settle(self, batch: WriteBatch, pauses: Sequence[FailurePause]) -> None:
        """Take note of what is in the store now."""
        self.executions.settle(batch, pauses)
        if any(not outcome.run.state.is_active for outcome in batch.outcomes):
            self.on_room()

    @contextmanager
    def claim_transaction(
        self, clock: Stopwatch, *, renews_leases: bool = True
    ) -> Iterator[ClaimTransaction]:
        """Give a claim transaction in which all results of this process are written.

        ``renews_leases``: those of all its runs are renewed as well. Raises StoreError, which the
        caller reports.
        """
        run_ids = self.executions.run_ids() if renews_leases else []
        with ExitStack() as stack:
            try:
                claims = stack.enter_context(self._begin_claims(clock, run_ids))
            except StoreError:
                if self._write_buffer.is_empty:
                    raise
                # One of the results may be what the database refuses.
                self.flush()
                claims = stack.enter_context(self._begin_claims(clock, run_ids))
            yield claims

    @contextmanager
    def _begin_claims(
        self, clock: Stopwatch, run_ids: Collection[str]
    ) -> Iterator[ClaimTransaction]:
        lease_until = self.executions.new_lease(clock)
        claimed: list[Run] = []
        try:
            with (
                self._write_buffer.drain() as batch,
                self._store.claim_transaction(clock.now(), lease_until) as claims,
            ):
                # Others may have written for seconds, which are not the lease's.
                lease_until = self.executions.new_lease(clock)
                claims.begin_at(clock.now(), lease_until)
                claims.write_batch(batch)
                claims.renew_leases(run_ids)
                claimed = claims.claimed
                yield claims
        except StoreError as error:
            self._store_warnings.add_reported(error)
            if claimed:
                with self._lock:
                    self._uncertain_claims += claimed
                self.wake()
            raise
        self.executions.note_leases(claimed, lease_until)
        self._settle(batch, claims.failure_pauses)

    @contextmanager
    def tick_in_progress(self) -> Iterator[None]:
        """Count a tick as in progress: it reports store errors itself."""
        with self._lock:
            self._ticks_in_progress += 1
        try:
            yield
        finally:
            with self._lock:
                self._ticks_in_progress -= 1

    @property
    def is_ticking(self) -> bool:
        """Whether a tick, or a run by hand, is in progress in any thread."""
        return self._ticks_in_progress > 0

    def release_unstarted(self, run_ids: Iterable[str]) -> None:
        """Release those of the runs that this process owns and has not started."""
        for run_id in run_ids:
            execution = self.executions.get(run_id)
            if execution is not None and self.executions.release(execution) is not None:
                self.wake()

    def wake(self) -> None:
        """Have the thread work, and start it if there is none.

        Where no thread can be had, ticks write what there is to write.
        """
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                thread = self.make_thread("supervisor", self._loop)
                try:
                    thread.start()
                except RuntimeError as error:
                    log.warning("no thread for the supervisor: %s", error)
                else:
                    self._thread = thread
            self._is_closed = False
            self._work_event.set()

    def start_thread(self, name: str, function: Callable[[], object]) -> bool:
        """Call the function in a thread; return whether there is one to be had."""
        try:
            self.make_thread(name, function).start()
        except RuntimeError as error:
            log.warning("no thread for %s: %s", name, error)
            return False
        return True

    @staticmethod
    def make_thread(
        name: str, function: Callable[[], object], *, keeps_process: bool = False
    ) -> threading.Thread:
        """Return a thread that is to call the function; all threads of the package come from here.

        ``keeps_process``: the process does not end before the thread.
        """
        is_daemon = not keeps_process
        return threading.Thread(target=function, name=f"pyramid_cron {name}", daemon=is_daemon)

    # What the thread does.

    def _loop(self) -> None:
        while self._wait_for_work():
            time.sleep(SUPERVISOR_INTERVAL_SECONDS)
            self._work_event.clear()
            self._check_executions()
            if self._write_buffer.is_empty:
                self._prune()
            if self._has_work():
                self._work_event.set()

    def _has_work(self) -> bool:
        return bool(
            self.executions
            or self.executions.has_events
            or self._uncertain_claims
            or not self._write_buffer.is_empty
        )

    def _wait_for_work(self) -> bool:
        """Wait for work; return False after a long time without any."""
        if self._work_event.wait(SUPERVISOR_IDLE_SECONDS):
            return True
        with self._lock:
            if self._work_event.is_set():
                return True
            self._thread = None
            return False

    def _check_executions(self) -> None:
        for execution in self.executions.all():
            self._check(execution)
        self._release_held_up()
        # Each by itself: results that can't be written must not cost the leases.
        for step in (self.executions.heartbeat, self._flush, self._release_uncertain):
            with self._store_warnings.reporting():
                step()
        self._write_live_outputs()
        # A tick calls subscribers itself before it answers; but it may take long, or be stuck.
        if self.executions.has_events and (self._events_waited or not self._ticks_in_progress):
            self._notify(self.executions.drain_events())
        self._events_waited = self.executions.has_events

    def _write_live_outputs(self) -> None:
        """Write what runs have logged so far, now and then; their ends write all of it."""
        if time.monotonic() < self._write_outputs_at:
            return
        seconds = OUTPUT_INTERVAL_SECONDS
        try:
            self.executions.write_live_outputs()
        except StoreError as error:
            seconds = OUTPUT_PAUSE_SECONDS
            log.info("what runs have logged so far is not written: %s", error)
        self._write_outputs_at = time.monotonic() + seconds

    def _release_held_up(self) -> None:
        """Release what was claimed with a run that takes long."""
        with self._lock:
            groups = list(self._claim_groups)
        for group in groups:
            for execution in group.held_up():
                self.executions.release(execution)

    def _release_uncertain(self) -> None:
        """Release claims of this process that are in the store though their commit failed."""
        with self._lock:
            runs, self._uncertain_claims = self._uncertain_claims, []
        try:
            if runs:
                release_runs(self._store, runs, self.executions.now())
        except StoreError:
            with self._lock:
                self._uncertain_claims += runs
            raise

    def _check(self, execution: Execution) -> None:
        if execution.is_past_deadline():
            execution.interrupt(TaskTimeout("ran longer than its timeout"))
        if execution.is_unresponsive(CANCEL_GRACE):
            self.executions.abandon(execution)
            if not self.is_stopping:  # else it is released
                self.executions.cancel_unstarted(execution)
        if not execution.is_start_recorded and execution.run.state is RunState.RUNNING:
            # Only now: most tasks are over before anybody could see them run.
            execution.is_start_recorded = True
            execution.update(lambda run: run)

    def _prune(self) -> None:
        with self._prune_lock:
            if self._is_closed:
                return
            try:
                self._prune_history()
            except StoreError as error:
                # The next tick meets the same error, and reports it.
                log.info("pruning failed: %s", error)

    # Shutdown.

    @property
    def is_stopping(self) -> bool:
        """Whether this process is shutting down, so that no run is to start."""
        return time.monotonic() < self._abandon_at + SHUTDOWN_EXPIRY_SECONDS

    def request_shutdown(self, timeout: float) -> None:
        """Start no more runs, and end those that still run after ``timeout`` seconds.

        Of several requests the one with the earliest end counts.
        """
        if not (self._ticks_in_progress or self.executions):
            return
        if self.is_stopping and self._abandon_at <= time.monotonic() + timeout:
            return
        self._set_deadlines(timeout)
        # A signal handler must not wait, and its thread may be the one that a task runs in.
        self.start_thread("stop", self._stop_executions)

    def withdraw_shutdown(self) -> None:
        """Let runs start again: the caller of the tick decides whether the process ends."""
        self._abandon_at = float("-inf")

    def shutdown(self, timeout: float) -> None:
        """Let runs finish for ``timeout`` seconds, end the others, and write all results."""
        with self._prune_lock:
            self._is_closed = True
        if not self.executions and self._write_buffer.is_empty:
            return
        if not self.is_stopping:
            # Not in a thread: none can be started when a process ends.
            self._set_deadlines(timeout)
        self._stop_executions()

    def _set_deadlines(self, timeout: float) -> None:
        self._abandon_at = time.monotonic() + timeout
        self._interrupt_at = self._abandon_at - timeout * SHUTDOWN_CANCEL_SHARE

    def _stop_executions(self) -> None:
        for execution in self.executions.unfinished():
            self.executions.release(execution)
        self._wait_until_finished(self._interrupt_at)
        for execution in self.executions.unfinished():
            execution.interrupt(TaskCancelled("the process stopped"), by_shutdown=True)
        self._wait_until_finished(
            max(self._abandon_at, time.monotonic() + SUPERVISOR_INTERVAL_SECONDS)
        )
        for execution in self.executions.unfinished():
            if self.executions.release(execution) is None:
                self.executions.abandon(execution)
        self._kill_processes()
        with self._store_warnings.reporting(is_last=True):
            self._flush()

    def _kill_processes(self) -> None:
        """Kill the processes of runs that have not stopped; their threads record the ends."""
        self._wait_until_finished(time.monotonic() + SHUTDOWN_PROCESS_SECONDS)
        for execution in self.executions.unfinished():
            if execution.kill is not None:
                execution.kill()
        self._wait_until_finished(time.monotonic() + SHUTDOWN_PROCESS_SECONDS)

    def _wait_until_finished(self, deadline: float) -> None:
        while self.executions.unfinished() and time.monotonic() < deadline:
            time.sleep(SHUTDOWN_POLL_SECONDS)
