"""Counts of how runs ended, which outlast the runs.

One row for each task, state and reason: quick to read, however many runs there were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Insert, Table, case, select

from ..run import Run, RunState, Trigger
from .schema import MICROSECOND, Values, once_per_store
from .session import EXACT_ROWCOUNT_DIALECTS, Session, upsert

TICK_STATS_TASK = ""
"""Stands for a task's name, which is never empty, in the row that counts ticks."""

STATS_SUM_COLUMNS = ("count", "timed", "duration", "begun", "lateness")
STATS_MAX_COLUMNS = ("newest", "finished")
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
    #: The id of the newest run.
    newest_run: str
    #: When the run that ended last did (aware, UTC); None where none was finished.
    last_finished: datetime | None

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
        empty = {"task": TICK_STATS_TASK, "state": "", "reason": "", "newest": "", "finished": None}
        _add_to_stats(session, [{**dict.fromkeys(STATS_SUM_COLUMNS, 0), **empty, "count": count}])


def _make_stats_row(run: Run) -> Values:
    started, finished = run.started, run.finished
    has_duration = started is not None and finished is not None
    has_lateness = started is not None and run.attempt == 1 and run.trigger in PUNCTUAL_TRIGGERS
    return {
        "task": run.task,
        "state": str(run.state),
        "reason": "" if run.reason is None else str(run.reason),
        "count": run.count,
        "timed": int(has_duration),
        "duration": (finished - started) // MICROSECOND if started and finished else 0,
        "begun": int(has_lateness),
        "lateness": (started - run.slot) // MICROSECOND if started and has_lateness else 0,
        "newest": run.id,
        "finished": finished,
    }


def _merge_stats_rows(current: Values, new: Values) -> Values:
    sums = {name: current[name] + new[name] for name in STATS_SUM_COLUMNS}
    ends = [row["finished"] for row in (current, new) if row["finished"] is not None]
    newest = max(current["newest"], new["newest"])
    return {**current, **sums, "newest": newest, "finished": max(ends, default=None)}


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
    for name in STATS_MAX_COLUMNS:
        current = table.c[name]
        is_newer = (new[name].is_not(None)) & (current.is_(None) | (new[name] > current))
        values[name] = case((is_newer, new[name]), else_=current)
    return values


def _to_run_stats(row: Any) -> RunStats:
    second = 1_000_000
    return RunStats(
        **{name: row[name] for name in ("task", "state", "reason", "count")},
        duration_count=row["timed"],
        lateness_count=row["begun"],
        duration_sum=row["duration"] / second,
        lateness_sum=row["lateness"] / second,
        newest_run=row["newest"],
        last_finished=row["finished"],
    )
