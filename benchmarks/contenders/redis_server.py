"""The Redis of Celery and dramatiq: the one that runs already, or one that syncs each write."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis

from . import AbsentError

RUNNING = "redis://127.0.0.1:6379/0"
PREFIX = f"pyramid_cron_benchmark_{os.getpid()}_"
"""What all our keys begin with."""

PATIENCE = 60.0
"""Seconds to wait for a server or a worker."""


@contextmanager
def redis_server(folder: Path, aof: bool) -> Iterator[redis.Redis]:
    """Give a client of the server whose URL is in the environment as BENCHMARK_REDIS."""
    with _syncing(folder) if aof else _running() as url:
        os.environ["BENCHMARK_REDIS"], os.environ["BENCHMARK_PREFIX"] = url, PREFIX
        with redis.Redis.from_url(url) as client:
            try:
                yield client
            finally:
                forget(client)


def forget(client: redis.Redis) -> None:
    """Delete all our keys."""
    keys = list(client.scan_iter(f"{PREFIX}*", count=1000))
    if keys:
        client.delete(*keys)


@contextmanager
def worker(command: list[str], answers: Callable[[], bool]) -> Iterator[None]:
    """Keep a worker process while the block runs, which begins once the worker answers."""
    here = Path(__file__).parent.parent
    path = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    with _process(command, {**os.environ, "PYTHONPATH": path}):
        wait_for(answers)
        yield


def wait_for(happened: Callable[[], bool]) -> None:
    """Return as soon as it happened, looking every millisecond."""
    give_up = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > give_up:
            raise RuntimeError(f"nothing happened within {PATIENCE:.0f} seconds")
        time.sleep(0.001)


@contextmanager
def _running() -> Iterator[str]:
    with redis.Redis.from_url(RUNNING) as client:
        if not _answers(client):
            raise AbsentError(f"no Redis at {RUNNING}")
    yield RUNNING


@contextmanager
def _syncing(folder: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        raise AbsentError("there is no redis-server to start")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": folder,
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
    }
    command = [program, *(str(part) for key in options for part in (f"--{key}", options[key]))]
    url = f"redis://127.0.0.1:{port}/0"
    with _process(command), redis.Redis.from_url(url) as client:
        wait_for(lambda: _answers(client))
        yield url


def _answers(client: redis.Redis) -> bool:
    try:
        return client.ping()
    except redis.ConnectionError:
        return False


@contextmanager
def _process(command: list[str], env: Mapping[str, str] | None = None) -> Iterator[None]:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, **quiet)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
