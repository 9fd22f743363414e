"""Stored schedules on record: what has changed of them, and what they are.

Each function takes the session of one transaction. Moments are aware, those returned in UTC.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    bindparam,
    delete,
    func,
    literal,
    select,
    update,
)

from ..action_record import ActionRecord
from ..planning.schedule_book import StoredSchedule
from .rows import (
    EXACT_ROWCOUNT_DIALECTS,
    SCHEDULES_VERSION_INFO,
    Session,
    batched,
    dump_payload,
    load_payload,
    read_info,
    upsert,
)
from .schema import Tables, TaskName, once_per_store


@dataclass(frozen=True, slots=True)
class ScheduleChange:
    """A stored schedule as it is from a moment on."""

    schedule: StoredSchedule
    is_removed: bool = False
    #: Is put on record with it.
    action: ActionRecord | None = None

    @property
    def is_off(self) -> bool:
        """Whether it makes no slots from now on."""
        return self.is_removed or not self.schedule.is_enabled


class ScheduleNews(NamedTuple):
    """What ticks have to know of a stored schedule that has changed; there may be very many."""

    name: str
    task: str
    #: When it is, as JSON text.
    arguments: str
    #: Slots that are later count (aware, UTC).
    changed: datetime
    version: int
    is_enabled: int
    is_removed: int

    @property
    def is_off(self) -> bool:
        """Whether it makes no slots from now on."""
        return bool(self.is_removed or not self.is_enabled)


def put_change(session: Session, change: ScheduleChange) -> None:
    """Write a stored schedule as it is now, under the next version."""
    schedule, table = change.schedule, session.tables.schedules
    values = {
        "task": schedule.task,
        "arguments": json.dumps(schedule.arguments),
        "payload": dump_payload(schedule.payload),
        "is_enabled": int(schedule.is_enabled),
        "is_removed": int(change.is_removed),
        "changed": schedule.changed,
        "version": _next_version(session),
    }
    statement = upsert(session.connection.dialect.name, table).values(name=schedule.name, **values)
    if session.connection.dialect.name in EXACT_ROWCOUNT_DIALECTS:
        statement = statement.on_conflict_do_update(index_elements=["name"], set_=values)
    else:
        statement = statement.on_duplicate_key_update(values)
    session.connection.execute(statement)


def _next_version(session: Session, count: int = 1) -> int:
    """Return the first version of so many changes; others wait for the end of the transaction."""
    info = session.tables.schema_info
    is_version = info.c.name == SCHEDULES_VERSION_INFO
    query = select(info.c.value).where(is_version).with_for_update()
    last = int(session.connection.scalar(query) or 0)
    session.connection.execute(update(info).where(is_version).values(value=str(last + count)))
    return last + 1


def read_version(session: Session) -> int:
    """Return how often stored schedules have changed."""
    return int(read_info(session, SCHEDULES_VERSION_INFO) or 0)


def read_news(session: Session, since: int, limit: int) -> list[ScheduleNews]:
    """Return what has changed after a version, in order: the first so many."""
    parameters = {"since": since, "limit": limit}
    rows = session.connection.execute(_news_query(session.tables), parameters)
    return [ScheduleNews(*row) for row in rows.all()]


@once_per_store
def _news_query(tables: Tables) -> Select[Any]:
    columns = [tables.schedules.c[name] for name in ScheduleNews._fields]
    version = tables.schedules.c.version
    query = select(*columns).where(version > bindparam("since")).order_by(version)
    return query.limit(bindparam("limit"))


@dataclass(frozen=True, slots=True)
class ScheduleFilter:
    """Which stored schedules to list; None means any."""

    #: The name of their task.
    task: str | None = None
    #: What their names contain, in the same case.
    name_part: str | None = None
    names: Collection[str] | None = None


def list_schedules(
    session: Session,
    schedule_filter: ScheduleFilter = ScheduleFilter(),
    limit: int | None = None,
    offset: int = 0,
) -> list[StoredSchedule]:
    """Return stored schedules by their names: so many after an offset, or all."""
    table = session.tables.schedules
    query = select(table).where(*_conditions(session, schedule_filter)).order_by(table.c.name)
    query = query.limit(limit).offset(offset) if limit is not None else query
    return [_to_schedule(row) for row in session.connection.execute(query)]


def count_schedules(session: Session) -> list[tuple[str, bool, int]]:
    """Return how many stored schedules each task has, enabled or not."""
    table = session.tables.schedules
    query = select(table.c.task, table.c.is_enabled, func.count()).where(table.c.is_removed == 0)
    rows = session.connection.execute(query.group_by(table.c.task, table.c.is_enabled))
    return [(task, bool(is_enabled), count) for task, is_enabled, count in rows]


def count_listed(session: Session, schedule_filter: ScheduleFilter) -> int:
    """Return how many stored schedules there are."""
    query = select(func.count()).select_from(session.tables.schedules)
    conditions = _conditions(session, schedule_filter)
    return int(session.connection.scalar(query.where(*conditions)) or 0)


def _conditions(session: Session, schedule_filter: ScheduleFilter) -> list[ColumnElement[bool]]:
    table = session.tables.schedules
    conditions: list[ColumnElement[bool]] = [table.c.is_removed == 0]
    if schedule_filter.task is not None:
        conditions.append(table.c.task == schedule_filter.task)
    if schedule_filter.names is not None:
        conditions.append(table.c.name.in_(schedule_filter.names))
    if schedule_filter.name_part is not None:
        is_postgresql = session.connection.dialect.name == "postgresql"
        position_of = func.strpos if is_postgresql else func.instr
        part = literal(schedule_filter.name_part, TaskName)
        conditions.append(position_of(table.c.name, part) > 0)
    return conditions


def find_schedule(session: Session, name: str) -> StoredSchedule | None:
    """Return the stored schedule of this name; None if there is none."""
    table = session.tables.schedules
    query = select(table).where(table.c.name == name, table.c.is_removed == 0)
    row = session.connection.execute(query).one_or_none()
    return None if row is None else _to_schedule(row)


def read_payloads(session: Session, names: Collection[str]) -> dict[str, Any]:
    """Return the payloads of stored schedules by their names."""
    table = session.tables.schedules
    rows = (
        row
        for some in batched(names)
        for row in session.connection.execute(
            select(table.c.name, table.c.payload).where(table.c.name.in_(some))
        )
    )
    return {row.name: load_payload(row.payload) for row in rows}


def remove_all(session: Session) -> None:
    """Remove all stored schedules; processes that know them hear of it.

    Each has a version of its own, by which its change is known.
    """
    table = session.tables.schedules
    is_there = table.c.is_removed == 0
    names = session.connection.scalars(select(table.c.name).where(is_there)).all()
    if not names:
        return
    first = _next_version(session, len(names))
    removed = {"is_removed": 1, "arguments": "{}", "payload": None, "version": bindparam("next")}
    session.connection.execute(
        update(table).where(table.c.name == bindparam("of")).values(removed),
        [{"of": name, "next": first + number} for number, name in enumerate(names)],
    )


def prune_removed(session: Session, before: datetime) -> None:
    """Forget stored schedules that were removed before a moment."""
    table = session.tables.schedules
    session.connection.execute(
        delete(table).where(table.c.is_removed == 1, table.c.changed < before)
    )


def _to_schedule(row: Row[Any]) -> StoredSchedule:
    return StoredSchedule(
        name=row.name,
        task=row.task,
        arguments=json.loads(row.arguments),
        payload=load_payload(row.payload),
        is_enabled=bool(row.is_enabled),
        changed=row.changed,
        version=row.version,
    )
