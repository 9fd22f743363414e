"""The tables: their columns, their version, and how they are made.

Version 1 is the first release, so there is nothing to upgrade from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    VARBINARY,
    BigInteger,
    Column,
    Connection,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..errors import StoreError
from ..schedule.zones import EPOCH
from .engine import Database

BUCKET_BOUNDS_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400)
"""Seconds by which durations and lateness are counted, each up to the next."""

DURATION_BUCKETS = tuple(f"duration_bucket_{index}" for index in range(len(BUCKET_BOUNDS_SECONDS)))
LATENESS_BUCKETS = tuple(f"lateness_bucket_{index}" for index in range(len(BUCKET_BOUNDS_SECONDS)))

SCHEMA_VERSION = 1
"""The version of the tables below; increase it whenever one of them changes."""

SCHEMA_LOCK_KEY = 0x70797263
"""The lock under which tables are made on PostgreSQL; its bytes are the letters pyrc."""

SCHEMA_LOCK_SECONDS = 30
"""Seconds to wait for another process that is making the tables."""

MYSQL_DIALECTS = ("mysql", "mariadb")
#: With this many bytes a text of MySQL is a MEDIUMTEXT; its dialect is slow to import.
LONG_TEXT = Text().with_variant(Text(2**24 - 1), *MYSQL_DIALECTS)

MICROSECOND = timedelta(microseconds=1)

Values = dict[str, Any]
"""A row to write, by the names of columns and parameters."""

once_per_store = lru_cache(maxsize=16)
"""Caches the statement that a function builds from a store's tables.

Building a statement takes longer than executing it. What differs between executions is a
``bindparam``.
"""


class UtcMicroseconds(TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Return the value for the database."""
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


class TaskName(TypeDecorator[str]):
    """A task's name, compared byte by byte.

    MySQL's collations equate names that differ in case, accents or trailing blanks; which ones do
    not depends on its version. So there it is stored as bytes.
    """

    impl = String(200)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type: bytes of UTF-8 in MySQL, text elsewhere."""
        kind = VARBINARY(800) if dialect.name in MYSQL_DIALECTS else String(200)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Return the value for the database."""
        return value.encode() if value is not None and dialect.name in MYSQL_DIALECTS else value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the name."""
        return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one store."""

    metadata: MetaData
    schema_info: Table
    runs: Table
    run_outputs: Table
    ends: Table
    ticks: Table
    task_sets: Table
    pause_rules: Table
    schedules: Table
    run_stats: Table
    actions: Table


def make_tables(prefix: str) -> Tables:
    """Return the tables, with names that begin with ``prefix``."""
    metadata = MetaData()
    return Tables(
        metadata,
        schema_info=_schema_info(metadata, prefix),
        runs=_runs(metadata, prefix),
        run_outputs=_run_outputs(metadata, prefix),
        ends=_ends(metadata, prefix),
        ticks=_ticks(metadata, prefix),
        task_sets=_task_sets(metadata, prefix),
        pause_rules=_pause_rules(metadata, prefix),
        schedules=_schedules(metadata, prefix),
        run_stats=_run_stats(metadata, prefix),
        actions=_actions(metadata, prefix),
    )


def _schema_info(metadata: MetaData, prefix: str) -> Table:
    """Facts about the store itself: the row ``schema`` has the version of these tables."""
    return Table(
        f"{prefix}schema_info",
        metadata,
        Column("name", String(40), primary_key=True),
        Column("value", String(200), nullable=False),
    )


