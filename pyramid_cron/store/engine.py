"""Connections to the store's database: its own engine, its own transactions, its own errors."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from ..errors import StoreError
from .dialects import is_in_memory, make_engine


class Database:
    """A lazily made engine that survives a fork and turns driver errors into StoreError.

    ``forget`` is called when the database turns out to be another than before: a file that was
    removed or replaced, a memory that is gone.
    """

    def __init__(self, url: URL, on_identity_change: Callable[[], None] = lambda: None) -> None:
        self.url = url
        self.display_url = url.render_as_string(hide_password=True)
        self.dialect = url.get_backend_name()
        self._on_identity_change = on_identity_change
        self._is_in_memory = is_in_memory(self.url)
        # A database in memory is one connection, which takes one transaction at a time.
        self._transaction_lock: AbstractContextManager[Any] = (
            threading.RLock() if self._is_in_memory else nullcontext()
        )
        self._engine: Engine | None = None
        self._write_engine: Engine | None = None
        self._engine_identity: tuple[int, object] = (0, None)
        self._engine_lock = threading.Lock()

    def check_identity(self) -> None:
        """Call ``forget`` now if the database is another than before."""
        with self._translate_errors():
            self._ensure_engine()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection to read from."""
        with (
            self._translate_errors(),
            self._transaction_lock,
            self._ensure_engine().connect() as connection,
        ):
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose changes are durable when the block ends, or not made at all."""
        with self._translate_errors(), self._transaction_lock:
            self._ensure_engine()
            assert self._write_engine is not None
            with self._write_engine.begin() as connection:
                yield connection

    def dispose(self) -> None:
        """Close the connections; they are opened again when needed.

        What was in memory is gone then.
        """
        if self._engine is not None and self._engine_identity[0] == os.getpid():
            self._engine.dispose()
            if self._is_in_memory:
                self._on_identity_change()

    def _ensure_engine(self) -> Engine:
        wanted = (os.getpid(), self._file_identity())
        if self._engine is None or self._engine_identity != wanted:
            with self._engine_lock:
                self._renew_engine(wanted)
        assert self._engine is not None
        return self._engine

    def _renew_engine(self, identity: tuple[int, object]) -> None:
        if self._engine is None:
            self._engine = make_engine(self.url)
            self._write_engine = self._engine.execution_options(cron_write=True)
        elif self._engine_identity[0] != identity[0]:
            # A connection must not be shared with the process this one was forked from.
            self._engine.dispose(close=False)
            if self._is_in_memory:
                self._on_identity_change()
        elif self._engine_identity[1] is not None and self._engine_identity[1] != identity[1]:
            # What is written to a file that was removed is lost.
            self._engine.dispose()
            self._on_identity_change()
        self._engine_identity = identity

    def _file_identity(self) -> object:
        """Return what tells the file of a SQLite database from another in its place."""
        if self.dialect != "sqlite" or self._is_in_memory:
            return None
        try:
            found = os.stat(_sqlite_path(self.url))
        except OSError:
            return None
        return found.st_dev, found.st_ino

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StoreError(f"cron.url {self.display_url}: {_describe_cause(error)}") from error


def explain_unusable(url: URL) -> str | None:
    """Return why a store at the URL could not be opened or made, or None, without touching it.

    A server is not asked: it may be down while an application starts.
    """
    if url.get_backend_name() != "sqlite" or is_in_memory(url):
        return None
    path = Path(_sqlite_path(url)).absolute()
    problem = _find_file_problem(path) if path.exists() else _find_folder_problem(path.parent)
    return problem and f"cron.url {url} can't be used: {path}: {problem}"


def _sqlite_path(url: URL) -> str:
    """Return the path of a SQLite database's file, which may be named by a URI of its own."""
    named = str(url.database)
    if named.startswith("file:") and "uri" in url.query:
        return unquote(urlsplit(named).path)
    return named


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
    """Return in one line what the driver says, or SQLAlchemy where it did not get that far."""
    original = getattr(error, "orig", None)
    told = original or (error.args or [""])[0]
    return " ".join(f"{type(original or error).__name__}: {told}".split())
