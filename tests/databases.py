"""The databases that a store can be in, each test with tables of its own.

A server that is missing is a skipped test that says so; under continuous integration it fails.
``CRON_TEST_POSTGRESQL`` and ``CRON_TEST_MARIADB`` name servers elsewhere.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from pyramid_cron.store.schema import make_tables
from pyramid_cron.store.store import Store

SERVERS = {
    "postgresql": make_url(
        os.environ.get("CRON_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/test")
    ),
    "mariadb": make_url(
        os.environ.get("CRON_TEST_MARIADB", "mariadb+pymysql://root@127.0.0.1:3306/test")
    ),
}
SHARED = ("file", *SERVERS)
"""Those that several processes can use at once."""

EVERY = (*SHARED, "memory")
DRIVERS = {"postgresql": "psycopg", "mariadb": "pymysql"}
FIRST = {"postgresql": "postgres", "mariadb": ""}
"""Databases to connect to where the one to test in has to be made first."""


@dataclass(frozen=True)
class Place:
    """Where a store is: every ``store()`` of it is like one of another process."""

    kind: str
    url: URL
    prefix: str = "cron_"

    def store(self) -> Store:
        return Store(self.url, self.prefix)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Give a connection that has nothing to do with the store; each statement is committed."""
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def drop(self) -> None:
        """Drop the tables that are there; a file goes with its folder."""
        if self.kind in SERVERS:
            names = make_tables(self.prefix).metadata.tables
            self.execute(f"DROP TABLE IF EXISTS {', '.join(names)}")

    def execute(self, statement: str) -> None:
        with self.connection() as connection:
            connection.execute(text(statement))


@contextmanager
def place(kind: str, folder: Path) -> Iterator[Place]:
    """Give a place for a store that nothing is in; what comes to be there goes afterwards."""
    if kind == "memory":
        yield Place(kind, make_url("sqlite://"))
    elif kind == "file":
        yield Place(kind, make_url(f"sqlite:///{folder}/cron.sqlite"))
    else:
        if problem := lacking(kind):
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(problem)
        found = Place(kind, SERVERS[kind], f"t{secrets.token_hex(6)}_")
        try:
            yield found
        finally:
            found.drop()


@lru_cache
def lacking(kind: str) -> str | None:
    """Return what is missing to test with a database server, or None."""
    if find_spec(DRIVERS[kind]) is None:
        return f"needs the package {DRIVERS[kind]}"
    url = SERVERS[kind]
    try:
        _make_database(kind, url)
    except OperationalError as error:
        return f"needs a {kind} server at {url}: {' '.join(str(error.orig).split())}"
    return None


def _make_database(kind: str, url: URL) -> None:
    try:
        Place(kind, url).execute("SELECT 1")
    except OperationalError as error:
        if not ("1049" in str(error) or "does not exist" in str(error)):
            raise
        Place(kind, url.set(database=FIRST[kind])).execute(f"CREATE DATABASE {url.database}")
