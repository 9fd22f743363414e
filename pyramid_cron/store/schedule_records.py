"""What is on record of the runs of stored schedules, of which there may be very many.

Each function takes the session of one transaction. Moments are aware, those returned in UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, select, true, union

from ..planning.schedule_book import StoredSchedule
from ..run import Run, RunReason, RunState
from .ends import as_ended
from .rows import Session, batched, to_run
from .schema import Tables, once_per_store
from .stored_schedules import ScheduleFilter, list_schedules

MAX_TROUBLED = 1_000
"""Schedules that may need a look of which that is found out."""


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """What is on record of the runs of one stored schedule."""

    #: The newest that is over and was not skipped; None if there is none.
    last_run: Run | None = None
    #: Whether the newest of all is a slot that was missed.
    has_missed: bool = False
    #: Those that wait, by their triggers: the earliest moment at which one may begin.
    waiting: Mapping[str, datetime] = field(default_factory=dict)


NO_RECORD = ScheduleRecord()

ScheduleRecords = Sequence[tuple[StoredSchedule, ScheduleRecord]]
"""Stored schedules with what is on record of them."""


def read_records(session: Session, names: Collection[str]) -> dict[str, ScheduleRecord]:
    """Return what is on record of the runs of these stored schedules, of those that have any."""
    runs, records = session.tables.runs, {}
    is_over = runs.c.lease_until.is_(None) & (runs.c.state != RunState.SKIPPED.value)
    for some in batched(names):
        last_runs = _newest_runs(session, some, is_over)
        missed = _newest_runs(session, some, true())
        waiting = _read_waiting(session, some)
        for name in {*last_runs, *missed, *waiting}:
            newest = missed.get(name)
            has_missed = newest is not None and newest.reason is RunReason.MISSED
            records[name] = ScheduleRecord(last_runs.get(name), has_missed, waiting.get(name, {}))
    return records


def _newest_runs(
    session: Session, names: Collection[str], condition: ColumnElement[bool]
) -> dict[str, Run]:
    """Return the newest claimed run of each schedule; the index leads to one after the other."""
    runs, table = session.tables.runs, session.tables.schedules
    newest = (
        select(runs.c.id)
        .where(runs.c.schedule == table.c.name, runs.c.claimed.is_not(None), condition)
        .order_by(runs.c.claimed.desc(), runs.c.id.desc())
        .limit(1)
        .correlate(table)
        .scalar_subquery()
    )
    ids = select(newest).where(table.c.name.in_(names))
    found = [run_id for run_id in session.connection.scalars(ids) if run_id is not None]
    rows = session.connection.execute(select(runs).where(runs.c.id.in_(found)))
    newest_runs = as_ended(session, map(to_run, rows))
    return {run.schedule: run for run in newest_runs if run.schedule is not None}


def _read_waiting(session: Session, names: Collection[str]) -> dict[str, dict[str, datetime]]:
    runs = session.tables.runs
    query = select(runs.c.schedule, runs.c.trigger, func.min(runs.c.not_before))
    query = query.where(runs.c.not_before.is_not(None), runs.c.schedule.in_(names))
    waiting: dict[str, dict[str, datetime]] = {}
    for name, trigger, oldest in session.connection.execute(
        query.group_by(runs.c.schedule, runs.c.trigger)
    ):
        waiting.setdefault(name, {})[trigger] = oldest
    return waiting


def read_troubled(session: Session, since: datetime, names: Collection[str]) -> ScheduleRecords:
    """Return the stored schedules that may need somebody to look after them, with their records.

    Those are of which a run failed or a slot was missed since a moment, and those with a name of
    ``names``; at most so many that nobody looks after each.
    """
    troubled = {*session.connection.scalars(_troubled_query(session.tables), {"since": since})}
    troubled.update(names)
    if not troubled:
        return ()
    some = sorted(troubled)[:MAX_TROUBLED]
    schedules = [
        schedule
        for part in batched(some)
        for schedule in list_schedules(session, ScheduleFilter(names=part))
    ]
    records = read_records(session, [schedule.name for schedule in schedules])
    return [(schedule, records.get(schedule.name, NO_RECORD)) for schedule in schedules]


@once_per_store
def _troubled_query(tables: Tables) -> Any:
    runs = tables.runs
    failures = [state.value for state in RunState if state.is_failure]
    is_missed = (runs.c.state == RunState.SKIPPED.value) & (runs.c.reason == RunReason.MISSED.value)
    is_recent = (runs.c.claimed >= bindparam("since")) & runs.c.schedule.is_not(None)
    return union(
        *(
            select(runs.c.schedule).where(condition, is_recent)
            for condition in (runs.c.state.in_(failures), is_missed)
        )
    ).limit(MAX_TROUBLED)
