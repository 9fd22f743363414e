"""The Redis of Celery and dramatiq: the one that runs already, or one that syncs each write."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from . import AbsentError, Round

RUNNING = "redis://127.0.0.1:6379/0"
PREFIX = f"pyramid_cron_benchmark_{os.getpid()}_"
"""What all our keys begin with."""

PATIENCE = 60.0
"""Seconds to wait for a server or a worker."""


@contextmanager
def redis_server(folder: Path, aof: bool) -> Iterator[tuple[redis.Redis, str, str]]:
    """Give a client, the server's URL, and what all keys have to begin with."""
    with _syncing(folder) if aof else _running() as url, redis.Redis.from_url(url) as client:
        try:
            yield client, url, PREFIX
        finally:
            if keys := list(client.scan_iter(f"{PREFIX}*", count=1000)):
                client.delete(*keys)


@contextmanager
def worker(command: list[str], url: str, is_ready: Callable[[], object]) -> Iterator[None]:
    """Keep a worker process, which finds URL and prefix in BENCHMARK_REDIS, while the block runs.

    The block begins once the worker is ready.
    """
    here = Path(__file__).parent.parent
    path = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    environ = {**os.environ, "PYTHONPATH": path, "BENCHMARK_REDIS": f"{url} {PREFIX}"}
    with _process(command, environ):
        wait_for(is_ready)
        yield


@contextmanager
def round_of(client: redis.Redis, send: Callable[[], list[str]]) -> Iterator[Round]:
    """Give a round that sends messages, and is over when all the keys of their results exist."""
    keys: list[str] = []

    def run() -> None:
        keys.extend(send())
        wait_for(lambda: client.exists(keys[-1]))
        wait_for(lambda: client.exists(*keys) == len(keys))

    yield Round(run, lambda: client.exists(*keys))
    if keys:
        client.delete(*keys)


def wait_for(condition: Callable[[], object]) -> None:
    """Return as soon as the condition is true, looking every millisecond."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > give_up:
            raise RuntimeError(f"nothing happened within {PATIENCE:.0f} seconds")
        time.sleep(0.001)


@contextmanager
def _running() -> Iterator[str]:
    if not _answers(RUNNING):
        raise AbsentError(f"no Redis at {RUNNING}")
    yield RUNNING


@contextmanager
def _syncing(folder: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        raise AbsentError("there is no redis-server to start")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = f"--bind 127.0.0.1 --port {port} --appendonly yes --appendfsync always"
    url = f"redis://127.0.0.1:{port}/0"
    with _process([program, *options.split(), "--save", "", "--dir", str(folder)]):
        wait_for(lambda: _answers(url))
        yield url


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def _process(command: list[str], environ: dict[str, str] | None = None) -> Iterator[None]:
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environ, stdin=null, stdout=null, stderr=null)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
