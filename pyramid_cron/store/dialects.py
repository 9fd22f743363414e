"""What each kind of database needs to be told, so that all of them behave alike."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.pool import StaticPool

STORE_WAIT_SECONDS = 5
"""Seconds to wait for another writer, for a connection, or for a server to accept one."""

STATEMENT_TIMEOUT_SECONDS = 60
"""Seconds to wait for the answer to one statement."""

IDLE_TRANSACTION_SECONDS = 30
"""Seconds after which a server ends the transaction of a process that is frozen or cut off.

And after which such a process takes a connection for broken, where its system would take a quarter
of an hour for that.
"""


def is_in_memory(url: URL) -> bool:
    """Return whether the URL names a SQLite database that lives and dies with the process."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def upsert(dialect: str, table: Table) -> Any:
    """Return the insert that can say what becomes of rows whose keys are there already."""
    if dialect == "sqlite":
        return sqlite.insert(table)
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # takes its time, and few need it

        return postgresql.insert(table)
    return mysql.insert(table)


def make_engine(url: URL) -> Engine:
    """Return an engine, not connected yet, whose transactions are READ COMMITTED or stricter."""
    if url.get_backend_name() == "sqlite":
        return _make_sqlite_engine(url)
    return (
        _make_postgresql_engine(url)
        if url.get_backend_name() == "postgresql"
        else _make_mysql_engine(url)
    )


def _make_sqlite_engine(url: URL) -> Engine:
    options: dict[str, Any] = {"connect_args": {"timeout": STORE_WAIT_SECONDS}}
    if is_in_memory(url):
        options["poolclass"] = StaticPool
        options["connect_args"]["check_same_thread"] = False
    else:
        options["pool_timeout"] = STORE_WAIT_SECONDS
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(dbapi_connection: Any, _record: Any) -> None:
    # The driver's own transaction handling begins too late to hold a read and a write together.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _use_wal(cursor: Any) -> None:
    """Turn the write-ahead log on, where the file's place has what it takes.

    SQLite does not wait for others here as it does elsewhere, so processes that open a new store
    at the same time have to.
    """
    give_up = time.monotonic() + STORE_WAIT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # Taking the write lock at once: a reader that turns writer later fails where it could wait.
    writes = connection.get_execution_options().get("cron_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_postgresql_engine(url: URL) -> Engine:
    engine = _make_server_engine(
        url,
        connect_timeout=STORE_WAIT_SECONDS,
        keepalives_idle=IDLE_TRANSACTION_SECONDS,
        keepalives_interval=10,
        keepalives_count=3,
        tcp_user_timeout=1000 * IDLE_TRANSACTION_SECONDS,
    )
    limits = text(
        f"SELECT set_config('lock_timeout', '{STORE_WAIT_SECONDS}s', true),"
        f" set_config('statement_timeout', '{STATEMENT_TIMEOUT_SECONDS}s', true),"
        f" set_config('idle_in_transaction_session_timeout', '{IDLE_TRANSACTION_SECONDS}s', true)"
    )
    # For each transaction anew: behind a pooler the session may be somebody else's next.
    event.listen(engine, "begin", lambda connection: connection.execute(limits))
    event.listen(engine, "connect", _disable_prepare_behind_pooler)
    return engine


def _disable_prepare_behind_pooler(dbapi_connection: Any, _record: Any) -> None:
    """Prepare no statements where a pooler is in between, which does not tell the server's own pid.

    They belong to a session. Without a pooler they halve what many runs at once take of a server.
    """
    [pid] = dbapi_connection.execute("SELECT pg_backend_pid()").fetchone()
    dbapi_connection.rollback()
    if pid != dbapi_connection.info.backend_pid:
        dbapi_connection.prepare_threshold = None


def _make_mysql_engine(url: URL) -> Engine:
    engine = _make_server_engine(
        url,
        connect_timeout=STORE_WAIT_SECONDS,
        read_timeout=STATEMENT_TIMEOUT_SECONDS,
        write_timeout=STATEMENT_TIMEOUT_SECONDS,
        charset="utf8mb4",
    )
    event.listen(engine, "connect", _prepare_mysql)
    return engine


def _prepare_mysql(dbapi_connection: Any, _record: Any) -> None:
    cursor = dbapi_connection.cursor()
    # Only MariaDB reads the comment; MySQL can't end an idle transaction.
    cursor.execute(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES',"
        f" lock_wait_timeout = {STORE_WAIT_SECONDS}, innodb_lock_wait_timeout = {STORE_WAIT_SECONDS}"
        f" /*M!100300 , idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS} */"
    )
    cursor.close()


def _make_server_engine(url: URL, **connect_args: Any) -> Engine:
    """Return an engine for a database server, which may restart or be gone for a while.

    What the URL says of a connection goes before ``connect``, except for the character set.
    """
    given = url.query.keys() - {"charset"}
    return create_engine(
        url,
        connect_args={name: value for name, value in connect_args.items() if name not in given},
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=2,
        max_overflow=13,
        pool_timeout=STORE_WAIT_SECONDS,
    )
