"""Connections to the store's database: its own engine, its own transactions, its own errors."""

from __future__ import annotations

import codecs
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from ..errors import StoreError
from .fork_gate import ForkGate

STORE_WAIT_SECONDS = 5
"""Seconds to wait for another writer, for a connection, or for a server to accept one."""

STATEMENT_TIMEOUT_SECONDS = 60
"""Seconds to wait for the answer to one statement."""

IDLE_TRANSACTION_SECONDS = 30
"""Seconds after which a server ends the transaction of a process that is frozen or cut off.

The process treats its connection as broken after as long; its system would wait for a quarter of an
hour.
"""

IDLE_WRITE_SECONDS = 3
"""The same for a transaction that others wait for: fewer than they wait.

A process that was taken for frozen, and may be only slow, has :data:`IDLE_TRANSACTION_SECONDS` from
then on.
"""

READ_ONLY_CODES = frozenset({1290, 1792, 1836, 1047, "25006"})
"""Errors of a server that takes no changes any more: MariaDB's, a Galera node's, PostgreSQL's.

Another server is the one to write to by now, but connections to this one would last for ever.
"""


class _DriverError(SQLAlchemyError):
    """An error that a driver raised which is none of its own kinds, such as UnicodeEncodeError."""

    def __init__(self, original: Exception) -> None:
        super().__init__(str(original))
        self.orig = original


class Database:
    """An engine, made when first needed, that survives a fork and raises StoreError.

    ``on_identity_change`` is called when the database is another one than before: its file was
    removed or replaced, or its memory is gone. ``own_tables`` are the names of the tables that are
    to be in it; others make it somebody else's, too.
    """

    def __init__(
        self,
        url: URL,
        on_identity_change: Callable[[], None] = lambda: None,
        own_tables: Collection[str] = (),
    ) -> None:
        self.url = make_path_absolute(url)
        self._own_tables = frozenset(own_tables)
        self.display_url = url.render_as_string(hide_password=True)
        self.dialect = url.get_backend_name()
        self._on_identity_change = on_identity_change
        self._is_in_memory = is_in_memory(self.url)
        self._engine: Engine | None = None
        self._is_slow = False
        self._engine_identity: object = None
        #: Engines of the process that this one was forked from: closing their connections would
        #: disturb it.
        self._inherited_engines: list[Engine] = []
        self._make_locks()
        reference = weakref.ref(self)
        self._fork_gate = ForkGate(lambda: _reset_after_fork(reference()))

    def _make_locks(self) -> None:
        # A database in memory is one connection, which takes one transaction at a time.
        self._transaction_lock: AbstractContextManager[Any] = (
            threading.RLock() if self._is_in_memory else nullcontext()
        )
        self._engine_lock = threading.Lock()

    def reset_after_fork(self) -> None:
        """Begin without connections in a forked process."""
        self._make_locks()
        if self._engine is not None:
            self._inherited_engines.append(self._engine)
            self._engine = None
            if self._is_in_memory:
                self._on_identity_change()

    def check_identity(self) -> None:
        """Call ``on_identity_change`` now if the database is another one than before."""
        with self._translate_errors(), self._fork_gate.transaction():
            self._ensure_engine()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection to read from."""
        with (
            self._translate_errors(),
            self._fork_gate.transaction(),
            self._transaction_lock,
            _connect(self._ensure_engine()) as connection,
        ):
            yield connection

    @contextmanager
    def write(self, *, is_long: bool = False) -> Iterator[Connection]:
        """Give a connection whose changes are durable when the block ends, or not made at all.

        ``is_long``: the process has much to do between two statements.
        """
        limit = IDLE_TRANSACTION_SECONDS if is_long or self._is_slow else IDLE_WRITE_SECONDS
        options = {"cron_write": True, "cron_idle_seconds": limit}
        with self._translate_errors(), self._fork_gate.transaction(), self._transaction_lock:
            try:
                connected = _connect(self._ensure_engine()).execution_options(**options)
                with connected as connection, connection.begin():
                    yield connection
            except DBAPIError as error:
                self._is_slow |= error.connection_invalidated
                raise

    def dispose(self) -> None:
        """Close the connections, which open again when needed; a database in memory is gone."""
        if self._engine is not None:
            with self._fork_gate.no_transactions():  # whose connections would stay open
                self._engine.dispose()
            if self._is_in_memory:
                self._on_identity_change()

    def _ensure_engine(self) -> Engine:
        identity = self._file_identity()
        if self._engine is None or self._engine_identity != identity:
            with self._engine_lock:
                self._renew_engine(identity)
        assert self._engine is not None
        return self._engine

    def _renew_engine(self, identity: object) -> None:
        if self._engine is None:
            self._engine = make_engine(self.url, self._own_tables)
        elif self._engine_identity is not None and self._engine_identity != identity:
            # What is written to a file that was removed is lost.
            self._engine.dispose()
            self._on_identity_change()
        self._engine_identity = identity

    def _file_identity(self) -> object:
        """Return the device and inode of a SQLite file; None for any other database."""
        if self.dialect != "sqlite" or self._is_in_memory:
            return None
        try:
            status = os.stat(sqlite_file(self.url))
        except OSError:
            return None
        return status.st_dev, status.st_ino

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StoreError(f"cron.url {self.display_url}: {_describe_cause(error)}") from error


def _reset_after_fork(database: Database | None) -> None:
    if database is not None:
        database.reset_after_fork()


def _connect(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except (SQLAlchemyError, sqlite3.Error):
        raise
    except Exception as error:
        raise _DriverError(error) from error


def is_in_memory(url: URL) -> bool:
    """Return whether the URL names a SQLite database that lives and dies with the process."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def make_engine(url: URL, own_tables: frozenset[str] = frozenset()) -> Engine:
    """Return an engine, not connected yet, whose transactions are READ COMMITTED or stricter."""
    if url.get_backend_name() == "sqlite":
        engine = _make_sqlite_engine(url, own_tables)
    elif url.get_backend_name() == "postgresql":
        engine = _make_postgresql_engine(url)
    else:
        engine = _make_mysql_engine(url)
    event.listen(engine, "handle_error", _handle_error)
    return engine


