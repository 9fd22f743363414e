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
from .dialects import insertion
from .tables import MICROSECOND, Tables, Values, once_per_store

TICKS = ""
"""Takes the place of a task's name, which is never empty, in the row that counts ticks."""

SUMS = ("count", "timed", "duration", "begun", "lateness")
LATEST = ("newest", "finished")
PUNCTUAL = (Trigger.SCHEDULE, Trigger.CATCH_UP, Trigger.DEFERRED)
"""Runs that are meant to begin at their slot; others make up for what is long past."""


@dataclass(frozen=True, slots=True)
class Total:
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
    timed: int
    duration: float
    begun: int
    lateness: float
    newest: str
    finished: datetime | None

    @property
    def skipped(self) -> bool:
        """Whether these did not run."""
        return self.state == RunState.SKIPPED.value


def read_totals(connection: Connection, tables: Tables) -> list[Total]:
    """Return all totals, and that of the ticks."""
    rows = connection.execute(select(tables.totals)).all()
    return [_total(row._mapping) for row in rows]


def count_runs(connection: Connection, tables: Tables, runs: Iterable[Run]) -> None:
    """Add runs that are over; each has to be added once."""
    rows: dict[tuple[str, str, str], Values] = {}
    for run in runs:
        new = _row(run)
        key = new["task"], new["state"], new["reason"]
        known = rows.get(key)
        rows[key] = new if known is None else _added(known, new)
    _add(connection, tables.totals, [rows[key] for key in sorted(rows)])


def count_ticks(connection: Connection, tables: Tables, count: int) -> None:
    """Add ticks."""
    if count:
        empty = {"task": TICKS, "state": "", "reason": "", "newest": "", "finished": None}
        _add(connection, tables.totals, [{**dict.fromkeys(SUMS, 0), **empty, "count": count}])


def _row(run: Run) -> Values:
    started, finished = run.started, run.finished
    ran = started is not None and finished is not None
    begun = started is not None and run.attempt == 1 and run.trigger in PUNCTUAL
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


def _added(known: Values, new: Values) -> Values:
    sums = {name: known[name] + new[name] for name in SUMS}
    ends = [row["finished"] for row in (known, new) if row["finished"] is not None]
    newest = max(known["newest"], new["newest"])
    return {**known, **sums, "newest": newest, "finished": max(ends, default=None)}


def _add(connection: Connection, table: Table, rows: list[Values]) -> None:
    if rows:
        connection.execute(_adding(connection.dialect.name, table), rows)


@once_per_store
def _adding(dialect: str, table: Table) -> Insert:
    """Return what adds to a row, or makes it."""
    statement = insertion(dialect, table)
    if dialect in ("sqlite", "postgresql"):
        keys, summed = list(table.primary_key), _sum(table, statement.excluded)
        adding: Insert = statement.on_conflict_do_update(index_elements=keys, set_=summed)
    else:
        adding = statement.on_duplicate_key_update(_sum(table, statement.inserted))
    return adding


def _sum(table: Table, new: Any) -> dict[str, Any]:
    summed: dict[str, Any] = {name: table.c[name] + new[name] for name in SUMS}
    for name in LATEST:
        known = table.c[name]
        newer = (new[name].is_not(None)) & (known.is_(None) | (new[name] > known))
        summed[name] = case((newer, new[name]), else_=known)
    return summed


def _total(row: Any) -> Total:
    second = 1_000_000
    return Total(
        **{name: row[name] for name in ("task", "state", "reason", "count", "timed", "begun")},
        duration=row["duration"] / second,
        lateness=row["lateness"] / second,
        newest=row["newest"],
        finished=row["finished"],
    )
