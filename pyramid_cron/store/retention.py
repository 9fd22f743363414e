"""Deleting what is older than people care for."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Row, delete, func, select

from ..action_record import ActionRecord
from ..run import first_id
from ..run_transitions import cancelled
from .action_log import prune_actions, record_action
from .results import end_run
from .rows import WORKER_SEEN_INFO, Session, to_run
from .run_stats import count_runs
from .store import Store
from .stored_schedules import prune_removed, remove_all


def prune(
    store: Store, before: datetime, limit: int, task_names: Collection[str], now: datetime
) -> int:
    """Delete up to ``limit`` runs, and as many ticks, from before a moment; return how many.

    Active and waiting runs stay, but runs that wait since then for a task that is neither in
    ``task_names`` nor in a task set are cancelled. Task sets, pause rules and removed
    schedules without further use, and up to ``limit`` actions, are deleted as well.

    One short transaction, so that no process waits long: call it until it returns less than
    ``limit``. Raises StoreError.
    """
    with store.write_session() as session:
        deleted = _prune_runs(session, before, limit) + _prune_ticks(session, before, limit)
        _prune_task_sets(session, before)
        _prune_pause_rules(session, before)
        prune_removed(session, before)
        prune_actions(session, before, limit)
        _cancel_orphaned(session, before, task_names, now)
    return deleted


def forget_all(store: Store, action: ActionRecord | None = None) -> None:
    """Delete all that is on record: runs, ticks, pauses, schedules, actions.

    That is on record from then on as an action. Raises StoreError.
    """
    with store.write_session() as session:
        for table in session.tables.metadata.sorted_tables:
            statement = delete(table)
            if table is session.tables.schedules:
                remove_all(session)
                continue
            if table is session.tables.schema_info:
                statement = statement.where(table.c.name == WORKER_SEEN_INFO)
            session.connection.execute(statement)
        record_action(session, action)


def _prune_runs(session: Session, before: datetime, limit: int) -> int:
    runs = session.tables.runs
    query = select(runs.c.id).where(runs.c.claimed < before, runs.c.lease_until.is_(None))
    run_ids = list(session.connection.scalars(query.order_by(runs.c.claimed).limit(limit)))
    _delete_rows(session, runs.c.id, run_ids)
    _delete_rows(session, session.tables.run_outputs.c.run_id, run_ids)
    _delete_rows(session, session.tables.ends.c.run_id, run_ids)
    return len(run_ids)


def _cancel_orphaned(
    session: Session, before: datetime, task_names: Collection[str], now: datetime
) -> None:
    """Cancel runs that have waited for long for a task that no version has any more."""
    runs = session.tables.runs
    query = select(runs).where(runs.c.not_before < before)
    waiting_tasks = set(
        session.connection.scalars(select(runs.c.task).where(runs.c.not_before < before).distinct())
    )
    if not waiting_tasks:
        return
    known = session.connection.scalars(select(session.tables.task_sets.c.task_names))
    removed = waiting_tasks.difference(task_names, *map(json.loads, known))
    for task in removed:
        rows = session.connection.execute(query.where(runs.c.task == task)).all()
        ended = [cancelled(to_run(row), now, "its task was removed") for row in rows]
        for run in ended:
            end_run(session, run)
        count_runs(session, ended)


def _prune_ticks(session: Session, before: datetime, limit: int) -> int:
    column = session.tables.ticks.c.id
    query = select(column).where(column < first_id(before)).order_by(column).limit(limit)
    tick_ids = list(session.connection.scalars(query))
    _delete_rows(session, column, tick_ids)
    return len(tick_ids)


def _delete_rows(session: Session, column: Column[Any], values: Sequence[Any]) -> None:
    if values:
        session.connection.execute(delete(column.table).where(column.in_(values)))


def _prune_task_sets(session: Session, before: datetime) -> None:
    """Delete task sets that ticked long ago, but never the one that ticked last."""
    task_sets = session.tables.task_sets
    newest = session.connection.scalar(select(func.max(task_sets.c.last_tick)))
    if newest is not None:
        statement = delete(task_sets).where(task_sets.c.last_tick < min(before, newest))
        session.connection.execute(statement)


def _prune_pause_rules(session: Session, before: datetime) -> None:
    rules = session.tables.pause_rules
    query = select(rules).where(rules.c.since < before).order_by(rules.c.id)
    rows = session.connection.execute(query).all()
    _delete_rows(session, rules.c.id, _obsolete_rules(rows, before))


def _obsolete_rules(rows: Sequence[Row[Any]], before: datetime) -> list[int]:
    """Return the ids of pause rules that make no difference from a moment on.

    ``rows`` are oldest first. A rule counts until the next one with its pattern, or with ``*``. Of
    the rules that count, one that is no pause in force may still end an older pause, so only the
    oldest of them can go.
    """
    obsolete, counting = [], []
    patterns: set[str] = set()
    for row in reversed(rows):
        if patterns & {row.pattern, "*"}:
            obsolete.append(row.id)
        else:
            patterns.add(row.pattern)
            counting.append(row)
    while counting and not _is_in_force(counting[-1], before):
        obsolete.append(counting.pop().id)
    return obsolete


def _is_in_force(row: Row[Any], at: datetime) -> bool:
    return bool(row.is_pause) and (row.until is None or row.until > at)
