"""Ticks on record, and the task sets that made them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, select, update

from .run_stats import count_ticks
from .schema import Tables, once_per_store
from .session import insert_new

MAX_CLOCK_SKEW = timedelta(minutes=1)
"""How much the clocks of hosts may differ."""


@dataclass(frozen=True, slots=True)
class TickRecord:
    """One hit on the trigger: when (aware, UTC), who answered it, and how many runs it made.

    ``doubtful`` is whether it may be on record already: to write it was tried, without an answer.
    """

    id: str
    at: datetime
    task_set_id: str
    host: str
    pid: int
    run_count: int = 0
    skipped_count: int = 0
    is_maybe_written: bool = False


def write_ticks(
    connection: Connection, tables: Tables, ticks: Sequence[tuple[TickRecord, Collection[str]]]
) -> None:
    """Write ticks, and that the rosters of these names have ticked."""
    latest: dict[str, tuple[TickRecord, Collection[str]]] = {}
    for tick, names in ticks:
        known = latest.get(tick.task_set_id)
        if known is None or _is_newer_tick(tick.at, known[0].at):
            latest[tick.task_set_id] = tick, names
    for tick, names in latest.values():
        touch_task_set(connection, tables, tick, names)
    rows = [
        {
            "id": tick.id,
            "moment": tick.at,
            "roster": tick.task_set_id,
            "host": tick.host,
            "pid": tick.pid,
            "runs": tick.run_count,
            "skipped": tick.skipped_count,
        }
        for tick, _ in ticks
    ]
    counted = _count_written_ticks(
        connection, tables, [tick.id for tick, _ in ticks if tick.is_maybe_written]
    )
    insert_new(connection, tables.ticks, rows)
    count_ticks(connection, tables, len(rows) - counted)


def _count_written_ticks(connection: Connection, tables: Tables, tick_ids: Sequence[str]) -> int:
    """Return how many of these ticks are on record."""
    column = tables.ticks.c.id
    return (
        len(connection.scalars(select(column).where(column.in_(tick_ids))).all()) if tick_ids else 0
    )


def touch_task_set(
    connection: Connection, tables: Tables, tick: TickRecord, task_names: Collection[str]
) -> datetime | None:
    """Note that the roster of these names has ticked; return when it last did.

    Its last tick goes back only after a clock was wrong by more than hosts usually differ. None is
    returned then, or if there was none.
    """
    task_sets = tables.task_sets
    found = connection.scalar(_last_tick_query(tables), {"roster": tick.task_set_id})
    if found is None:
        row = {"id": tick.task_set_id, "tasks": json.dumps(list(task_names)), "last_tick": tick.at}
        insert_new(connection, task_sets, [row])
    elif _is_newer_tick(tick.at, found):
        connection.execute(
            _last_tick_update(tables), {"roster": tick.task_set_id, "moment": tick.at}
        )
    return None if found is None or found - tick.at > MAX_CLOCK_SKEW else found


@once_per_store
def _last_tick_query(tables: Tables) -> Select[Any]:
    task_sets = tables.task_sets
    return select(task_sets.c.last_tick).where(task_sets.c.id == bindparam("roster"))


@once_per_store
def _last_tick_update(tables: Tables) -> Update:
    task_sets = tables.task_sets
    mine = update(task_sets).where(task_sets.c.id == bindparam("roster"))
    return mine.values(last_tick=bindparam("moment"))


def _is_newer_tick(moment: datetime, last_tick: datetime) -> bool:
    """Return whether a tick's moment takes the place of the one that is known as the last."""
    return moment > last_tick or last_tick - moment > MAX_CLOCK_SKEW
