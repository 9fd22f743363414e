"""What a run costs in the request, in a thread and on a Celery worker, and how soon it begins.

    python benchmarks/executors.py [--quick] [--store KIND] [--folder FOLDER]

Hits the trigger of a waitress server while 1 run of a task that does nothing is due, or 100, and
waits until all are on record as over. Times are medians, processor times means. Without Redis on
127.0.0.1:6379, or without Celery, there is no row for Celery.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from common import Column, options, show, show_machine
from pyramid.config import Configurator
from pyramid.paster import get_app
from waitress.server import create_server

sys.path.insert(0, str(Path(__file__).parents[1]))

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from tests import databases
from tests.integration.processes import python, wait_until

BROKER = os.environ.get("CRON_TEST_REDIS", "redis://127.0.0.1:6379/11")
MANY = 100
COLUMNS = (
    Column("ms after the hit"),
    *(Column(name, ",.1f") for name in ("answer", "start", "last start", "over")),
    *(Column(f"{name}, ms a run", ",.1f") for name in ("web", "worker")),
)


# What runs in the processes of the application.


def main(_: Any, folder: str, queue: str, executors: str, **settings: str) -> Any:
    """Return the application as its ini file has it."""
    config = Configurator(settings=settings)
    config.include("pyramid_tm")
    config.include("pyramid_cron")
    starts = os.open(f"{folder}/starts", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def task(_: Any) -> None:
        os.write(starts, f"{time.monotonic()}\n".encode())  # the same clock in all processes

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


class Shop(NamedTuple):
    """The application's processes, and its record."""

    url: str
    web: int
    worker: int
    cron: Any
    starts: Path

    def hit(self) -> None:
        with urllib.request.urlopen(self.url, timeout=60) as answer:
            assert answer.status == 200

    def round(self, executor: str, count: int) -> tuple[float, ...]:
        """Let so many runs be due, and hit the trigger; return a row's milliseconds."""
        for _ in range(count):
            self.cron.defer(executor)
        self.starts.write_text("")
        web, worker = spent(self.web), spent(self.worker)
        hit = time.monotonic()
        self.hit()
        answered = time.monotonic()
        wait_until(lambda: self._all_over(count), 60)
        over = time.monotonic()
        time.sleep(0.3)  # in which what is left to do for them is done, and counted
        web, worker = spent(self.web) - web, spent(self.worker) - worker
        starts = [float(line) - hit for line in self.starts.read_text().splitlines()]
        assert len(starts) == count
        seconds = (answered - hit, median(starts), max(starts), over - hit)
        return tuple(value * 1e3 for value in (*seconds, web / count, worker / count))

    def _all_over(self, count: int) -> bool:
        if self.starts.read_text().count("\n") < count:
            return False
        return all(run.state == "succeeded" for run in self.cron.history(limit=count))


def spent(group: int) -> float:
    """Return the seconds of processor time of the processes of a group that are there."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(folder: Path, store: databases.Place, executors: list[str]) -> Iterator[Shop]:
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
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    here = {"PYTHONPATH": path, "PYRAMID_CRON_INI": str(ini)}
    with ExitStack() as stack:
        web = stack.enter_context(python(folder / "web", __file__, "serve", ini, **here))
        worker = -1  # no group of processes
        if "celery" in executors:
            command = ["-m", "celery", "-A", "pyramid_cron.celery", "worker", "-c", "2"]
            options = ["-Q", queue, "--loglevel", "INFO", "-n", f"{queue}@%h"]
            options += ["--without-gossip", "--without-mingle"]
            child = stack.enter_context(python(folder / "worker", *command, *options, **here))
            stack.callback(_forget, queue)
            wait_until(lambda: " ready." in child.output, 60)
            worker = child.pid
        address = f"http://127.0.0.1:{web.wait_for('port ')}/cron"
        registry = get_app(str(ini)).registry
        stack.callback(get_cron(registry).close)
        yield Shop(address, web.pid, worker, scheduler(registry), folder / "starts")


def _forget(queue: str) -> None:
    """Take away what the worker has left in Redis."""
    import redis

    client = redis.Redis.from_url(BROKER)
    for key in client.scan_iter(f"*{queue}*"):
        client.delete(key)


def has_celery() -> bool:
    """Return whether there is Celery, with its Redis."""
    if not (find_spec("celery") and find_spec("redis")):
        return False
    import redis

    with suppress(redis.ConnectionError):
        return bool(redis.Redis.from_url(BROKER).ping())
    return False


def compare(shop: Shop, executors: list[str], one: int, many: int) -> None:
    """Measure and print the tables."""
    for executor in executors:
        shop.round(executor, 1)  # in which everybody gets ready
    before = spent(shop.web)
    for _ in range(one):
        shop.hit()
    time.sleep(0.5)
    idle = (spent(shop.web) - before) / one
    print(f"a tick with nothing due takes {idle * 1e3:.1f} ms of the web process")
    for count, times in ((1, one), (MANY, many)):
        rows = []
        for executor in executors:
            rounds = [shop.round(executor, count) for _ in range(times)]
            *moments, web, worker = zip(*rounds, strict=True)
            rows.append((executor, *map(median, moments), fmean(web), fmean(worker)))
        show(f"{count} due, {times} ticks", COLUMNS, rows)


def measure() -> None:
    parser = options(__doc__, "fewer ticks")
    parser.add_argument("--store", choices=databases.SHARED, default="file")
    parser.add_argument("--folder", help="where to put the file: choose the disk")
    arguments = parser.parse_args()
    one, many = (10, 3) if arguments.quick else (100, 10)
    executors = ["request", "thread", *(["celery"] if has_celery() else [])]
    if arguments.store != "file" and (problem := databases.lacking(arguments.store)):
        sys.exit(problem)
    print(f"store: {arguments.store}")
    with (
        TemporaryDirectory(dir=arguments.folder) as name,
        databases.place(arguments.store, Path(name)) as place,
        served(Path(name), place, executors) as shop,
    ):
        compare(shop, executors, one, many)
    show_machine("SQLAlchemy", "psycopg", "celery")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        measure()
