"""Applications whose store lies in their own database, and a ledger of the work done there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import transaction
import zope.sqlalchemy
from pyramid.config import Configurator
from sqlalchemy import (
    Column,
    Engine,
    MetaData,
    QueuePool,
    String,
    Table,
    create_engine,
    insert,
    select,
)
from sqlalchemy.orm import sessionmaker

from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import configure
from tests.databases import Place

MODES = ("explicit", "implicit", "none", "plain session", "plain connection")
"""Who ends the transactions: pyramid_tm, the ``transaction`` package alone, or the runner."""


OPEN: list[Books] = []
"""Those whose connections are to be closed."""


def close_all() -> None:
    while OPEN:
        OPEN.pop().close()


def make_ledger(prefix: str) -> Table:
    """Return a table without any key, so that work done twice is seen."""
    return Table(f"{prefix}ledger", MetaData(), Column("text", String(100)))


@dataclass
class Books:
    """One process of an application: its configuration, its session and its ledger."""

    place: Place
    mode: str = "explicit"
    isolation: str | None = None
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        options = {} if self.isolation is None else {"isolation_level": self.isolation}
        self.engine: Engine = create_engine(self.place.url, **options)
        self.ledger = make_ledger(self.place.prefix)
        self.ledger.metadata.create_all(self.engine)
        self.session_class = sessionmaker(self.engine)
        self.config = self._configure()
        self.config.add_request_method(self._make_session, "db", reify=True)
        self.config.set_cron_session(lambda request: request.db)
        OPEN.append(self)

    def _configure(self) -> Configurator:
        url = self.place.url.render_as_string(hide_password=False)
        config = configure(
            **{"cron.url": url, "cron.table_prefix": self.place.prefix, **self.settings}
        )
        if self.mode == "explicit":
            config.add_settings({"tm.manager_hook": "pyramid_tm.explicit_manager"})
        if self.mode in ("explicit", "implicit"):
            config.include("pyramid_tm")
        return config

    def _make_session(self, request: Any) -> Any:
        if self.mode == "plain connection":
            connection = self.engine.connect()
            request.add_finished_callback(lambda _: connection.close())
            return connection
        session = self.session_class()
        request.add_finished_callback(lambda _: session.close())
        if self.mode != "plain session":
            manager = getattr(request, "tm", None) or transaction.manager
            zope.sqlalchemy.register(session, transaction_manager=manager)
        return session

    def write(self, request: Any, text: str) -> None:
        """Do work: a row of the request's transaction."""
        request.db.execute(insert(self.ledger).values(text=text))

    def written(self) -> list[str]:
        """Return what another connection sees."""
        with self.engine.connect() as connection:
            return sorted(connection.scalars(select(self.ledger.c.text)))

    def add_task(self, name: str, function: Callable[[Any], Any], **arguments: Any) -> None:
        self.config.add_cron_task(function, name=name, **arguments)

    def tester(self) -> CronTester:
        return CronTester(self.config.make_wsgi_app())

    def close(self) -> None:
        """Close all connections, as the end of a process does."""
        self.engine.dispose()
        self.config.commit()
        cron = get_cron(self.config.registry)
        cron.supervisor.shutdown(1)
        pool = getattr(cron.store.database._engine, "pool", None)
        # Its thread may just be writing; a connection that comes back later is closed by nobody.
        while isinstance(pool, QueuePool) and pool.checkedout():
            time.sleep(0.01)
        cron.close()
