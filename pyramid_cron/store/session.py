"""One transaction in the store: its connection, the tables, and the process that has it open."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Insert, Table, select
from sqlalchemy.dialects import mysql, sqlite

from .schema import Tables, Values, once_per_store

IDS_PER_STATEMENT = 1000
"""How many ids are put into one statement; databases take some ten thousand."""

EXACT_ROWCOUNT_DIALECTS = ("sqlite", "postgresql")
"""Databases that can leave an existing row alone, and count only the rows that they wrote."""

WORKER_SEEN_INFO = "worker_seen"
"""The name of the fact when a worker was there last."""

SCHEDULES_VERSION_INFO = "schedules_version"
"""The name of the fact how often stored schedules have changed."""

NO_OWNER = ""
"""The owner of a run that waits, or was handed off and not taken over yet."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that claims runs."""

    token: str = field(default_factory=lambda: secrets.token_hex(8))
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


@dataclass(frozen=True, slots=True)
class Session:
    """What the statements of one transaction need."""

    connection: Connection
    tables: Tables
    #: The process that has the transaction open.
    owner: Owner


def insert_new(session: Session, table: Table, rows: list[Values]) -> bool:
    """Insert the rows whose keys are not there yet; return whether certainly all were inserted.

    MySQL counts an existing row as one that it wrote.
    """
    dialect = session.connection.dialect.name
    if not rows:
        return dialect in EXACT_ROWCOUNT_DIALECTS
    statement = _make_insert(dialect, table)
    options = {"preserve_rowcount": True}
    result = session.connection.execute(statement, rows, execution_options=options)
    return dialect in EXACT_ROWCOUNT_DIALECTS and result.rowcount == len(rows)


@once_per_store
def _make_insert(dialect: str, table: Table) -> Insert:
    statement = upsert(dialect, table)
    if dialect in EXACT_ROWCOUNT_DIALECTS:
        insert_or_skip: Insert = statement.on_conflict_do_nothing()
    else:
        # INSERT IGNORE would accept values that are too long, and cut them.
        key = next(iter(table.primary_key))
        insert_or_skip = statement.on_duplicate_key_update({key.name: key})
    return insert_or_skip


def upsert(dialect: str, table: Table) -> Any:
    """Return the dialect's insert, which can say what becomes of rows whose keys exist."""
    if dialect == "sqlite":
        return sqlite.insert(table)
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # slow to import, and few need it

        return postgresql.insert(table)
    return mysql.insert(table)


def write_info(session: Session, name: str, value: str) -> None:
    """Write a fact about the store itself."""
    info = session.tables.schema_info
    statement = upsert(session.connection.dialect.name, info).values(name=name, value=value)
    if session.connection.dialect.name in EXACT_ROWCOUNT_DIALECTS:
        statement = statement.on_conflict_do_update(index_elements=["name"], set_={"value": value})
    else:
        statement = statement.on_duplicate_key_update(value=value)
    session.connection.execute(statement)


def read_info(session: Session, name: str) -> str | None:
    """Return a fact about the store itself; None if it is not on record."""
    info = session.tables.schema_info
    value: str | None = session.connection.scalar(select(info.c.value).where(info.c.name == name))
    return value


def batched(ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield ids in order, as many at a time as one statement takes."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), IDS_PER_STATEMENT):
        yield ordered[start : start + IDS_PER_STATEMENT]
