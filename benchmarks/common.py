"""What the benchmarks share: printed tables, task tables as real ones are, an application.

It imports little at once: what the parent has in memory counts for its children (importing.py).
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple
from wsgiref.util import setup_testing_defaults

if TYPE_CHECKING:
    from pyramid.config import Configurator
    from pyramid.router import Router

# What is printed.


@dataclass(frozen=True)
class Column:
    """What a column says, how its numbers are written, and whether rows are compared by it."""

    name: str
    form: str = ""
    compared: bool = False


def show(title: str, columns: Sequence[Column], rows: list[Any], ours: str = "") -> None:
    """Print a table; None is what there is not.

    Compared numbers have beside them how many times as much they are as those of the row that
    begins with ``ours``.
    """
    base = next((row for row in rows if row[0] == ours), None)
    table = [[text for column in columns for text in _heads(column, bool(base))]]
    for row in rows:
        cells: list[str] = []
        for position, (column, value) in enumerate(zip(columns, row, strict=True)):
            cells.append("-" if value is None else format(value, column.form))
            if base and column.compared:
                known = value is not None and base[position]
                cells.append(f"{value / base[position]:.2f}x" if known else "-")
        table.append(cells)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(f"\n{title}\n" if title else "")
    for first, *cells in table:
        line = "".join(
            f"{text:>{width + 2}}" for text, width in zip(cells, widths[1:], strict=True)
        )
        print(f"{first:<{widths[0]}}{line}")
    print(flush=True)


def _heads(column: Column, has_ratio: bool) -> list[str]:
    return [column.name, "ratio"] if has_ratio and column.compared else [column.name]


def show_machine(*packages: str) -> None:
    """Print what the figures depend on: the machine, and the versions of Python and of packages."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    print(
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB;"
        f" {platform.system()} {platform.release()}; Python {platform.python_version()}",
        *(f"{name} {_version(name)}" for name in ("pyramid_cron", *packages)),
        sep=", ",
        flush=True,
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def options(doc: str, quick: str) -> argparse.ArgumentParser:
    """Return a parser with the first line of a docstring and the option ``--quick``."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def timed(work: Callable[[], object], times: int) -> float:
    """Return the median of the milliseconds that work takes."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append((time.perf_counter() - start) * 1000)
    return median(took)


# What is registered.

ALL = (
    frozenset(range(60)),
    frozenset(range(24)),
    frozenset(range(1, 32)),
    frozenset(range(1, 13)),
    frozenset(range(7)),
)
"""What a field may hold; weekdays count from Monday as 0."""


class Fields(NamedTuple):
    """The numbers each field names. All five must match, as among keywords of a task."""

    minutes: frozenset[int] = ALL[0]
    hours: frozenset[int] = ALL[1]
    days: frozenset[int] = ALL[2]
    months: frozenset[int] = ALL[3]
    weekdays: frozenset[int] = ALL[4]

    def crontab(self) -> str:
        """Return the five fields as text, weekdays counted from Sunday as 0."""
        sunday_first = frozenset((day + 1) % 7 for day in self.weekdays)
        named = (*self[:4], sunday_first)
        return " ".join(
            "*" if numbers == every else ",".join(map(str, sorted(numbers)))
            for numbers, every in zip(named, ALL, strict=True)
        )


def realistic(count: int) -> list[Fields]:
    """Return tables of an app: frequent tasks share their schedules, rare ones have their own."""
    rng = random.Random(count)

    def steps(minutes: int) -> frozenset[int]:
        return frozenset(range(0, 60, minutes))

    def one(*choices: int) -> frozenset[int]:
        return frozenset({rng.choice(choices)})

    def minute() -> frozenset[int]:
        return one(*range(60))

    def hour() -> frozenset[int]:
        return one(*range(24))

    kinds = {
        lambda: Fields(): 2,
        lambda: Fields(steps(5)): 10,
        lambda: Fields(steps(10)): 6,
        lambda: Fields(steps(15)): 9,
        lambda: Fields(minute()): 21,
        lambda: Fields(minute(), hour()): 27,
        lambda: Fields(minute(), hour(), weekdays=one(*range(7))): 10,
        lambda: Fields(minute(), hour(), days=one(*range(1, 29))): 6,
        lambda: Fields(
            steps(rng.choice((5, 10, 15, 30))),
            frozenset(range(rng.choice((7, 8, 9)), rng.choice((17, 18, 19)))),
            weekdays=frozenset(range(5)),
        ): 9,
    }
    return [kind() for kind in rng.choices(list(kinds), list(kinds.values()), k=count)]


def wide(count: int) -> list[Fields]:
    """Return tables where nearly every schedule is another one and names many slots a day."""
    rng = random.Random(count)

    def some(numbers: frozenset[int]) -> frozenset[int]:
        return frozenset(rng.sample(sorted(numbers), rng.randint(1, len(numbers))))

    def fields() -> Fields:
        if rng.random() < 0.5:
            return Fields(some(ALL[0]), some(ALL[1]), days=some(ALL[2]))
        return Fields(some(ALL[0]), some(ALL[1]), weekdays=some(ALL[4]))

    return [fields() for _ in range(count)]


# What is ticked: in this process, through WSGI, under pyramid_tm.


def application(folder: Path, register: Callable[[Configurator], None]) -> Router:
    """Return an application with its store in the folder and the tasks that ``register`` adds.

    Every run tells a subscriber of its events.
    """
    from pyramid.config import Configurator
    from pyramid.response import Response

    settings = {
        "cron.url": f"sqlite:///{folder / 'cron.sqlite'}",
        "cron.timezone": "UTC",
        "tm.manager_hook": "pyramid_tm.explicit_manager",
    }
    config = Configurator(settings=settings, introspection=False)
    config.include("pyramid_tm")
    config.include("pyramid_cron")
    config.add_route("bare", "/bare")
    config.add_view(lambda _: Response("ok", content_type="text/plain"), route_name="bare")
    for event in ("RunStarted", "RunSucceeded"):
        config.add_subscriber(lambda _: None, f"pyramid_cron.events.{event}")
    register(config)
    return config.make_wsgi_app()


def set_clock(app: Router, moment: datetime) -> None:
    """Let the application's cron take this for the time."""
    from pyramid_cron.app import get_cron

    get_cron(app.registry).clock = lambda: moment


def hit(app: Router, path: str) -> None:
    """Request a path, as a server would; RuntimeError unless the answer is 200."""
    answers: list[str] = []
    environ = {**ENVIRON, "PATH_INFO": path, "wsgi.input": BytesIO()}
    body = b"".join(app(environ, lambda status, *_: answers.append(status)))
    if answers != ["200 OK"]:
        raise RuntimeError(f"{path} answered {answers} {body!r}")


ENVIRON: dict[str, Any] = {"QUERY_STRING": "", "REMOTE_ADDR": "127.0.0.1"}
setup_testing_defaults(ENVIRON)