def _runs(metadata: MetaData, prefix: str) -> Table:
    """One row for each run, from the moment it is known to its end.

    The unique key lets a run exist once: ``origin`` is ``schedule``, ``backfill``,
    ``backfill:allow`` for a backfill beside other runs, ``stored:`` and a hash of the name for a
    stored schedule, or ``adhoc:`` and random digits for a run that competes with no other. A
    waiting run has ``not_before``, the moment from which it may begin, and no other run has one;
    its ``reason`` is why it waits. ``claimed`` is when a process claimed or skipped the run, and
    ``owner`` is that process. An active run has ``lease_until``, until when its owner is to renew
    it; ``cancel_requested`` is 1 once its cancellation is requested. ``weight`` is its share of the
    capacity, 0 in a request, and ``lock_name`` the lock that it holds. ``slot_count`` is the number
    of slots that a skipped run stands for. ``dedup_key`` is the key of a deferred run. ``schedule``
    is the name of the stored schedule that the run is of. ``exit_status`` is that of a program, or
    of a run's own process; a signal's number below 0. ``lost_count`` is the number of earlier
    attempts that were lost and made good by one more each.
    """
    runs = Table(
        f"{prefix}runs",
        metadata,
        Column("id", String(26), primary_key=True),
        Column("task", TaskName, nullable=False),
        Column("slot", UtcMicroseconds, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("origin", String(40), nullable=False),
        Column("trigger", String(10), nullable=False),
        Column("state", String(10), nullable=False),
        Column("reason", String(12)),
        Column("slot_count", Integer, nullable=False),
        Column("not_before", UtcMicroseconds),
        Column("claimed", UtcMicroseconds),
        Column("started", UtcMicroseconds),
        Column("finished", UtcMicroseconds),
        Column("error", LONG_TEXT),
        Column("traceback", LONG_TEXT),
        Column("exit_status", Integer),
        Column("progress", LONG_TEXT),
        Column("payload", LONG_TEXT),
        Column("host", String(255), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("owner", String(16), nullable=False),
        Column("lease_until", UtcMicroseconds),
        Column("cancel_requested", Integer, nullable=False),
        Column("weight", Integer, nullable=False),
        Column("lock_name", TaskName),
        Column("lost_count", Integer, nullable=False),
        Column("dedup_key", TaskName),
        Column("schedule", TaskName),
        UniqueConstraint("slot", "task", "attempt", "origin", name=f"{prefix}runs_claim_key"),
    )
    Index(f"{prefix}runs_by_time", runs.c.claimed, runs.c.id)
    Index(f"{prefix}runs_by_task", runs.c.task, runs.c.claimed, runs.c.id)
    Index(f"{prefix}runs_by_state", runs.c.state, runs.c.claimed, runs.c.id)
    _index_where_present(f"{prefix}runs_active", runs.c.lease_until)
    _index_where_present(f"{prefix}runs_waiting", runs.c.not_before)
    _index_where_present(f"{prefix}runs_schedule", runs.c.schedule, runs.c.claimed, runs.c.id)
    _index_where_present(f"{prefix}runs_dedup", runs.c.dedup_key, runs.c.task, unique=True)
    return runs


def _index_where_present(name: str, *columns: Column[Any], unique: bool = False) -> None:
    """Index the rows that have a value in the first column; MySQL indexes all rows."""
    Index(name, *columns, unique=unique, sqlite_where=columns[0].is_not(None))


def _run_outputs(metadata: MetaData, prefix: str) -> Table:
    """One row for each run that logged or wrote something; lists of runs do not read it."""
    return Table(
        f"{prefix}run_outputs",
        metadata,
        Column("run_id", String(26), primary_key=True),
        Column("log", LONG_TEXT),
        Column("stdout", LONG_TEXT),
        Column("stderr", LONG_TEXT),
    )


def _ends(metadata: MetaData, prefix: str) -> Table:
    """One row for the end of a run that several may want to write: who inserts it first decides.

    A task's own transaction inserts ``succeeded``, which is deleted once the run's row says so. Who
    takes a run for lost, or gives it up, inserts that; such a row stays as long as the run.
    """
    return Table(
        f"{prefix}ends",
        metadata,
        Column("run_id", String(26), primary_key=True),
        Column("state", String(10), nullable=False),
        Column("started", UtcMicroseconds),
        Column("finished", UtcMicroseconds, nullable=False),
    )


def _ticks(metadata: MetaData, prefix: str) -> Table:
    """One row for each tick: when, where, and how many runs it claimed and skipped."""
    return Table(
        f"{prefix}ticks",
        metadata,
        Column("id", String(26), primary_key=True),
        Column("at", UtcMicroseconds, nullable=False),
        Column("task_set", String(32), nullable=False),
        Column("host", String(255), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("run_count", Integer, nullable=False),
        Column("skipped_count", Integer, nullable=False),
    )


def _task_sets(metadata: MetaData, prefix: str) -> Table:
    """Task sets: the tasks that one version of the application knows, as a JSON list of names.

    ``last_tick`` is its last hit. Its slots up to ``window_end`` are handled, by ticks and beats,
    those of stored schedules with what had changed of them up to ``schedules_version``.
    """
    return Table(
        f"{prefix}task_sets",
        metadata,
        Column("id", String(32), primary_key=True),
        Column("task_names", LONG_TEXT, nullable=False),
        Column("last_tick", UtcMicroseconds, nullable=False),
        Column("window_end", UtcMicroseconds, nullable=False),
        Column("schedules_version", BigInteger, nullable=False),
    )


def _pause_rules(metadata: MetaData, prefix: str) -> Table:
    """Pause rules: the last row whose pattern matches a task says whether it is paused.

    ``is_give_up`` is 1 for the pause of a task that failed too often in a row.
    """
    return Table(
        f"{prefix}pause_rules",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("since", UtcMicroseconds, nullable=False),
        Column("is_pause", Integer, nullable=False),
        Column("pattern", LONG_TEXT, nullable=False),
        Column("until", UtcMicroseconds),
        Column("reason", LONG_TEXT),
        Column("is_give_up", Integer, nullable=False),
    )


def _schedules(metadata: MetaData, prefix: str) -> Table:
    """One row for each stored schedule; a removed one stays, so that others hear of it.

    ``arguments`` is when it is, a JSON object of the arguments it was made with. Slots count that
    are later than ``changed``. Each change has the next ``version``; the last one is also in
    ``schema_info``.
    """
    schedules = Table(
        f"{prefix}schedules",
        metadata,
        Column("name", TaskName, primary_key=True),
        Column("task", TaskName, nullable=False),
        Column("arguments", LONG_TEXT, nullable=False),
        Column("payload", LONG_TEXT),
        Column("is_enabled", Integer, nullable=False),
        Column("is_removed", Integer, nullable=False),
        Column("changed", UtcMicroseconds, nullable=False),
        Column("version", BigInteger, nullable=False),
    )
    Index(f"{prefix}schedules_by_version", schedules.c.version)
    Index(f"{prefix}schedules_by_task", schedules.c.task, schedules.c.name)
    return schedules


def _run_stats(metadata: MetaData, prefix: str) -> Table:
    """One row for each task, state and reason, which counts runs, deleted ones among them.

    ``duration_count`` runs took ``duration_sum`` together; ``lateness_count`` first attempts
    started ``lateness_sum`` after their slots together; both in microseconds. ``newest_run`` is the
    id of the run that was claimed or skipped last, at ``newest_at``. The row of the task with the
    empty name counts ticks. ``duration_bucket_0`` and its kin count the runs that took no longer
    than one of ``BUCKET_BOUNDS_SECONDS``, and longer than the one before; so do those of
    lateness.
    """
    return Table(
        f"{prefix}run_stats",
        metadata,
        Column("task", TaskName, primary_key=True),
        Column("state", String(10), primary_key=True),
        Column("reason", String(12), primary_key=True),
        Column("count", BigInteger, nullable=False),
        Column("duration_count", BigInteger, nullable=False),
        Column("duration_sum", BigInteger, nullable=False),
        Column("lateness_count", BigInteger, nullable=False),
        Column("lateness_sum", BigInteger, nullable=False),
        *(
            Column(name, BigInteger, nullable=False)
            for name in (*DURATION_BUCKETS, *LATENESS_BUCKETS)
        ),
        Column("newest_run", String(26), nullable=False),
        Column("newest_at", UtcMicroseconds),
        Column("last_finished", UtcMicroseconds),
    )


def _actions(metadata: MetaData, prefix: str) -> Table:
    """One row for each action: who has run, paused, cancelled or changed what.

    ``action`` is what was done, and ``who`` a user's id, ``token``, an address, ``pcron`` with its
    user, ``task`` with its name, ``application``, or ``pause_after``. ``task``, ``schedule`` and
    ``run`` are what it was done to; ``pattern`` is that of a pause or resume, whose ``task`` is
    NULL unless the pattern matches just one. ``details`` is what else was said, a JSON object.
    """
    actions = Table(
        f"{prefix}actions",
        metadata,
        Column("id", String(26), primary_key=True),
        Column("at", UtcMicroseconds, nullable=False),
        Column("action", String(12), nullable=False),
        Column("who", TaskName, nullable=False),
        Column("task", TaskName),
        Column("schedule", TaskName),
        Column("run", String(26)),
        Column("pattern", LONG_TEXT),
        Column("details", LONG_TEXT, nullable=False),
    )
    for name in ("action", "who", "task", "schedule", "run"):
        Index(f"{prefix}actions_by_{name}", actions.c[name], actions.c.id)
    return actions


def ensure_schema(database: Database, tables: Tables) -> None:
    """Make the tables where they are missing; processes that do so at once take turns.

    Raises StoreError for tables of a newer version.
    """
    with database.read() as connection:
        version = _read_version(connection, tables)
    if version is None:
        version = _create_tables(database, tables)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"cron.url {database.display_url}: the store has schema version {version}, this"
            f" pyramid_cron knows versions up to {SCHEMA_VERSION}; upgrade pyramid_cron"
        )


def _read_version(connection: Connection, tables: Tables) -> int | None:
    """Return the schema's version; None where tables are missing."""
    schema_info = tables.schema_info
    if not inspect(connection).has_table(schema_info.name):
        return None
    version = connection.scalar(select(schema_info.c.value).where(schema_info.c.name == "schema"))
    return int(version) if version else None


def _create_tables(database: Database, tables: Tables) -> int:
    with _schema_transaction(database, tables) as connection:
        version = _read_version(connection, tables)
        if version is not None:
            return version
        _set_options(tables, database.dialect)
        tables.metadata.create_all(connection)
        # MariaDB commits each step, so a process may have been killed before it made the indexes.
        for table in tables.metadata.sorted_tables:
            for index in table.indexes:
                index.create(connection, checkfirst=True)
        # The version comes last: where it is, everything is.
        facts = {"schedules_version": 0, "schema": SCHEMA_VERSION}
        rows = [{"name": name, "value": str(value)} for name, value in facts.items()]
        connection.execute(insert(tables.schema_info), rows)
    return SCHEMA_VERSION


def _set_options(tables: Tables, dialect: str) -> None:
    """Set what one database alone has; said with the tables, it would load each one's dialect.

    MySQL's text is compared byte by byte, as it is elsewhere; PostgreSQL's indexes have the rows
    that SQLite's have.
    """
    for table in tables.metadata.sorted_tables:
        if dialect in MYSQL_DIALECTS:
            options = {"charset": "utf8mb4", "collate": "utf8mb4_bin", "engine": "InnoDB"}
            table.kwargs.update({f"{dialect}_{name}": value for name, value in options.items()})
        elif dialect == "postgresql":
            for index in table.indexes:
                condition = index.dialect_options["sqlite"]["where"]
                index.dialect_options["postgresql"]["where"] = condition


@contextmanager
def _schema_transaction(database: Database, tables: Tables) -> Iterator[Connection]:
    """Let one process at a time make tables, until they are committed.

    SQLite has one writer at a time. PostgreSQL's lock ends with the transaction. MariaDB's belongs
    to the connection, which releases it after the transaction.
    """
    if database.dialect in MYSQL_DIALECTS:
        with (
            database.read() as connection,
            _mysql_schema_lock(connection, tables),
            connection.begin(),
        ):
            yield connection
    else:
        with database.write(is_long=True) as connection:
            if database.dialect == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK_KEY)))
            yield connection


@contextmanager
def _mysql_schema_lock(connection: Connection, tables: Tables) -> Iterator[None]:
    # The server has one lock of a name for all its databases; stores need not wait for each other.
    name = tables.schema_info.name
    if connection.scalar(select(func.get_lock(name, SCHEMA_LOCK_SECONDS))) != 1:
        display_url = connection.engine.url.render_as_string(hide_password=True)
        raise StoreError(
            f"cron.url {display_url}: another process has been making the tables for long"
        )
    connection.rollback()  # the lock stays, for the transaction to begin with nothing read
    try:
        yield
    except BaseException:
        connection.invalidate()  # the server releases the lock with the connection
        raise
    connection.execute(select(func.release_lock(name)))
