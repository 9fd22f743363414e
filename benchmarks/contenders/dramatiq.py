"""dramatiq: sent one by one to a worker process with one thread.

Recorded means that the worker has written the result. The worker loads this module, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from . import Fresh, Round
from .redis_server import redis_server, round_of, worker


def configure(url: str, prefix: str) -> tuple[Any, Any]:
    """Set up the broker; return the task, and what keeps its results."""
    broker = RedisBroker(url=url, namespace=f"{prefix}broker")
    results = RedisBackend(url=url, namespace=f"{prefix}results", use_namespace_prefix_keys=True)
    broker.add_middleware(Results(backend=results))
    dramatiq.set_broker(broker)
    return dramatiq.actor(lambda: None, actor_name="task", store_results=True), results


if "BENCHMARK_REDIS" in os.environ:
    configure(*os.environ["BENCHMARK_REDIS"].split())


@contextmanager
def serving(folder: Path, aof: bool) -> Iterator[Fresh]:
    with redis_server(folder, aof) as (client, url, prefix):
        task, results = configure(url, prefix)
        command = [sys.executable, "-m", "dramatiq", "contenders.dramatiq"]
        options = ["--processes=1", "--threads=1", f"--log-file={folder / 'worker.log'}"]
        warm_up = results.build_message_key(task.send())
        with worker([*command, *options], url, lambda: client.exists(warm_up)):
            yield lambda _, count: fresh(client, task, results, count)


def fresh(
    client: redis.Redis, task: Any, results: Any, count: int
) -> AbstractContextManager[Round]:
    def send() -> list[str]:
        messages = [task.send() for _ in range(count)]
        return [results.build_message_key(message) for message in messages]

    return round_of(client, send)
