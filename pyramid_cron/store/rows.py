"""Runs, waiting runs and pause rules as rows, and back; and the queries that many share."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select

from ..planning.pauses import PauseRule
from ..planning.snapshot import ActiveRun, WaitingRun
from ..run import Progress, Run, RunReason, RunState, Trigger, make_storable
from .schema import Tables, Values, once_per_store
from .session import Owner, Session


def make_run_row(run: Run, owner: Owner, lease_until: datetime | None, weight: int = 0) -> Values:
    """Return the row that claims a slot, or records that it is skipped."""
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
        "payload": dump_payload(run.payload),
        "host": run.host,
        "pid": run.pid,
        "owner": owner.token,
        "lease": None if run.state.is_final else lease_until,
        "cancel": 0,
        "weight": weight,
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
        "progress": run.progress
        and json.dumps([run.progress.done, run.progress.total, run.progress.message]),
    }


def make_output_rows(runs: Iterable[Run]) -> list[Values]:
    """Return the rows of what runs logged and what their programs wrote."""
    return [
        {"run": run.id, "text": run.log, "stdout": run.stdout, "stderr": run.stderr}
        for run in runs
        if run.log or run.stdout or run.stderr
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
        reason=row.reason and RunReason(row.reason),
        count=row._mapping["count"],
        started=row.started,
        finished=row.finished,
        error=row.error,
        traceback=row.traceback,
        log=row._mapping.get("log"),
        progress=row.progress and Progress(*json.loads(row.progress)),
        payload=load_payload(row.payload),
        nonce=row.nonce,
        stdout=row._mapping.get("stdout"),
        stderr=row._mapping.get("stderr"),
        is_cancel_requested=bool(row.cancel),
    )


def select_active_runs(session: Session) -> list[ActiveRun]:
    """Return the active runs, oldest first.

    Filters on the lease only: with ORDER BY or a task filter SQLite scans the whole table.
    """
    rows = session.connection.execute(_active_runs_query(session.tables))
    active_runs = [ActiveRun(to_run(row), row.lease, row.weight) for row in rows]
    return sorted(active_runs, key=lambda active_run: active_run.run.id)


@once_per_store
def _active_runs_query(tables: Tables) -> Select[Any]:
    return select(tables.runs).where(tables.runs.c.lease.is_not(None))


def state_by_task_index(tables: Tables) -> ColumnElement[str]:
    """Return the state for a filter on the runs of one task.

    Given the plain column, SQLite uses the index on states and reads the runs of all tasks.
    """
    return func.coalesce(tables.runs.c.state, "")


def newest_first(
    query: Select[Any],
    tables: Tables,
    limit: int,
    task: str | None = None,
    states: Collection[RunState] | None = None,
) -> Select[Any]:
    """Return the query for the newest runs only: of one task, in some states, or all."""
    runs = tables.runs
    state: ColumnElement[str] = runs.c.state
    if task is not None:
        query = query.where(runs.c.task == task)
        state = state_by_task_index(tables)
    if states is not None:
        query = query.where(state.in_([state.value for state in states]))
    return query.order_by(runs.c.id.desc()).limit(limit)


def make_waiting_row(waiting_run: WaitingRun) -> Values:
    """Return the row of a waiting run."""
    return {
        "task": waiting_run.task,
        "slot": waiting_run.slot,
        "attempt": waiting_run.attempt,
        "nonce": waiting_run.nonce,
        "trigger": waiting_run.trigger.value,
        "not_before": waiting_run.not_before,
        "payload": dump_payload(waiting_run.payload),
    }


def to_waiting_run(row: Row[Any]) -> WaitingRun:
    """Return the waiting run of a row."""
    return WaitingRun(
        task=row.task,
        slot=row.slot,
        trigger=Trigger(row.trigger),
        not_before=row.not_before,
        attempt=row.attempt,
        nonce=row.nonce,
        payload=load_payload(row.payload),
    )


def make_pause_rule_row(rule: PauseRule) -> Values:
    """Return the row of a pause rule."""
    return {
        "moment": rule.since,
        "pauses": int(rule.is_pause),
        "pattern": rule.pattern,
        "until": rule.until,
        "reason": rule.reason and make_storable(rule.reason),
    }


def select_pause_rules(session: Session) -> list[PauseRule]:
    """Return the pause rules, oldest first."""
    rows = session.connection.execute(_pause_rules_query(session.tables))
    return [
        PauseRule(row.moment, bool(row.pauses), row.pattern, row.until, row.reason) for row in rows
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
