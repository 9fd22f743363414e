"""The claim transaction: what a tick reads and writes while no other process does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, bindparam, delete, select, update

from ..planning.catch_up import SkippedSlots
from ..planning.pauses import PauseRule
from ..planning.snapshot import ActiveRun, Snapshot, WaitingRun
from ..run import Run, RunReason, RunState, Trigger, evolve, make_run_ids
from ..run_transitions import lost, skipped
from .results import (
    FailurePause,
    Outcome,
    WriteBatch,
    apply_batch,
    end_run,
    extend_leases,
    write_followups,
)
from .rows import (
    make_run_row,
    make_waiting_row,
    select_active_runs,
    select_pause_rules,
    to_run,
    to_waiting_run,
)
from .run_stats import count_runs
from .schema import Tables, Values, once_per_store
from .session import NO_OWNER, Session, batched, insert_new
from .ticks import TickRecord, touch_task_set

MAX_LEASE_AHEAD = timedelta(days=1)
"""No lease, not even that of a handed-off run, exceeds ours by more than this."""

UNKNOWN_TASK_LEASES = 5
"""Leases for which an application that does not know a task waits for a version that does."""


class ClaimTransaction:
    """One transaction in which a process claims runs, exclusive over all hosts."""

    def __init__(self, session: Session, now: datetime, lease_until: datetime) -> None:
        self._session = session
        self._tables = session.tables
        self._connection = session.connection
        self._now = now
        self._lease_until = lease_until
        owner = session.owner
        self._claim_template = Run(
            "", "", now, 1, Trigger.SCHEDULE, RunState.CLAIMED, owner.host, owner.pid
        )
        #: The tasks that were paused in this transaction because they kept failing.
        self.failure_pauses: list[FailurePause] = []

    def write_batch(self, batch: WriteBatch) -> None:
        """Write a batch, but for runs that this process does not own any more."""
        self.failure_pauses += apply_batch(self._session, batch)

    def renew_leases(self, run_ids: Collection[str]) -> None:
        """Renew the leases of runs that this process still owns."""
        extend_leases(self._session, run_ids, self._lease_until)

    def expire_leases(
        self, outcome_of: Callable[[Run], Outcome], task_names: Container[str]
    ) -> list[Run]:
        """Mark runs whose lease has passed as lost; return them.

        ``outcome_of`` returns what follows from a lost run. An application that does not know the
        task can't tell, so runs of tasks that are not in ``task_names`` have
        :data:`UNKNOWN_TASK_LEASES` leases more.
        """
        rows = self._connection.execute(_expired_query(self._tables), {"now": self._now}).all()
        long_ago = self._now - UNKNOWN_TASK_LEASES * (self._lease_until - self._now)
        lost_runs = [
            lost(to_run(row), self._now, is_handed_off=row.owner == NO_OWNER)
            for row in rows
            if row.task in task_names or row.lease < long_ago
        ]
        for run in lost_runs:
            end_run(self._session, run)
        self.failure_pauses += write_followups(
            self._session, [outcome_of(run) for run in lost_runs]
        )
        return lost_runs

    def cap_far_leases(self, active: Mapping[str, Sequence[ActiveRun]]) -> None:
        """Shorten leases written by a host whose clock was far ahead; a live owner renews them."""
        far_ids = [
            active_run.run.id
            for active_runs in active.values()
            for active_run in active_runs
            if active_run.lease_until - self._lease_until > MAX_LEASE_AHEAD
        ]
        runs = self._tables.runs
        for ids in batched(far_ids):
            statement = update(runs).where(runs.c.id.in_(ids))
            self._connection.execute(statement.values(lease=self._lease_until))

    def snapshot(self, fixed_delay_names: Collection[str] = ()) -> Snapshot:
        """Return what a tick plan needs; ``fixed_delay_names`` are the tasks with a fixed delay."""
        parameters = {"now": self._now}
        startable = self._connection.execute(_startable_query(self._tables), parameters)
        return Snapshot(
            waiting=[to_waiting_run(row) for row in startable],
            active=self._active_runs_by_task(),
            fixed_delay_waiting=self._select_fixed_delay_waiting(fixed_delay_names),
            pause_rules=self.pause_rules(),
        )

    def _select_fixed_delay_waiting(
        self, task_names: Collection[str]
    ) -> dict[str, list[WaitingRun]]:
        waiting_by_task: dict[str, list[WaitingRun]] = {}
        query = _fixed_delay_query(self._tables)
        for names in batched(task_names):
            for row in self._connection.execute(query, {"tasks": names}):
                waiting_by_task.setdefault(row.task, []).append(to_waiting_run(row))
        return waiting_by_task

    def background_weight(self) -> int:
        """Return the weight of the active runs outside requests, over all hosts."""
        return Snapshot(active=self._active_runs_by_task()).background_weight

    def active_runs(self, task: str) -> Sequence[ActiveRun]:
        """Return the active runs of a task."""
        return self._active_runs_by_task().get(task, ())

    def _active_runs_by_task(self) -> dict[str, list[ActiveRun]]:
        active: dict[str, list[ActiveRun]] = {}
        for active_run in select_active_runs(self._session):
            is_expired = active_run.lease_until < self._now  # as good as lost: it takes no room
            active.setdefault(active_run.run.task, []).append(
                replace(active_run, weight=0) if is_expired else active_run
            )
        return active

    def pause_rules(self) -> list[PauseRule]:
        """Return the pause rules, oldest first."""
        return select_pause_rules(self._session)

    def record_tick(self, tick: TickRecord, task_names: Collection[str]) -> datetime | None:
        """Record the last tick of a task set; return the one before, None if not known."""
        return touch_task_set(self._session, tick, task_names)

    def claim(
        self,
        waiting_runs: Sequence[WaitingRun],
        skips: Sequence[SkippedSlots] = (),
        weight_of: Callable[[str], int] = lambda _: 0,
    ) -> tuple[list[Run], list[Run]]:
        """Claim runs and record skipped ones; return both.

        A slot that another process has claimed or skipped is left out of them. ``weight_of``
        returns what a task's run takes of the capacity.
        """
        ids = make_run_ids(self._now, len(skips) + len(waiting_runs))
        # Lists are sorted by id: a run is newer than the slots that it supersedes.
        skipped_ids, claimed_ids = ids[: len(skips)], ids[len(skips) :]
        skipped_runs = list(map(self._make_skipped_run, skipped_ids, skips))
        claimed_runs = list(map(self._make_claim, claimed_ids, waiting_runs))
        rows = [self._make_row(run, weight_of(run.task)) for run in claimed_runs]
        rows += [self._make_row(run) for run in skipped_runs]
        are_all_new = insert_new(self._session, self._tables.runs, rows)
        own_ids = set(ids) if are_all_new else self._select_ids(ids)
        own_skips = [run for run in skipped_runs if run.id in own_ids]
        count_runs(self._session, own_skips)
        return [run for run in claimed_runs if run.id in own_ids], own_skips

    def _make_claim(self, run_id: str, waiting_run: WaitingRun) -> Run:
        return evolve(
            self._claim_template,
            id=run_id,
            task=waiting_run.task,
            slot=waiting_run.slot,
            attempt=waiting_run.attempt,
            trigger=waiting_run.trigger,
            payload=waiting_run.payload,
            nonce=waiting_run.nonce,
        )

    def _make_skipped_run(self, run_id: str, skip: SkippedSlots) -> Run:
        is_late = skip.reason in (RunReason.MISSED, RunReason.SUPERSEDED)
        trigger = Trigger.CATCH_UP if is_late else Trigger.SCHEDULE
        due_run = WaitingRun(skip.task, skip.newest, trigger, self._now)
        claim = self._make_claim(run_id, skip.waiting_run or due_run)
        return skipped(claim, skip.reason, skip.count, skip.detail)

    def _make_row(self, run: Run, weight: int = 0) -> Values:
        return make_run_row(run, self._session.owner, self._lease_until, weight)

    def _select_ids(self, run_ids: Sequence[str]) -> set[str]:
        """Return those of these ids, which are all of one claim, that are on record."""
        if not run_ids:
            return set()
        ends = {"first": run_ids[0], "last": run_ids[-1]}
        return set(self._connection.scalars(_id_range_query(self._tables), ends))

    def enqueue(self, waiting_runs: Iterable[WaitingRun]) -> None:
        """Let runs wait for a later tick."""
        rows = [make_waiting_row(waiting_run) for waiting_run in waiting_runs]
        insert_new(self._session, self._tables.waiting, rows)

    def dequeue(self, waiting_runs: Iterable[WaitingRun]) -> None:
        """Remove runs that do not wait any more."""
        waiting = self._tables.waiting
        keys = [column.name for column in waiting.primary_key]
        rows = [{f"a_{key}": getattr(run, key) for key in keys} for run in waiting_runs]
        if rows:
            is_same = [waiting.c[key] == bindparam(f"a_{key}") for key in keys]
            self._connection.execute(delete(waiting).where(*is_same), rows)

    def request_cancels(self, run_ids: Sequence[str]) -> None:
        """Ask the owners of runs to cancel them."""
        runs = self._tables.runs
        for ids in batched(run_ids):
            self._connection.execute(update(runs).where(runs.c.id.in_(ids)).values(cancel=1))


@once_per_store
def _expired_query(tables: Tables) -> Select[Any]:
    return select(tables.runs).where(tables.runs.c.lease < bindparam("now"))


@once_per_store
def _startable_query(tables: Tables) -> Select[Any]:
    return select(tables.waiting).where(tables.waiting.c.not_before <= bindparam("now"))


@once_per_store
def _fixed_delay_query(tables: Tables) -> Select[Any]:
    waiting = tables.waiting
    is_named = waiting.c.task.in_(bindparam("tasks", expanding=True))
    return select(waiting).where(is_named, waiting.c.nonce == 0)


@once_per_store
def _id_range_query(tables: Tables) -> Select[Any]:
    column = tables.runs.c.id
    return select(column).where(column.between(bindparam("first"), bindparam("last")))
