"""What pages, ``pcron`` and metrics read: a few queries, however many tasks and runs there are.

Each function reads in a transaction of its own, and raises StoreError if the store can't be read.
Moments are aware, those returned in UTC.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    func,
    literal,
    literal_column,
    select,
    type_coerce,
    union_all,
)

from ..planning.snapshot import ActiveRun, PauseRule, list_give_ups
from ..run import Run, RunReason, RunState, Trigger
from ..schedule.zones import EPOCH
from .ends import as_ended, read_ends, select_ended, select_newest
from .rows import (
    WORKER_SEEN_INFO,
    Session,
    batched,
    newest_first,
    newness,
    read_info,
    select_active_runs,
    select_pause_rules,
    to_run,
)
from .run_stats import TICK_STATS_TASK, RunStats, read_run_stats
from .schedule_records import ScheduleRecords, read_troubled
from .schema import LONG_TEXT, Tables
from .store import Store

RUNS_BETWEEN_LOOK_BACK = timedelta(hours=24)
"""How long before a span a run that ended in it may have been claimed, to be listed."""

QUARTER = timedelta(minutes=15)
QUARTER_MICROSECONDS = QUARTER // timedelta(microseconds=1)

LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)

TROUBLE_LOOK_BACK = timedelta(days=7)
"""How long ago a stored schedule may have failed to be found as one that needs a look."""

LONG_RUN_COLUMNS = ("traceback", "payload")
"""Columns that lists do without."""


@dataclass(frozen=True, slots=True)
class WaitingSummary:
    """The waiting runs of a task with one trigger."""

    task: str
    trigger: str
    count: int
    #: The earliest moment from which one of them may run.
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Overview:
    """What is on record at one moment."""

    run_stats: list[RunStats]
    active_runs: list[ActiveRun]
    waiting: list[WaitingSummary]
    #: Oldest first.
    pause_rules: list[PauseRule]
    #: Each task's newest run that is over, was not skipped and is not deleted yet.
    last_runs: dict[str, Run]
    #: The last tick of each task set, by its id.
    last_ticks: dict[str, datetime]
    #: Until when the slots of each task set are handled, by its id.
    window_ends: dict[str, datetime]
    #: The task names of the sets that ticked after this application's, by their ids.
    task_sets: dict[str, frozenset[str]]
    #: How many ticks there ever were.
    tick_count: int
    #: When a worker was there last; None if none ever was.
    worker_seen: datetime | None = None
    #: The stored schedules that may need somebody to look after them.
    troubled: ScheduleRecords = ()


def read_overview(store: Store, task_set_id: str, now: datetime) -> Overview:
    """Return what is on record at a moment, for an application with this task set."""
    with store.read_session() as session:
        stats = read_run_stats(session)
        task_stats = [row for row in stats if row.task != TICK_STATS_TASK]
        task_sets = _select_task_set_moments(session)
        window_ends = {row.id: row.window_end for row in task_sets}
        return Overview(
            run_stats=task_stats,
            active_runs=select_active_runs(session),
            waiting=_select_waiting_summaries(session),
            pause_rules=(rules := select_pause_rules(session)),
            last_runs=_select_last_runs(session, task_stats),
            last_ticks={row.id: row.last_tick for row in task_sets},
            window_ends=window_ends,
            task_sets=_select_task_sets(session, _newer_task_sets(window_ends, task_set_id)),
            tick_count=sum(row.count for row in stats if row.task == TICK_STATS_TASK),
            worker_seen=_read_worker_seen(session),
            troubled=read_troubled(session, now - TROUBLE_LOOK_BACK, list_give_ups(rules)),
        )


def _read_worker_seen(session: Session) -> datetime | None:
    text = read_info(session, WORKER_SEEN_INFO)
    return None if text is None else datetime.fromisoformat(text)


def newest_run_ids(run_stats: Iterable[RunStats]) -> dict[str, str]:
    """Return the id of each task's newest run that is over and was not skipped."""
    newest: dict[str, RunStats] = {}
    for row in run_stats:
        current = newest.get(row.task)
        if not row.is_skipped and (current is None or row.newness > current.newness):
            newest[row.task] = row
    return {task: row.newest_run for task, row in newest.items()}


