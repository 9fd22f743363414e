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
from pathlib import Path

from huey import SqliteHuey, crontab

from . import Round

NOON_EACH_DAY = crontab(minute="0", hour="12")
NOON = datetime(2026, 6, 1, 12)  # noqa: DTZ001 - huey wants it naive


@contextmanager
def fresh(folder: Path, count: int, **options: bool) -> Iterator[Round]:
    huey = SqliteHuey(filename=str(folder / "huey.sqlite"), utc=False, store_none=True, **options)
    tasks = [huey.task(name=f"task_{number}")(lambda: None) for number in range(count)]

    def run() -> None:
        for task in tasks:
            if NOON_EACH_DAY(NOON):
                task()
        while message := huey.dequeue():
            huey.execute(message)

    with contextlib.closing(huey.storage):
        yield Round(run, huey.result_count)
