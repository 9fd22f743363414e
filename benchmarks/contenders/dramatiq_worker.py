"""The dramatiq broker, as both the worker and who sends to it load it."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = os.environ["BENCHMARK_REDIS"]
PREFIX = os.environ["BENCHMARK_PREFIX"]

broker = RedisBroker(url=URL, namespace=f"{PREFIX}broker")
results = RedisBackend(url=URL, namespace=f"{PREFIX}results", use_namespace_prefix_keys=True)
broker.add_middleware(Results(backend=results))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def task() -> None:
    """Do nothing."""