def _select_task_set_moments(session: Session) -> list[Any]:
    task_sets = session.tables.task_sets
    columns = task_sets.c.id, task_sets.c.last_tick, task_sets.c.window_end
    return list(session.connection.execute(select(*columns)))


def _newer_task_sets(window_ends: dict[str, datetime], task_set_id: str) -> list[str]:
    own_window_end = window_ends.get(task_set_id)
    return [
        id_
        for id_, window_end in window_ends.items()
        if own_window_end is None or window_end > own_window_end
    ]


def _select_task_sets(session: Session, ids: Collection[str]) -> dict[str, frozenset[str]]:
    if not ids:
        return {}
    task_sets = session.tables.task_sets
    rows = session.connection.execute(select(task_sets).where(task_sets.c.id.in_(ids)))
    return {row.id: frozenset(json.loads(row.task_names)) for row in rows}


def _select_waiting_summaries(session: Session) -> list[WaitingSummary]:
    runs = session.tables.runs
    key = runs.c.task, runs.c.trigger
    query = select(*key, func.count(), func.min(runs.c.not_before))
    # Not "is not null", for which SQLite goes through all runs in the order of their tasks.
    query = query.where(runs.c.not_before > LONG_AGO).group_by(*key)
    return [WaitingSummary(*row) for row in session.connection.execute(query)]


def _select_last_runs(session: Session, run_stats: Iterable[RunStats]) -> dict[str, Run]:
    """Return each task's newest run that is over, counted yet or not."""
    last_runs = _select_runs_by_task(session, newest_run_ids(run_stats).values())
    for run in select_ended(session):
        last = last_runs.get(run.task)
        if last is None or newness(run) > newness(last):
            last_runs[run.task] = run
    return last_runs


def _select_runs_by_task(session: Session, run_ids: Iterable[str]) -> dict[str, Run]:
    runs = session.tables.runs
    return {
        row.task: to_run(row)
        for ids in batched(run_ids)
        for row in session.connection.execute(select(runs).where(runs.c.id.in_(ids)))
    }


def list_task_names(store: Store) -> set[str]:
    """Return the names of the tasks that any version of the application has ticked with."""
    rows = _select_rows(store, select(store.tables.task_sets.c.task_names))
    return {name for row in rows for name in json.loads(row.task_names)}


@dataclass(frozen=True, slots=True)
class RunCount:
    """How many runs, or skipped slots, of a quarter of an hour are in one state."""

    #: The beginning of the quarter in which they were claimed or skipped (aware, UTC).
    since: datetime
    state: str
    #: Why they were skipped; None if they were not.
    reason: str | None
    count: int


def count_runs_by_quarter(store: Store, task: str, since: datetime) -> list[RunCount]:
    """Return the numbers of a task's runs since a moment, for each quarter of an hour."""
    runs = store.tables.runs
    quarter = type_coerce(runs.c.claimed, BigInteger) // literal_column(str(QUARTER_MICROSECONDS))
    columns = quarter.label("quarter"), runs.c.state, runs.c.reason
    query = select(*columns, func.sum(runs.c.slot_count))
    query = query.where(runs.c.task == task, runs.c.claimed >= since)
    rows = _select_rows(store, query.group_by("quarter", runs.c.state, runs.c.reason))
    return [
        RunCount(EPOCH + int(row[0]) * QUARTER, row.state, row.reason, int(row[3])) for row in rows
    ]


def has_runs(store: Store, task: str) -> bool:
    """Return whether a run of a task of this name is on record."""
    runs = store.tables.runs
    return bool(_select_rows(store, select(runs.c.id).where(runs.c.task == task).limit(1)))


