"""pyramid_cron: one tick through WSGI, under pyramid_tm with an explicit manager."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from common import application, hit, set_clock
from pyramid.config import Configurator

from pyramid_cron import scheduler

from . import Round

NOON = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)

BEFORE = 5
"""How many ticks come before the one that is measured; a process that is not new has had more."""


def task(_: object) -> None:
    """Do nothing."""


@contextmanager
def fresh(folder: Path, count: int) -> Iterator[Round]:
    """Tick in each of the minutes before, and run one task then.

    So the store is there, and all that SQLAlchemy does once for a statement is done, as in any
    process that is not new.
    """

    def register(config: Configurator) -> None:
        config.add_cron_task(task, min=range(60), hour=11, name="before")
        for number in range(count):
            config.add_cron_task(task, hour=12, name=f"task {number}")

    app = application(folder, register)
    for minutes in range(BEFORE, 0, -1):
        set_clock(app, NOON - timedelta(minutes=minutes))
        hit(app, "/cron")
    time.sleep(0.5)  # by then these ticks are on record, as they would be a minute later
    set_clock(app, NOON)

    def done() -> int:
        runs = scheduler(app.registry).history(limit=count + 1)
        return sum(run.state == "succeeded" and run.slot == NOON for run in runs)

    yield Round(lambda: hit(app, "/cron"), done)
