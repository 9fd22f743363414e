"""Runs that go from the process that claimed them to another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, select, update

from ..planning.snapshot import WaitingRun
from ..run import Run, RunState
from ..run_transitions import cancelled, taken_over
from .results import Outcome, write_followups
from .rows import make_waiting_row, to_run
from .schema import Tables
from .session import NO_OWNER, Owner, insert_new


def hand_off_run(
    connection: Connection, tables: Tables, owner: Owner, run_id: str, lease_until: datetime
) -> None:
    """Leave a run that was not begun to whoever takes it up, which may have happened already."""
    mine = _is_unstarted_claim(tables, run_id) & (tables.runs.c.owner == owner.token)
    connection.execute(update(tables.runs).where(mine).values(owner=NO_OWNER, lease=lease_until))


def release_runs(
    connection: Connection, tables: Tables, owner: Owner, runs: Sequence[Run], now: datetime
) -> None:
    """Take claims back: the slots wait, as the same attempts as before."""
    for run in runs:
        mine = _is_unstarted_claim(tables, run.id) & (tables.runs.c.owner == owner.token)
        if connection.execute(delete(tables.runs).where(mine)).rowcount:
            insert_new(connection, tables.waiting, [make_waiting_row(make_released_run(run, now))])


def make_released_run(run: Run, now: datetime) -> WaitingRun:
    """Return what waits in place of a run that is given back."""
    return WaitingRun(run.task, run.slot, run.trigger, now, run.attempt, run.nonce, run.payload)


def take_over_run(
    connection: Connection,
    tables: Tables,
    owner: Owner,
    run_id: str,
    now: datetime,
    lease_until: datetime,
) -> Run | None:
    """Make a claimed run this owner's; None if it has begun, is over, or is as good as lost.

    It counts as running from now on, so that nobody takes it up a second time.
    """
    claimed = _is_unstarted_claim(tables, run_id) & (tables.runs.c.lease >= now)
    row = connection.execute(select(tables.runs).where(claimed)).one_or_none()
    if row is None:
        return None
    mine = {
        "owner": owner.token,
        "host": owner.host,
        "pid": owner.pid,
        "lease": lease_until,
        "state": RunState.RUNNING.value,
        "started": now,
    }
    connection.execute(update(tables.runs).where(tables.runs.c.id == run_id).values(mine))
    return taken_over(to_run(row), owner.host, owner.pid)


def cancel_handed_off_run(
    connection: Connection,
    tables: Tables,
    run_id: str,
    now: datetime,
    outcome_of: Callable[[Run], Outcome],
) -> Run | None:
    """End a run that was sent and is not taken up; return it as it ended, None for any other.

    ``outcome`` tells what comes of it.
    """
    sent = _is_unstarted_claim(tables, run_id) & (tables.runs.c.owner == NO_OWNER)
    row = connection.execute(select(tables.runs).where(sent)).one_or_none()
    if row is None:
        return None
    run = cancelled(to_run(row), now)
    over = {"state": run.state.value, "finished": now, "error": run.error, "lease": None}
    connection.execute(update(tables.runs).where(tables.runs.c.id == run_id).values(over))
    write_followups(connection, tables, [outcome_of(run)])
    return run


def _is_unstarted_claim(tables: Tables, run_id: str) -> ColumnElement[bool]:
    runs = tables.runs
    claimed = runs.c.state == RunState.CLAIMED.value
    return (runs.c.id == run_id) & claimed & runs.c.lease.is_not(None)
