"""Ticks on record, and the task sets that ticked."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, Update, bindparam, select, update

from .rows import Session, insert_new
from .run_stats import count_ticks
from .schema import Tables, Values, once_per_store

MAX_CLOCK_SKEW = timedelta(minutes=1)
"""How much the clocks of hosts may differ."""


@dataclass(frozen=True, slots=True)
class TickRecord:
    """One hit on the trigger, as it is on record; or a beat, of which no record is kept."""

    id: str
    #: Aware, UTC.
    at: datetime
    task_set_id: str
    host: str
    pid: int
    run_count: int = 0
    skipped_count: int = 0
    #: Up to which version of the stored schedules it knows them.
    schedules_version: int = 0
    #: Whether the process made it by itself, between two hits.
    is_beat: bool = False
    #: Whether a transaction with it may have been committed: its answer was lost.
    is_maybe_written: bool = False


def write_ticks(session: Session, ticks: Sequence[tuple[TickRecord, Collection[str]]]) -> None:
    """Write ticks, each with the task names of its task set, and the sets' last ticks."""
    newest: dict[str, tuple[TickRecord, Collection[str]]] = {}
    for tick, task_names in ticks:
        current = newest.get(tick.task_set_id)
        if current is None or _is_newer_tick(tick.at, current[0].at):
            newest[tick.task_set_id] = tick, task_names
    for tick, task_names in newest.values():
        touch_task_set(session, tick, task_names)
    maybe_written = [tick.id for tick, _ in ticks if tick.is_maybe_written]
    new_count = len(ticks) - _count_written(session, maybe_written)
    insert_new(session, session.tables.ticks, [_make_tick_row(tick) for tick, _ in ticks])
    count_ticks(session, new_count)


def _make_tick_row(tick: TickRecord) -> Values:
    return {
        "id": tick.id,
        "at": tick.at,
        "task_set": tick.task_set_id,
        "host": tick.host,
        "pid": tick.pid,
        "run_count": tick.run_count,
        "skipped_count": tick.skipped_count,
    }


def _count_written(session: Session, tick_ids: Sequence[str]) -> int:
    """Return how many of these ticks are on record."""
    if not tick_ids:
        return 0
    column = session.tables.ticks.c.id
    return len(session.connection.scalars(select(column).where(column.in_(tick_ids))).all())


def touch_task_set(
    session: Session, tick: TickRecord, task_names: Collection[str]
) -> datetime | None:
    """Record that a tick or beat handles the slots of a task set until its moment.

    Returns the end of the window before, None if there was none. It moves back only where it was
    further ahead than the clocks of hosts differ. That was a wrong clock's, and None is returned as
    well.
    """
    tables, connection = session.tables, session.connection
    parameters: Values = {"task_set_id": tick.task_set_id}
    row = connection.execute(_task_set_query(tables), parameters).one_or_none()
    if row is None:
        names = json.dumps(list(task_names))
        new_row = {
            "id": tick.task_set_id,
            "task_names": names,
            "last_tick": tick.at,
            "window_end": tick.at,
            "schedules_version": tick.schedules_version,
        }
        insert_new(session, tables.task_sets, [new_row])
        return None
    is_last_tick = not tick.is_beat and _is_newer_tick(tick.at, row.last_tick)
    if is_last_tick or _is_newer_tick(tick.at, row.window_end):
        parameters["last_tick"] = tick.at if is_last_tick else row.last_tick
        is_newer = _is_newer_tick(tick.at, row.window_end)
        parameters["window_end"] = tick.at if is_newer else row.window_end
        newest = tick if is_newer else row
        parameters["schedules_version"] = newest.schedules_version
        connection.execute(_task_set_update(tables), parameters)
    return None if row.window_end - tick.at > MAX_CLOCK_SKEW else row.window_end


@once_per_store
def _task_set_query(tables: Tables) -> Select[Any]:
    task_sets = tables.task_sets
    columns = task_sets.c.last_tick, task_sets.c.window_end, task_sets.c.schedules_version
    return select(*columns).where(task_sets.c.id == bindparam("task_set_id"))


@once_per_store
def _task_set_update(tables: Tables) -> Update:
    task_sets = tables.task_sets
    statement = update(task_sets).where(task_sets.c.id == bindparam("task_set_id"))
    names = ("last_tick", "window_end", "schedules_version")
    return statement.values({name: bindparam(name) for name in names})


def _is_newer_tick(at: datetime, last_tick: datetime) -> bool:
    """Return whether a tick replaces the last one on record."""
    return at > last_tick or last_tick - at > MAX_CLOCK_SKEW
