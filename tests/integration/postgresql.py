"""A PostgreSQL server of one's own, in a folder that goes with it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PLACES = ("/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/postgresql")


def lacking() -> str | None:
    """Return why there can be no server, or None."""
    if find_spec("psycopg") is None:
        return "needs psycopg"
    if _program("initdb") is None:
        return "needs PostgreSQL's server"
    return None


@dataclass
class Server:
    """A server; it listens on a socket in its folder only."""

    folder: str
    who: dict[str, Any]

    @property
    def url(self) -> str:
        """The URL of a database that is empty at first."""
        return f"postgresql+psycopg://cron@/postgres?host={self.folder}"

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c max_connections=30"
        self.control("-o", options, "-l", f"{self.folder}/log", "-w", "start")

    def stop(self) -> None:
        self.control("-m", "immediate", "stop")

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Give a connection that commits nothing by itself but single statements."""
        import psycopg

        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            yield connection

    def do(self, statement: str) -> list[Any]:
        """Execute a statement; return its rows."""
        with self.connection() as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def no_connection_left(self) -> Iterator[None]:
        """Take all the connections there are."""
        import psycopg

        with ExitStack() as stack:
            with suppress(psycopg.OperationalError):
                while True:
                    stack.enter_context(self.connection())
            yield

    def control(self, *arguments: str) -> None:
        _run([_program("pg_ctl"), "-D", f"{self.folder}/data", *arguments], self.who)


@contextmanager
def server() -> Iterator[Server]:
    """Give a server of one's own."""
    folder = tempfile.mkdtemp(prefix="pg")
    try:
        made = Server(folder, _user(folder))
        options = ["-A", "trust", "-U", "cron", "--no-sync"]
        _run([_program("initdb"), "-D", f"{folder}/data", *options], made.who)
        made.start()
        try:
            yield made
        finally:
            with suppress(subprocess.CalledProcessError):  # it may have been stopped
                made.stop()
    finally:
        shutil.rmtree(folder)


def _program(name: str) -> str | None:
    found = [str(path) for place in PLACES for path in sorted(Path(place).glob(f"*/bin/{name}"))]
    return found[-1] if found else shutil.which(name)


def _user(folder: str) -> dict[str, Any]:
    """PostgreSQL refuses to run as root; then it is somebody else's."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _run(command: list[Any], who: dict[str, Any]) -> None:
    # Its children keep what they inherit, so nothing of ours is given to them.
    subprocess.run(
        command,
        check=True,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
        **who,
    )
