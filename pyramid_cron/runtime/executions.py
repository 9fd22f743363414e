"""The runs that this process has claimed, each until what became of it is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from .. import events, logs
from ..clock import Stopwatch
from ..planning.followups import retry_of
from ..run import Run, TaskCancelled, TaskTimeout
from ..run_transitions import abandoned, cancelled, requeued
from ..store.results import FailurePause, Outcome, WriteBatch
from ..store.store import Store
from ..store.write_buffer import WriteBuffer
from .execution import Execution

QueuedEvent = tuple[Any, ...]
"""A kind of event and its values."""

log = logging.getLogger("pyramid_cron")


class Executions:
    """The runs of this process by their ids, their leases, and their ends.

    ``lease`` is how long each is ours if nothing is heard of us, ``outcome`` tells what comes of a
    run's end, ``wall`` tells the time as other processes have it.
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
        self._queued_events: list[QueuedEvent] = []

    def __len__(self) -> int:
        return len(self._by_run_id)

    def all(self) -> list[Execution]:
        """Return them as they are now: other threads may add some, and take some away."""
        return list(self._by_run_id.values())

    def unfinished(self) -> list[Execution]:
        """Return those that are not over, and not given up."""
        return [live for live in self.all() if not (live.is_abandoned or live.run.state.is_final)]

    def has_valid_leases(self) -> bool:
        """Return whether all leases last, as far as is known here."""
        return all(live.has_valid_lease() for live in self.all())

    def new_lease(self, clock: Stopwatch) -> datetime:
        """Return until when a lease lasts that begins now."""
        return max(clock.now(), self._wall_clock()) + self._lease

    def add(self, runs: Iterable[Run], clock: Stopwatch) -> None:
        """Hold runs that were just claimed."""
        lease = self.new_lease(clock)
        self._by_run_id |= {run.id: Execution(run, clock, self._wall_clock, lease) for run in runs}

    def get(self, run_id: str) -> Execution | None:
        """Return a run that is held, or None if it is not ours any more."""
        return self._by_run_id.get(run_id)

    def reclaim(self, execution: Execution) -> bool:
        """Return whether a run is still ours whose lease has passed, and begin a new one if it is.

        After a pause longer than the lease (a frozen process, a sleeping computer) the store has
        the last word. Raises StoreError where that can't be asked.
        """
        self._renew([execution])
        return execution.run.id in self._by_run_id

    def hand_off(self, run_id: str) -> bool:
        """Hold a run no longer, which goes to another process; False if it is not ours."""
        live = self._by_run_id.get(run_id)
        if live is None or live.is_abandoned:
            return False
        return self._by_run_id.pop(run_id, None) is not None

    def remove_finished(self, batch: WriteBatch) -> None:
        """Hold those no longer whose end is written."""
        for outcome in batch.outcomes:
            if outcome.run.state.is_final:
                self._by_run_id.pop(outcome.run.id, None)

    def reset_after_fork(self) -> None:
        """Drop all executions and events in a forked process: they are the parent's."""
        for execution in self._by_run_id.values():
            execution.reset_after_fork()
        self._by_run_id = {}
        self._queued_events = []

    # Leases.

    def cancel(self, run_id: str) -> None:
        """Tell a run to stop, if it is held."""
        live = self._by_run_id.get(run_id)
        if live is not None:
            live.interrupt(TaskCancelled("was cancelled"))

    def heartbeat(self) -> None:
        """Heed who was cancelled, and renew the leases that have lasted for a third.

        Raises StoreError.
        """
        lives = self.all()
        if not lives:
            return
        for run_id in self._store.cancel_requests():
            self.cancel(run_id)
        third = self._lease / 3
        late = [live for live in lives if live.lease_until - live.lease_clock() < 2 * third]
        if late:
            self._renew(late)

    def _renew(self, executions: Sequence[Execution]) -> None:
        leases = {live.run.id: live.lease_clock() + self._lease for live in executions}
        ours = self._store.renew_leases(list(leases), max(leases.values()))
        for live in executions:
            if live.run.id in ours:
                live.lease_until = leases[live.run.id]
                continue
            self._by_run_id.pop(live.run.id, None)
            if not live.run.state.is_final:  # else its end may have been written meanwhile
                live.interrupt(TaskCancelled("was taken for lost, since its lease had passed"))
                log.warning("%s run=%s is not ours any more", live.run.task, live.run.id)

    # Ends that are not the task's own.

    def requeue(self, execution: Execution, error: str) -> Run:
        """Give a slot back to whoever ticks next, since it is not begun with here."""
        now = execution.clock.now()
        run = requeued(execution.run, now, error)
        execution.is_abandoned = True
        self._write_buffer.add_outcome(Outcome(run, [retry_of(run, now)]))
        logs.log_finished(run)
        return run

    def cancel_unstarted(self, execution: Execution) -> Run:
        """Put on record that a run is over which was told to stop before it began."""
        execution.is_abandoned = True
        run = cancelled(execution.run, execution.clock.now(), str(execution.interruption))
        logs.log_finished(run)
        self._record_end(run)
        return run

    def abandon(self, execution: Execution) -> None:
        """Put on record that a run is over which does not end, so that it blocks nothing."""
        execution.is_abandoned = True
        is_killed = execution.kill()
        run = abandoned(
            execution.run,
            execution.clock.now(),
            str(execution.interruption),
            is_timeout=isinstance(execution.interruption, TaskTimeout),
            is_killed=is_killed,
            outputs=execution.collect_outputs(),
        )
        what = (
            "does not stop in time; it is killed" if is_killed else "does not stop; it is given up"
        )
        log.warning("%s run=%s %s", run.task, run.id, what)
        self._record_end(run, execution.by_shutdown)

    def _record_end(self, run: Run, by_shutdown: bool = False) -> None:
        self._write_buffer.add_outcome(self._outcome_of(run, by_shutdown))
        self._queued_events.append((events.END_EVENTS[run.state], run))

    # What nobody was told of yet.

    @property
    def has_events(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._queued_events)

    def add_pause_events(self, pauses: Iterable[FailurePause]) -> None:
        """Note which tasks were paused, since they kept failing."""
        self._queued_events += [
            (events.TaskPaused, each.task, None, each.reason) for each in pauses
        ]

    def drain_events(self) -> list[QueuedEvent]:
        """Return what has happened that nobody was told of yet."""
        news, self._queued_events = self._queued_events, []
        return news
