"""Applications to test with: real ones, with pyramid_tm, zope.sqlalchemy and SQLite."""

from __future__ import annotations

from datetime import datetime, timezone

import transaction
import zope.sqlalchemy
from pyramid.config import Configurator
from sqlalchemy import String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from pyramid_cron.testing import CronTester
from tests.integration.processes import wait_until

NOON = datetime(2026, 6, 15, 12, 0, tzinfo=timezone.utc)


class Base(DeclarativeBase):
    pass


class Note(Base):
    """A row that a task leaves behind."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String, unique=True)


def configure(**settings) -> Configurator:
    """A configuration that includes pyramid_cron, its store in memory; there are no beats."""
    defaults = {"cron.url": "sqlite://", "cron.timezone": "UTC", "cron.beats": "false"}
    config = Configurator(settings=defaults | settings)
    config.include("pyramid_cron")
    return config


def configure_with_database(folder, *, mode: str = "explicit", **settings) -> Configurator:
    """The same with ``request.dbsession``.

    ``mode`` says who manages the transactions: pyramid_tm with an explicit or an implicit manager,
    pyramid_tm kept off for the trigger (``inactive``), or nobody (``none``).
    """
    config = configure(**settings)
    if mode in ("explicit", "inactive"):
        config.add_settings({"tm.manager_hook": "pyramid_tm.explicit_manager"})
    if mode == "inactive":
        config.add_settings({"tm.activate_hook": lambda request: False})
    if mode != "none":
        config.include("pyramid_tm")
    engine = create_engine(f"sqlite:///{folder}/app.sqlite")
    Base.metadata.create_all(engine)
    factory = sessionmaker(engine)
    config.registry["engine"] = engine

    def dbsession(request):
        session = factory()
        manager = getattr(request, "tm", None) or transaction.manager
        zope.sqlalchemy.register(session, transaction_manager=manager)
        request.add_finished_callback(lambda _: session.close())
        return session

    config.add_request_method(dbsession, reify=True)
    return config


def committed(config: Configurator) -> list[str]:
    """The texts that another connection can see."""
    with Session(config.registry["engine"]) as session:
        return sorted(session.scalars(select(Note.text)))


def run_by_hand(app, task: str, body: dict | None = None) -> dict:
    """Have a task run as its page does; return the run once it is over."""
    run = app.post_json(f"/cron/tasks/{task}/run", body or {}, status=202).json

    def over():
        current = app.get(run["url"]).json
        return current["finished"] and current

    return wait_until(over)


def cron_of(config: Configurator) -> CronTester:
    return CronTester(config.make_wsgi_app())
