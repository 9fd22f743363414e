"""APScheduler 3: cron jobs in SQLite through SQLAlchemy, one worker thread.

It keeps when each job is to run next, not that it ran.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from apscheduler.events import EVENT_JOB_EXECUTED, EVENT_JOB_SUBMITTED, JobEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import create_engine, event

from . import Round


def task() -> None:
    """Do nothing."""


@contextmanager
def fresh(folder: Path, count: int, *, wal: bool) -> Iterator[Round]:
    events: Counter[int] = Counter()
    over = threading.Event()
    pragmas = ["synchronous=OFF"]  # while jobs are added, for speed

    def prepare(connection: Any, _record: Any) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    def listen(event: JobEvent) -> None:
        # Jobs are said to be submitted when all of them have been written.
        events[event.code] += 1
        if events[EVENT_JOB_EXECUTED] == events[EVENT_JOB_SUBMITTED] == count:
            over.set()

    def run() -> None:
        scheduler.resume()
        over.wait()

    engine = create_engine(f"sqlite:///{folder / 'apscheduler.sqlite'}")
    event.listen(engine, "connect", prepare)
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(engine=engine)},
        executors={"default": ThreadPoolExecutor(1)},
        timezone=timezone.utc,
    )
    scheduler.start(paused=True)
    try:
        _add_jobs(scheduler, count)
        pragmas[:] = ["journal_mode=WAL", "synchronous=FULL"] if wal else []
        engine.dispose()
        scheduler.add_listener(listen, EVENT_JOB_EXECUTED | EVENT_JOB_SUBMITTED)
        yield Round(run, lambda: events[EVENT_JOB_EXECUTED])
    finally:
        scheduler.shutdown()
        engine.dispose()


def _add_jobs(scheduler: BackgroundScheduler, count: int) -> None:
    """Add jobs that are due now, and next in half an hour."""
    now = datetime.now(timezone.utc)
    hourly = CronTrigger(minute=(now + timedelta(minutes=30)).minute, timezone=timezone.utc)
    for number in range(count):
        scheduler.add_job(
            task, hourly, id=f"task {number}", next_run_time=now, misfire_grace_time=None
        )
