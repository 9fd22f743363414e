"""Who takes part in lateness.py, as its users would run it, each for as long as it is let.

    python benchmarks/punctual.py NAME FOLDER MINUTES TASKS

MINUTES are those of each hour in which the tasks are due, with commas between. Each start of a task
is a line in a file of the folder: its number, and the seconds since the epoch.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

Task = Callable[..., None]


def started(folder: Path, number: int) -> None:
    """Leave a line, in one write."""
    line = f"{number} {time.time()}\n".encode()
    file = os.open(folder / "starts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


def pyramid_cron(folder: Path, minutes: str, tasks: list[Task]) -> None:
    """Serve by waitress, and let curl hit the trigger on each full minute, as a crontab would."""
    import waitress
    from pyramid.config import Configurator
    from ticking import application

    def register(config: Configurator) -> None:
        for number, task in enumerate(tasks):
            config.add_cron_task(task, schedule=f"{minutes} * * * *", name=f"task {number}")

    server = waitress.create_server(application(folder, register), listen="127.0.0.1:0")
    url = f"http://127.0.0.1:{server.effective_port}/cron"
    trigger = subprocess.Popen([sys.executable, __file__, "trigger", url])
    try:
        server.run()
    finally:
        trigger.terminate()
        trigger.wait()


def trigger(url: str) -> None:
    """Start curl on each full minute."""
    while True:
        time.sleep(60 - time.time() % 60)
        subprocess.run(["curl", "-fsS", "-o", "/dev/null", url], check=False)


def apscheduler(folder: Path, minutes: str, tasks: list[Task], stored: bool = False) -> None:
    """Run the scheduler, its jobs in memory or in a SQLite file."""
    from apscheduler.schedulers.blocking import BlockingScheduler

    scheduler = BlockingScheduler(timezone="UTC")
    if stored:
        scheduler.add_jobstore("sqlalchemy", url=f"sqlite:///{folder / 'jobs.sqlite'}")
    for number in range(len(tasks)):
        scheduler.add_job(
            started, "cron", minute=minutes, args=[folder, number], misfire_grace_time=None
        )
    scheduler.start()


def celery(folder: Path, minutes: str, tasks: list[Task]) -> None:
    """Run a beat, and a worker with as many processes as there are cores; Redis is the broker."""
    from contenders.redis_server import redis_server

    with redis_server(folder, aof=False):
        environ = {**os.environ, "BENCHMARK_FOLDER": str(folder), "BENCHMARK_MINUTES": minutes}
        environ |= {"BENCHMARK_TASKS": str(len(tasks))}
        command = [sys.executable, "-m", "celery", "-A", "punctual_celery"]
        beat = ["beat", "--schedule", str(folder / "beat"), "--pidfile="]
        here = Path(__file__).parent
        processes = [
            subprocess.Popen([*command, *what], env=environ, cwd=here)
            for what in (["worker"], beat)
        ]
        try:
            for process in processes:
                process.wait()
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def huey(folder: Path, minutes: str, tasks: list[Task]) -> None:
    """Run a consumer with one worker, its tasks in a SQLite file."""
    from huey import SqliteHuey, crontab

    queue = SqliteHuey(filename=str(folder / "huey.sqlite"), utc=True)
    for number, task in enumerate(tasks):
        queue.periodic_task(crontab(minute=minutes), name=f"task_{number}")(task)
    queue.create_consumer(workers=1).run()


def procrastinate(_: Path, minutes: str, tasks: list[Task]) -> None:
    """Run a worker, which defers what is due as well; its tables are in PostgreSQL."""
    import procrastinate
    import psycopg
    from contenders.procrastinate import SCHEMA, SERVER

    with psycopg.connect(SERVER, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {SCHEMA}")
        try:
            there = f"{SERVER} options='-c search_path={SCHEMA}'"
            app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=there))
            for number, task in enumerate(tasks):
                app.periodic(cron=f"{minutes} * * * *")(app.task(task, name=f"task {number}"))
            asyncio.run(_worked(app))
        finally:
            admin.execute("SET client_min_messages TO warning")
            admin.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


async def _worked(app: Any) -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await app.run_worker_async(concurrency=1)


CONTENDERS: dict[str, Callable[[Path, str, list[Task]], None]] = {
    "pyramid_cron, curl": pyramid_cron,
    "APScheduler, memory": apscheduler,
    "APScheduler, SQLite": partial(apscheduler, stored=True),
    "Celery beat, Redis": celery,
    "huey, SQLite": huey,
    "procrastinate, PostgreSQL": procrastinate,
}


@contextmanager
def running(name: str, folder: Path, minutes: str, count: int) -> Iterator[subprocess.Popen]:
    """Keep a contender while the block runs."""
    command = [sys.executable, "-W", "ignore", __file__, name, str(folder), minutes, str(count)]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):  # what it has left behind
            os.killpg(process.pid, signal.SIGKILL)


def main(name: str, place: str, *options: str) -> None:
    if name == "trigger":
        trigger(place)
    minutes, count = options
    folder = Path(place)
    tasks = [_task(folder, number) for number in range(int(count))]
    CONTENDERS[name](folder, minutes, tasks)


def _task(folder: Path, number: int) -> Task:
    def task(*_: object, **__: object) -> None:
        started(folder, number)

    return task


if __name__ == "__main__":
    main(*sys.argv[1:])
