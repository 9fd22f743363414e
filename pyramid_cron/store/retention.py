"""Forgetting what is older than people care for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, delete, exists, func, or_, select

from ..planning.snapshot import BACKFILL_ORIGIN
from ..run import first_id
from .schema import Tables


def prune_batch(connection: Connection, tables: Tables, before: datetime, limit: int) -> int:
    """Forget up to ``limit`` runs and as many ticks from before a moment; return how many.

    Rosters, words and keys that are of no use any more go with them. What goes on and what waits
    stays, with its key.
    """
    runs, ticks = tables.runs, tables.ticks
    over = _oldest_ids_query(runs.c.id, before, limit).where(runs.c.lease.is_(None))
    rows = connection.execute(over.add_columns(runs.c.slot, runs.c.nonce)).all()
    gone = [row.id for row in rows]
    _delete_rows(connection, runs.c.id, gone)
    _delete_rows(connection, tables.run_outputs.c.run, gone)
    _prune_keys(connection, tables, {row.slot for row in rows if row.nonce > BACKFILL_ORIGIN})
    ticked = list(connection.scalars(_oldest_ids_query(ticks.c.id, before, limit)))
    _delete_rows(connection, ticks.c.id, ticked)
    _prune_task_sets(connection, tables, before)
    _prune_pause_rules(connection, tables, before)
    return len(gone) + len(ticked)


def _oldest_ids_query(column: Column[Any], before: datetime, limit: int) -> Select[Any]:
    return select(column).where(column < first_id(before)).order_by(column).limit(limit)


def _delete_rows(connection: Connection, column: Column[Any], values: Sequence[Any]) -> None:
    if values:
        connection.execute(delete(column.table).where(column.in_(values)))


def _prune_task_sets(connection: Connection, tables: Tables, before: datetime) -> None:
    """Forget versions of the app that ticked long ago, but never the one that ticked last."""
    task_sets = tables.task_sets
    newest = connection.scalar(select(func.max(task_sets.c.last_tick)))
    if newest is not None:
        connection.execute(delete(task_sets).where(task_sets.c.last_tick < min(before, newest)))


def _prune_keys(connection: Connection, tables: Tables, slots: Collection[datetime]) -> None:
    """Forget the keys of runs at these slots, unless there is still a run, or one that waits."""
    dedup_keys = tables.dedup_keys
    known = [
        exists().where(table.c.slot == dedup_keys.c.moment, table.c.task == dedup_keys.c.task)
        for table in (tables.waiting, tables.runs)
    ]
    if slots:
        connection.execute(delete(dedup_keys).where(dedup_keys.c.moment.in_(slots), ~or_(*known)))


def _prune_pause_rules(connection: Connection, tables: Tables, before: datetime) -> None:
    pause_rules = tables.pause_rules
    old = select(pause_rules).where(pause_rules.c.moment < before).order_by(pause_rules.c.id)
    _delete_rows(
        connection, pause_rules.c.id, _obsolete_rules(connection.execute(old).all(), before)
    )


def _obsolete_rules(rules: Sequence[Row[Any]], before: datetime) -> list[int]:
    """Return the ids of words that make no difference from a moment on; words are oldest first.

    A word counts until the next one with its pattern, or with ``*``. Of the others, one that is no
    pause in force may still keep an older pause from counting, so only the oldest of them can go.
    """
    spent, counting = [], []
    patterns: set[str] = set()
    for word in reversed(rules):
        if patterns & {word.pattern, "*"}:
            spent.append(word.id)
        else:
            patterns.add(word.pattern)
            counting.append(word)
    while counting and not _is_in_force(counting[-1], before):
        spent.append(counting.pop().id)
    return spent


def _is_in_force(rule: Row[Any], at: datetime) -> bool:
    return bool(rule.pauses) and (rule.until is None or rule.until > at)
