"""Making the tables, and telling which version of them is there.

Version 1 is the first that was ever released, so there is none to upgrade from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, func, inspect, select

from ..errors import StoreError
from .engine import Database
from .rows import insert_new
from .tables import SCHEMA_VERSION, Tables

SCHEMA_LOCK_KEY = (
    0x70797263  # the letters pyrc: whoever makes the tables on PostgreSQL holds this lock
)
SCHEMA_LOCK_NAME = "pyramid_cron"
SCHEMA_LOCK_SECONDS = 30
"""Seconds to wait for another process that makes the tables."""


def ensure_schema(database: Database, tables: Tables) -> None:
    """Make the tables where they are missing; processes that do so at once wait for each other.

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
    """Return the schema's version; None where the tables are not there, or not all of them."""
    meta = tables.meta
    if not inspect(connection).has_table(meta.name):
        return None
    found = connection.scalar(select(meta.c.value).where(meta.c.name == "schema"))
    return int(found) if found else None


def _create_tables(database: Database, tables: Tables) -> int:
    with database.write() as connection, _schema_lock(connection):
        version = _read_version(connection, tables)
        if version is not None:
            return version
        tables.metadata.create_all(connection)
        # MariaDB commits each step, so somebody may have been stopped before its indexes were made.
        for table in tables.metadata.sorted_tables:
            for index in table.indexes:
                index.create(connection, checkfirst=True)
        # The version comes last: where it is, everything is.
        row = {"name": "schema", "value": str(SCHEMA_VERSION)}
        insert_new(connection, tables.meta, [row])
    return SCHEMA_VERSION


@contextmanager
def _schema_lock(connection: Connection) -> Iterator[None]:
    """Let one process at a time make tables, where a transaction does not see to that."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK_KEY)))
        yield
    elif dialect == "sqlite":
        yield
    else:
        with _mysql_schema_lock(connection):
            yield


@contextmanager
def _mysql_schema_lock(connection: Connection) -> Iterator[None]:
    if connection.scalar(select(func.get_lock(SCHEMA_LOCK_NAME, SCHEMA_LOCK_SECONDS))) != 1:
        shown = connection.engine.url.render_as_string(hide_password=True)
        raise StoreError(f"cron.url {shown}: another process has been making the tables for long")
    try:
        yield
    except BaseException:
        connection.invalidate()  # what it holds goes with it
        raise
    connection.execute(select(func.release_lock(SCHEMA_LOCK_NAME)))
