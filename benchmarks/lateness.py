"""How late tasks start that are due in a minute, beside peers, and whether each starts once.

    python benchmarks/lateness.py [--quick] [--rounds COUNT]

Each library runs by its own means, with ten tasks that do nothing but write when they started. In
turn each has a minute in which its tasks are due while all others wait, once in a round. ``first``
is the median of the first starts in a minute, the other figures are of all starts.

It runs itself once for each library: ``lateness.py contender NAME MINUTES``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from threading import Thread

from common import Column, application, options, show, show_machine

TASKS = 10
START_UP = 20
"""Seconds that the contenders have to start."""

COLUMNS = (
    Column("library"),
    Column("slots"),
    Column("missed"),
    Column("twice"),
    Column("first, ms", ",.0f", compared=True),
    Column("median, ms", ",.0f", compared=True),
    Column("95 of 100, ms", ",.0f"),
    Column("worst, ms", ",.0f"),
)
OURS = "pyramid_cron, curl"


# What runs in the process of a contender, in its folder.


def start(number: int, *_: object, **__: object) -> None:
    """Be a task: leave a line with its number and the seconds since the epoch, in one write."""
    file = os.open("starts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{number} {time.time()}\n".encode())
    os.close(file)


def task(number: int) -> Callable[..., None]:
    """Return a function of its own that starts as this task."""

    def run(*_: object, **__: object) -> None:
        start(number)

    return run


def pyramid_cron(minutes: str) -> None:
    """Serve by waitress, and let curl hit the trigger on each full minute, as a crontab would."""
    import waitress

    def register(config: object) -> None:
        for number in range(TASKS):
            config.add_cron_task(task(number), schedule=f"{minutes} * * * *", name=f"task {number}")

    server = waitress.create_server(application(Path(), register), listen="127.0.0.1:0")
    url = f"http://127.0.0.1:{server.effective_port}/cron"
    Thread(target=trigger, args=[url], daemon=True).start()
    server.run()


def trigger(url: str) -> None:
    """Start curl on each full minute."""
    while True:
        time.sleep(60 - time.time() % 60)
        subprocess.run(["curl", "-fsSL", "--max-redirs", "0", "-o", "/dev/null", url], check=False)


def apscheduler(minutes: str, stored: bool = False) -> None:
    """Run the scheduler, its jobs in memory or in a SQLite file."""
    from apscheduler.schedulers.blocking import BlockingScheduler

    scheduler = BlockingScheduler(timezone="UTC")
    if stored:
        scheduler.add_jobstore("sqlalchemy", url="sqlite:///jobs.sqlite")
    for number in range(TASKS):
        scheduler.add_job(start, "cron", minute=minutes, args=[number], misfire_grace_time=None)
    scheduler.start()


def celery(minutes: str) -> None:
    """Run a worker with as many processes as there are cores, and a beat; Redis is the broker."""
    from celery import Celery
    from celery.schedules import crontab
    from contenders.redis_server import redis_server

    with redis_server(Path(), aof=False) as (_, url, prefix):
        app = Celery("benchmark", broker=url)
        app.conf.broker_transport_options = {"global_keyprefix": f"{prefix}late_"}
        app.conf.timezone = "UTC"
        app.task(name="start", ignore_result=True)(start)
        app.conf.beat_schedule = {
            f"task {number}": {
                "task": "start",
                "schedule": crontab(minute=minutes),
                "args": [number],
            }
            for number in range(TASKS)
        }
        app.worker_main(["worker", "--beat", "--schedule=beat"])


def huey(minutes: str) -> None:
    """Run a consumer with one worker, its tasks in a SQLite file."""
    from huey import SqliteHuey, crontab

    queue = SqliteHuey(filename="huey.sqlite", utc=True)
    for number in range(TASKS):
        queue.periodic_task(crontab(minute=minutes), name=f"task_{number}")(task(number))
    queue.create_consumer(workers=1).run()


def procrastinate(minutes: str) -> None:
    """Run a worker, which defers what is due as well; its tables are in PostgreSQL."""
    from contenders.procrastinate import make_app, schema

    async def work() -> None:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            await app.run_worker_async(concurrency=1)

    with schema():
        app = make_app()
        for number in range(TASKS):
            named = app.task(task(number), name=f"task {number}")
            app.periodic(cron=f"{minutes} * * * *")(named)
        asyncio.run(work())


CONTENDERS: dict[str, Callable[[str], None]] = {
    OURS: pyramid_cron,
    "APScheduler, memory": apscheduler,
    "APScheduler, SQLite": partial(apscheduler, stored=True),
    "Celery beat, Redis": celery,
    "huey, SQLite": huey,
    "procrastinate, PostgreSQL": procrastinate,
}


# What measures them.


@contextmanager
def running(name: str, folder: Path, minutes: str) -> Iterator[None]:
    """Keep a contender while the block runs."""
    folder.mkdir()
    command = [sys.executable, "-W", "ignore", __file__, "contender", name, minutes]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):  # what it has left behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def measure(rounds: int) -> list[tuple[object, ...]]:
    """Let all of them run for so many rounds, and return a row for each."""
    turns = len(CONTENDERS)
    begin = int((time.time() + START_UP) // 60 + 1)
    end = begin + rounds * turns
    rows = []
    with TemporaryDirectory() as place, ExitStack() as stack:
        for number, name in enumerate(CONTENDERS):
            minutes = ",".join(str(minute) for minute in range(60) if minute % turns == number)
            stack.enter_context(running(name, Path(place, str(number)), minutes))
        while (left := end * 60 - time.time()) > 0:
            time.sleep(left)
        for number, name in enumerate(CONTENDERS):
            due = [minute for minute in range(begin, end) if minute % 60 % turns == number]
            row = figures(Path(place, str(number)), due)
            if row is None:
                log = Path(place, str(number), "log").read_text()
                print(f"{name}: {log.strip().splitlines()[-1:]}")
            rows.append((name, *(row or [None] * (len(COLUMNS) - 1))))
    return rows


def figures(folder: Path, due: list[int]) -> tuple[object, ...] | None:
    """Return what became of the slots of one library; None if it never started anything."""
    starts: defaultdict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    path = folder / "starts"
    for line in path.read_text().splitlines() if path.exists() else []:
        number, moment = line.split()
        starts[int(float(moment) // 60)][int(number)].append(float(moment) % 60 * 1e3)
    first = [min(map(min, starts[minute].values())) for minute in due if starts[minute]]
    late = [min(moments) for minute in due for moments in starts[minute].values()]
    if len(late) < 2:
        return None
    counts = Counter(len(moments) for minute in due for moments in starts[minute].values())
    return (
        len(due) * TASKS,
        len(due) * TASKS - sum(counts.values()),
        sum(count for times, count in counts.items() if times > 1),
        median(first),
        median(late),
        quantiles(late, n=100, method="inclusive")[94],
        max(late),
    )


def main() -> None:
    parser = options(__doc__, "two rounds, of six minutes each")
    parser.add_argument("--rounds", type=int, help="how many rounds; ten unless given")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which ends the contenders, too
    rounds = arguments.rounds or (2 if arguments.quick else 10)
    show(f"{rounds} rounds", COLUMNS, measure(rounds), OURS)
    show_machine("APScheduler", "celery", "huey", "procrastinate")


if __name__ == "__main__":
    if sys.argv[1:2] == ["contender"]:
        CONTENDERS[sys.argv[2]](sys.argv[3])
    else:
        main()
