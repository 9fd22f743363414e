"""The actions on record: written along with what they did, and read by pages and ``pcron``.

Each function takes the session of one transaction. Moments are aware, those returned in UTC.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, select

from ..action_record import ActionKind, ActionRecord
from ..planning.snapshot import matches_any
from ..run import first_id
from ..text import make_storable
from .rows import Session
from .schema import Tables

MAX_WHO_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class ActionFilter:
    """Which actions to list; None means any."""

    #: The name of a task or of a stored schedule; a pattern that matches it counts, too.
    task: str | None = None
    #: The command line of that task, which patterns may match; None of others.
    command: str | None = None
    kind: ActionKind | None = None
    who: str | None = None
    #: The id of a run.
    run: str | None = None
    #: At this moment or later, and before the other one (aware).
    since: datetime | None = None
    until: datetime | None = None
    #: The id of an action: only older ones.
    before: str | None = None

    def conditions(self, tables: Tables) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions on the rows of actions, but for that on the task."""
        columns = tables.actions.c
        if self.kind is not None:
            yield columns.action == self.kind.value
        if self.who is not None:
            yield columns.who == self.who
        if self.run is not None:
            yield columns.run == self.run
        if self.since is not None:
            yield columns.id >= first_id(self.since)
        if self.until is not None:
            yield columns.id < first_id(self.until)
        if self.before is not None:
            yield columns.id < self.before


ANY_ACTION = ActionFilter()


def record_action(session: Session, action: ActionRecord | None) -> None:
    """Put an action on record; None is none."""
    if action is None:
        return
    row = {
        "id": action.id,
        "at": action.at,
        "action": action.kind.value,
        "who": make_storable(action.who)[:MAX_WHO_CHARACTERS],
        "task": action.task,
        "schedule": action.schedule,
        "run": action.run,
        "pattern": action.pattern,
        "details": json.dumps(action.details),
    }
    session.connection.execute(insert(session.tables.actions), [row])


def list_actions(
    session: Session, limit: int, action_filter: ActionFilter = ANY_ACTION
) -> list[ActionRecord]:
    """Return the newest actions that fit, newest first."""
    actions = session.tables.actions
    query = select(actions).where(*action_filter.conditions(session.tables))
    query = query.order_by(actions.c.id.desc())
    name = action_filter.task
    if name is None:
        return [_to_action(row) for row in session.connection.execute(query.limit(limit))]
    found = [
        _to_action(row)
        for column in (actions.c.task, actions.c.schedule)
        for row in session.connection.execute(query.where(column == name).limit(limit))
    ]
    # Few actions have a pattern, and no database can match it.
    rows = session.connection.execute(query.where(actions.c.task.is_(None)))
    by_pattern = (_to_action(row) for row in rows if row.pattern is not None)
    command = action_filter.command
    found += [
        action for action in by_pattern if matches_any(action.pattern or "", (name,), command)
    ]
    newest = {action.id: action for action in found}
    return sorted(newest.values(), key=lambda action: action.id, reverse=True)[:limit]


def prune_actions(session: Session, before: datetime, limit: int) -> int:
    """Delete up to ``limit`` actions from before a moment; return how many."""
    column = session.tables.actions.c.id
    query = select(column).where(column < first_id(before)).order_by(column).limit(limit)
    action_ids = list(session.connection.scalars(query))
    if action_ids:
        session.connection.execute(delete(column.table).where(column.in_(action_ids)))
    return len(action_ids)


def _to_action(row: Row[Any]) -> ActionRecord:
    return ActionRecord(
        id=row.id,
        at=row.at,
        kind=ActionKind(row.action),
        who=row.who,
        task=row.task,
        schedule=row.schedule,
        run=row.run,
        pattern=row.pattern,
        details=json.loads(row.details),
    )
