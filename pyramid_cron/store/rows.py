"""Runs, waiting runs and pause rules as rows, and back; and the queries that many share."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, Row, Select, Table, func, select
from sqlalchemy.dialects import sqlite

from ..planning.snapshot import ActiveRun, PauseRule, WaitingRun
from ..run import Progress, Run, RunReason, RunState, Trigger, WaitReason, make_run_ids
from ..text import make_storable
from .schema import Tables, Values, once_per_store

IDS_PER_STATEMENT = 1000
"""How many ids are put into one statement; databases take some ten thousand."""

EXACT_ROWCOUNT_DIALECTS = ("sqlite", "postgresql")
"""Databases that can leave an existing row alone, and count only the rows that they wrote."""

WORKER_SEEN_INFO = "worker_seen"
"""The name of the fact when a worker was there last."""

SCHEDULES_VERSION_INFO = "schedules_version"
"""The name of the fact how often stored schedules have changed."""

NO_OWNER = ""
"""The owner of a run that waits, or was handed off and not taken over yet."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that claims runs."""

    token: str = field(default_factory=lambda: secrets.token_hex(8))
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


@dataclass(frozen=True, slots=True)
class Session:
    """What the statements of one transaction need."""

    connection: Connection
    tables: Tables
    #: The process that has the transaction open.
    owner: Owner


def insert_new(session: Session, table: Table, rows: list[Values]) -> bool:
    """Insert the rows whose keys are not there yet; return whether certainly all were inserted.

    MySQL counts an existing row as one that it wrote.
    """
    dialect = session.connection.dialect.name
    if not rows:
        return dialect in EXACT_ROWCOUNT_DIALECTS
    statement = _make_insert(dialect, table)
    options = {"preserve_rowcount": True}
    result = session.connection.execute(statement, rows, execution_options=options)
    return dialect in EXACT_ROWCOUNT_DIALECTS and result.rowcount == len(rows)


@once_per_store
def _make_insert(dialect: str, table: Table) -> Insert:
    statement = upsert(dialect, table)
    if dialect in EXACT_ROWCOUNT_DIALECTS:
        insert_or_skip: Insert = statement.on_conflict_do_nothing()
    else:
        # INSERT IGNORE would accept values that are too long, and cut them.
        key = next(iter(table.primary_key))
        insert_or_skip = statement.on_duplicate_key_update({key.name: key})
    return insert_or_skip


def upsert(dialect: str, table: Table) -> Any:
    """Return the dialect's insert, which can say what becomes of rows whose keys exist."""
    if dialect == "sqlite":
        return sqlite.insert(table)
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # slow to import, and few need it

        return postgresql.insert(table)
    from sqlalchemy.dialects import mysql

    return mysql.insert(table)


def write_info(session: Session, name: str, value: str) -> None:
    """Write a fact about the store itself."""
    info = session.tables.schema_info
    statement = upsert(session.connection.dialect.name, info).values(name=name, value=value)
    if session.connection.dialect.name in EXACT_ROWCOUNT_DIALECTS:
        statement = statement.on_conflict_do_update(index_elements=["name"], set_={"value": value})
    else:
        statement = statement.on_duplicate_key_update(value=value)
    session.connection.execute(statement)


def read_info(session: Session, name: str) -> str | None:
    """Return a fact about the store itself; None if it is not on record."""
    info = session.tables.schema_info
    value: str | None = session.connection.scalar(select(info.c.value).where(info.c.name == name))
    return value


