"""Runs and their kin as rows, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, Row, Select, Table, func, select

from ..due.facts import Active, Pending
from ..due.pauses import Word
from ..run import Progress, Reason, Run, RunState, Trigger
from .dialects import insertion
from .tables import Tables, Values, once_per_store

EXACT = ("sqlite", "postgresql")
"""Databases that can leave alone what is there, and tell how much they wrote."""


def insert_new(connection: Connection, table: Table, rows: list[Values]) -> bool:
    """Insert those rows whose keys are not there yet; return whether all of them are known to be.

    MySQL counts a row that was there as one that it wrote.
    """
    dialect = connection.dialect.name
    if not rows:
        return dialect in EXACT
    counting = {"preserve_rowcount": True}
    result = connection.execute(_insert(dialect, table), rows, execution_options=counting)
    return dialect in EXACT and result.rowcount == len(rows)


@once_per_store
def _insert(dialect: str, table: Table) -> Insert:
    statement = insertion(dialect, table)
    if dialect in EXACT:
        new: Insert = statement.on_conflict_do_nothing()
    else:
        # INSERT IGNORE would take values for good that are cut to fit.
        key = next(iter(table.primary_key))
        new = statement.on_duplicate_key_update({key.name: key})
    return new


def run_row(run: Run, owner: str, lease: datetime | None, weight: int = 0) -> Values:
    """Return the row that claims a slot, or tells that it is skipped."""
    return {
        "id": run.id,
        "task": run.task,
        "slot": run.slot,
        "attempt": run.attempt,
        "nonce": run.nonce,
        "trigger": str(run.trigger),
        "state": str(run.state),
        "reason": run.reason and str(run.reason),
        "count": run.count,
        "error": run.error,
        "payload": dumped(run.payload),
        "host": run.host,
        "pid": run.pid,
        "owner": owner,
        "lease": None if run.state.final else lease,
        "cancel": 0,
        "weight": weight,
    }


def outcome_row(run: Run) -> Values:
    """Return what changes in the course of a run."""
    return {
        "state": str(run.state),
        "reason": run.reason and str(run.reason),
        "started": run.started,
        "finished": run.finished,
        "error": run.error,
        "traceback": run.traceback,
        "progress": run.progress
        and json.dumps([run.progress.done, run.progress.total, run.progress.message]),
    }


def output_rows(runs: Iterable[Run]) -> list[Values]:
    """Return the rows of what runs logged, and what their programs wrote."""
    return [
        {"run": run.id, "text": run.logged, "stdout": run.stdout, "stderr": run.stderr}
        for run in runs
        if run.logged or run.stdout or run.stderr
    ]


def to_run(row: Row[Any]) -> Run:
    """Return the run of a row."""
    return Run(
        id=row.id,
        task=row.task,
        slot=row.slot,
        attempt=row.attempt,
        trigger=Trigger(row.trigger),
        state=RunState(row.state),
        host=row.host,
        pid=row.pid,
        reason=row.reason and Reason(row.reason),
        count=row._mapping["count"],
        started=row.started,
        finished=row.finished,
        error=row.error,
        traceback=row.traceback,
        logged=row._mapping.get("logged"),
        progress=row.progress and Progress(*json.loads(row.progress)),
        payload=loaded(row.payload),
        nonce=row.nonce,
        stdout=row._mapping.get("stdout"),
        stderr=row._mapping.get("stderr"),
        called_off=bool(row.cancel),
    )


def going_on(connection: Connection, tables: Tables) -> list[Active]:
    """Return the runs that are not over, oldest first.

    That is little beside all that is on record, and so it is looked for by nothing else: asked to
    sort it, or for one task's, SQLite would rather go through everything.
    """
    rows = connection.execute(_held(tables))
    active = [Active(to_run(row), row.lease, row.weight) for row in rows]
    return sorted(active, key=lambda each: each.run.id)


@once_per_store
def _held(tables: Tables) -> Select[Any]:
    return select(tables.runs).where(tables.runs.c.lease.is_not(None))


def state_of_one(tables: Tables) -> ColumnElement[str]:
    """Return the state to look for among the runs of one task.

    By the index on states, SQLite would go through the runs of all the other tasks.
    """
    return func.coalesce(tables.runs.c.state, "")


def pending_row(pending: Pending) -> Values:
    """Return the row of what waits."""
    return {
        "task": pending.task,
        "slot": pending.slot,
        "attempt": pending.attempt,
        "nonce": pending.nonce,
        "trigger": pending.trigger.value,
        "not_before": pending.not_before,
        "payload": dumped(pending.payload),
    }


def to_pending(row: Row[Any]) -> Pending:
    """Return what waits by a row."""
    return Pending(
        task=row.task,
        slot=row.slot,
        trigger=Trigger(row.trigger),
        not_before=row.not_before,
        attempt=row.attempt,
        nonce=row.nonce,
        payload=loaded(row.payload),
    )


def all_words(connection: Connection, tables: Tables) -> list[Word]:
    """Return who was paused and resumed, oldest first."""
    rows = connection.execute(_words(tables))
    return [Word(row.moment, bool(row.pauses), row.pattern, row.until, row.reason) for row in rows]


@once_per_store
def _words(tables: Tables) -> Select[Any]:
    return select(tables.words).order_by(tables.words.c.id)


def dumped(payload: Any) -> str | None:
    """Return a payload as text; None is no text at all."""
    return None if payload is None else json.dumps(payload)


def loaded(text: str | None) -> Any:
    """Return the payload that a text holds."""
    return None if text is None else json.loads(text)
