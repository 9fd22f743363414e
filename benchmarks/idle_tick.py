"""What a tick costs that finds nothing due, beside a view that does nothing.

    python benchmarks/idle_tick.py [--quick]

Both are requested in this process through WSGI, in turns, minute by minute for hours in which none
of the tasks is due. Where nothing else is said, the figures are medians.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

from common import (
    Column,
    Fields,
    application,
    hit,
    options,
    realistic,
    set_clock,
    show,
    show_machine,
)
from pyramid.config import Configurator
from pyramid.router import Router

from pyramid_cron.schedule import Cron

SIZES = (10, 1_000, 10_000, 100_000)
COLUMNS = (
    Column("tasks", ","),
    Column("bare view, us", ",.1f"),
    Column("mean", ",.1f"),
    Column("idle tick, us", ",.1f"),
    Column("mean", ",.1f"),
    Column("times as long", ".2f"),
)
QUIET_HOURS = frozenset(range(3, 9))
START = datetime(2026, 6, 1, 3, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)
TICKS_PER_PAUSE = 10
RECORD_DELAY = 0.4
"""Seconds after which ticks are on record."""


def nothing(_: object) -> None:
    """Be a task that never runs here."""


def quiet(fields: Fields) -> Fields:
    """Return the schedule without the quiet hours."""
    return fields._replace(hours=(fields.hours - QUIET_HOURS) or frozenset({2}))


def make_app(folder: Path, count: int) -> Router:
    """Return an application with so many tasks, which has ticked once."""

    def register(config: Configurator) -> None:
        crons: dict[Fields, Cron] = {}
        for number, fields in enumerate(map(quiet, realistic(count))):
            if fields not in crons:
                crons[fields] = Cron(fields.crontab())
            config.add_cron_task(nothing, schedule=crons[fields], name=f"task {number}")

    folder.mkdir()
    app = application(folder, register)
    set_clock(app, START)
    hit(app, "/cron")
    time.sleep(RECORD_DELAY)
    return app


def quiet_minutes(app: Router, count: int) -> Iterator[None]:
    """Set the clock to one quiet minute after the other, with a pause now and then."""
    for number in range(1, count):
        set_clock(app, START + number * MINUTE)
        yield
        if number % TICKS_PER_PAUSE == 0:
            time.sleep(RECORD_DELAY)
    time.sleep(RECORD_DELAY)


def measure(app: Router, count: int) -> tuple[list[float], list[float]]:
    """Return the microseconds of each bare view and of each tick."""
    took: dict[str, list[float]] = {"/bare": [], "/cron": []}
    gc.collect()
    for _ in quiet_minutes(app, count):
        for path, times in took.items():
            start = time.perf_counter()
            hit(app, path)
            times.append((time.perf_counter() - start) * 1e6)
    return took["/bare"], took["/cron"]


def main() -> None:
    quick = options(__doc__, "fewer tasks, fewer ticks").parse_args().quick
    count = 120 if quick else 60 * len(QUIET_HOURS)
    rows = []
    with TemporaryDirectory() as folder:
        for size in SIZES[:3] if quick else SIZES:
            view, tick = measure(make_app(Path(folder) / str(size), size), count)
            ratio = median(tick) / median(view)
            rows.append((size, median(view), fmean(view), median(tick), fmean(tick), ratio))
    show(f"{count - 1} minutes in which nothing is due", COLUMNS, rows)
    show_machine("pyramid", "pyramid_tm", "SQLAlchemy")


if __name__ == "__main__":
    main()
