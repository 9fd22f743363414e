"""huey: tasks by crontab, enqueued and run in turn as its scheduler and its one worker would.

Both are called in this process, so that huey need not wait for either to poll. huey forgets what
its periodic tasks return; here they are plain tasks, enqueued when their crontab says so, whose
results are kept, so that as with the others each run is on record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from huey import SqliteHuey, crontab
from huey.api import TaskWrapper

from . import Fresh, Round

NOON_EACH_DAY = crontab(minute="0", hour="12")
NOON = datetime(2026, 6, 1, 12)  # noqa: DTZ001 - huey wants it naive


@contextmanager
def serving(_: Path, fsync: bool | None) -> Iterator[Fresh]:
    yield partial(fresh, fsync=fsync)


@contextmanager
def fresh(folder: Path, count: int, *, fsync: bool | None) -> Iterator[Round]:
    options = {"store_none": True} if fsync is None else {"store_none": True, "fsync": fsync}
    huey = SqliteHuey(filename=str(folder / "huey.sqlite"), utc=False, **options)
    finished: list[int] = []
    tasks = [
        huey.task(name=f"task_{number}")(partial(_run, finished, number)) for number in range(count)
    ]
    with contextlib.closing(huey.storage):
        yield Round(partial(_tick, huey, tasks), huey.result_count)


def _run(finished: list[int], number: int) -> None:
    finished.append(number)


def _tick(huey: SqliteHuey, tasks: list[TaskWrapper]) -> None:
    for task in tasks:
        if NOON_EACH_DAY(NOON):
            task()
    while queued := huey.dequeue():
        huey.execute(queued)
