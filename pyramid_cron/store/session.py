"""What a transaction in the store is made with."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import mysql, sqlite

from .schema import Values, once_per_store

IDS_PER_STATEMENT = 1000
"""How many ids are put into one statement; databases take some ten thousand."""

EXACT_ROWCOUNT_DIALECTS = ("sqlite", "postgresql")
"""Databases that can leave alone what is there, and tell how much they wrote."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that claims runs."""

    token: str = field(default_factory=lambda: secrets.token_hex(8))
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


NO_OWNER = ""
"""The owner of what was sent and is not taken up yet."""


def insert_new(connection: Connection, table: Table, rows: list[Values]) -> bool:
    """Insert those rows whose keys are not there yet; return whether all of them are known to be.

    MySQL counts a row that was there as one that it wrote.
    """
    dialect = connection.dialect.name
    if not rows:
        return dialect in EXACT_ROWCOUNT_DIALECTS
    counting = {"preserve_rowcount": True}
    result = connection.execute(_make_insert(dialect, table), rows, execution_options=counting)
    return dialect in EXACT_ROWCOUNT_DIALECTS and result.rowcount == len(rows)


@once_per_store
def _make_insert(dialect: str, table: Table) -> Insert:
    statement = upsert(dialect, table)
    if dialect in EXACT_ROWCOUNT_DIALECTS:
        new: Insert = statement.on_conflict_do_nothing()
    else:
        # INSERT IGNORE would take values for good that are cut to fit.
        key = next(iter(table.primary_key))
        new = statement.on_duplicate_key_update({key.name: key})
    return new


def upsert(dialect: str, table: Table) -> Any:
    """Return the insert that can say what becomes of rows whose keys are there already."""
    if dialect == "sqlite":
        return sqlite.insert(table)
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # takes its time, and few need it

        return postgresql.insert(table)
    return mysql.insert(table)
