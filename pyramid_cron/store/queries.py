"""What is on record of all tasks together: a few queries, however many tasks and runs there are."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from ..planning.pauses import PauseRule
from ..planning.snapshot import ActiveRun
from ..run import Run
from .results import IDS_PER_STATEMENT
from .rows import select_active_runs, select_pause_rules, to_run
from .run_stats import TICK_STATS_TASK, RunStats, read_run_stats
from .store import Store
from .tables import Tables


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
    rosters = tables.rosters
    rows = connection.execute(select(rosters.c.id, rosters.c.last_tick))
    return {row.id: row.last_tick for row in rows}


def _newer_task_sets(last_ticks: dict[str, datetime], task_set_id: str) -> list[str]:
    mine = last_ticks.get(task_set_id)
    return [id_ for id_, last in last_ticks.items() if mine is None or last > mine]


def _select_task_sets(
    connection: Connection, tables: Tables, ids: Collection[str]
) -> dict[str, frozenset[str]]:
    if not ids:
        return {}
    rosters = tables.rosters
    rows = connection.execute(select(rosters).where(rosters.c.id.in_(ids)))
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
