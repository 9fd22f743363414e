"""Runs that go from the process that claimed them to another one.

Each function is a transaction of its own, and raises StoreError if that fails. Moments are aware.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, select, update

from ..action_record import ActionRecord
from ..run import Run, RunState
from ..run_transitions import cancelled, released, taken_over
from .action_log import record_action
from .ends import End, read_ends
from .results import Outcome, end_run, release_claims, write_followups, write_outputs
from .rows import NO_OWNER, Session, to_run
from .schema import Tables
from .store import Store


def hand_off_run(store: Store, run_id: str, lease_until: datetime) -> None:
    """Give up an unstarted claim of this process, for another one to take over.

    Nothing changes if that has happened already.
    """
    with store.write_session() as session:
        runs = session.tables.runs
        is_own = runs.c.owner == session.owner.token
        statement = update(runs).where(_is_unstarted_claim(session.tables, run_id), is_own)
        session.connection.execute(statement.values(owner=NO_OWNER, lease_until=lease_until))


def release_runs(store: Store, runs: Sequence[Run], now: datetime) -> None:
    """Undo unstarted claims of this process: the same attempts wait again."""
    with store.write_session() as session:
        release_claims(session, [released(run, now) for run in runs])


def take_over_run(store: Store, run_id: str, now: datetime, lease_until: datetime) -> Run | None:
    """Make this process the owner of a claimed run; return the run.

    It is running from now on, so that no other process takes it over. None if it has started, is
    over, or its lease has passed.
    """
    with store.write_session() as session:
        runs, owner = session.tables.runs, session.owner
        row = _select_unstarted(session, run_id, runs.c.lease_until >= now)
        if row is None:
            return None
        values = {
            "owner": owner.token,
            "host": owner.host,
            "pid": owner.pid,
            "lease_until": lease_until,
            "state": RunState.RUNNING.value,
            "started": now,
        }
        session.connection.execute(update(runs).where(runs.c.id == run_id).values(values))
    return taken_over(to_run(row), owner.host, owner.pid)


def take_back_run(
    store: Store, run_id: str, pid: int, lease_until: datetime
) -> tuple[Run, End | None] | None:
    """Make this process the owner of an active run whose process on this host has died.

    Returns the run as its row has it, and its end where that is on record apart from it. None if it
    is over, or another process owns it. ``pid`` is that of the dead process. A run that it had not
    taken over is returned, too.
    """
    with store.write_session() as session:
        runs, owner = session.tables.runs, session.owner
        is_of_process = (runs.c.host == owner.host) & (runs.c.pid == pid)
        is_free = runs.c.owner == NO_OWNER
        is_active = runs.c.lease_until.is_not(None)
        query = select(runs).where(runs.c.id == run_id, is_active, is_of_process | is_free)
        row = session.connection.execute(query).one_or_none()
        if row is None:
            return None
        end = read_ends(session, [run_id]).get(run_id)
        values = {"owner": owner.token, "lease_until": lease_until}
        session.connection.execute(update(runs).where(runs.c.id == run_id).values(values))
    return to_run(row), end


def sustain_lease(store: Store, run_id: str, pid: int, now: datetime, lease: timedelta) -> None:
    """Renew the lease of an active run whose process on this host lives, but renews it too late.

    It does so itself, unless something keeps all of its threads from going on. ``pid`` is its id.
    """
    runs, owner = store.tables.runs, store.owner
    is_its = (runs.c.id == run_id) & (runs.c.host == owner.host) & (runs.c.pid == pid)
    is_late = runs.c.lease_until < now + lease / 2
    with store.read_session() as session:
        if session.connection.scalar(select(runs.c.id).where(is_its, is_late)) is None:
            return
    with store.write_session() as session:
        statement = update(runs).where(is_its, is_late)
        session.connection.execute(statement.values(lease_until=now + lease))


def record_outputs(store: Store, run_id: str, stdout: str | None, stderr: str | None) -> None:
    """Write what a run's process has written so far; whoever owns the run writes the rest."""
    row = {"run_id": run_id, "log": None, "stdout": stdout, "stderr": stderr}
    with store.write_session() as session:
        write_outputs(session, [row])


def cancel_handed_off_run(
    store: Store,
    run_id: str,
    now: datetime,
    outcome_of: Callable[[Run], Outcome],
    action: ActionRecord | None = None,
) -> Run | None:
    """Cancel a run that was handed off and not taken over; return it, None for any other.

    ``outcome_of`` returns what follows from the cancelled run; ``action`` is put on record then.
    """
    with store.write_session() as session:
        row = _select_unstarted(session, run_id, session.tables.runs.c.owner == NO_OWNER)
        if row is None:
            return None
        run = cancelled(to_run(row), now)
        end_run(session, run)
        write_followups(session, [outcome_of(run)])
        record_action(session, action)
    return run


def _select_unstarted(
    session: Session, run_id: str, condition: ColumnElement[bool]
) -> Row[Any] | None:
    query = select(session.tables.runs).where(
        _is_unstarted_claim(session.tables, run_id), condition
    )
    return session.connection.execute(query).one_or_none()


def _is_unstarted_claim(tables: Tables, run_id: str) -> ColumnElement[bool]:
    runs = tables.runs
    is_claimed = runs.c.state == RunState.CLAIMED.value
    return (runs.c.id == run_id) & is_claimed & runs.c.lease_until.is_not(None)
