"""The runs that this process has claimed, each until its final state is in the store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from .. import events, logs
from ..clock import Stopwatch
from ..run import Run, RunState, TaskCancelled, TaskKey, TaskTimeout
from ..run_transitions import abandoned, cancelled, released
from ..store.results import FailurePause, Outcome, WriteBatch
from ..store.store import Store
from ..store.write_buffer import WriteBuffer, write_live_outputs_that_can_be
from .execution import Execution, hash_outputs

QueuedEvent = tuple[Any, ...]
"""A class of event and its values but for the request."""

log = logging.getLogger("pyramid_cron")


class Executions:
    """The executions of this process by run id, and the events that no subscriber has got yet.

    Ticks, threads, the supervisor and signal handlers all change them: one lock guards both.
    ``lease`` is how long a claim stays valid without a heartbeat, ``outcome_of`` what is recorded
    of a run's end, ``wall_clock`` the time as other processes have it.
    """

    def __init__(
        self,
        store: Store,
        write_buffer: WriteBuffer,
        lease: timedelta,
        outcome_of: Callable[[Run, bool], Outcome],
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._write_buffer = write_buffer
        self._lease = lease
        self._outcome_of = outcome_of
        self._wall_clock = wall_clock
        self._by_run_id: dict[str, Execution] = {}
        self._abandoned: list[Execution] = []
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Drop all executions and events in a forked process: they are the parent's."""
        for execution in self._by_run_id.values():
            execution.reset_after_fork()
        self._lock = threading.Lock()
        self._by_run_id = {}
        self._queued_events: list[QueuedEvent] = []
        self._abandoned = []
        #: Of runs that are not added yet: until when the store has their leases.
        self._claimed_leases: dict[str, datetime] = {}

    def __len__(self) -> int:
        return len(self._by_run_id)

    def all(self) -> list[Execution]:
        """Return the executions of this moment."""
        with self._lock:
            return list(self._by_run_id.values())

    def run_ids(self) -> list[str]:
        """Return the ids of their runs."""
        with self._lock:
            return list(self._by_run_id)

    def unfinished(self) -> list[Execution]:
        """Return those that neither ended nor were abandoned."""
        return [execution for execution in self.all() if not execution.is_over]

    def has_valid_leases(self) -> bool:
        """Return whether all leases last, as far as this process knows."""
        return all(execution.has_valid_lease() for execution in self.all())

    def now(self) -> datetime:
        """Return the moment it is by the wall clock."""
        return self._wall_clock()

    def new_lease(self, clock: Stopwatch) -> datetime:
        """Return until when a lease lasts that begins now."""
        return max(clock.now(), self._wall_clock()) + self._lease

    def note_leases(self, runs: Iterable[Run], lease_until: datetime) -> None:
        """Note until when the store has the leases of runs that are added next.

        They began before the claim was written, so that a process which is frozen right after it
        does not take its leases for valid longer than others do.
        """
        with self._lock:
            self._claimed_leases |= dict.fromkeys((run.id for run in runs), lease_until)

    def add(self, runs: Iterable[Run], clock: Stopwatch) -> list[Execution]:
        """Add runs that were just claimed; return their executions."""
        new_lease = self.new_lease(clock)
        added: dict[str, Execution] = {}
        with self._lock:
            for run in runs:
                lease_until = self._claimed_leases.pop(run.id, new_lease)
                added[run.id] = Execution(run, clock, self._wall_clock, lease_until)
            self._by_run_id |= added
        return list(added.values())

    def get(self, run_id: str) -> Execution | None:
        """Return the execution of a run, or None if this process does not own it."""
        return self._by_run_id.get(run_id)

    def reclaim(self, execution: Execution) -> bool:
        """Renew an expired lease; return False if the run was taken for lost meanwhile.

        After a pause longer than the lease (a frozen process, a sleeping computer) the store has
        the last word. Raises StoreError.
        """
        self._renew([execution])
        return self.get(execution.run.id) is not None

    def hand_off(self, run_id: str) -> bool:
        """Drop a run that goes to another process; return False if this one does not own it."""
        with self._lock:
            execution = self._by_run_id.get(run_id)
            if execution is None or execution.is_abandoned:
                return False
            del self._by_run_id[run_id]
            return True

    def drop(self, run_id: str) -> None:
        """Drop a run that another process has ended."""
        with self._lock:
            self._by_run_id.pop(run_id, None)

    def settle(self, batch: WriteBatch, pauses: Iterable[FailurePause]) -> None:
        """Drop executions that are over or released, as the store knows; queue events of pauses."""
        paused = [(events.TaskPaused, pause.task, None, pause.reason, True) for pause in pauses]
        with self._lock:
            for outcome in batch.outcomes:
                execution = self._by_run_id.get(outcome.run.id)
                # A run that was released may have been claimed here again.
                if execution is not None and execution.is_over:
                    del self._by_run_id[outcome.run.id]
            self._queued_events += paused

    # Leases.

    def cancel(self, run_id: str) -> None:
        """Interrupt a run with TaskCancelled, if this process owns it."""
        if (execution := self.get(run_id)) is not None:
            execution.interrupt(TaskCancelled("was cancelled"))

    def heartbeat(self) -> None:
        """Deliver cancel requests; renew leases that are a third used up. Raises StoreError."""
        executions = self.all()
        if not executions:
            return
        for run_id in self._store.cancel_requests():
            self.cancel(run_id)
        two_thirds = 2 * self._lease / 3
        due = [
            execution
            for execution in executions
            if not execution.is_delegated
            and execution.lease_until - execution.lease_clock() < two_thirds
        ]
        if due:
            self._renew(due)

    def _renew(self, executions: Sequence[Execution]) -> None:
        leases = {
            execution.run.id: execution.lease_clock() + self._lease for execution in executions
        }
        owned_ids = self._store.renew_leases(list(leases), max(leases.values()))
        for execution in executions:
            run = execution.run
            if run.id in owned_ids:
                execution.lease_until = leases[run.id]
                continue
            with self._lock:
                self._by_run_id.pop(run.id, None)
            if not run.state.is_final:  # else its end may have been written meanwhile
                execution.interrupt(TaskCancelled("lease expired"))
                log.warning("%s run=%s: lease lost", run.task, run.id)

    # Outputs.

    def write_live_outputs(self) -> None:
        """Write what runs have logged and written since the last call. Raises StoreError.

        One statement for all runs of which that has changed.
        """
        changed = [
            (execution, row)
            for execution in self.all()
            if (row := execution.changed_outputs()) is not None
        ]
        if changed:
            write_live_outputs_that_can_be(self._store, [row for _, row in changed])
        for execution, row in changed:
            execution.live_outputs_hash = hash_outputs(row)

    # Ends that are not the task's own.

    def release(self, execution: Execution) -> Run | None:
        """Let an unstarted run wait again, or end it where that was requested.

        Returns the run, None if it is not unstarted.
        """
        is_cancelled = execution.interruption is not None and not execution.by_shutdown
        if is_cancelled and self.get(execution.run.id) is execution:
            return self.cancel_unstarted(execution)
        if not execution.abandon(RunState.CLAIMED):
            return None
        run = released(execution.run, execution.clock.now())
        self._write_buffer.add_outcome(Outcome(run))
        return run

    def cancel_unstarted(self, execution: Execution) -> Run | None:
        """Record the end of a run that was interrupted before it started; None if it did start."""
        if not execution.abandon(RunState.CLAIMED):
            return None
        run = cancelled(execution.run, execution.clock.now(), str(execution.interruption))
        logs.log_finished(run)
        self._record_end(run)
        return run

    def abandon(self, execution: Execution) -> None:
        """Record a run as over whose thread does not end, so that it blocks nothing."""
        if not execution.abandon(RunState.RUNNING):
            return
        if execution.kill is not None:
            execution.kill()
        run = abandoned(
            execution.run,
            execution.clock.now(),
            str(execution.interruption),
            is_timeout=isinstance(execution.interruption, TaskTimeout),
            is_killed=execution.kill is not None,
            outputs=execution.collect_outputs(),
        )
        end = "abandoned" if execution.kill is None else "killed"
        log.warning("%s run=%s did not stop in time: %s", run.task, run.id, end)
        if execution.kill is None:
            with self._lock:
                self._abandoned.append(execution)
        # Its thread may still commit, also in the moment until its process is killed; only one of
        # the two ends can be.
        is_contested = execution.is_transactional
        self._record_end(run, execution.by_shutdown, is_contested=is_contested)

    def stuck_tasks(self) -> frozenset[TaskKey]:
        """Return the tasks, or stored schedules, of which a run was abandoned and goes on here."""
        if not self._abandoned:
            return frozenset()
        with self._lock:
            self._abandoned = [
                execution for execution in self._abandoned if not execution.has_returned
            ]
            return frozenset(execution.run.task_key for execution in self._abandoned)

    def _record_end(
        self, run: Run, by_shutdown: bool = False, *, is_contested: bool = False
    ) -> None:
        outcome = self._outcome_of(run, by_shutdown)._replace(is_contested=is_contested)
        self._write_buffer.add_outcome(outcome)
        with self._lock:
            self._queued_events.append((events.END_EVENTS[run.state], run))

    # Events.

    @property
    def has_events(self) -> bool:
        """Whether any event waits for its subscribers."""
        return bool(self._queued_events)

    def drain_events(self) -> list[QueuedEvent]:
        """Return the queued events, each to one caller only."""
        with self._lock:
            drained, self._queued_events = self._queued_events, []
        return drained
