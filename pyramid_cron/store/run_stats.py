"""Counts of how runs ended, which outlast the runs.

One row for each task, state and reason: quick to read, however many runs there were.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Insert, Table, case, select

from ..run import Run, RunState, Trigger
from ..schedule.zones import EPOCH
from .rows import EXACT_ROWCOUNT_DIALECTS, Session, upsert
from .schema import (
    BUCKET_BOUNDS_SECONDS,
    DURATION_BUCKETS,
    LATENESS_BUCKETS,
    MICROSECOND,
    Values,
    once_per_store,
)

TICK_STATS_TASK = ""
"""Stands for a task's name, which is never empty, in the row that counts ticks."""

STATS_SUM_COLUMNS = (
    "count",
    "duration_count",
    "duration_sum",
    "lateness_count",
    "lateness_sum",
    *DURATION_BUCKETS,
    *LATENESS_BUCKETS,
)
PUNCTUAL_TRIGGERS = (Trigger.SCHEDULE, Trigger.CATCH_UP, Trigger.DEFERRED)
"""Triggers of runs that should start at their slot, whose lateness counts."""


@dataclass(frozen=True, slots=True)
class RunStats:
    """The runs of a task that ended in one state, for one reason."""

    task: str
    state: str
    #: Empty where there is none.
    reason: str
    #: Slots, of which one skipped run may stand for several.
    count: int
    #: Runs with a start and an end.
    duration_count: int
    #: Seconds that these took together.
    duration_sum: float
    #: First attempts that should have started at their slot.
    lateness_count: int
    #: Seconds between the slots and the starts of these.
    lateness_sum: float
    #: How many of the runs took up to each of :data:`BUCKET_BOUNDS_SECONDS`, and longer than the
    #: one before.
    duration_buckets: tuple[int, ...]
    #: The same of how late they began.
    lateness_buckets: tuple[int, ...]
    #: The id of the run that was claimed or skipped last.
    newest_run: str
    #: When that was (aware, UTC).
    newest_at: datetime | None
    #: When the run that ended last did (aware, UTC); None where none was finished.
    last_finished: datetime | None

    @property
    def newness(self) -> tuple[datetime, str]:
        """What the newest runs are compared by."""
        return self.newest_at or EPOCH, self.newest_run

    @property
    def is_skipped(self) -> bool:
        """Whether these runs were skipped."""
        return self.state == RunState.SKIPPED.value


def read_run_stats(session: Session) -> list[RunStats]:
    """Return all counts, that of the ticks among them."""
    rows = session.connection.execute(select(session.tables.run_stats)).all()
    return [_to_run_stats(row._mapping) for row in rows]


def count_runs(session: Session, runs: Iterable[Run]) -> None:
    """Count runs that are over; count each only once."""
    rows: dict[tuple[str, str, str], Values] = {}
    for run in runs:
        row = _make_stats_row(run)
        key = row["task"], row["state"], row["reason"]
        rows[key] = _merge_stats_rows(rows[key], row) if key in rows else row
    _add_to_stats(session, [rows[key] for key in sorted(rows)])


def count_ticks(session: Session, count: int) -> None:
    """Count that many ticks more."""
    if count:
        empty: Values = {"task": TICK_STATS_TASK, "state": "", "reason": "", "newest_run": ""}
        empty |= {"newest_at": None, "last_finished": None}
        _add_to_stats(session, [{**dict.fromkeys(STATS_SUM_COLUMNS, 0), **empty, "count": count}])


def _make_stats_row(run: Run) -> Values:
    started, finished = run.started, run.finished
    is_punctual = run.attempt == 1 and run.trigger in PUNCTUAL_TRIGGERS
    duration = finished - started if started and finished else None
    lateness = started - run.slot if started and is_punctual else None
    return {
        "task": run.task,
        "state": str(run.state),
        "reason": "" if run.reason is None else str(run.reason),
        "count": run.count,
        "duration_count": int(duration is not None),
        "duration_sum": 0 if duration is None else duration // MICROSECOND,
        "lateness_count": int(lateness is not None),
        "lateness_sum": 0 if lateness is None else lateness // MICROSECOND,
        **_count_in_bucket(DURATION_BUCKETS, duration),
        **_count_in_bucket(LATENESS_BUCKETS, lateness),
        "newest_run": run.id,
        "newest_at": run.claimed or finished,
        "last_finished": finished,
    }


def _count_in_bucket(columns: Sequence[str], length: timedelta | None) -> Values:
    """Return the columns of buckets with 1 for that of a length; one above all bounds has none."""
    counts: Values = dict.fromkeys(columns, 0)
    if length is not None:
        index = bisect_left(BUCKET_BOUNDS_SECONDS, length.total_seconds())
        if index < len(columns):
            counts[columns[index]] = 1
    return counts


def _merge_stats_rows(current: Values, new: Values) -> Values:
    sums = {name: current[name] + new[name] for name in STATS_SUM_COLUMNS}
    ends = [row["last_finished"] for row in (current, new) if row["last_finished"] is not None]
    newest = max((current, new), key=itemgetter("newest_at", "newest_run"))
    return {**newest, **sums, "last_finished": max(ends, default=None)}


def _add_to_stats(session: Session, rows: list[Values]) -> None:
    if rows:
        dialect = session.connection.dialect.name
        session.connection.execute(_make_stats_upsert(dialect, session.tables.run_stats), rows)


@once_per_store
def _make_stats_upsert(dialect: str, table: Table) -> Insert:
    """Return the insert that adds to an existing row."""
    statement = upsert(dialect, table)
    if dialect in EXACT_ROWCOUNT_DIALECTS:
        keys, values = list(table.primary_key), _updated_columns(table, statement.excluded)
        insert_or_add: Insert = statement.on_conflict_do_update(index_elements=keys, set_=values)
    else:
        values = _updated_columns(table, statement.inserted)
        insert_or_add = statement.on_duplicate_key_update(values)
    return insert_or_add


def _updated_columns(table: Table, new: Any) -> dict[str, Any]:
    values: dict[str, Any] = {name: table.c[name] + new[name] for name in STATS_SUM_COLUMNS}
    is_newer = _is_later(table, new, "newest_at") | (
        (new.newest_at == table.c.newest_at) & (new.newest_run > table.c.newest_run)
    )
    # MySQL assigns from left to right: what is compared comes last.
    for name, condition in (
        ("newest_run", is_newer),
        ("newest_at", _is_later(table, new, "newest_at")),
        ("last_finished", _is_later(table, new, "last_finished")),
    ):
        values[name] = case((condition, new[name]), else_=table.c[name])
    return values


def _is_later(table: Table, new: Any, name: str) -> ColumnElement[bool]:
    """Return whether the new row has a moment in a column that is later than the current one."""
    current = table.c[name]
    is_later: ColumnElement[bool] = new[name].is_not(None) & (
        current.is_(None) | (new[name] > current)
    )
    return is_later


def _to_run_stats(row: Any) -> RunStats:
    second = 1_000_000
    buckets = {*DURATION_BUCKETS, *LATENESS_BUCKETS}
    plain = {name: value for name, value in row.items() if name not in buckets}
    return RunStats(
        **{
            **plain,
            "duration_sum": row["duration_sum"] / second,
            "lateness_sum": row["lateness_sum"] / second,
            "duration_buckets": tuple(row[name] for name in DURATION_BUCKETS),
            "lateness_buckets": tuple(row[name] for name in LATENESS_BUCKETS),
        }
    )
