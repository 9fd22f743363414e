"""Ends: rows whose insertion decides how a run is over, where several could say so.

A task's own transaction inserts the end of its run as the last thing before its commit; whoever
takes the run for lost inserts that before it writes anything else of it. The database lets one of
them have the key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from ..run import Run, RunState
from ..run_transitions import ended
from .engine import IDLE_TRANSACTION_SECONDS, STORE_WAIT_SECONDS, driver_error_code
from .rows import Session, batched, newest_first, newness, to_run
from .schema import MYSQL_DIALECTS, Tables, UtcMicroseconds, Values

END_WAIT_SECONDS = 0.1
"""Seconds to wait on PostgreSQL for a task that is just committing; elsewhere nobody waits."""

LOCK_TIMEOUT_CODES = frozenset({"55P03", 1205, 3572})
"""Errors of a server for a row that another transaction has locked."""

STALE_SNAPSHOT_CODE = 1020
"""MariaDB's error for a row that was inserted after the transaction's snapshot."""


@dataclass(frozen=True, slots=True)
class End:
    """How and when a run ended. Moments are aware, in UTC."""

    run_id: str
    state: RunState
    started: datetime | None
    finished: datetime


class Claim(Enum):
    """What came of taking the key of an end."""

    TAKEN = "taken"
    #: The end is on record already.
    DUPLICATE = "duplicate"
    #: A transaction that is not committed has inserted it.
    BUSY = "busy"


class EndTakenError(Exception):
    """Raised where the end of a run is on record already, or its key is taken."""


class FileBusyError(Exception):
    """Raised where another connection writes a SQLite file for so long that an end can't go in.

    The transaction that it was to go into has written nothing: it would have the file's lock.
    """


def end_of(run: Run) -> End:
    """Return the end of a run that is over."""
    assert run.finished is not None
    return End(run.id, run.state, run.started, run.finished)


def insert_end(connection: Connection, tables: Tables, end: End) -> None:
    """Insert an end in the transaction of a connection that is the application's.

    Raises EndTakenError if the run is over for others, FileBusyError, and what SQLAlchemy raises.
    """
    if connection.dialect.name == "postgresql":
        # A process that freezes before its commit, or is cut off, must not hold the key for long.
        limit = f"'{IDLE_TRANSACTION_SECONDS}s'"
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {limit}"))
    try:
        connection.execute(insert(tables.ends), _make_row(end))
    except IntegrityError as error:
        raise EndTakenError(end.run_id) from error
    except OperationalError as error:
        if driver_error_code(error.orig) == STALE_SNAPSHOT_CODE:
            raise EndTakenError(end.run_id) from error
        if is_file_busy(error):
            raise FileBusyError from error
        raise


def is_file_busy(error: BaseException) -> bool:
    """Return whether a SQLite file was locked by another connection for too long."""
    cause = getattr(error, "orig", None)
    return isinstance(cause, sqlite3.OperationalError) and "is locked" in str(cause)


def take_end(session: Session, end: End) -> Claim:
    """Insert an end in the store's transaction, hardly waiting for one that inserts it, too."""
    try:
        with _hardly_waiting(session.connection):
            _insert_impatiently(session.connection, session.tables, end)
    except IntegrityError:
        return Claim.DUPLICATE
    except OperationalError as error:
        if driver_error_code(error.orig) in LOCK_TIMEOUT_CODES:
            return Claim.BUSY
        raise
    return Claim.TAKEN


@contextmanager
def _hardly_waiting(connection: Connection) -> Iterator[None]:
    """Limit the wait for locks on PostgreSQL, where an error would end the whole transaction."""
    if connection.dialect.name != "postgresql":
        yield
        return
    with connection.begin_nested():  # whose rollback takes the limit back
        _set_lock_timeout(connection, END_WAIT_SECONDS)
        yield
        _set_lock_timeout(connection, STORE_WAIT_SECONDS)


def _set_lock_timeout(connection: Connection, seconds: float) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = '{int(1000 * seconds)}ms'"))


