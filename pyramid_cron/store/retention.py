"""Deleting what is older than people care for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Row, Select, delete, exists, func, or_, select

from ..planning.snapshot import BACKFILL_ORIGIN
from ..run import first_id
from .session import Session
from .store import Store


def prune(store: Store, before: datetime, limit: int) -> int:
    """Delete up to ``limit`` runs, and as many ticks, from before a moment; return how many.

    One short transaction, so that no process waits long: call it until it returns less than
    ``limit``. Task sets, pause rules and deduplication keys without further use go as well; active
    and waiting runs stay, with their keys. Raises StoreError.
    """
    with store.write_session() as session:
        deleted = _prune_runs(session, before, limit) + _prune_ticks(session, before, limit)
        _prune_task_sets(session, before)
        _prune_pause_rules(session, before)
    return deleted


def _prune_runs(session: Session, before: datetime, limit: int) -> int:
    runs = session.tables.runs
    query = _oldest_ids_query(runs.c.id, before, limit).where(runs.c.lease.is_(None))
    rows = session.connection.execute(query.add_columns(runs.c.slot, runs.c.nonce)).all()
    run_ids = [row.id for row in rows]
    _delete_rows(session, runs.c.id, run_ids)
    _delete_rows(session, session.tables.run_outputs.c.run, run_ids)
    _prune_dedup_keys(session, {row.slot for row in rows if row.nonce > BACKFILL_ORIGIN})
    return len(rows)


def _prune_dedup_keys(session: Session, slots: Collection[datetime]) -> None:
    """Delete the keys of runs at these slots, unless such a run is on record or waits."""
    tables = session.tables
    keys = tables.dedup_keys
    in_use = [
        exists().where(table.c.slot == keys.c.moment, table.c.task == keys.c.task)
        for table in (tables.waiting, tables.runs)
    ]
    if slots:
        session.connection.execute(delete(keys).where(keys.c.moment.in_(slots), ~or_(*in_use)))


def _prune_ticks(session: Session, before: datetime, limit: int) -> int:
    column = session.tables.ticks.c.id
    tick_ids = list(session.connection.scalars(_oldest_ids_query(column, before, limit)))
    _delete_rows(session, column, tick_ids)
    return len(tick_ids)


def _oldest_ids_query(column: Column[Any], before: datetime, limit: int) -> Select[Any]:
    return select(column).where(column < first_id(before)).order_by(column).limit(limit)


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
    query = select(rules).where(rules.c.moment < before).order_by(rules.c.id)
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
    return bool(row.pauses) and (row.until is None or row.until > at)