def _handle_error(context: ExceptionContext) -> Exception | None:
    """Give up all connections to a server that is read-only; return what a driver's error is."""
    error = context.original_exception
    if is_read_only_error(error):
        context.is_disconnect = True
    if context.sqlalchemy_exception is None and isinstance(error, Exception):
        return _DriverError(error)
    return None


def is_read_only_error(error: BaseException) -> bool:
    """Return whether a driver's error says that its server takes no changes."""
    return driver_error_code(error) in READ_ONLY_CODES


def driver_error_code(error: BaseException | None) -> int | str | None:
    """Return the number or SQLSTATE of a driver's error; None where it has none."""
    number = (getattr(error, "args", None) or [None])[0]
    # MariaDB's errors have a SQLSTATE, too, which is the same for many of them.
    return number if isinstance(number, int) else getattr(error, "sqlstate", None)


def _make_sqlite_engine(url: URL, own_tables: frozenset[str]) -> Engine:
    options: dict[str, Any] = {"connect_args": {"timeout": STORE_WAIT_SECONDS}}
    if is_in_memory(url):
        options["poolclass"] = StaticPool
        options["connect_args"]["check_same_thread"] = False
    else:
        options["pool_timeout"] = STORE_WAIT_SECONDS
    engine = create_engine(url, **options)
    event.listen(engine, "connect", partial(_prepare_sqlite, own_tables))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(own_tables: frozenset[str], dbapi_connection: Any, _record: Any) -> None:
    # The driver's own transaction handling begins too late to hold a read and a write together.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    _use_wal(cursor, own_tables)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _use_wal(cursor: Any, own_tables: frozenset[str]) -> None:
    """Turn the write-ahead log on, where the file system can have one, and the file is our own.

    It stays in the file: whoever copies that, and has tables in it, would miss what is in the log.
    SQLite does not wait for a lock here as it does elsewhere, so this waits for other processes
    that open a new store at the same time.
    """
    deadline = time.monotonic() + STORE_WAIT_SECONDS
    while True:
        try:
            if not _has_other_tables(cursor, own_tables):
                cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _has_other_tables(cursor: Any, own_tables: frozenset[str]) -> bool:
    rows = cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return any(name not in own_tables and not name.startswith("sqlite_") for (name,) in rows)


