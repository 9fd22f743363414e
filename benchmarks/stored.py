"""What 100,000 stored schedules cost, beside django-celery-beat's DatabaseScheduler.

    python benchmarks/stored.py [--quick]

One task has so many stored schedules, as customers pick them: an hour, a quarter of it, every day
or a weekday, one of ten zones. Ticks come minute by minute, in turns with those of an application
without any. Then one schedule is changed, again and again: what the tick takes after it, and what
it takes from the call that changes it to the end of that tick. django-celery-beat has as many
crontabs, and one of them changed. The databases are a SQLite file and, where there is one, the
PostgreSQL server of ``CRON_TEST_POSTGRESQL``. Times are medians.
"""

from __future__ import annotations

import gc
import json
import os
import random
import secrets
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from common import Column, options, show, show_machine
from sqlalchemy import create_engine, insert, make_url, text, update

from pyramid_cron.app import CronApp
from pyramid_cron.clock import utc_now
from pyramid_cron.planning.schedule_book import StoredSchedule
from pyramid_cron.schedule_control import make_schedule
from pyramid_cron.settings import parse_settings
from pyramid_cron.store.results import write_schedule_change
from pyramid_cron.store.rows import SCHEDULES_VERSION_INFO
from pyramid_cron.store.stored_schedules import ScheduleChange
from pyramid_cron.task import Task

