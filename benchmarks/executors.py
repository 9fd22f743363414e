"""What a run costs in the request, in a thread and on a Celery worker, and how soon it begins.

    python benchmarks/executors.py [--quick] [--store KIND] [--folder FOLDER]

A waitress server has a task that does nothing, once for each executor. Something hits its trigger
while 1 run of it, or 100, is due, and waits until all are on record as over. Measured is how long
the trigger waits for its answer, how long after the hit the runs begin, when the last is over, and
what processor time it takes of the web process, with all its threads, and of the Celery worker
(two processes). Times are medians, processor times means. Runs are due because somebody deferred
them, so that no minute has to be waited for.

The store is a SQLite file (``--folder`` chooses the disk) or, with ``--store``, the PostgreSQL or
MariaDB of the tests. The broker is Redis on 127.0.0.1:6379; without it, or without Celery, there is
no row for Celery.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

from pyramid.config import Configurator
from pyramid.paster import get_app
from waitress.server import create_server

sys.path.insert(0, str(Path(__file__).parents[1]))

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from tests import databases
from tests.integration.processes import Child, python, wait_until

EXECUTORS = ("request", "thread", "celery")
BROKER = os.environ.get("CRON_TEST_REDIS", "redis://127.0.0.1:6379/11")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
MANY = 100


# What runs in the processes of the application.


def main(_: Any, folder: str, queue: str, executors: str, **settings: str) -> Any:
    """Return the application as its ini file has it."""
    config = Configurator(settings=settings)
    config.include("pyramid_tm")
    config.include("pyramid_cron")
    begun = os.open(f"{folder}/begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def task(_: Any) -> None:
        os.write(begun, f"{time.monotonic()}\n".encode())  # the same clock in all processes

    for executor in executors.split():
        celery = {"celery": {"queue": queue}} if executor == "celery" else {}
        config.add_cron_task(
            task, name=executor, executor=executor, on_demand=True, overlap="allow", **celery
        )
    return config.make_wsgi_app()


def serve(ini: str) -> None:
    """Serve it on a free port, which is printed."""
    server = create_server(get_app(ini), host="127.0.0.1", port=0, threads=4)
    print("port", server.effective_port, flush=True)
    server.run()


# What measures them.


@dataclass(frozen=True)
class Round:
    """One tick, in seconds from the hit."""

    answered: float
    begun: list[float]
    over: float
    web: float
    worker: float


@dataclass(frozen=True)
class Shop:
    """The application's processes, and its record."""

    url: str
    web: int
    worker: int | None
    cron: Any
    begun: Path

    def hit(self) -> None:
        with urllib.request.urlopen(self.url, timeout=60) as answer:
            assert answer.status == 200

    def round(self, executor: str, count: int) -> Round:
        """Let so many runs be due, and hit the trigger."""
        for _ in range(count):
            self.cron.defer(executor)
        self.begun.write_text("")
        spent = self.spent()
        hit = time.monotonic()
        self.hit()
        answered = time.monotonic()
        wait_until(lambda: self._all_over(count), 60)
        over = time.monotonic()
        time.sleep(0.3)  # in which what is left to do for them is done, and counted
        web, worker = (now - then for now, then in zip(self.spent(), spent, strict=True))
        begun = [float(line) - hit for line in self.begun.read_text().splitlines()]
        assert len(begun) == count
        return Round(answered - hit, begun, over - hit, web, worker)

    def _all_over(self, count: int) -> bool:
        if self.begun.read_text().count("\n") < count:
            return False
        return all(run.state == "succeeded" for run in self.cron.history(limit=count))

    def spent(self) -> tuple[float, float]:
        """Return the seconds of processor time that web process and worker have taken."""
        return _spent(self.web), 0.0 if self.worker is None else _spent(self.worker)


def _spent(group: int) -> float:
    """Return what the processes of a group have taken that are there."""
    total = 0
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = each.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[2]) == group:
            total += int(fields[11]) + int(fields[12])
    return total / TICKS_A_SECOND


