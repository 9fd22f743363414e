"""Celery: sent one by one as its beat does, to a worker process that takes one at a time.

Recorded means that the worker has written the result. The worker loads this module, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import redis
from celery import Celery

from . import Fresh, Round
from .redis_server import redis_server, round_of, worker

app = Celery("benchmark")


@app.task
def task() -> None:
    """Do nothing."""


def configure(url: str, prefix: str) -> None:
    options = {"global_keyprefix": prefix}
    app.conf.update(broker_url=url, broker_transport_options=options)
    app.conf.update(result_backend=url, result_backend_transport_options=options)


if "BENCHMARK_REDIS" in os.environ:
    configure(*os.environ["BENCHMARK_REDIS"].split())


@contextmanager
def serving(folder: Path, aof: bool) -> Iterator[Fresh]:
    with redis_server(folder, aof) as (client, url, prefix):
        configure(url, prefix)
        command = [sys.executable, "-m", "celery", "-A", "contenders.celery", "worker"]
        options = ["--pool=solo", "--concurrency=1", "--loglevel=INFO"]
        log = [f"--logfile={folder / 'worker.log'}"]
        warm_up = task.apply_async()
        with worker([*command, *options, *log], url, warm_up.ready):
            yield lambda _, count: fresh(client, count)
        app.close()


def fresh(client: redis.Redis, count: int) -> AbstractContextManager[Round]:
    def send() -> list[str]:
        results = [app.send_task(task.name) for _ in range(count)]
        return [app.backend.get_key_for_task(result.id) for result in results]

    return round_of(client, send)
