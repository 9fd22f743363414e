"""pyramid_cron: one tick through WSGI, under pyramid_tm with an explicit manager."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pyramid.config import Configurator
from ticking import application, hit, set_clock

from pyramid_cron import scheduler

from . import Fresh, Round

NOON = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)


def task(_: object) -> None:
    """Do nothing."""


@contextmanager
def serving(_: Path) -> Iterator[Fresh]:
    yield fresh


@contextmanager
def fresh(folder: Path, count: int) -> Iterator[Round]:
    """Tick once in the minute before, and run one task then.

    So the store is there, and its statements are compiled, as in any process that is not new.
    """

    def register(config: Configurator) -> None:
        config.add_cron_task(task, min=59, hour=11, name="before")
        for number in range(count):
            config.add_cron_task(task, hour=12, name=f"task {number}")

    app = application(folder, register)
    set_clock(app, NOON - timedelta(minutes=1))
    hit(app, "/cron")
    time.sleep(0.5)  # by then that tick is on record, as it would be a minute later
    set_clock(app, NOON)
    yield Round(lambda: hit(app, "/cron"), lambda: _recorded(app, count))


def _recorded(app: object, count: int) -> int:
    runs = scheduler(app.registry).history(limit=count + 1)
    return sum(run.state == "succeeded" and run.slot == NOON for run in runs)