def _begin_sqlite(connection: Connection) -> None:
    # Taking the write lock at once: a reader that turns writer later fails where it could wait.
    writes = connection.get_execution_options().get("cron_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_postgresql_engine(url: URL) -> Engine:
    engine = _make_server_engine(
        url,
        connect_timeout=STORE_WAIT_SECONDS,
        client_encoding="utf8",
        keepalives_idle=IDLE_TRANSACTION_SECONDS,
        keepalives_interval=10,
        keepalives_count=3,
        tcp_user_timeout=1000 * IDLE_TRANSACTION_SECONDS,
    )
    event.listen(engine, "begin", _limit_postgresql)
    event.listen(engine, "connect", _disable_prepare_behind_pooler)
    event.listen(engine, "connect", _escape_for_server)
    return engine


def _limit_postgresql(connection: Connection) -> None:
    # In each transaction: behind a pooler the next one may be in another session.
    connection.execute(
        _POSTGRESQL_LIMITS,
        {
            "lock": f"{STORE_WAIT_SECONDS}s",
            "statement": f"{STATEMENT_TIMEOUT_SECONDS}s",
            "idle": f"{_idle_limit(connection)}s",
        },
    )


_POSTGRESQL_LIMITS = text(
    "SELECT set_config('lock_timeout', :lock, true),"
    " set_config('statement_timeout', :statement, true),"
    " set_config('idle_in_transaction_session_timeout', :idle, true)"
)


def _idle_limit(connection: Connection) -> int:
    """Return after how many idle seconds the server is to end the connection's transaction."""
    limit: int = connection.get_execution_options().get(
        "cron_idle_seconds", IDLE_TRANSACTION_SECONDS
    )
    return limit


def _escape_for_server(dbapi_connection: Any, _record: Any) -> None:
    """Escape the characters that a database in another encoding than UTF-8 can't keep."""
    encoding = str(dbapi_connection.info.parameter_status("server_encoding")).lower()
    try:
        codec = codecs.lookup(encoding.replace("win", "cp")).name
    except LookupError:
        return  # SQL_ASCII, which takes anything
    if codec == "utf-8":
        return
    from psycopg.types.string import StrDumper

    class EscapingDumper(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.encode(codec, "backslashreplace").decode(codec))

    dbapi_connection.adapters.register_dumper(str, EscapingDumper)


def _disable_prepare_behind_pooler(dbapi_connection: Any, _record: Any) -> None:
    """Prepare no statements behind a pooler, which shows another pid than the server's own.

    Prepared statements belong to a session. Without a pooler they halve the server's work for many
    runs at once.
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
    event.listen(engine, "begin", _limit_mariadb)
    return engine


def _limit_mariadb(connection: Connection) -> None:
    """Limit how long a transaction that has written may be idle, if that is not the limit yet."""
    limit = _idle_limit(connection)
    is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    if is_mariadb and connection.info.get("cron_idle_seconds") != limit:
        connection.exec_driver_sql(f"SET SESSION idle_write_transaction_timeout = {limit}")
        connection.info["cron_idle_seconds"] = limit


def _prepare_mysql(dbapi_connection: Any, _record: Any) -> None:
    cursor = dbapi_connection.cursor()
    # Only MariaDB reads the comment; MySQL can't end an idle transaction.
    cursor.execute(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES',"
        f" lock_wait_timeout = {STORE_WAIT_SECONDS},"
        f" innodb_lock_wait_timeout = {STORE_WAIT_SECONDS}"
        f" /*M!100300 , idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS} */"
    )
    cursor.close()


def _make_server_engine(url: URL, **connect_args: Any) -> Engine:
    """Return an engine for a database server, which may restart or be gone for a while.

    The URL's own options override ``connect_args``, except for the character set.
    """
    url_options = url.query.keys() - {"charset", "client_encoding"}
    return create_engine(
        url,
        connect_args={
            name: value for name, value in connect_args.items() if name not in url_options
        },
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=2,
        max_overflow=13,
        pool_timeout=STORE_WAIT_SECONDS,
    )


def make_path_absolute(url: URL) -> URL:
    """Return the URL with the whole path of a SQLite file: the working directory may change."""
    name = url.database
    if url.get_backend_name() != "sqlite" or is_in_memory(url) or not name:
        return url
    return url if name.startswith("file:") else url.set(database=os.path.abspath(name))


def explain_unusable(url: URL) -> str | None:
    """Return why a store at the URL could not be opened or made, or None, without touching it.

    A server is not asked: it may be down while an application starts.
    """
    if url.get_backend_name() != "sqlite" or is_in_memory(url):
        return None
    path = Path(sqlite_file(url)).absolute()
    problem = _find_file_problem(path) if path.exists() else _find_folder_problem(path.parent)
    return problem and f"cron.url {url} can't be used: {path}: {problem}"


def sqlite_file(url: URL) -> str:
    """Return the path of a SQLite database's file, which may be named by a URI of its own."""
    name = str(url.database)
    if name.startswith("file:") and "uri" in url.query:
        return unquote(urlsplit(name).path)
    return name


def _find_file_problem(path: Path) -> str | None:
    if path.is_dir():
        return "is a folder, not a file"
    if not os.access(path, os.R_OK | os.W_OK):
        return "the file can't be written by this user"
    with path.open("rb") as file:
        start = file.read(16)
    if start not in (b"", b"SQLite format 3\0"):
        return "the file is no SQLite database"
    return _find_folder_problem(path.parent)


def _find_folder_problem(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"there is no folder {folder}"
    # SQLite keeps its write-ahead log beside the file.
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} can't be written by this user"
    return None


def _describe_cause(error: Exception) -> str:
    """Return the driver's error in one line, or SQLAlchemy's where the driver raised none."""
    original = getattr(error, "orig", None)
    message = original or (error.args or [""])[0]
    return " ".join(f"{type(original or error).__name__}: {message}".split())
