"""The store: opened when first needed, read at any time, written in a few kinds of transactions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    func,
    insert,
    select,
    true,
    update,
)

from ..planning.pauses import PauseRule
from ..planning.slots import TaskSet
from ..planning.snapshot import WaitingRun
from ..run import RUN_ID_PATTERN, Run, RunState, make_storable
from ..task import TASK_NAME_PATTERN
from .backfill import SlotRange, insert_backfill
from .claims import ClaimTransaction
from .engine import Database
from .handoff import cancel_handed_off_run, hand_off_run, release_runs, take_over_run
from .results import (
    DeferredRun,
    FailurePause,
    Outcome,
    WriteBatch,
    apply_batch,
    extend_leases,
    insert_deferred_run,
)
from .retention import prune_batch
from .rows import (
    make_waiting_row,
    select_active_runs,
    select_pause_rules,
    state_by_task_index,
    to_run,
)
from .schema import Tables, ensure_schema, make_tables, once_per_store
from .session import Owner, insert_new


@dataclass(frozen=True, slots=True)
class StorePeek:
    """What a tick looks at first: the last tick of each roster, and whether anything waits.

    ``busy`` is true where something that waits is ripe, or a run may have been lost.
    """

    last_ticks: dict[str, datetime]
    has_work: bool


class Store:
    """The store behind ``cron.url``."""

    def __init__(self, url: URL, table_prefix: str) -> None:
        self.database = Database(url, on_identity_change=self._mark_closed)
        self.tables = make_tables(table_prefix)
        self.is_open = False
        self._owner = Owner()

    @property
    def owner(self) -> Owner:
        """Who this process is, as the owner of what it claims."""
        if self._owner.pid != os.getpid():
            self._owner = Owner()
        return self._owner

    # Opening.

    def open(self) -> None:
        """Make the tables where they are missing; refuse a store of a newer version.

        Raises StoreError naming ``cron.url``.
        """
        self.database.check_identity()
        if not self.is_open:
            ensure_schema(self.database, self.tables)
            self.is_open = True

    def _mark_closed(self) -> None:
        self.is_open = False

    @contextmanager
    def _read_connection(self) -> Iterator[Connection]:
        self.open()
        with self.database.read() as connection:
            yield connection

    @contextmanager
    def _exclusive_transaction(self) -> Iterator[Connection]:
        """Give a connection that is the only one to write, over all hosts.

        SQLite has one writer at a time, and so no two that wait for each other. Elsewhere a lock on
        one row sees to the same.
        """
        self.open()
        with self.database.write() as connection:
            if self.database.dialect != "sqlite":
                connection.execute(_write_lock_query(self.tables))
            yield connection

    # What a tick needs.

    def peek(self, now: datetime) -> StorePeek:
        """Return what a tick at ``now`` looks at first."""
        with self._read_connection() as connection:
            rows = connection.execute(_peek_query(self.tables), {"now": now}).all()
        last_ticks = {row.id: row.last_tick for row in rows if row.id is not None}
        return StorePeek(last_ticks, bool(rows[0].busy))

    def task_sets(self, ids: Iterable[str]) -> list[TaskSet]:
        """Return the rosters with these ids, with the names in them."""
        task_sets = self.tables.task_sets
        with self._read_connection() as connection:
            rows = connection.execute(select(task_sets).where(task_sets.c.id.in_(list(ids)))).all()
        return [TaskSet(row.id, frozenset(json.loads(row.tasks)), row.last_tick) for row in rows]

    @contextmanager
    def claim_transaction(self, now: datetime, lease_until: datetime) -> Iterator[ClaimTransaction]:
        """Give the desk at which slots are claimed: one at a time, over all hosts.

        What is claimed is durable when the block ends. ``lease`` is when the claims run out unless
        they are renewed.
        """
        with self._exclusive_transaction() as connection:
            yield ClaimTransaction(self.tables, connection, self.owner, now, lease_until)

    def write_batch(self, batch: WriteBatch) -> list[FailurePause]:
        """Write what happened; a run that is not ours any more is left as it is.

        Returns the tasks that are paused for it.
        """
        with self._exclusive_transaction() as connection:
            return apply_batch(connection, self.tables, self.owner.token, batch)

    # What goes on.

    def renew_leases(self, run_ids: Collection[str], lease_until: datetime) -> set[str]:
        """Renew the leases of runs; return the ids of those that are still ours."""
        with self._exclusive_transaction() as connection:
            return extend_leases(connection, self.tables, self.owner.token, run_ids, lease_until)

    def cancel_requests(self) -> set[str]:
        """Return the ids of those of our runs whose end somebody asked for."""
        with self._read_connection() as connection:
            return set(
                connection.scalars(_cancel_requests_query(self.tables), {"owner": self.owner.token})
            )

    def request_cancel(self, run_id: str) -> None:
        """Ask the owner of a run that goes on to end it."""
        runs = self.tables.runs
        with self._exclusive_transaction() as connection:
            going_on = update(runs).where(runs.c.id == run_id, runs.c.lease.is_not(None))
            connection.execute(going_on.values(cancel=1))

    # What goes to another process.

    def cancel_handed_off(
        self, run_id: str, now: datetime, outcome_of: Callable[[Run], Outcome]
    ) -> Run | None:
        """End a run that was sent and that nobody has taken up; None if there is no such run."""
        with self._exclusive_transaction() as connection:
            return cancel_handed_off_run(connection, self.tables, run_id, now, outcome_of)

    def hand_off(self, run_id: str, lease_until: datetime) -> None:
        """Leave a run of ours that was not begun to whoever takes it up before its lease passes."""
        with self._exclusive_transaction() as connection:
            hand_off_run(connection, self.tables, self.owner, run_id, lease_until)

    def release(self, runs: Sequence[Run], now: datetime) -> None:
        """Let runs of ours that were not begun wait, as if nobody had claimed them."""
        with self._exclusive_transaction() as connection:
            release_runs(connection, self.tables, self.owner, runs, now)

    def take_over(self, run_id: str, now: datetime, lease_until: datetime) -> Run | None:
        """Make a run ours that another process has claimed, once; None if that can't be."""
        with self._exclusive_transaction() as connection:
            return take_over_run(connection, self.tables, self.owner, run_id, now, lease_until)

    def enqueue_or_advance(self, waiting_run: WaitingRun) -> None:
        """Put on record what is to run again, or have it wait no longer if it waits already."""
        waiting = self.tables.waiting
        same = [key == getattr(waiting_run, key.name) for key in waiting.primary_key]
        later = waiting.c.not_before > waiting_run.not_before
        with self._exclusive_transaction() as connection:
            insert_new(connection, waiting, [make_waiting_row(waiting_run)])
            connection.execute(
                update(waiting).where(*same, later).values(not_before=waiting_run.not_before)
            )

    def add_deferred_run(self, deferred_run: DeferredRun) -> None:
        """Put on record what is to run once, unless its key is known already."""
        with self._exclusive_transaction() as connection:
            insert_deferred_run(connection, self.tables, deferred_run)

    def newest_attempt(self, run: Run) -> int:
        """Return the number of the newest attempt at the slot of a run."""
        runs = self.tables.runs
        same = (runs.c.task == run.task, runs.c.slot == run.slot, runs.c.nonce == run.nonce)
        with self._read_connection() as connection:
            return int(connection.scalar(select(func.max(runs.c.attempt)).where(*same)) or 0)

    def add_backfill(self, slot_range: SlotRange, nonce: int) -> int:
        """Put a task's slots of the past on record, to be run; return how many there are.

        Those that have run, or wait to, are left out.
        """
        with self._exclusive_transaction() as connection:
            return insert_backfill(connection, self.tables, slot_range, nonce)

    def add_pause_rule(self, pause_rule: PauseRule) -> list[PauseRule]:
        """Put on record that tasks are paused or resumed; return what was so before."""
        row = {
            "moment": pause_rule.since,
            "pauses": int(pause_rule.is_pause),
            "pattern": pause_rule.pattern,
            "until": pause_rule.until,
            "reason": pause_rule.reason and make_storable(pause_rule.reason),
        }
        with self._exclusive_transaction() as connection:
            before = select_pause_rules(connection, self.tables)
            connection.execute(insert(self.tables.pause_rules), row)
        return before

    def prune(self, before: datetime, limit: int) -> int:
        """Forget up to ``limit`` runs, and as many ticks, from before a moment; return how many.

        A short transaction, so that nobody has to wait for it: to forget everything that is older,
        call it until nothing is left.
        """
        with self._exclusive_transaction() as connection:
            return prune_batch(connection, self.tables, before, limit)

    # What people ask.

    def get_run(self, run_id: str) -> Run | None:
        """Return the run with all that is known of it; None for what is no id of one."""
        if not _is_full_match(
            RUN_ID_PATTERN, run_id
        ):  # which some databases would rather not compare
            return None
        found = self._select_runs(self._runs_query().where(self.tables.runs.c.id == run_id))
        return found[0] if found else None

    def history(
        self,
        task: str | None = None,
        states: Collection[RunState] | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Return the newest runs, newest first."""
        if task is not None and not _is_full_match(TASK_NAME_PATTERN, task):
            return []
        runs = self.tables.runs
        state: ColumnElement[str] = runs.c.state
        query = self._runs_query().order_by(runs.c.id.desc()).limit(limit)
        if task is not None:
            query = query.where(runs.c.task == task)
            state = state_by_task_index(self.tables)
        if states is not None:
            query = query.where(state.in_([each.value for each in states]))
        return self._select_runs(query)

    def active_runs(self, task: str) -> list[Run]:
        """Return the runs of a task that are not over, newest first."""
        with self._read_connection() as connection:
            active = select_active_runs(connection, self.tables)
        return [each.run for each in reversed(active) if each.run.task == task]

    def recent_durations(self, task: str, limit: int) -> list[float]:
        """Return the seconds that the task's newest successes took."""
        succeeded = self.history(task, (RunState.SUCCEEDED,), limit)
        return [run.duration for run in succeeded if run.duration is not None]

    def pause_rules(self) -> list[PauseRule]:
        """Return who was paused and resumed, oldest first."""
        with self._read_connection() as connection:
            return select_pause_rules(connection, self.tables)

    def count_waiting(self, task: str | None = None) -> int:
        """Return how many slots wait for a later tick, of one task or of all."""
        waiting = self.tables.waiting
        query = select(func.count()).select_from(waiting)
        if task is not None:
            query = query.where(waiting.c.task == task)
        with self._read_connection() as connection:
            return int(connection.scalar(query) or 0)

    def _runs_query(self) -> Select[Any]:
        runs, run_outputs = self.tables.runs, self.tables.run_outputs
        joined = runs.outerjoin(run_outputs, runs.c.id == run_outputs.c.run)
        kept = run_outputs.c.text.label("log"), run_outputs.c.stdout, run_outputs.c.stderr
        return select(runs, *kept).select_from(joined)

    def _select_runs(self, query: Select[Any]) -> list[Run]:
        with self._read_connection() as connection:
            return [to_run(row) for row in connection.execute(query)]


def _is_full_match(pattern: re.Pattern[str], text: Any) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


@once_per_store
def _peek_query(tables: Tables) -> Select[Any]:
    """Return what tells whether there is something to do beside what is due."""
    waiting, runs, task_sets = tables.waiting, tables.runs, tables.task_sets
    ripe = select(waiting.c.task).where(waiting.c.not_before <= bindparam("now"))
    expired = select(runs.c.id).where(runs.c.lease < bindparam("now"))
    busy = select((ripe.exists() | expired.exists()).label("busy")).subquery()
    columns = busy.c.busy, task_sets.c.id, task_sets.c.last_tick
    return select(*columns).select_from(busy.outerjoin(task_sets, true()))


@once_per_store
def _write_lock_query(tables: Tables) -> Select[Any]:
    """Return what waits until nobody else writes."""
    schema_info = tables.schema_info
    return select(schema_info.c.value).where(schema_info.c.name == "schema").with_for_update()


@once_per_store
def _cancel_requests_query(tables: Tables) -> Select[Any]:
    """Return what finds the runs of an owner whose end somebody asked for."""
    runs = tables.runs
    going_on = runs.c.lease.is_not(None)
    return select(runs.c.id).where(going_on, runs.c.cancel == 1, runs.c.owner == bindparam("owner"))