def batched(ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield ids in order, as many at a time as one statement takes."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), IDS_PER_STATEMENT):
        yield ordered[start : start + IDS_PER_STATEMENT]


def make_run_row(
    run: Run,
    owner: Owner,
    lease_until: datetime | None,
    weight: int = 0,
    lock: str | None = None,
) -> Values:
    """Return the row that claims a slot, or records that it is skipped."""
    return {
        "id": run.id,
        "task": run.task,
        "slot": run.slot,
        "attempt": run.attempt,
        "origin": run.origin,
        "payload": dump_payload(run.payload),
        "dedup_key": run.key,
        "schedule": run.schedule,
        "cancel_requested": 0,
        "lost_count": run.lost_count,
        **make_claim_row(run, owner, lease_until, weight, lock),
    }


def make_claim_row(
    run: Run,
    owner: Owner,
    lease_until: datetime | None,
    weight: int = 0,
    lock: str | None = None,
) -> Values:
    """Return the columns that change when a waiting run is claimed or skipped."""
    return {
        "trigger": str(run.trigger),
        "state": str(run.state),
        "reason": run.reason and str(run.reason),
        "slot_count": run.count,
        "not_before": None,
        "claimed": run.claimed,
        "finished": run.finished,
        "error": run.error,
        "host": run.host,
        "pid": run.pid,
        "owner": owner.token,
        "lease_until": None if run.state.is_final else lease_until,
        "weight": weight,
        "lock_name": lock,
    }


def make_outcome_row(run: Run) -> Values:
    """Return the columns that change in the course of a run."""
    return {
        "state": str(run.state),
        "reason": run.reason and str(run.reason),
        "started": run.started,
        "finished": run.finished,
        "error": run.error,
        "traceback": run.traceback,
        "exit_status": run.exit_status,
        "progress": run.progress
        and json.dumps([run.progress.done, run.progress.total, run.progress.message]),
    }


def make_output_rows(runs: Iterable[Run]) -> list[Values]:
    """Return the rows of what runs logged and what their programs wrote."""
    return [
        {"run_id": run.id, "log": run.log, "stdout": run.stdout, "stderr": run.stderr}
        for run in runs
        if run.log or run.stdout or run.stderr
    ]


def to_run(row: Row[Any]) -> Run:
    """Return the run of a row."""
    is_waiting = row.not_before is not None
    return Run(
        id=row.id,
        task=row.task,
        slot=row.slot,
        attempt=row.attempt,
        trigger=Trigger(row.trigger),
        state=RunState(row.state),
        host=row.host,
        pid=row.pid,
        reason=RunReason(row.reason) if row.reason and not is_waiting else None,
        why=WaitReason(row.reason) if row.reason and is_waiting else None,
        not_before=row.not_before,
        claimed=row.claimed,
        key=row.dedup_key,
        schedule=row.schedule,
        count=row.slot_count,
        started=row.started,
        finished=row.finished,
        error=row.error,
        traceback=row.traceback,
        log=row._mapping.get("log"),
        progress=row.progress and Progress(*json.loads(row.progress)),
        payload=load_payload(row.payload),
        origin=row.origin,
        stdout=row._mapping.get("stdout"),
        stderr=row._mapping.get("stderr"),
        exit_status=row.exit_status,
        lost_count=row.lost_count,
        lease_until=None if row.owner == NO_OWNER else row.lease_until,
        is_cancel_requested=bool(row.cancel_requested),
    )


def select_active_runs(session: Session) -> list[ActiveRun]:
    """Return the active runs, oldest first.

    A run whose end is on record is over, though its row may say that later. Filters on the lease
    only: with ORDER BY or a task filter SQLite scans the whole table.
    """
    rows = session.connection.execute(_active_runs_query(session.tables))
    active_runs = [
        ActiveRun(to_run(row), row.lease_until, row.weight, row.lock_name) for row in rows
    ]
    return sorted(active_runs, key=lambda active_run: newness(active_run.run))


def newness(run: Run) -> tuple[datetime, str]:
    """Return what claimed and skipped runs are sorted by, and in one claim by their ids."""
    assert run.claimed is not None
    return run.claimed, run.id


@once_per_store
def _active_runs_query(tables: Tables) -> Select[Any]:
    runs, ends = tables.runs, tables.ends
    joined = runs.outerjoin(ends, ends.c.run_id == runs.c.id)
    is_active = runs.c.lease_until.is_not(None) & ends.c.run_id.is_(None)
    return select(runs).select_from(joined).where(is_active)


def state_by_task_index(tables: Tables) -> ColumnElement[str]:
    """Return the state for a filter on the runs of one task.

    Given the plain column, SQLite uses the index on states and reads the runs of all tasks.
    """
    return func.coalesce(tables.runs.c.state, "")


def task_by_waiting_index(tables: Tables) -> ColumnElement[str]:
    """Return the task for a filter on waiting runs.

    Given the plain column, SQLite uses the index on tasks and reads all runs that a task ever had.
    """
    return func.coalesce(tables.runs.c.task, "")


def newest_first(
    query: Select[Any],
    tables: Tables,
    limit: int,
    task: str | None = None,
    states: Collection[RunState] | None = None,
) -> Select[Any]:
    """Return the query for the newest runs only: of one task, in some states, or all.

    Waiting runs are left out unless ``states`` names their state; they come after the others.
    """
    runs = tables.runs
    state: ColumnElement[str] = runs.c.state
    if task is not None:
        query = query.where(runs.c.task == task)
        state = state_by_task_index(tables)
    if states is not None:
        query = query.where(state.in_([state.value for state in states]))
    order: list[Any] = [runs.c.claimed.desc(), runs.c.id.desc()]
    if states is not None and RunState.WAITING in states:
        order.insert(0, runs.c.claimed.is_(None))  # databases differ in where they put NULL
    else:
        query = query.where(runs.c.claimed.is_not(None))
    return query.order_by(*order).limit(limit)


def make_waiting_rows(waiting_runs: Sequence[WaitingRun]) -> list[Values]:
    """Return the rows of waiting runs that are not on record yet."""
    if not waiting_runs:
        return []
    ids = make_run_ids(waiting_runs[0].not_before, len(waiting_runs))
    return [
        {
            "id": waiting_run.id or run_id,
            "task": waiting_run.task,
            "slot": waiting_run.slot,
            "attempt": waiting_run.attempt,
            "origin": waiting_run.origin,
            "trigger": waiting_run.trigger.value,
            "state": RunState.WAITING.value,
            "reason": waiting_run.why.value,
            "slot_count": 1,
            "not_before": waiting_run.not_before,
            "payload": dump_payload(waiting_run.payload),
            "dedup_key": waiting_run.key,
            "schedule": waiting_run.schedule,
            "host": "",
            "pid": 0,
            "owner": NO_OWNER,
            "cancel_requested": 0,
            "weight": 0,
            "lost_count": waiting_run.lost_count,
        }
        for run_id, waiting_run in zip(ids, waiting_runs, strict=True)
    ]


def to_waiting_run(row: Row[Any]) -> WaitingRun:
    """Return the waiting run of a row."""
    return WaitingRun(
        task=row.task,
        slot=row.slot,
        trigger=Trigger(row.trigger),
        not_before=row.not_before,
        attempt=row.attempt,
        origin=row.origin,
        payload=load_payload(row.payload),
        id=row.id,
        why=WaitReason(row.reason),
        key=row.dedup_key,
        schedule=row.schedule,
        lost_count=row.lost_count,
    )


def make_pause_rule_row(rule: PauseRule) -> Values:
    """Return the row of a pause rule."""
    return {
        "since": rule.since,
        "is_pause": int(rule.is_pause),
        "pattern": rule.pattern,
        "until": rule.until,
        "reason": rule.reason and make_storable(rule.reason),
        "is_give_up": int(rule.is_give_up),
    }


def select_pause_rules(session: Session) -> list[PauseRule]:
    """Return the pause rules, oldest first."""
    rows = session.connection.execute(_pause_rules_query(session.tables))
    return [
        PauseRule(
            row.since,
            bool(row.is_pause),
            row.pattern,
            row.until,
            row.reason,
            bool(row.is_give_up),
        )
        for row in rows
    ]


@once_per_store
def _pause_rules_query(tables: Tables) -> Select[Any]:
    return select(tables.pause_rules).order_by(tables.pause_rules.c.id)


def dump_payload(payload: Any) -> str | None:
    """Return a payload as JSON text; None as no text."""
    return None if payload is None else json.dumps(payload)


def load_payload(text: str | None) -> Any:
    """Return the payload of a JSON text."""
    return None if text is None else json.loads(text)