@contextmanager
def shop(folder: Path, store: databases.Place, executors: list[str]) -> Iterator[Shop]:
    """Start a server, and a worker if there is one to have."""
    queue = f"q{secrets.token_hex(6)}"
    values = {
        "use": "call:executors:main",
        "folder": folder,
        "queue": queue,
        "executors": " ".join(executors),
        "cron.url": store.url.render_as_string(hide_password=False),
        "cron.table_prefix": store.prefix,
        "cron.timezone": "UTC",
        "cron.capacity": 2 * MANY,
        "tm.manager_hook": "pyramid_tm.explicit_manager",
    }
    if "celery" in executors:
        values["cron.celery.broker_url"] = BROKER
    ini = folder / "app.ini"
    ini.write_text("\n".join(["[app:main]", *(f"{key} = {values[key]}" for key in values)]))
    here = {"PYTHONPATH": str(Path(__file__).parent), "PYRAMID_CRON_INI": str(ini)}
    with ExitStack() as stack:
        web = stack.enter_context(python(folder / "web", __file__, "serve", ini, **here))
        worker: Child | None = None
        if "celery" in executors:
            command = ["-m", "celery", "-A", "pyramid_cron.celery", "worker", "-c", "2"]
            options = ["-Q", queue, "--loglevel", "INFO", "-n", f"{queue}@%h"]
            options += ["--without-gossip", "--without-mingle"]
            worker = stack.enter_context(python(folder / "worker", *command, *options, **here))
            stack.callback(_forget, queue)
            wait_until(lambda: " ready." in worker.output, 60)
        address = f"http://127.0.0.1:{web.wait_for('port ')}/cron"
        registry = get_app(str(ini)).registry
        stack.callback(get_cron(registry).close)
        number = None if worker is None else worker.pid
        yield Shop(address, web.pid, number, scheduler(registry), folder / "begun")


def _forget(queue: str) -> None:
    """Take away what the worker has left in Redis."""
    import redis

    with redis.Redis.from_url(BROKER) as client:
        for key in client.scan_iter(f"*{queue}*"):
            client.delete(key)


def without_celery() -> str | None:
    """Return why Celery can't be had, or None."""
    if find_spec("celery") is None or find_spec("redis") is None:
        return "celery[redis] is not installed"
    import redis

    try:
        with redis.Redis.from_url(BROKER) as client:
            client.ping()
    except redis.ConnectionError as error:
        return f"needs Redis: {error}"
    return None


def compare(made: Shop, executors: list[str], one: int, many: int) -> None:
    """Measure and print the tables."""
    for executor in executors:
        made.round(executor, 1)  # in which everybody gets ready
    spent = made.spent()[0]
    for _ in range(one):
        made.hit()
    time.sleep(0.5)
    idle = (made.spent()[0] - spent) / one
    print(f"\na tick with nothing due takes {idle * 1e3:.1f} ms of the web process")
    for count, times in ((1, one), (MANY, many)):
        print(f"\n{count} due, {times} ticks; ms after the hit{'processor ms per run':>43}")
        print(f"{'':10}" + "".join(f"{head:>12}" for head in HEADS))
        for executor in executors:
            rounds = [made.round(executor, count) for _ in range(times)]
            cells = (
                median(each.answered for each in rounds),
                median(begun for each in rounds for begun in each.begun),
                median(max(each.begun) for each in rounds),
                median(each.over for each in rounds),
                fmean(each.web for each in rounds) / count,
                fmean(each.worker for each in rounds) / count,
            )
            print(f"{executor:10}" + "".join(f"{cell * 1e3:>12.1f}" for cell in cells), flush=True)


HEADS = ("answer", "start", "last start", "over", "web", "worker")


def measure() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer ticks")
    parser.add_argument("--store", choices=databases.SHARED, default="file")
    parser.add_argument("--folder", help="where to put the file: choose the disk")
    options = parser.parse_args()
    one, many = (10, 3) if options.quick else (100, 10)
    executors = list(EXECUTORS)
    if problem := without_celery():
        print(f"celery: {problem}")
        executors.remove("celery")
    if options.store != "file" and (problem := databases.lacking(options.store)):
        sys.exit(problem)
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, store: {options.store}")
    with (
        TemporaryDirectory(dir=options.folder) as name,
        databases.place(options.store, Path(name)) as found,
        shop(Path(name), found, executors) as made,
    ):
        compare(made, executors, one, many)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        measure()
