"""What is on record of all tasks together: a few queries, however many tasks and runs there are."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    func,
    literal,
    select,
    type_coerce,
    union_all,
)

from ..planning.pauses import PauseRule
from ..planning.snapshot import ActiveRun, WaitingRun
from ..run import Run, RunState, first_id
from .rows import (
    select_active_runs,
    select_pause_rules,
    state_by_task_index,
    to_run,
    to_waiting_run,
)
from .run_stats import TICK_STATS_TASK, RunStats, read_run_stats
from .schema import LONG_TEXT, Tables
from .session import IDS_PER_STATEMENT
from .store import Store

RUNS_BETWEEN_LOOK_BACK = timedelta(hours=24)
"""How long before a span runs were claimed, at most, that are shown since they ended in it."""

LONG_RUN_COLUMNS = ("traceback", "payload")
"""Columns that lists do without."""


@dataclass(frozen=True, slots=True)
class WaitingSummary:
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

    run_stats: list[RunStats]
    active_runs: list[ActiveRun]
    waiting: list[WaitingSummary]
    pause_rules: list[PauseRule]
    last_runs: dict[str, Run]
    last_ticks: dict[str, datetime]
    task_sets: dict[str, frozenset[str]]
    tick_count: int


def read_overview(store: Store, task_set_id: str) -> Overview:
    """Return what is on record, as the app with this roster sees it. Raises StoreError."""
    store.open()
    tables = store.tables
    with store.database.read() as connection:
        totals = read_run_stats(connection, tables)
        tasks = [each for each in totals if each.task != TICK_STATS_TASK]
        last_ticks = _select_last_ticks(connection, tables)
        return Overview(
            run_stats=tasks,
            active_runs=select_active_runs(connection, tables),
            waiting=_select_waiting_summaries(connection, tables),
            pause_rules=select_pause_rules(connection, tables),
            last_runs=_select_runs_by_task(connection, tables, newest_run_ids(tasks).values()),
            last_ticks=last_ticks,
            task_sets=_select_task_sets(
                connection, tables, _newer_task_sets(last_ticks, task_set_id)
            ),
            tick_count=sum(each.count for each in totals if each.task == TICK_STATS_TASK),
        )


def newest_run_ids(run_stats: Iterable[RunStats]) -> dict[str, str]:
    """Return the id of each task's newest run that is over; what was skipped did not run."""
    newest: dict[str, str] = {}
    for each in run_stats:
        if not each.is_skipped:
            newest[each.task] = max(each.newest_run, newest.get(each.task, ""))
    return newest


def _select_last_ticks(connection: Connection, tables: Tables) -> dict[str, datetime]:
    task_sets = tables.task_sets
    rows = connection.execute(select(task_sets.c.id, task_sets.c.last_tick))
    return {row.id: row.last_tick for row in rows}


def _newer_task_sets(last_ticks: dict[str, datetime], task_set_id: str) -> list[str]:
    mine = last_ticks.get(task_set_id)
    return [id_ for id_, last in last_ticks.items() if mine is None or last > mine]


def _select_task_sets(
    connection: Connection, tables: Tables, ids: Collection[str]
) -> dict[str, frozenset[str]]:
    if not ids:
        return {}
    task_sets = tables.task_sets
    rows = connection.execute(select(task_sets).where(task_sets.c.id.in_(ids)))
    return {row.id: frozenset(json.loads(row.tasks)) for row in rows}


def _select_waiting_summaries(connection: Connection, tables: Tables) -> list[WaitingSummary]:
    waiting = tables.waiting
    counted = func.count(), func.min(waiting.c.not_before)
    query = select(waiting.c.task, waiting.c.trigger, *counted)
    return [
        WaitingSummary(*row)
        for row in connection.execute(query.group_by(waiting.c.task, waiting.c.trigger))
    ]


def _select_runs_by_task(
    connection: Connection, tables: Tables, ids: Iterable[str]
) -> dict[str, Run]:
    runs, rest = tables.runs, sorted(ids)
    found: list[Any] = []
    while rest:
        piece, rest = rest[:IDS_PER_STATEMENT], rest[IDS_PER_STATEMENT:]
        found += connection.execute(select(runs).where(runs.c.id.in_(piece))).all()
    return {row.task: to_run(row) for row in found}


def list_active_runs(store: Store) -> list[ActiveRun]:
    """Return the runs that are not over, of all tasks, oldest first."""
    store.open()
    with store.database.read() as connection:
        return select_active_runs(connection, store.tables)


def list_task_names(store: Store) -> set[str]:
    """Return the names of the tasks that any version of the application has ticked with."""
    names: set[str] = set()
    for row in _select_rows(store, select(store.tables.task_sets.c.tasks)):
        names.update(json.loads(row.tasks))
    return names


