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
from pathlib import Path

import procrastinate
import psycopg
from procrastinate.periodic import PeriodicDeferrer, PeriodicRegistry

from . import AbsentError, Round

SERVER = "host=127.0.0.1 port=5432 user=postgres dbname=test connect_timeout=3"
SCHEMA = f"pyramid_cron_benchmark_{os.getpid()}"
STATISTICS_DELAY = 1.0
"""Seconds after which PostgreSQL's counters hold what sessions did that have ended."""


def make_app() -> procrastinate.App:
    """Return an application whose tables are in the schema."""
    there = f"{SERVER} options='-c search_path={SCHEMA}'"
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=there))


@contextmanager
def schema() -> Iterator[psycopg.Connection]:
    """Give a connection, and the schema for as long as the block runs."""
    try:
        admin = psycopg.connect(SERVER, autocommit=True)
    except psycopg.OperationalError as error:
        raise AbsentError(f"PostgreSQL: {error}") from None
    with admin:
        admin.execute("SET client_min_messages TO warning")
        admin.execute(f"CREATE SCHEMA {SCHEMA}")
        try:
            yield admin
        finally:
            admin.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


@contextmanager
def fresh(_: Path, count: int) -> Iterator[Round]:
    with schema() as admin, contextlib.closing(asyncio.new_event_loop()) as loop:
        app = make_app()
        for number in range(count):
            app.task(lambda **_: None, name=f"task {number}")
        wait = loop.run_until_complete
        wait(app.open_async())
        wait(app.schema_manager.apply_schema_async())
        query = f"SELECT count(*) FROM {SCHEMA}.procrastinate_jobs WHERE status = 'succeeded'"
        try:
            yield Round(
                lambda: wait(_tick(app)),
                lambda: admin.execute(query).fetchone()[0],
                lambda: wait(_count_syncs(app, admin)),
            )
        finally:
            wait(app.close_async())


async def _tick(app: procrastinate.App) -> None:
    # They are due in a registry of their own: the worker must not defer them a second time.
    due = PeriodicRegistry()
    for name, task in app.tasks.items():
        if name.startswith("task "):
            due.register_task(task, cron="* * * * *", periodic_id="", configure_kwargs={})
    deferrer = PeriodicDeferrer(registry=due)
    await deferrer.defer_jobs(deferrer.get_previous_tasks(at=time.time()))
    await app.run_worker_async(wait=False, concurrency=1, install_signal_handlers=False)


async def _count_syncs(app: procrastinate.App, admin: psycopg.Connection) -> int:
    """Return how often the server has synced; its sessions tell when they end."""
    await app.close_async()
    await asyncio.sleep(STATISTICS_DELAY)
    syncs = admin.execute("SELECT wal_sync FROM pg_stat_wal").fetchone()[0]
    await app.open_async()
    return syncs
