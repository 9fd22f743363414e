"""What a tick costs that finds nothing due, beside a view that does nothing.

    python benchmarks/idle_tick.py [--quick] [--profile COUNT]

Both are requested in this process through WSGI, under pyramid_tm with an explicit manager; the
store is a SQLite file. Ticks come minute by minute for hours in which none of the tasks is due;
ticks and bare views take turns. After every tenth there is a pause, in which another thread puts
the ticks on record as it would between two real ones. ``--profile`` shows where a tick's time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

from figures import Column, Table, show
from pyramid.config import Configurator
from pyramid.router import Router
from tables import Fields, realistic
from ticking import application, hit, set_clock

from pyramid_cron.schedule import Cron

SIZES = (10, 1_000, 10_000, 100_000)
GOAL = 2.5
"""How many times as long as a bare view an idle tick may take."""

COLUMNS = (
    Column("tasks", ","),
    Column("bare view, us", ",.1f"),
    Column("mean", ",.1f"),
    Column("idle tick, us", ",.1f"),
    Column("mean", ",.1f"),
    Column("times as long", ".2f"),
    Column(f"goal {GOAL}"),
)
"""Where nothing else is said, the figures are medians."""

QUIET = frozenset(range(3, 9))
"""The hours in which nothing is due."""

START = datetime(2026, 6, 1, 3, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)

BATCH = 10
PAUSE = 0.4
"""Seconds after which what was noted is on record."""


def nothing(_: object) -> None:
    """Be a task that never runs here."""


def quiet(fields: Fields) -> Fields:
    """Return the schedule without the quiet hours."""
    return fields._replace(hours=(fields.hours - QUIET) or frozenset({2}))


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
    time.sleep(PAUSE)
    return app


def tick_by_tick(app: Router, count: int) -> Iterator[None]:
    """Set the clock to one quiet minute after the other, with a pause now and then."""
    for number in range(1, count):
        set_clock(app, START + number * MINUTE)
        yield
        if number % BATCH == 0:
            time.sleep(PAUSE)
    time.sleep(PAUSE)


def measure(app: Router, count: int) -> tuple[list[float], list[float]]:
    """Return the microseconds of each bare view and of each tick."""
    took: dict[str, list[float]] = {"/bare": [], "/cron": []}
    gc.collect()
    for _ in tick_by_tick(app, count):
        for path, times in took.items():
            start = time.perf_counter()
            hit(app, path)
            times.append((time.perf_counter() - start) * 1e6)
    return took["/bare"], took["/cron"]


def profile(app: Router, count: int) -> None:
    """Print where the time of the ticks goes."""
    profiler = cProfile.Profile()
    for _ in tick_by_tick(app, count):
        profiler.runcall(hit, app, "/cron")
    print(f"{count - 1} ticks")
    for order in ("tottime", "cumtime"):
        pstats.Stats(profiler).strip_dirs().sort_stats(order).print_stats(30)


def compare(folder: Path, sizes: tuple[int, ...], count: int) -> None:
    """Measure for each number of tasks and print the table."""
    print(f"Python {sys.version.split()[0]}, {count - 1} minutes in which nothing is due")
    rows = []
    for size in sizes:
        view, tick = measure(make_app(folder / str(size), size), count)
        ratio = median(tick) / median(view)
        met = "met" if ratio <= GOAL else "missed"
        rows.append((size, median(view), fmean(view), median(tick), fmean(tick), ratio, met))
    show(Table("", COLUMNS, rows, chart="lines", drawn=("idle tick, us", "bare view, us")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer tasks, fewer ticks")
    parser.add_argument("--profile", type=int, metavar="COUNT", help="profile with so many tasks")
    arguments = parser.parse_args()
    count = 120 if arguments.quick else 60 * len(QUIET)
    with TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.profile:
            profile(make_app(folder / "profile", arguments.profile), count)
        else:
            compare(folder, SIZES[:3] if arguments.quick else SIZES, count)


if __name__ == "__main__":
    main()