def has_runs(store: Store, task: str) -> bool:
    """Return whether there is a run of a task of this name."""
    runs = store.tables.runs
    return bool(_select_rows(store, select(runs.c.id).where(runs.c.task == task).limit(1)))


def list_recent_runs(
    store: Store, task_names: Sequence[str], per_task_limit: int
) -> dict[str, list[Run]]:
    """Return up to so many of the newest runs of each of these tasks, newest first.

    Each task's are found by the index on tasks; a window over all of them would read every run
    that a busy task has ever had. SQLite takes up to 500 names.
    """
    found: dict[str, list[Run]] = {name: [] for name in task_names}
    if not task_names:
        return found
    runs = store.tables.runs
    parts = []
    for name in task_names:
        part = _short_runs_query(store.tables).where(runs.c.task == name)
        parts.append(select(part.order_by(runs.c.id.desc()).limit(per_task_limit).subquery()))
    for row in _select_rows(store, union_all(*parts)):
        found[row.task].append(to_run(row))
    for listed in found.values():
        listed.sort(key=lambda run: run.id, reverse=True)
    return found


def list_runs(
    store: Store,
    limit: int,
    *,
    task: str | None = None,
    states: Collection[RunState] = (),
    before: str | None = None,
) -> list[Run]:
    """Return the newest runs with ids before ``before``, newest first; without their long texts."""
    runs = store.tables.runs
    query = _short_runs_query(store.tables).order_by(runs.c.id.desc()).limit(limit)
    state: ColumnElement[str] = runs.c.state
    if task is not None:
        query = query.where(runs.c.task == task)
        state = state_by_task_index(store.tables)
    if states:
        query = query.where(state.in_([each.value for each in states]))
    if before is not None:
        query = query.where(runs.c.id < before)
    return [to_run(row) for row in _select_rows(store, query)]


def runs_between(store: Store, since: datetime, until: datetime, limit: int) -> list[Run]:
    """Return the newest runs that went on in [since, until), newest first.

    Of those claimed before, that is the ones that still go on, and what ended since and was claimed
    at most ``EARLIER`` before.
    """
    runs = store.tables.runs
    begun, start = runs.c.started.is_not(None), first_id(since)
    claimed = select(runs.c.id).where(runs.c.id >= start, runs.c.id < first_id(until), begun)
    going_on = select(runs.c.id).where(runs.c.lease.is_not(None), runs.c.id < start, begun)
    ended = select(runs.c.id).where(
        runs.c.id >= first_id(since - RUNS_BETWEEN_LOOK_BACK),
        runs.c.id < start,
        runs.c.finished >= since,
        begun,
    )
    newest = claimed.order_by(runs.c.id.desc()).limit(limit).subquery()
    found = union_all(select(newest.c.id), going_on, ended).subquery()
    query = _short_runs_query(store.tables).where(runs.c.id.in_(select(found.c.id)))
    rows = _select_rows(store, query.order_by(runs.c.id.desc()).limit(limit))
    return [to_run(row) for row in rows]


def count_waiting_by_task(store: Store) -> dict[str, int]:
    """Return how many slots wait, by task."""
    waiting = store.tables.waiting
    query = select(waiting.c.task, func.count().label("slots")).group_by(waiting.c.task)
    return {row.task: row.slots for row in _select_rows(store, query)}


def list_waiting(store: Store, task: str, limit: int) -> list[WaitingRun]:
    """Return what waits of a task, the next first."""
    waiting = store.tables.waiting
    query = select(waiting).where(waiting.c.task == task)
    query = query.order_by(waiting.c.not_before, waiting.c.slot).limit(limit)
    return [to_waiting_run(row) for row in _select_rows(store, query)]


def list_attempts(store: Store, run: Run) -> list[Run]:
    """Return all attempts at the slot of a run, the first first."""
    runs = store.tables.runs
    same = (runs.c.task == run.task, runs.c.slot == run.slot, runs.c.nonce == run.nonce)
    query = _short_runs_query(store.tables).where(*same).order_by(runs.c.attempt)
    return [to_run(row) for row in _select_rows(store, query)]


def _short_runs_query(tables: Tables) -> Select[Any]:
    columns: Iterable[Any] = (
        type_coerce(literal(None), LONG_TEXT).label(column.name)
        if column.name in LONG_RUN_COLUMNS
        else column
        for column in tables.runs.c
    )
    return select(*columns)


def _select_rows(store: Store, query: Any) -> list[Any]:
    store.open()
    with store.database.read() as connection:
        return list(connection.execute(query))
