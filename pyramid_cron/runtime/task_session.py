"""The application's session that a task's work goes through, and the end of its run in it.

``config.set_cron_session`` says which session or connection that is. Where the store lies in the
same database, a task's work and the end of its run are committed together: the end is the last
statement of the transaction.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyramid.request import Request
from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from transaction.interfaces import NoTransaction

from ..errors import StoreError
from ..run import RunState, TaskCancelled
from ..store.ends import End, EndTakenError, FileBusyError, insert_end
from ..store.engine import is_in_memory, sqlite_file
from ..store.rows import write_info
from ..store.schema import MYSQL_DIALECTS
from ..store.store import Store
from ..task import Task
from .cron_parts import CronParts

Session = Any
"""A SQLAlchemy session or connection."""


def session_of(cron: CronParts, request: Request) -> Session:
    """Return the session that the application has named.

    Raises TypeError for what is none.
    """
    assert cron.get_session is not None
    value = cron.get_session(request)
    session = as_session(value)
    if session is None:
        raise TypeError(
            f"config.set_cron_session: {cron.get_session!r} returned {value!r}, which is neither a"
            " SQLAlchemy session nor a connection"
        )
    return session


def as_session(value: Any) -> Session | None:
    """Return a session or connection, of a scoped session the thread's; None for anything else."""
    from sqlalchemy.orm import scoped_session  # slow to import, and not every application has it

    session = value() if isinstance(value, scoped_session) else value
    is_session = isinstance(session, Connection) or hasattr(session, "get_bind")
    return session if is_session else None


def connection_of(session: Session) -> Connection:
    """Return the connection of a session's transaction, which begins if there is none."""
    if isinstance(session, Connection):
        return session
    connection: Connection = session.connection()
    return connection


def engine_of(session: Session) -> Engine:
    """Return the engine of a session, without beginning a transaction."""
    engine: Engine = (session if isinstance(session, Connection) else session.get_bind()).engine
    return engine


def is_joined(session: Session, manager: Any) -> bool:
    """Return whether a manager's open transaction ends that of the session, too."""
    try:
        resources = manager.get()._resources
    except NoTransaction:
        return False
    return any(getattr(resource, "session", None) is session for resource in resources)


def joins_transactions(session: Session) -> bool:
    """Return whether a session that is in no transaction joins a manager's when it begins one."""
    return not isinstance(session, Connection) and (
        not session.in_transaction() and is_registered(session)
    )


def is_registered(session: Session) -> bool:
    """Return whether zope.sqlalchemy has a session join a manager's transactions."""
    if isinstance(session, Connection):
        return False
    listeners = (getattr(listen, "__self__", None) for listen in session.dispatch.after_begin)
    return any(type(owner).__module__.startswith("zope.sqlalchemy") for owner in listeners)


def mark_changed(session: Session, manager: Any) -> None:
    """Have zope.sqlalchemy commit a session that has joined a manager's transaction.

    It would not notice a statement that does not go through the session's objects.
    """
    from zope.sqlalchemy import mark_changed

    mark_changed(session, manager)


def needs_check(cron: CronParts) -> bool:
    """Return whether it is not known yet that the session's database is the store's."""
    return cron.get_session is not None and not cron.is_session_checked


def ensure_same_database(cron: CronParts, request: Request) -> None:
    """Check once in a process that the store lies in the database of the application's session.

    The request must have no transaction. Raises StoreError that names both databases.
    """
    if not needs_check(cron):
        return
    if problem := explain_other_database(cron, request):
        raise StoreError(problem)
    cron.is_session_checked = True


def explain_other_database(cron: CronParts, request: Request) -> str | None:
    """Return why ends can't be written through the application's session; None if they can.

    The request must have no transaction. Raises StoreError.
    """
    session = session_of(cron, request)
    if session_of(cron, request) is not session:
        return (
            f"config.set_cron_session: {cron.get_session!r} returns another session at each call;"
            " it has to return the one that the request's work goes through"
        )
    engine = engine_of(session)
    if shares_database(cron.store, engine):
        return None
    return (
        f"config.set_cron_session: {_name_both(cron, engine)}; set cron.url to that one, or leave"
        " set_cron_session out"
    )


def ensure_store_in(cron: CronParts, session: Session) -> None:
    """Check once for each engine that a session's database is the store's. Raises StoreError."""
    engine = engine_of(session)
    if engine not in cron.shared_engines:
        if not shares_database(cron.store, engine):
            raise StoreError(f"session={session!r}: {_name_both(cron, engine)}")
        cron.shared_engines.add(engine)


def _name_both(cron: CronParts, engine: Engine) -> str:
    url = engine.url.render_as_string(hide_password=True)
    return (
        f"the store is in {cron.store.database.display_url}, and the session in another database,"
        f" {url}"
    )


class PlainTransaction:
    """Ends the transaction of the application's session together with the manager's."""

    def __init__(self, get_session: Callable[[], Session]) -> None:
        self._get_session = get_session

    def commit(self, manager: Any) -> None:
        """Commit the manager's transaction, then that of a session that has not joined it."""
        manager.commit()
        self.commit_session()

    def commit_session(self) -> None:
        """Commit the session's own transaction, if it is in one."""
        session = self._get_session()
        if session.in_transaction():
            session.commit()

    def rollback(self) -> None:
        """Undo what a session has done that had not joined the manager's transaction."""
        session = self._get_session()
        if session.in_transaction():
            session.rollback()


