"""procrastinate: periodic tasks, deferred as its worker does, then run by one worker.

Both run in this process. Its tables are in a schema of their own, dropped after each round.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import procrastinate
import psycopg
from procrastinate.periodic import PeriodicDeferrer

from . import AbsentError, Fresh, Round

SERVER = "host=127.0.0.1 port=5432 user=postgres dbname=test connect_timeout=3"
SCHEMA = f"pyramid_cron_benchmark_{os.getpid()}"
STATISTICS_DELAY = 1.0
"""Seconds after which PostgreSQL's counters hold what sessions did that have ended."""


@contextmanager
def serving(_: Path) -> Iterator[Fresh]:
    try:
        admin = psycopg.connect(SERVER, autocommit=True)
    except psycopg.OperationalError as error:
        raise AbsentError(f"PostgreSQL: {error}") from None
    with admin:
        admin.execute("SET client_min_messages TO warning")
        try:
            yield partial(fresh, admin=admin)
        finally:
            admin.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


@contextmanager
def fresh(_: Path, count: int, *, admin: psycopg.Connection) -> Iterator[Round]:
    admin.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    admin.execute(f"CREATE SCHEMA {SCHEMA}")
    app = _app(count)
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(app.open_async())
        loop.run_until_complete(app.schema_manager.apply_schema_async())
        try:
            yield Round(
                lambda: loop.run_until_complete(_tick(app)),
                lambda: _succeeded(admin),
                lambda: loop.run_until_complete(_synced(app, admin)),
            )
        finally:
            loop.run_until_complete(app.close_async())


def _app(count: int) -> procrastinate.App:
    there = f"{SERVER} options='-c search_path={SCHEMA}'"
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=there))

    def task(timestamp: int) -> None:
        """Do nothing."""

    for number in range(count):
        app.task(task, name=f"task {number}")
    return app


async def _tick(app: procrastinate.App) -> None:
    # They are due in a registry of their own: the worker must not defer them a second time.
    due = procrastinate.periodic.PeriodicRegistry()
    for name, task in app.tasks.items():
        if name.startswith("task "):
            due.register_task(task, cron="* * * * *", periodic_id="", configure_kwargs={})
    deferrer = PeriodicDeferrer(registry=due)
    await deferrer.defer_jobs(deferrer.get_previous_tasks(at=time.time()))
    await app.run_worker_async(wait=False, concurrency=1, install_signal_handlers=False)


def _succeeded(admin: psycopg.Connection) -> int:
    query = f"SELECT count(*) FROM {SCHEMA}.procrastinate_jobs WHERE status = 'succeeded'"
    return admin.execute(query).fetchone()[0]


async def _synced(app: procrastinate.App, admin: psycopg.Connection) -> int:
    """Return how often the server has synced; its sessions tell when they end."""
    await app.close_async()
    await asyncio.sleep(STATISTICS_DELAY)
    counted = admin.execute("SELECT wal_sync FROM pg_stat_wal").fetchone()[0]
    await app.open_async()
    return counted
