"""How long it takes a tick to find the tasks that are due in its minute.

    python benchmarks/matching.py [--quick]

Compares the calendar, which has each distinct schedule's next slot in a heap, with a plain scan,
which asks each task's five sets in turn (what the first pyramid_cron did). Both answer the same
ticks of one day in Europe/Berlin, minute after minute; the scan is given local time for nothing.
Every answer is compared. Of 100,000 tasks both answer the ticks of three hours of the day only.
Times are those of the fastest of at least three rounds. To build is to be ready for going on: it
includes the first answer.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from common import Column, Fields, options, realistic, show, show_machine, wide

from pyramid_cron.planning.slots import SlotCalendar
from pyramid_cron.schedule import Cron

ZONE = "Europe/Berlin"
MIDNIGHT = datetime(2026, 6, 1, tzinfo=ZoneInfo(ZONE))
MINUTE = timedelta(minutes=1)

COLUMNS = (
    Column("tasks", ","),
    Column("distinct", ","),
    Column("due, median/most"),
    Column("ticks", ","),
    Column("plain scan", ",.1f"),
    Column("SlotCalendar.due", ",.1f"),
    Column("times as fast", ",.1f"),
    Column("build", ",.1f"),
)

SAMPLE = (8, 9, 10)
"""The hours asked for where a whole day takes too long."""


class Scanned:
    """A task as the scan knows it: five sets of its own."""

    __slots__ = ("day", "dow", "hour", "min", "month")

    def __init__(self, fields: Fields) -> None:
        self.min, self.hour, self.day, self.month, self.dow = (
            frozenset(list(numbers)) for numbers in fields
        )


def scan(tasks: Sequence[Scanned], now: datetime) -> list[int]:
    minute, hour, day, month, dow = now.minute, now.hour, now.day, now.month, now.weekday()
    return [
        position
        for position, task in enumerate(tasks)
        if minute in task.min
        and hour in task.hour
        and day in task.day
        and month in task.month
        and dow in task.dow
    ]


def built(table: Sequence[Fields]) -> tuple[SlotCalendar, float, int]:
    """Return the calendar, the seconds it took to build, and the number of distinct schedules."""
    crons = {fields: Cron(fields.crontab(), timezone=ZONE) for fields in table}
    entries = [((crons[fields],), 0) for fields in table]
    gc.collect()
    start = time.perf_counter()
    calendar = SlotCalendar(entries)
    calendar.due(MIDNIGHT - 2 * MINUTE, MIDNIGHT - MINUTE)
    return calendar, time.perf_counter() - start, len(crons)


def fastest(*measured: tuple[Callable[[Any], object], Sequence[Any]]) -> list[float]:
    """Return the microseconds per call of each callable, in its fastest round.

    Each is called with all its arguments, the last one first and out of competition: it comes
    before the others in time. Rounds take turns, so that a busy machine is as hard on all.
    """
    rounds: list[list[float]] = [[] for _ in measured]
    gc.collect()
    gc.disable()
    while len(rounds[0]) < 3 or sum(rounds[0]) < 1:
        for times, (call, (*arguments, elsewhere)) in zip(rounds, measured, strict=True):
            call(elsewhere)
            start = time.perf_counter()
            for argument in arguments:
                call(argument)
            times.append(time.perf_counter() - start)
    gc.enable()
    calls = [len(arguments) - 1 for _, arguments in measured]
    return [min(times) / count * 1e6 for times, count in zip(rounds, calls, strict=True)]


def row(table: Sequence[Fields], hours: Collection[int]) -> Sequence[Any]:
    """Compare, measure, and return a row of the table."""
    ticks = [MIDNIGHT + number * MINUTE for number in range(1440) if number // 60 in hours]
    calendar, build, distinct = built(table)
    tasks = [Scanned(fields) for fields in table]
    due = []
    for tick in ticks:
        positions = scan(tasks, tick)
        assert calendar.due(tick - MINUTE, tick) == [(tick, position) for position in positions]
        due.append(len(positions))

    ticks.append(ticks[0] - MINUTE)
    scanning, finding = fastest(
        (partial(scan, tasks), ticks),
        (lambda tick: calendar.due(tick - MINUTE, tick), ticks),
    )
    found = f"{median(due):,.0f}/{max(due):,}"
    ratio = scanning / finding
    return len(table), distinct, found, len(due), scanning, finding, ratio, build * 1e3


def main() -> None:
    quick = options(__doc__, "fewer tasks, three hours of the day").parse_args().quick
    sizes = (10, 1_000, 10_000) if quick else (10, 1_000, 10_000, 100_000)
    for title, make in (("A realistic mix", realistic), ("Nearly all distinct, wide", wide)):
        rows = [
            row(make(size), SAMPLE if quick or size >= 100_000 else range(24)) for size in sizes
        ]
        heading = f"{title}; microseconds per tick, milliseconds to build"
        show(heading, COLUMNS, rows)
    show_machine("croniter")


if __name__ == "__main__":
    main()