class RunTransaction(PlainTransaction):
    """Commits a task's work and the end of its run together."""

    def __init__(
        self,
        get_session: Callable[[], Session],
        make_end: Callable[[], End],
        insert: Callable[[Connection, End], None],
    ) -> None:
        super().__init__(get_session)
        self._make_end = make_end
        self._insert = insert
        #: Whether the end is committed.
        self.has_end = False
        #: Whether a commit was begun with the end in it.
        self.has_begun = False
        self._engine: Engine | None = None

    def commit(self, manager: Any) -> None:
        """Insert the end as the last thing, and commit.

        On SQLite a task that has written nothing may find the file locked; there is nothing to
        commit along with its end then, which is left to be recorded apart. Raises TaskCancelled if
        the run is over for others: then nothing may be committed. Once :attr:`has_begun` an error
        does not say whether the commit has succeeded.
        """
        session = self._get_session()
        if not isinstance(session, Connection):
            session.flush()
        connection = connection_of(session)
        self._engine = connection.engine
        if is_joined(session, manager):
            if self._insert_end(connection):
                mark_changed(session, manager)
                self.has_begun = True
            manager.commit()
        else:
            manager.commit()
            self.has_begun = self._insert_end(connection)
            session.commit()
        self.has_end = self.has_begun

    def close_refused(self) -> None:
        """Close the connection of a commit that a locked SQLite file has refused.

        It went back into its pool with the transaction open, and would keep the file locked.
        """
        assert self._engine is not None
        self._engine.dispose()

    def _insert_end(self, connection: Connection) -> bool:
        """Insert the end; return False if the transaction is empty, and the end can't go in."""
        try:
            self._insert(connection, self._make_end())
        except EndTakenError:
            raise TaskCancelled("lease expired") from None
        except FileBusyError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class RequestSession:
    """The application's session in one request, and what of the store goes with it."""

    get: Callable[[], Session]
    insert_end: Callable[[Connection, End], None]
    #: Records an end unless one is on record; returns the state of the one that counts.
    settle_end: Callable[[End], RunState | None]
    #: Whether the end of a task's runs is written in its own transaction.
    is_transactional: Callable[[Task], bool]

    def transaction(self) -> PlainTransaction:
        """Return what ends the session's transaction, with nothing of a run in it."""
        return PlainTransaction(self.get)

    def run_transaction(self, make_end: Callable[[], End]) -> RunTransaction:
        """Return what ends the session's transaction along with a run."""
        return RunTransaction(self.get, make_end, self.insert_end)


def end_earlier_work(session: RequestSession, *, commit: bool) -> None:
    """End the transaction that a session has open which has joined no manager's.

    Nobody else would commit it, so it is rolled back unless the caller asks for its commit.
    """
    transaction = session.transaction()
    if commit:
        transaction.commit_session()
    else:
        transaction.rollback()


def request_session(cron: CronParts, request: Request) -> RequestSession | None:
    """Return the session of a request; None if the application has named none."""
    if cron.get_session is None:
        return None
    store = cron.store
    return RequestSession(
        get=lambda: session_of(cron, request),
        insert_end=lambda connection, end: insert_end(connection, store.tables, end),
        settle_end=store.settle_end,
        is_transactional=cron.is_transactional,
    )


def shares_database(store: Store, engine: Engine) -> bool:
    """Return whether connections of an engine find the store's tables.

    A server is asked: the same database may have many addresses. Raises StoreError.
    """
    if _kind(engine.dialect.name) != _kind(store.database.dialect):
        return False
    try:
        if engine.dialect.name == "sqlite":
            return _is_same_file(store, engine)
        return _finds_mark(store, engine)
    except SQLAlchemyError as error:
        url = engine.url.render_as_string(hide_password=True)
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        raise StoreError(f"config.set_cron_session: {url}: {cause}") from error


def _kind(dialect: str) -> str:
    return "mysql" if dialect in MYSQL_DIALECTS else dialect


def _is_same_file(store: Store, engine: Engine) -> bool:
    if is_in_memory(store.database.url) or is_in_memory(engine.url):
        return False
    with engine.connect() as connection:
        files = connection.exec_driver_sql("PRAGMA database_list").all()
    path = next((row[2] for row in files if row[1] == "main"), None)
    own_path = sqlite_file(store.database.url)
    return bool(path) and os.path.exists(own_path) and os.path.samefile(str(path), own_path)


def _finds_mark(store: Store, engine: Engine) -> bool:
    """Return whether the engine's connections see what is written into the store just now."""
    info = store.tables.schema_info
    with _mark(store) as name, engine.connect() as connection:
        try:
            query = select(info.c.name).where(info.c.name == name)
            return connection.scalar(query) is not None
        except ProgrammingError:  # there is no such table
            return False


@contextmanager
def _mark(store: Store) -> Iterator[str]:
    info = store.tables.schema_info
    name = f"mark:{secrets.token_hex(8)}"
    with store.write_session() as session:
        write_info(session, name, "")
    try:
        yield name
    finally:
        with store.write_session() as session:
            session.connection.execute(delete(info).where(info.c.name == name))
