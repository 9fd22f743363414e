"""dramatiq: sent one by one to a worker process with one thread.

Recorded means that the worker has written the result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dramatiq
import redis

from . import Fresh, Round
from .redis_server import redis_server, wait_for, worker

assert dramatiq  # absent rather than broken, where it is not installed


@contextmanager
def serving(folder: Path, aof: bool) -> Iterator[Fresh]:
    with redis_server(folder, aof) as client:
        from .dramatiq_worker import results, task

        command = [sys.executable, "-m", "dramatiq", "contenders.dramatiq_worker"]
        options = ["--processes=1", "--threads=1", f"--log-file={folder / 'worker.log'}"]
        warm_up = results.build_message_key(task.send())
        with worker([*command, *options], lambda: client.exists(warm_up)):
            yield partial(fresh, client=client, task=task, results=results)


@contextmanager
def fresh(_: Path, count: int, *, client: redis.Redis, task: Any, results: Any) -> Iterator[Round]:
    keys: list[str] = []

    def run() -> None:
        messages = [task.send() for _ in range(count)]
        keys.extend(results.build_message_key(message) for message in messages)
        wait_for(lambda: client.exists(keys[-1]))
        wait_for(lambda: client.exists(*keys) == count)

    yield Round(run, lambda: client.exists(*keys))
    if keys:
        client.delete(*keys)
