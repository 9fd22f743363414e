"""Celery: sent one by one as its beat does, to a worker process that takes one at a time.

Recorded means that the worker has written the result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import celery
import redis

from . import Fresh, Round
from .redis_server import redis_server, wait_for, worker

assert celery  # absent rather than broken, where it is not installed


@contextmanager
def serving(folder: Path, aof: bool) -> Iterator[Fresh]:
    with redis_server(folder, aof) as client:
        from .celery_worker import app, task

        command = [sys.executable, "-m", "celery", "-A", "contenders.celery_worker", "worker"]
        options = ["--pool=solo", "--concurrency=1", "--loglevel=INFO"]
        log = [f"--logfile={folder / 'worker.log'}"]
        warm_up = task.apply_async()
        with worker([*command, *options, *log], warm_up.ready):
            yield partial(fresh, client=client, app=app)
        app.close()


@contextmanager
def fresh(_: Path, count: int, *, client: redis.Redis, app: Any) -> Iterator[Round]:
    keys: list[bytes] = []

    def run() -> None:
        results = [app.send_task("contenders.celery_worker.task") for _ in range(count)]
        keys.extend(app.backend.get_key_for_task(result.id) for result in results)
        wait_for(lambda: client.exists(keys[-1]))
        wait_for(lambda: client.exists(*keys) == count)

    yield Round(run, lambda: client.exists(*keys))
    if keys:
        client.delete(*keys)