def _insert_impatiently(connection: Connection, tables: Tables, end: End) -> None:
    if connection.dialect.name not in MYSQL_DIALECTS:
        connection.execute(insert(tables.ends), _make_row(end))
    elif getattr(connection.dialect, "is_mariadb", False):
        connection.execute(_mariadb_insert(connection, tables), _make_row(end))
    else:
        # Unlike a plain SELECT it sees an insert that is not committed.
        ends = tables.ends
        query = select(ends.c.run_id).where(ends.c.run_id == end.run_id)
        connection.execute(query.with_for_update(nowait=True))
        connection.execute(insert(ends), _make_row(end))


def _mariadb_insert(connection: Connection, tables: Tables) -> Any:
    """Return the insert that fails at once where it would wait for another one's commit."""
    table = connection.dialect.identifier_preparer.format_table(tables.ends)
    moments = [bindparam(name, type_=UtcMicroseconds) for name in ("started", "finished")]
    return text(
        f"SET STATEMENT innodb_lock_wait_timeout = 0 FOR INSERT INTO {table}"  # noqa: S608 (quoted)
        " (run_id, state, started, finished) VALUES (:run_id, :state, :started, :finished)"
    ).bindparams(*moments)


def _make_row(end: End) -> Values:
    return {
        "run_id": end.run_id,
        "state": end.state.value,
        "started": end.started,
        "finished": end.finished,
    }


def read_ends(session: Session, run_ids: Collection[str]) -> dict[str, End]:
    """Return the ends on record of these runs, by run id."""
    ends = session.tables.ends
    return {
        row.run_id: End(row.run_id, RunState(row.state), row.started, row.finished)
        for ids in batched(run_ids)
        for row in session.connection.execute(select(ends).where(ends.c.run_id.in_(ids)))
    }


def delete_ends(session: Session, run_ids: Collection[str]) -> None:
    """Delete ends that the runs themselves tell, and that nobody will insert again."""
    ends = session.tables.ends
    for ids in batched(run_ids):
        session.connection.execute(delete(ends).where(ends.c.run_id.in_(ids)))


def as_ended(session: Session, runs: Iterable[Run]) -> list[Run]:
    """Return runs as they are: those whose end is on record are over, whatever their rows say."""
    found = list(runs)
    ends = read_ends(session, [run.id for run in found if run.state.is_active])
    return [
        ended(run, end.state, end.started, end.finished) if (end := ends.get(run.id)) else run
        for run in found
    ]


def select_newest(
    session: Session,
    query: Select[Any],
    limit: int,
    task: str | None = None,
    states: Collection[RunState] | None = None,
) -> list[Run]:
    """Return the newest runs of a query, newest first: of one task, in some states, or all."""
    newest = newest_first(query, session.tables, limit, task, states)
    runs = as_ended(session, map(to_run, session.connection.execute(newest)))
    if states is None:
        return runs
    by_id = {run.id: run for run in runs if run.state in states}
    if ids := _select_ended_ids(session, states):
        recent = query.where(session.tables.runs.c.id.in_(ids))
        recent = newest_first(recent, session.tables, limit, task)
        ended_runs = as_ended(session, map(to_run, session.connection.execute(recent)))
        by_id = {run.id: run for run in sorted(ended_runs, key=newness, reverse=True)} | by_id
    return list(by_id.values())[:limit]


def select_ended(session: Session) -> list[Run]:
    """Return the runs whose ends are on record, and whose rows do not say so; oldest first."""
    runs, ends = session.tables.runs, session.tables.ends
    query = select(runs).join(ends, ends.c.run_id == runs.c.id)
    rows = session.connection.execute(query.where(runs.c.lease_until.is_not(None)))
    return sorted(as_ended(session, map(to_run, rows)), key=newness)


def _select_ended_ids(session: Session, states: Collection[RunState]) -> list[str]:
    """Return the ids of runs that ended in one of these states, and whose rows do not say so."""
    runs, ends = session.tables.runs, session.tables.ends
    query = select(runs.c.id).join(ends, ends.c.run_id == runs.c.id)
    is_in_state = ends.c.state.in_([state.value for state in states])
    return list(
        session.connection.scalars(query.where(runs.c.lease_until.is_not(None), is_in_state))
    )