def list_recent_runs(
    store: Store, task_names: Sequence[str], per_task_limit: int
) -> dict[str, list[Run]]:
    """Return the newest runs of each of these tasks, newest first, without their long texts.

    One subquery a task uses the index on tasks; a window over all of them would read every run
    that a busy task has ever had. SQLite takes up to 500 names.
    """
    runs_by_task: dict[str, list[Run]] = {name: [] for name in task_names}
    if not task_names:
        return runs_by_task
    short_runs = _short_runs_query(store.tables)
    parts = [
        select(newest_first(short_runs, store.tables, per_task_limit, name).subquery())
        for name in task_names
    ]
    for run in _select_runs(store, union_all(*parts)):
        runs_by_task[run.task].append(run)
    for runs in runs_by_task.values():
        runs.sort(key=newness, reverse=True)
    return runs_by_task


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list, besides those of a task and in states; None means any."""

    trigger: Trigger | None = None
    reason: RunReason | None = None
    host: str | None = None
    #: Claimed or skipped at this moment or later, and before the other one (aware).
    since: datetime | None = None
    until: datetime | None = None
    #: The name of their stored schedule.
    schedule: str | None = None

    def conditions(self, tables: Tables) -> list[ColumnElement[bool]]:
        """Return the conditions on the rows of runs."""
        columns = tables.runs.c
        conditions: list[ColumnElement[bool]] = [
            columns[name] == value
            for name, value in (
                ("trigger", self.trigger and self.trigger.value),
                ("reason", self.reason and self.reason.value),
                ("host", self.host),
                ("schedule", self.schedule),
            )
            if value is not None
        ]
        if self.since is not None:
            conditions.append(columns.claimed >= self.since)
        if self.until is not None:
            conditions.append(columns.claimed < self.until)
        return conditions


ANY_RUN = RunFilter()


def list_runs(
    store: Store,
    limit: int,
    *,
    task: str | None = None,
    states: Collection[RunState] = (),
    before: str | None = None,
    run_filter: RunFilter = ANY_RUN,
) -> list[Run]:
    """Return the newest runs, newest first, without their long texts.

    ``before`` is the id of a run: only older ones are listed.
    """
    query = _short_runs_query(store.tables).where(*run_filter.conditions(store.tables))
    if before is not None:
        query = query.where(_is_older(store.tables, before, states))
    with store.read_session() as session:
        return select_newest(session, query, limit, task, states or None)


def list_earlier_runs(
    store: Store, run: Run, limit: int, states: Collection[RunState] = ()
) -> list[Run]:
    """Return the runs before one, of its task and stored schedule, newest first.

    They are in some states, or in any but ``waiting``, and come without their long texts.
    """
    tables = store.tables
    query = _short_runs_query(tables).where(_is_of_schedule(tables, run.schedule))
    query = query.where(_is_older(tables, run.id, ()))
    with store.read_session() as session:
        return select_newest(session, query, limit, run.task, states or None)


def find_newest_failure(store: Store, task: str, schedule: str | None) -> Run | None:
    """Return the newest failure of a task, or of a stored schedule of it, without long texts."""
    query = _short_runs_query(store.tables).where(_is_of_schedule(store.tables, schedule))
    failures = [state for state in RunState if state.is_failure]
    with store.read_session() as session:
        return next(iter(select_newest(session, query, 1, task, failures)), None)


def _is_of_schedule(tables: Tables, schedule: str | None) -> ColumnElement[bool]:
    column = tables.runs.c.schedule
    return column.is_(None) if schedule is None else column == schedule


def list_failures(store: Store, since: datetime) -> list[tuple[Run, int]]:
    """Return the newest failure of each task since a moment, with their number, newest first."""
    runs = store.tables.runs
    failures = [state.value for state in RunState if state.is_failure]
    counts = select(runs.c.task, func.count().label("failures"), func.max(runs.c.id).label("id"))
    counts = counts.where(runs.c.state.in_(failures), runs.c.claimed >= since)
    with store.read_session() as session:
        count_by_id = {
            row.id: row.failures for row in session.connection.execute(counts.group_by(runs.c.task))
        }
        newest = _select_runs_by_task(session, count_by_id).values()
    pairs = [(run, count_by_id[run.id]) for run in newest]
    return sorted(pairs, key=lambda pair: newness(pair[0]), reverse=True)


def _is_older(tables: Tables, run_id: str, states: Collection[RunState]) -> ColumnElement[bool]:
    runs, same = tables.runs, tables.runs.alias()
    claimed = select(same.c.claimed).where(same.c.id == run_id).scalar_subquery()
    is_older = (runs.c.claimed < claimed) | ((runs.c.claimed == claimed) & (runs.c.id < run_id))
    if RunState.WAITING in states:  # waiting runs come after all others
        is_older |= runs.c.claimed.is_(None) & (claimed.is_not(None) | (runs.c.id < run_id))
    return is_older


class RunSpan(NamedTuple):
    """When a run went on, or which slot was skipped. Moments are aware, in UTC."""

    id: str
    task: str
    slot: datetime
    state: str
    #: Why it was skipped; None if it was not.
    reason: str | None
    #: None if it has not begun.
    started: datetime | None
    #: None if it is not over.
    finished: datetime | None
    claimed: datetime


def list_spans(store: Store, since: datetime, until: datetime, limit: int) -> list[RunSpan]:
    """Return the newest runs that went on, or were skipped, in [since, until), newest first.

    Of those claimed before that, it lists the active ones, and what ended since and was claimed at
    most :data:`RUNS_BETWEEN_LOOK_BACK` before.
    """
    runs = store.tables.runs
    columns = [runs.c[name] for name in RunSpan._fields]
    claimed_within = (
        select(*columns)
        .where(runs.c.claimed >= since, runs.c.claimed < until)
        .order_by(runs.c.claimed.desc(), runs.c.id.desc())
        .limit(limit)
    )
    # Given the plain column, SQLite uses the index on it and reads the runs of all times.
    is_active = runs.c.lease_until.is_not(None) & (
        func.coalesce(runs.c.claimed, runs.c.slot) < since
    )
    ended_within = (
        runs.c.claimed >= since - RUNS_BETWEEN_LOOK_BACK,
        runs.c.claimed < since,
        runs.c.finished >= since,
        runs.c.lease_until.is_(None),
    )
    earlier = select(*columns).where(is_active), select(*columns).where(*ended_within)
    with store.read_session() as session:
        rows = [
            RunSpan(*row)
            for query in (claimed_within, *earlier)
            for row in session.connection.execute(query)
        ]
        ends = read_ends(session, [row.id for row in rows if RunState(row.state).is_active])
    spans = [
        row._replace(state=end.state.value, finished=end.finished)
        if (end := ends.get(row.id))
        else row
        for row in rows
    ]
    return spans[:limit]


def list_attempts(store: Store, run: Run) -> list[Run]:
    """Return all attempts at the slot of a run, the first first, without their long texts."""
    runs = store.tables.runs
    is_same = (runs.c.task == run.task, runs.c.slot == run.slot, runs.c.origin == run.origin)
    query = _short_runs_query(store.tables).where(*is_same).order_by(runs.c.attempt)
    return _select_runs(store, query)


def _short_runs_query(tables: Tables) -> Select[Any]:
    columns: Iterable[Any] = (
        type_coerce(literal(None), LONG_TEXT).label(column.name)
        if column.name in LONG_RUN_COLUMNS
        else column
        for column in tables.runs.c
    )
    return select(*columns)


def _select_runs(store: Store, query: Any) -> list[Run]:
    with store.read_session() as session:
        return as_ended(session, map(to_run, session.connection.execute(query)))


def _select_rows(store: Store, query: Any) -> list[Any]:
    with store.read_session() as session:
        return list(session.connection.execute(query))
