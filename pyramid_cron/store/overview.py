"""What is on record of all tasks together: a few queries, however many tasks and runs there are."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from ..due.facts import Active
from ..due.pauses import Word
from ..run import Run
from .outcomes import PIECE
from .rows import all_words, going_on, to_run
from .store import Store
from .tables import Tables
from .totals import TICKS, Total, read_totals


@dataclass(frozen=True, slots=True)
class Queue:
    """How many slots of a task wait, for one reason, and from when on the oldest could have run."""

    task: str
    trigger: str
    count: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Overview:
    """What is on record at one moment.

    ``last`` is each task's newest run that is over and not forgotten yet, ``last_ticks`` the last
    tick of each roster, ``rosters`` the names in those that ticked after the one asked for, and
    ``ticks`` how many ticks there ever were.
    """

    totals: list[Total]
    active: list[Active]
    queues: list[Queue]
    words: list[Word]
    last: dict[str, Run]
    last_ticks: dict[str, datetime]
    rosters: dict[str, frozenset[str]]
    ticks: int


def overview(store: Store, roster: str) -> Overview:
    """Return what is on record, as the app with this roster sees it. Raises StoreError."""
    store.open()
    tables = store.tables
    with store.database.read() as connection:
        totals = read_totals(connection, tables)
        tasks = [each for each in totals if each.task != TICKS]
        last_ticks = _last_ticks(connection, tables)
        return Overview(
            totals=tasks,
            active=going_on(connection, tables),
            queues=_queues(connection, tables),
            words=all_words(connection, tables),
            last=_runs(connection, tables, newest_runs(tasks).values()),
            last_ticks=last_ticks,
            rosters=_rosters(connection, tables, _newer(last_ticks, roster)),
            ticks=sum(each.count for each in totals if each.task == TICKS),
        )


def newest_runs(totals: Iterable[Total]) -> dict[str, str]:
    """Return the id of each task's newest run that is over; what was skipped did not run."""
    newest: dict[str, str] = {}
    for each in totals:
        if not each.skipped:
            newest[each.task] = max(each.newest, newest.get(each.task, ""))
    return newest


def _last_ticks(connection: Connection, tables: Tables) -> dict[str, datetime]:
    rosters = tables.rosters
    rows = connection.execute(select(rosters.c.id, rosters.c.last_tick))
    return {row.id: row.last_tick for row in rows}


def _newer(last_ticks: dict[str, datetime], roster: str) -> list[str]:
    mine = last_ticks.get(roster)
    return [id_ for id_, last in last_ticks.items() if mine is None or last > mine]


def _rosters(
    connection: Connection, tables: Tables, ids: Collection[str]
) -> dict[str, frozenset[str]]:
    if not ids:
        return {}
    rosters = tables.rosters
    rows = connection.execute(select(rosters).where(rosters.c.id.in_(ids)))
    return {row.id: frozenset(json.loads(row.tasks)) for row in rows}


def _queues(connection: Connection, tables: Tables) -> list[Queue]:
    waiting = tables.waiting
    counted = func.count(), func.min(waiting.c.not_before)
    query = select(waiting.c.task, waiting.c.trigger, *counted)
    return [
        Queue(*row) for row in connection.execute(query.group_by(waiting.c.task, waiting.c.trigger))
    ]


def _runs(connection: Connection, tables: Tables, ids: Iterable[str]) -> dict[str, Run]:
    runs, rest = tables.runs, sorted(ids)
    found: list[Any] = []
    while rest:
        piece, rest = rest[:PIECE], rest[PIECE:]
        found += connection.execute(select(runs).where(runs.c.id.in_(piece))).all()
    return {row.task: to_run(row) for row in found}
