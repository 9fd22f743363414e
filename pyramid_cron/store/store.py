"""The store: opened when first needed, read at any time, written by one process at a time."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import URL, Select, bindparam, func, insert, select, true, update

from ..action_record import ActionRecord
from ..planning.slots import TaskSet
from ..planning.snapshot import PauseRule, WaitingRun
from ..run import RUN_ID_PATTERN, Run, RunState, Trigger
from ..task import TASK_NAME_PATTERN
from .action_log import record_action
from .claims import ClaimTransaction
from .ends import Claim, End, as_ended, read_ends, select_newest, take_end
from .engine import Database
from .results import (
    FailurePause,
    WriteBatch,
    apply_batch,
    extend_leases,
    write_live_outputs,
)
from .rows import (
    SCHEDULES_VERSION_INFO,
    WORKER_SEEN_INFO,
    Owner,
    Session,
    insert_new,
    make_pause_rule_row,
    make_waiting_rows,
    select_active_runs,
    select_pause_rules,
    task_by_waiting_index,
    to_run,
    write_info,
)
from .schema import MYSQL_DIALECTS, Tables, Values, ensure_schema, make_tables, once_per_store


@dataclass(frozen=True, slots=True)
class StorePeek:
    """What a tick reads first."""

    #: Until when the slots of each task set are handled, by its id.
    window_ends: dict[str, datetime]
    #: Whether a waiting run may start, or a lease has passed.
    has_work: bool
    #: The version of the stored schedules.
    schedules_version: int = 0
    #: The version with which the slots of each task set are handled, by its id.
    handled_versions: Mapping[str, int] = field(default_factory=dict)


class Store:
    """The store behind ``cron.url``. Every method but the properties may raise StoreError.

    Moments are aware, those returned in UTC.
    """

    def __init__(self, url: URL, table_prefix: str) -> None:
        self.tables = make_tables(table_prefix)
        self.database = self._make_database(url)
        self.is_open = False
        self._owner = Owner()

    @property
    def owner(self) -> Owner:
        """The owner of what this process claims."""
        if self._owner.pid != os.getpid():
            self._owner = Owner()
        return self._owner

    # Transactions.

    def open(self) -> None:
        """Make the tables where they are missing; refuse a store of a newer version.

        Raises StoreError naming ``cron.url``.
        """
        self.database.check_identity()
        if not self.is_open:
            ensure_schema(self.database, self.tables)
            self.is_open = True

    def connect_to(self, url: URL) -> None:
        """Read and write another database from now on; the one before stays as it is."""
        self.use(self._make_database(url))

    def use(self, database: Database) -> None:
        """Read and write another database from now on, which was this store's before."""
        self.database.dispose()
        self.database = database
        self.is_open = False

    def _make_database(self, url: URL) -> Database:
        return Database(url, self._mark_closed, self.tables.metadata.tables)

    def _mark_closed(self) -> None:
        self.is_open = False

    @contextmanager
    def read_session(self) -> Iterator[Session]:
        """Give a session that only reads."""
        self.open()
        with self.database.read() as connection:
            yield Session(connection, self.tables, self.owner)

    @contextmanager
    def write_session(self, *, is_long: bool = False) -> Iterator[Session]:
        """Give a session that is the only one to write, over all hosts.

        What it writes is durable when the block ends. SQLite has one writer at a time, and so no
        two that wait for each other; elsewhere they take turns by a lock on one row. A server ends
        the session of a process that does nothing with it for seconds, or with ``is_long`` for half
        a minute.
        """
        self.open()
        with self.database.write(is_long=is_long) as connection:
            if self.database.dialect != "sqlite":
                connection.execute(_write_lock_query(self.tables))
            yield Session(connection, self.tables, self.owner)

    @contextmanager
    def claim_transaction(self, now: datetime, lease_until: datetime) -> Iterator[ClaimTransaction]:
        """Give the transaction in which runs are claimed: one at a time, over all hosts.

        Claims are durable when the block ends, and valid until ``lease_until`` unless renewed.
        """
        with self.write_session() as session:
            yield ClaimTransaction(session, now, lease_until)

    def write_batch(self, batch: WriteBatch) -> list[FailurePause]:
        """Write a batch, but for runs that this process does not own any more.

        Returns the tasks that were paused because they kept failing.
        """
        with self.write_session() as session:
            return apply_batch(session, batch)

    # Ticks.

    def peek(self, now: datetime) -> StorePeek:
        """Return what a tick at ``now`` reads first."""
        with self.read_session() as session:
            rows = session.connection.execute(_peek_query(self.tables), {"now": now}).all()
        task_sets = [row for row in rows if row.id is not None]
        return StorePeek(
            {row.id: row.window_end for row in task_sets},
            bool(rows[0].has_work),
            int(rows[0].version or 0),
            {row.id: row.schedules_version for row in task_sets},
        )

    def task_sets(self, ids: Iterable[str]) -> list[TaskSet]:
        """Return the task sets with these ids."""
        task_sets = self.tables.task_sets
        query = select(task_sets).where(task_sets.c.id.in_(list(ids)))
        with self.read_session() as session:
            rows = session.connection.execute(query).all()
        return [
            TaskSet(row.id, frozenset(json.loads(row.task_names)), row.window_end) for row in rows
        ]

    # Active runs.

    def renew_leases(self, run_ids: Collection[str], lease_until: datetime) -> set[str]:
        """Renew the leases of runs; return the ids of those that this process still owns."""
        with self.write_session() as session:
            return extend_leases(session, run_ids, lease_until)

    def write_live_outputs(self, rows: Sequence[Values]) -> None:
        """Write what active runs of this process have logged and written so far."""
        with self.write_session() as session:
            write_live_outputs(session, rows)

    def request_cancel(self, run_id: str, action: ActionRecord | None = None) -> None:
        """Ask the owner of an active run to cancel it, by an action to put on record."""
        runs = self.tables.runs
        statement = update(runs).where(runs.c.id == run_id, runs.c.lease_until.is_not(None))
        with self.write_session() as session:
            session.connection.execute(statement.values(cancel_requested=1))
            record_action(session, action)

    def cancel_requests(self) -> set[str]:
        """Return the ids of this process's active runs that are to be cancelled."""
        with self.read_session() as session:
            parameters = {"owner": session.owner.token}
            query = _cancel_requests_query(self.tables)
            return set(session.connection.scalars(query, parameters))

    def settle_end(self, end: End) -> RunState | None:
        """Record an end unless one is on record; return the state of the one that counts.

        None if a transaction is being committed that may record another.
        """
        with self.write_session() as session:
            claim = take_end(session, end)
            if claim is Claim.TAKEN:
                return end.state
            current = read_ends(session, [end.run_id]).get(end.run_id)
        return None if current is None else current.state

    # Workers.

    def record_worker(self, now: datetime) -> None:
        """Record that a worker is there."""
        with self.write_session() as session:
            write_info(session, WORKER_SEEN_INFO, now.isoformat())

    # Waiting runs.

    def enqueue_or_advance(
        self, waiting_run: WaitingRun, action: ActionRecord | None = None
    ) -> Run:
        """Let a run wait; one that waits already may run as early as this one.

        ``action`` is put on record. Returns the run as it is on record then.
        """
        with self.write_session() as session:
            record_action(session, action)
            return enqueue_or_advance(session, waiting_run)

    def count_waiting(self, task: str | None = None, trigger: Trigger | None = None) -> int:
        """Return the number of waiting runs: of one task, or with one trigger, or all."""
        runs = self.tables.runs
        query = select(func.count()).where(runs.c.not_before.is_not(None))
        if task is not None:
            query = query.where(task_by_waiting_index(self.tables) == task)
        if trigger is not None:
            query = query.where(runs.c.trigger == trigger.value)
        return int(self._select_scalar(query) or 0)

    # Pauses.

    def add_pause_rule(
        self, rule: PauseRule, action: ActionRecord | None = None
    ) -> list[PauseRule]:
        """Add a pause rule by an action to put on record; return the ones before, oldest first."""
        with self.write_session() as session:
            rules = select_pause_rules(session)
            session.connection.execute(insert(self.tables.pause_rules), make_pause_rule_row(rule))
            record_action(session, action)
        return rules

    def pause_rules(self) -> list[PauseRule]:
        """Return the pause rules, oldest first."""
        with self.read_session() as session:
            return select_pause_rules(session)

    # Runs.

    def get_run(self, run_id: str) -> Run | None:
        """Return the run with all its texts; None if the id is no run's."""
        if not _is_full_match(RUN_ID_PATTERN, run_id):  # some databases refuse to compare such
            return None
        runs = self._select_runs(self._runs_query().where(self.tables.runs.c.id == run_id))
        return runs[0] if runs else None

    def find_run_ids(self, beginning: str, limit: int) -> list[str]:
        """Return the ids of runs that begin with these hexadecimal digits."""
        column = self.tables.runs.c.id
        query = select(column).where(column.between(beginning, f"{beginning}g"))
        with self.read_session() as session:
            return list(session.connection.scalars(query.order_by(column).limit(limit)))

    def history(
        self,
        task: str | None = None,
        states: Collection[RunState] | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Return the newest runs with all their texts, newest first."""
        if task is not None and not _is_full_match(TASK_NAME_PATTERN, task):
            return []
        with self.read_session() as session:
            return select_newest(session, self._runs_query(), limit, task, states)

    def active_runs(self, task: str) -> list[Run]:
        """Return the active runs of a task, newest first."""
        with self.read_session() as session:
            active_runs = select_active_runs(session)
        return [active.run for active in reversed(active_runs) if active.run.task == task]

    def newest_ended_attempt(self, run: Run) -> int:
        """Return the number of the newest attempt at the slot of a run that does not wait."""
        runs = self.tables.runs
        is_same = (runs.c.task == run.task, runs.c.slot == run.slot, runs.c.origin == run.origin)
        return int(
            self._select_scalar(
                select(func.max(runs.c.attempt)).where(*is_same, runs.c.not_before.is_(None))
            )
            or 0
        )

    def recent_durations(self, task: str, limit: int) -> list[float]:
        """Return the seconds that the task's newest successful runs took, newest first."""
        runs = self.history(task, (RunState.SUCCEEDED,), limit)
        return [run.duration for run in runs if run.duration is not None]

    def _runs_query(self) -> Select[Any]:
        runs, outputs = self.tables.runs, self.tables.run_outputs
        texts = outputs.c.log, outputs.c.stdout, outputs.c.stderr
        joined = runs.outerjoin(outputs, runs.c.id == outputs.c.run_id)
        return select(runs, *texts).select_from(joined)

    def _select_runs(self, query: Select[Any]) -> list[Run]:
        with self.read_session() as session:
            return as_ended(session, map(to_run, session.connection.execute(query)))

    def _select_scalar(self, query: Select[Any]) -> Any:
        with self.read_session() as session:
            return session.connection.scalar(query)


def enqueue_or_advance(session: Session, waiting_run: WaitingRun) -> Run:
    """Do the same as :meth:`Store.enqueue_or_advance`, as part of a transaction."""
    runs = session.tables.runs
    keys = ("task", "slot", "attempt", "origin")
    is_same = [runs.c[key] == getattr(waiting_run, key) for key in keys]
    is_later = runs.c.not_before > waiting_run.not_before
    statement = update(runs).where(*is_same, is_later)
    insert_new(session, runs, make_waiting_rows([waiting_run]))
    session.connection.execute(statement.values(not_before=waiting_run.not_before))
    query = select(runs).where(*is_same)
    if session.connection.dialect.name in MYSQL_DIALECTS:
        query = query.with_for_update(read=True)  # also what is newer than the snapshot
    return to_run(session.connection.execute(query).one())


def _is_full_match(pattern: re.Pattern[str], text: Any) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


@once_per_store
def _peek_query(tables: Tables) -> Select[Any]:
    """Return the ends of windows, whether there is work besides new slots, and a version."""
    runs, task_sets, info = tables.runs, tables.task_sets, tables.schema_info
    startable = select(runs.c.id).where(runs.c.not_before <= bindparam("now"))
    expired = select(runs.c.id).where(runs.c.lease_until < bindparam("now"))
    version = select(info.c.value).where(info.c.name == SCHEDULES_VERSION_INFO)
    has_work = (startable.exists() | expired.exists()).label("has_work")
    work = select(has_work, version.scalar_subquery().label("version")).subquery()
    window = task_sets.c.id, task_sets.c.window_end, task_sets.c.schedules_version
    columns = work.c.has_work, work.c.version, *window
    return select(*columns).select_from(work.outerjoin(task_sets, true()))


@once_per_store
def _write_lock_query(tables: Tables) -> Select[Any]:
    """Return the query that waits until no other process writes."""
    schema_info = tables.schema_info
    version = select(schema_info.c.value).where(schema_info.c.name == "schema")
    return version.with_for_update()


@once_per_store
def _cancel_requests_query(tables: Tables) -> Select[Any]:
    """Return the query for an owner's active runs that are to be cancelled."""
    runs = tables.runs
    is_own = runs.c.owner == bindparam("owner")
    return select(runs.c.id).where(
        runs.c.lease_until.is_not(None), runs.c.cancel_requested == 1, is_own
    )
