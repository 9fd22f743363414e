"""What a run costs whose end is in its task's own transaction, beside a record of its own.

    python benchmarks/exactly_once.py [--quick]

Each tick runs many tasks that write one row through a session of zope.sqlalchemy, or only read one.
The store is in the application's database. The servers are those of the tests; one that is missing
is left out.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from typing import Any

import transaction
import zope.sqlalchemy
from common import Column, options, show, show_machine
from pyramid.config import Configurator
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from pyramid_cron.app import get_cron
from pyramid_cron.store.schema import make_tables
from pyramid_cron.testing import CronTester

SERVERS = {
    "PostgreSQL": os.environ.get(
        "CRON_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/test"
    ),
    "MariaDB": os.environ.get("CRON_TEST_MARIADB", "mariadb+pymysql://root@127.0.0.1:3306/test"),
}
WAYS = ("task alone", "record apart", "in its transaction")
NOON = datetime(2026, 6, 15, 12, 0, tzinfo=timezone.utc)

COLUMNS = (
    Column(""),
    *(Column(way, ",.2f") for way in WAYS),
)


class Application:
    """An application with its store in its own database."""

    def __init__(
        self, url: URL, prefix: str, tasks: int, *, reads: bool, has_session: bool
    ) -> None:
        self.engine = create_engine(url)
        self.reads, self.prefix = reads, prefix
        with self.engine.begin() as connection:
            connection.execute(text(f"CREATE TABLE IF NOT EXISTS {prefix}works (slot INTEGER)"))
        config = Configurator(
            settings={
                "cron.url": url.render_as_string(hide_password=False),
                "cron.table_prefix": prefix,
                "cron.timezone": "UTC",
                "cron.beats": "false",
                "tm.manager_hook": "pyramid_tm.explicit_manager",
            }
        )
        config.include("pyramid_tm")
        config.include("pyramid_cron")
        config.add_request_method(self.make_session, "db", reify=True)
        if has_session:
            config.set_cron_session(lambda request: request.db)
        for number in range(tasks):
            config.add_cron_task(self.run, name=f"task{number}")
        self.tester = CronTester(config.make_wsgi_app())

    def make_session(self, request: Any) -> Session:
        session = Session(self.engine)
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        request.add_finished_callback(lambda _: session.close())
        return session

    def run(self, system: Any) -> None:
        self.work(system["request"].db, system["request"].tm)

    def work(self, session: Session, manager: Any) -> None:
        if self.reads:
            session.execute(text("SELECT 1")).all()
            return
        session.execute(text(f"INSERT INTO {self.prefix}works VALUES (1)"))
        zope.sqlalchemy.mark_changed(session, manager)

    def work_alone(self, tasks: int) -> None:
        """Do the same work without a scheduler."""
        for _ in range(tasks):
            session = Session(self.engine)
            zope.sqlalchemy.register(session)
            with transaction.manager:
                self.work(session, transaction.manager)
            session.close()

    def close(self) -> None:
        get_cron(self.tester.registry).close()
        with self.engine.begin() as connection:
            names = (f"{self.prefix}works", *make_tables(self.prefix).metadata.tables)
            for name in names:
                connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
        self.engine.dispose()


def measure(url: URL, tasks: int, ticks: int, *, reads: bool) -> list[float]:
    """Return the milliseconds a run each way; they take turns, and so have the same noise."""
    prefixes = [f"b{secrets.token_hex(4)}_" for _ in WAYS]
    apps = [
        Application(url, prefix, tasks, reads=reads, has_session=way == WAYS[2])
        for prefix, way in zip(prefixes, WAYS, strict=True)
    ]
    took: list[list[float]] = [[] for _ in WAYS]
    try:
        for number in range(-1, ticks):
            moment = NOON + timedelta(minutes=number)
            for way, app in enumerate(apps):
                begin = time.perf_counter()
                if way:
                    app.tester.tick(moment)
                else:
                    app.work_alone(tasks)
                took[way].append((time.perf_counter() - begin) * 1000 / tasks)
    finally:
        for app in apps:
            app.close()
    return [median(times[1:]) for times in took]


def rows(tasks: int, ticks: int) -> list[list[Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shop.sqlite"
        places = {"SQLite, rollback journal": make_url(f"sqlite:///{file}")}
        places["SQLite, WAL"] = make_url(f"sqlite:///{Path(folder) / 'wal.sqlite'}")
        with create_engine(places["SQLite, WAL"]).connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        for name, address in SERVERS.items():
            with suppress(OperationalError):
                create_engine(address).connect().close()
                places[name] = make_url(address)
        return [
            [f"{name}, {kind}", *measure(url, tasks, ticks, reads=kind == "reads")]
            for name, url in places.items()
            for kind in ("writes", "reads")
        ]


def main() -> int:
    parser = options(__doc__ or "", "a tenth of the ticks")
    quick = parser.parse_args().quick
    tasks, ticks = 100, 3 if quick else 30
    show(
        f"Milliseconds a run, {ticks} ticks of {tasks} tasks",
        COLUMNS,
        rows(tasks, ticks),
    )
    show_machine("SQLAlchemy", "zope.sqlalchemy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
