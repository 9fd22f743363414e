"""Counting what became of runs, so that it is still known once they are forgotten.

One row a task, state and reason: what is asked for is read at once, however many runs there were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Insert, Table, case, select

from ..run import Run, RunState, Trigger
from .schema import MICROSECOND, Tables, Values, once_per_store
from .session import upsert

TICK_STATS_TASK = ""
"""Takes the place of a task's name, which is never empty, in the row that counts ticks."""

STATS_SUM_COLUMNS = ("count", "timed", "duration", "begun", "lateness")
STATS_MAX_COLUMNS = ("newest", "finished")
PUNCTUAL_TRIGGERS = (Trigger.SCHEDULE, Trigger.CATCH_UP, Trigger.DEFERRED)
"""Runs that are meant to begin at their slot; others make up for what is long past."""


@dataclass(frozen=True, slots=True)
class RunStats:
    """What became of the runs of a task that ended in one state, for one reason.

    ``count`` is how many slots that were. Of those that ran, ``timed`` of them took ``duration``
    seconds together. The first attempts at ``begun`` of them, ``lateness`` seconds together after
    their slot, count as well. ``newest`` is the id of the newest, ``finished`` (aware, UTC) when
    the one that ended last did.
    """

    task: str
    state: str
    reason: str
    count: int
    duration_count: int
    duration_sum: float
    lateness_count: int
    lateness_sum: float
    newest_run: str
    last_finished: datetime | None

    @property
    def is_skipped(self) -> bool:
        """Whether these did not run."""
        return self.state == RunState.SKIPPED.value


def read_run_stats(connection: Connection, tables: Tables) -> list[RunStats]:
    """Return all totals, and that of the ticks."""
    rows = connection.execute(select(tables.run_stats)).all()
    return [_to_run_stats(row._mapping) for row in rows]


def count_runs(connection: Connection, tables: Tables, runs: Iterable[Run]) -> None:
    """Add runs that are over; each has to be added once."""
    rows: dict[tuple[str, str, str], Values] = {}
    for run in runs:
        new = _make_stats_row(run)
        key = new["task"], new["state"], new["reason"]
        known = rows.get(key)
        rows[key] = new if known is None else _merge_stats_rows(known, new)
    _write_stats(connection, tables.run_stats, [rows[key] for key in sorted(rows)])


def count_ticks(connection: Connection, tables: Tables, count: int) -> None:
    """Add ticks."""
    if count:
        empty = {"task": TICK_STATS_TASK, "state": "", "reason": "", "newest": "", "finished": None}
        _write_stats(
            connection,
            tables.run_stats,
            [{**dict.fromkeys(STATS_SUM_COLUMNS, 0), **empty, "count": count}],
        )


def _make_stats_row(run: Run) -> Values:
    started, finished = run.started, run.finished
    ran = started is not None and finished is not None
    begun = started is not None and run.attempt == 1 and run.trigger in PUNCTUAL_TRIGGERS
    return {
        "task": run.task,
        "state": str(run.state),
        "reason": "" if run.reason is None else str(run.reason),
        "count": run.count,
        "timed": int(ran),
        "duration": (finished - started) // MICROSECOND if started and finished else 0,
        "begun": int(begun),
        "lateness": (started - run.slot) // MICROSECOND if started and begun else 0,
        "newest": run.id,
        "finished": finished,
    }


def _merge_stats_rows(current: Values, new: Values) -> Values:
    sums = {name: current[name] + new[name] for name in STATS_SUM_COLUMNS}
    ends = [row["finished"] for row in (current, new) if row["finished"] is not None]
    newest = max(current["newest"], new["newest"])
    return {**current, **sums, "newest": newest, "finished": max(ends, default=None)}


def _write_stats(connection: Connection, table: Table, rows: list[Values]) -> None:
    if rows:
        connection.execute(_make_stats_upsert(connection.dialect.name, table), rows)


@once_per_store
def _make_stats_upsert(dialect: str, table: Table) -> Insert:
    """Return what adds to a row, or makes it."""
    statement = upsert(dialect, table)
    if dialect in ("sqlite", "postgresql"):
        keys, summed = list(table.primary_key), _updated_columns(table, statement.excluded)
        adding: Insert = statement.on_conflict_do_update(index_elements=keys, set_=summed)
    else:
        adding = statement.on_duplicate_key_update(_updated_columns(table, statement.inserted))
    return adding


def _updated_columns(table: Table, new: Any) -> dict[str, Any]:
    summed: dict[str, Any] = {name: table.c[name] + new[name] for name in STATS_SUM_COLUMNS}
    for name in STATS_MAX_COLUMNS:
        known = table.c[name]
        newer = (new[name].is_not(None)) & (known.is_(None) | (new[name] > known))
        summed[name] = case((newer, new[name]), else_=known)
    return summed


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
