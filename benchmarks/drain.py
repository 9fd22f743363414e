"""How long 1,000 deferred runs take, eight at a time, beside task queues.

    python benchmarks/drain.py [--quick] [--milliseconds N] [--count N]

Each library has all runs in its queue before a worker with eight threads begins. ``span`` is from
the first start to the last end; ``of what is possible`` is that of eight threads which lose no time
between two runs. Ours are recorded and logged, and each has a transaction.

It runs itself once for each library: ``drain.py contender NAME MILLISECONDS COUNT``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from common import Column, options, show, show_machine

THREADS = 8
PATIENCE = 300.0
"""Seconds that a library has for all runs."""

COLUMNS = (
    Column("library"),
    Column("runs"),
    Column("span, s", ",.2f", compared=True),
    Column("runs a second", ",.0f"),
    Column("of what is possible", ".0%"),
)
OURS = "pyramid_cron, threads"


# What runs in the process of a contender, in its folder.


def work(milliseconds: float) -> None:
    """Be a run: take so long, and leave its start and end in a line, in one write."""
    start = time.time()
    time.sleep(milliseconds / 1000)
    file = os.open("ends", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{start} {time.time()}\n".encode())
    os.close(file)


def make_job(milliseconds: float) -> Callable[[], None]:
    """Return the function that a queue calls."""

    def job() -> None:
        work(milliseconds)

    return job


def main_app(milliseconds: float, executor: str, url: str) -> object:
    """Return an application with the task that is deferred."""
    from pyramid.config import Configurator

    settings = {"cron.url": url, "cron.capacity": str(THREADS)}
    with Configurator(settings=settings) as config:
        config.include("pyramid_cron")
        config.add_cron_task(
            lambda _: work(milliseconds),
            name="job",
            on_demand=True,
            executor=executor,
            overlap="allow",
        )
    return config.make_wsgi_app()


def defer_all(app: object, count: int) -> None:
    """Put all runs on record."""
    from pyramid_cron import scheduler

    control = scheduler(app.registry)
    for _ in range(count):
        control.defer("job")


def in_threads(milliseconds: float, count: int, *, url: str = "sqlite:///cron.sqlite") -> None:
    """Defer in one application, and hit the trigger of another one on the same store."""
    from webtest import TestApp

    defer_all(main_app(milliseconds, "thread", url), count)
    app = main_app(milliseconds, "thread", url)
    TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"}).get("/cron")
    time.sleep(PATIENCE)


def by_worker(milliseconds: float, count: int) -> None:
    """Defer, and have a worker take the runs, as ``pcron work --threads 8`` does."""
    from pyramid_cron.app import Worker, get_cron
    from pyramid_cron.runtime.dispatcher import make_dispatcher

    url = "sqlite:///cron.sqlite"
    defer_all(main_app(milliseconds, "worker", url), count)
    app = main_app(milliseconds, "worker", url)
    cron = get_cron(app.registry)
    cron.worker = Worker(THREADS, bool)
    dispatcher = make_dispatcher(cron, app.registry, is_worker=True)
    cron.use_dispatcher(dispatcher)
    dispatcher.start_ticking(at_once=True)
    time.sleep(PATIENCE)


def celery(milliseconds: float, count: int) -> None:
    """Send all, then run a worker with eight threads; Redis is the broker."""
    from celery import Celery
    from contenders.redis_server import redis_server

    with redis_server(Path(), aof=False) as (_, url, prefix):
        app = Celery("benchmark", broker=url)
        app.conf.broker_transport_options = {"global_keyprefix": f"{prefix}drain_"}
        job = app.task(name="job", ignore_result=True)(make_job(milliseconds))
        for _ in range(count):
            job.delay()
        app.worker_main(["worker", "--pool=threads", f"--concurrency={THREADS}"])


def dramatiq(milliseconds: float, count: int) -> None:
    """Send all, then run a worker with eight threads; Redis is the broker."""
    from contenders.redis_server import redis_server
    from dramatiq import Worker, actor, set_broker
    from dramatiq.brokers.redis import RedisBroker

    with redis_server(Path(), aof=False) as (_, url, prefix):
        broker = RedisBroker(url=url, namespace=f"{prefix}drain")
        set_broker(broker)
        job = actor(make_job(milliseconds), actor_name="job", broker=broker)
        for _ in range(count):
            job.send()
        Worker(broker, worker_threads=THREADS).start()
        time.sleep(PATIENCE)


def huey(milliseconds: float, count: int) -> None:
    """Enqueue all, then run a consumer with eight threads; the tasks are in a SQLite file."""
    from huey import SqliteHuey

    queue = SqliteHuey(filename="huey.sqlite", fsync=True)
    job = queue.task(name="job")(make_job(milliseconds))
    for _ in range(count):
        job()
    queue.create_consumer(workers=THREADS, worker_type="thread").run()


def procrastinate(milliseconds: float, count: int) -> None:
    """Defer all, then run a worker of concurrency eight; its tables are in PostgreSQL."""
    import asyncio

    from contenders.procrastinate import make_app, schema

    async def run() -> None:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            await app.tasks["job"].batch_defer_async(*({} for _ in range(count)))
            await app.run_worker_async(concurrency=THREADS, install_signal_handlers=False)

    with schema():
        app = make_app()
        app.task(name="job")(make_job(milliseconds))
        asyncio.run(run())


CONTENDERS: dict[str, Callable[[float, int], None]] = {
    OURS: in_threads,
    "pyramid_cron, worker": by_worker,
    "Celery, threads": celery,
    "dramatiq": dramatiq,
    "huey": huey,
    "procrastinate": procrastinate,
}


# What compares them.


def span(name: str, milliseconds: float, count: int) -> float | None:
    """Return the seconds from the first start to the last end; None where runs are missing."""
    with TemporaryDirectory(prefix="drain-") as folder:
        here = Path(__file__).resolve()
        paths = [str(here.parent), os.environ.get("PYTHONPATH", "")]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-W", "ignore", str(here), "contender", name]
        with (Path(folder) / "output").open("wb") as output:
            process = subprocess.Popen(
                [*command, str(milliseconds), str(count)],
                cwd=folder,
                env=environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            return _wait_for(process, Path(folder) / "ends", count)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], path: Path, count: int) -> float | None:
    give_up = time.monotonic() + PATIENCE
    lines: list[str] = []
    while len(lines) < count and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.1)
        lines = path.read_text().splitlines() if path.exists() else []
    if len(lines) < count:
        return None
    moments = [tuple(map(float, line.split())) for line in lines]
    return max(end for _, end in moments) - min(start for start, _ in moments)


def measure(milliseconds: float, count: int, rounds: int) -> list[tuple[object, ...]]:
    """Return the rows of the table: of each library the best of some rounds, in turn."""
    best: dict[str, float | None] = dict.fromkeys(CONTENDERS)
    for _ in range(rounds):
        for name in CONTENDERS:
            seconds = span(name, milliseconds, count)
            if seconds is not None:
                best[name] = min(seconds, best[name] or seconds)
    possible = count * milliseconds / 1000 / THREADS
    return [
        (name, count, seconds, count / seconds, possible / seconds)
        if seconds
        else (name, *[None] * (len(COLUMNS) - 1))
        for name, seconds in best.items()
    ]


def main() -> None:
    parser = options(__doc__, "one round")
    parser.add_argument(
        "--milliseconds", type=float, help="what a run takes; 1 and 20 unless given"
    )
    parser.add_argument("--count", type=int, default=1000, help="how many runs; 1,000 unless given")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which ends the contenders, too
    for milliseconds in [arguments.milliseconds] if arguments.milliseconds else [1.0, 20.0]:
        rows = measure(milliseconds, arguments.count, 1 if arguments.quick else 3)
        show(f"runs of {milliseconds:g} ms, {THREADS} threads", COLUMNS, rows, OURS)
    show_machine("celery", "dramatiq", "huey", "procrastinate")


if __name__ == "__main__":
    if sys.argv[1:2] == ["contender"]:
        CONTENDERS[sys.argv[2]](float(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
