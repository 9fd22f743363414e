"""Whether an engine of the application leads to the database that the store lies in."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from ..errors import StoreError
from .engine import is_in_memory, sqlite_file
from .schema import MYSQL_DIALECTS
from .session import write_info
from .store import Store


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
