"""The desk at which slots are claimed: what one claiming transaction reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, select, update

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
from .schema import Tables, once_per_store
from .session import IDS_PER_STATEMENT, NO_OWNER, Owner, insert_new
from .ticks import TickRecord, touch_task_set

MAX_LEASE_AHEAD = timedelta(days=1)
"""How much longer than here a lease is nowhere, also one of what was sent and not taken up yet."""

UNKNOWN_TASK_LEASES = 5
"""Leases for which an application that does not know a task waits for a version that does."""


class ClaimTransaction:
    """One transaction in which it is decided what runs; nobody else decides meanwhile."""

    def __init__(
        self,
        tables: Tables,
        connection: Connection,
        owner: Owner,
        now: datetime,
        lease_until: datetime,
    ) -> None:
        self._tables = tables
        self._connection = connection
        self._owner = owner
        self._now = now
        self._lease_until = lease_until
        self._claim_template = Run(
            "", "", now, 1, Trigger.SCHEDULE, RunState.CLAIMED, owner.host, owner.pid
        )
        self.failure_pauses: list[FailurePause] = []

    def write_batch(self, batch: WriteBatch) -> None:
        """Write what happened until now; tasks that are paused for it are added to ``paused``."""
        self.failure_pauses += apply_batch(self._connection, self._tables, self._owner.token, batch)

    def renew_leases(self, run_ids: Collection[str]) -> None:
        """Renew the leases of runs that this process still carries out."""
        extend_leases(self._connection, self._tables, self._owner.token, run_ids, self._lease_until)

    def expire_leases(
        self, outcome_of: Callable[[Run], Outcome], task_names: Container[str]
    ) -> list[Run]:
        """Mark runs whose lease has passed as lost; return them.

        ``outcome`` tells what comes of a run that is lost. Who does not know the task can't, so
        runs of others than ``known`` have :data:`LEFT_TO_OTHERS` leases more.
        """
        runs = self._tables.runs
        rows = self._connection.execute(_expired_query(self._tables), {"now": self._now}).all()
        long_ago = self._now - UNKNOWN_TASK_LEASES * (self._lease_until - self._now)
        lost_runs = [
            lost(to_run(row), self._now, is_handed_off=row.owner == NO_OWNER)
            for row in rows
            if row.task in task_names or row.lease < long_ago
        ]
        for run in lost_runs:
            over = {"state": run.state.value, "finished": run.finished, "error": run.error}
            statement = update(runs).where(runs.c.id == run.id)
            self._connection.execute(statement.values(**over, lease=None))
        self.failure_pauses += write_followups(
            self._connection, self._tables, [outcome_of(run) for run in lost_runs]
        )
        return lost_runs

    def cap_far_leases(self, active: Mapping[str, Sequence[ActiveRun]]) -> None:
        """Have leases that a clock gave which was far ahead pass as if they were given now.

        Whoever is alive renews them.
        """
        far = [each.run.id for runs in active.values() for each in runs if self._is_far(each)]
        if far:
            runs = self._tables.runs
            self._connection.execute(
                update(runs).where(runs.c.id.in_(far)).values(lease=self._lease_until)
            )

    def _is_far(self, active_run: ActiveRun) -> bool:
        return active_run.lease_until - self._lease_until > MAX_LEASE_AHEAD

    def snapshot(self, fixed_delay_names: Collection[str] = ()) -> Snapshot:
        """Return what a decision needs to know; ``paced`` are the tasks that pace themselves."""
        tables, connection = self._tables, self._connection
        ripe = connection.execute(_startable_query(tables), {"now": self._now})
        return Snapshot(
            waiting=[to_waiting_run(row) for row in ripe],
            active=self._active_runs_by_task(),
            fixed_delay_waiting=self._select_fixed_delay_waiting(fixed_delay_names),
            pause_rules=select_pause_rules(connection, tables),
        )

    def _select_fixed_delay_waiting(
        self, task_names: Collection[str]
    ) -> dict[str, list[WaitingRun]]:
        found: dict[str, list[WaitingRun]] = {}
        rest = list(task_names)
        while rest:
            piece, rest = rest[:IDS_PER_STATEMENT], rest[IDS_PER_STATEMENT:]
            for row in self._connection.execute(_fixed_delay_query(self._tables), {"tasks": piece}):
                found.setdefault(row.task, []).append(to_waiting_run(row))
        return found

    def background_weight(self) -> int:
        """Return the weight of all that runs outside of requests."""
        return Snapshot(active=self._active_runs_by_task()).background_weight

    def active_runs(self, task: str) -> Sequence[ActiveRun]:
        """Return the runs of one task that go on."""
        return self._active_runs_by_task().get(task, ())

    def _active_runs_by_task(self) -> dict[str, list[ActiveRun]]:
        active: dict[str, list[ActiveRun]] = {}
        for each in select_active_runs(self._connection, self._tables):
            if each.lease_until < self._now:  # as good as lost, it takes no room
                each = replace(each, weight=0)
            active.setdefault(each.run.task, []).append(each)
        return active

    def pause_rules(self) -> list[PauseRule]:
        """Return who was paused and resumed, oldest first."""
        return select_pause_rules(self._connection, self._tables)

    def record_tick(self, tick: TickRecord, task_names: Collection[str]) -> datetime | None:
        """Note that the roster of these names has ticked; return when it last did, if it has."""
        return touch_task_set(self._connection, self._tables, tick, task_names)

    def claim(
        self,
        waiting_runs: Sequence[WaitingRun],
        skips: Sequence[SkippedSlots] = (),
        weight_of: Callable[[str], int] = lambda _: 0,
    ) -> tuple[list[Run], list[Run]]:
        """Claim slots, and put on record those that are skipped; return the runs that are ours.

        A slot that somebody else has is left out. What is claimed does not wait any more.
        ``weigh`` tells what a task's run takes of the capacity.
        """
        ids = make_run_ids(self._now, len(waiting_runs) + len(skips))
        # The history goes by ids: what runs is newer than the slots that were folded into it.
        skipped_runs = [
            self._make_skipped_run(id_, each)
            for id_, each in zip(ids[: len(skips)], skips, strict=True)
        ]
        claims = [
            self._make_claim(id_, each)
            for id_, each in zip(ids[len(skips) :], waiting_runs, strict=True)
        ]
        rows = [
            make_run_row(
                run,
                self._owner.token,
                self._lease_until,
                0 if run.state.is_final else weight_of(run.task),
            )
            for run in (*claims, *skipped_runs)
        ]
        all_new = insert_new(self._connection, self._tables.runs, rows)
        won = set(ids) if all_new else self._select_claimed_ids(ids)
        noted = [run for run in skipped_runs if run.id in won]
        count_runs(self._connection, self._tables, noted)
        return [run for run in claims if run.id in won], noted

    def _select_claimed_ids(self, run_ids: Sequence[str]) -> set[str]:
        if not run_ids:
            return set()
        ends = {"first": run_ids[0], "last": run_ids[-1]}
        return set(self._connection.scalars(_id_range_query(self._tables), ends))

    def enqueue(self, waiting_runs: Iterable[WaitingRun]) -> None:
        """Put on record what waits for a later tick."""
        insert_new(
            self._connection,
            self._tables.waiting,
            [make_waiting_row(each) for each in waiting_runs],
        )

    def dequeue(self, waiting_runs: Iterable[WaitingRun]) -> None:
        """Take off the record what does not wait any more."""
        waiting = self._tables.waiting
        keys = ("task", "slot", "attempt", "nonce")
        rows = [{f"a_{key}": getattr(each, key) for key in keys} for each in waiting_runs]
        if rows:
            same = [waiting.c[key] == bindparam(f"a_{key}") for key in keys]
            self._connection.execute(delete(waiting).where(*same), rows)

    def request_cancels(self, run_ids: Sequence[str]) -> None:
        """Ask the owners of runs to end them."""
        if run_ids:
            runs = self._tables.runs
            self._connection.execute(update(runs).where(runs.c.id.in_(run_ids)).values(cancel=1))

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
        late = skip.reason in (RunReason.MISSED, RunReason.SUPERSEDED)
        trigger = Trigger.CATCH_UP if late else Trigger.SCHEDULE
        pending = WaitingRun(skip.task, skip.newest, trigger, self._now)
        claim = self._make_claim(run_id, skip.waiting_run or pending)
        return skipped(claim, skip.reason, skip.count, skip.detail)


@once_per_store
def _expired_query(tables: Tables) -> Select[Any]:
    return select(tables.runs).where(tables.runs.c.lease < bindparam("now"))


@once_per_store
def _startable_query(tables: Tables) -> Select[Any]:
    return select(tables.waiting).where(tables.waiting.c.not_before <= bindparam("now"))


@once_per_store
def _fixed_delay_query(tables: Tables) -> Select[Any]:
    waiting = tables.waiting
    named = waiting.c.task.in_(bindparam("tasks", expanding=True))
    return select(waiting).where(named, waiting.c.nonce == 0)


@once_per_store
def _id_range_query(tables: Tables) -> Select[Any]:
    column = tables.runs.c.id
    return select(column).where(column.between(bindparam("first"), bindparam("last")))