COUNT = 100_000
NOON = datetime(2026, 6, 15, 12, 7, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
ZONES = (
    *("Europe/Berlin", "Europe/London", "America/New_York", "America/Los_Angeles", "Asia/Tokyo"),
    *("America/Sao_Paulo", "Asia/Kolkata", "Australia/Sydney", "Africa/Lagos", "Asia/Shanghai"),
)
POSTGRESQL = os.environ.get(
    "CRON_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/test"
)

TICK_COLUMNS = (
    Column("database"),
    Column("tick without, ms", ",.2f"),
    Column("tick with, ms", ",.2f"),
    Column("times as long", ".2f"),
    Column("more after a change, ms", ",.2f"),
    Column("first tick, s", ",.2f"),
    Column("bytes each", ",.0f"),
)
CHANGE_COLUMNS = (
    Column("from a change to the end of the next tick"),
    Column("ms", ",.1f", compared=True),
)
OURS = "pyramid_cron, SQLite"


def arguments(number: int) -> dict[str, Any]:
    """Return when the schedule of a customer is."""
    rng = random.Random(number)
    when: dict[str, Any] = {"hour": rng.randrange(24), "min": rng.choice((0, 15, 30, 45))}
    if rng.random() < 0.5:
        when["dow"] = rng.randrange(7)
    return {**when, "timezone": rng.choice(ZONES)}


def nothing() -> None:
    """Be a task that never runs here."""


def make_cron(url: str, prefix: str = "cron_") -> CronApp:
    """Return the cron of an application with one task."""
    settings = {"cron.url": url, "cron.timezone": "UTC", "cron.table_prefix": prefix}
    cron = CronApp(parse_settings(settings))
    cron.register(Task("report", nothing, (), "UTC"))
    cron.store.open()
    return cron


def fill(cron: CronApp, count: int) -> None:
    """Put so many schedules on record, in one go."""
    tables = cron.store.tables
    rows = [
        {
            "name": f"report for customer {number}",
            "task": "report",
            "arguments": json.dumps(arguments(number)),
            "payload": json.dumps({"customer": number}),
            "is_enabled": 1,
            "is_removed": 0,
            "changed": NOON,
            "version": number + 1,
        }
        for number in range(count)
    ]
    info = tables.schema_info
    version = update(info).where(info.c.name == SCHEDULES_VERSION_INFO).values(value=str(count))
    with cron.store.write_session() as session:
        session.connection.execute(insert(tables.schedules), rows)
        session.connection.execute(version)


class Ticks:
    """Ticks with nothing due, of an application, as :func:`run_tick` has them up to the claim."""

    def __init__(self, cron: CronApp) -> None:
        from pyramid.request import Request
        from pyramid.testing import setUp

        self.cron, self.moment = cron, NOON
        self.request = Request.blank("/cron")
        self.request.registry = setUp().registry

    def tick(self) -> float:
        """Make the next tick; return the milliseconds that it took."""
        from pyramid_cron.runtime.tick import run_tick

        self.moment += SECOND
        start = time.perf_counter()
        report = run_tick(self.cron, self.request, self.moment)
        took = time.perf_counter() - start
        if report.runs or report.skipped:
            raise RuntimeError("something was due")
        return took * 1000

    def change(self, number: int) -> float:
        """Change one schedule; return the milliseconds until that is written."""
        self.cron.clock = lambda: self.moment
        start = time.perf_counter()
        when = {"hour": (self.moment.hour + 6) % 24, "min": number % 60}
        stored, _ = make_schedule(
            self.cron, f"report for customer {number}", "report", None, True, when
        )
        self._write(stored)
        return (time.perf_counter() - start) * 1000

    def _write(self, stored: StoredSchedule) -> None:
        with self.cron.store.write_session() as session:
            write_schedule_change(session, ScheduleChange(stored))


def measure(url: str, prefix: str, bare: CronApp, count: int, times: int) -> tuple[float, ...]:
    """Return the figures of one database: milliseconds, seconds of the first tick, and bytes."""
    writer = make_cron(url, prefix)
    fill(writer, count)
    writer.close()
    without, many = Ticks(bare), Ticks(make_cron(url, prefix))
    first = many.tick() / 1000
    without.tick()
    gc.collect()
    idle: list[float] = []
    idle_without: list[float] = []
    for _ in range(times):
        idle_without.append(without.tick())
        idle.append(many.tick())
    changes, after = [], []
    for number in range(times):
        changes.append(many.change(number * (count // times)))
        after.append(many.tick())
    whole = median(change + tick for change, tick in zip(changes, after, strict=True))
    many.cron.close()
    more = median(after) - median(idle)
    return median(idle_without), median(idle), more, first, bytes_each(url, prefix, count), whole


def bytes_each(url: str, prefix: str, count: int) -> float:
    """Return what stays allocated for each schedule once a process knows them and has ticked."""
    cron = make_cron(url, prefix)
    ticks = Ticks(cron)
    ticks.cron.schedule_book.calendar.due(NOON - SECOND, NOON)
    gc.collect()
    tracemalloc.start()
    ticks.tick()
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    cron.close()
    return used / count


@contextmanager
def postgresql() -> Iterator[tuple[str, str] | None]:
    """Give the URL of a server, and a prefix for tables that go afterwards; None without one."""
    prefix = f"b{secrets.token_hex(4)}_"
    try:
        engine = create_engine(POSTGRESQL)
        with engine.connect():
            pass
    except Exception as error:
        print(f"PostgreSQL is absent: {' '.join(str(error).split())[:100]}")
        yield None
        return
    try:
        yield POSTGRESQL, prefix
    finally:
        with engine.begin() as connection:
            names = connection.scalars(
                text("SELECT tablename FROM pg_tables WHERE tablename LIKE :prefix"),
                {"prefix": prefix.replace("_", r"\_") + "%"},
            ).all()
            for name in names:
                connection.execute(text(f'DROP TABLE "{name}" CASCADE'))
        engine.dispose()


def django_beat(url: str, count: int, times: int) -> float | None:
    """Return the milliseconds of django-celery-beat, in a process of its own; None if absent."""
    command = [sys.executable, "-W", "ignore", "-m", "contenders.django_beat"]
    process = subprocess.run(
        [*command, url, str(count), str(times)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=3000,
    )
    if process.returncode:
        print(f"django-celery-beat: {(process.stderr.splitlines() or ['no answer'])[-1]}")
        return None
    return float(process.stdout.splitlines()[-1])


def main() -> None:
    quick = options(__doc__, "10,000 schedules, fewer ticks").parse_args().quick
    count, times = (10_000, 20) if quick else (COUNT, 50)
    ticks: list[tuple[Any, ...]] = []
    changes: list[tuple[str, float | None]] = []
    with TemporaryDirectory() as folder, postgresql() as server:
        places = {"SQLite": (f"sqlite:///{folder}/cron.sqlite", "cron_")}
        if server is not None:
            places["PostgreSQL"] = server
        for name, (url, prefix) in places.items():
            bare_url = f"sqlite:///{folder}/bare.sqlite" if name == "SQLite" else url
            bare = make_cron(bare_url, f"{prefix}0_")
            without, idle, more, first, memory, whole = measure(url, prefix, bare, count, times)
            bare.close()
            ticks.append((name, without, idle, idle / without, more, first, memory))
            changes.append((f"pyramid_cron, {name}", whole))
            theirs = (
                make_url(url).set(database=f"{folder}/beat.sqlite") if name == "SQLite" else url
            )
            milliseconds = django_beat(str(theirs), count, max(3, times // 10))
            changes.append((f"django-celery-beat, {name}", milliseconds))
    distinct = len({json.dumps(arguments(number)) for number in range(count)})
    title = f"{count:,} stored schedules, {distinct:,} of them distinct; ticks with nothing due"
    show(title, TICK_COLUMNS, ticks)
    show("", CHANGE_COLUMNS, changes, OURS)
    show_machine("SQLAlchemy", "celery", "django-celery-beat")
    print(f"measured at {utc_now():%Y-%m-%d %H:%M} UTC")


if __name__ == "__main__":
    main()
