"""How long an application takes to start, and what it takes up, with a scheduler in it.

    python benchmarks/importing.py [--quick]

Each figure is the median over fresh interpreters, in which each library has its turn. ``import`` is
until the library alone is imported, ``application`` until a Pyramid application is made with the
library in it and one task registered, ready to be served; ``memory`` is the most that this process
ever had in use. What Python itself takes to start is taken off. Ours includes the engine of its
store, as the job store does with "APScheduler, SQLAlchemy store"; Celery and huey keep nothing
before their workers run, and those are processes of their own, that are not counted here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryDirectory

from figures import Column, Table, show

PYRAMID = """
from pyramid.config import Configurator
def work(*_): pass
config = Configurator(settings={"cron.url": "sqlite:///cron.sqlite"})
"""

MADE = """
config.make_wsgi_app()
"""

LIBRARIES = {
    "bare Pyramid": ("import pyramid.config", ""),
    "Pyramid and SQLAlchemy": (
        "import pyramid.config, sqlalchemy",
        "import sqlalchemy; sqlalchemy.create_engine('sqlite:///app.sqlite').connect().close()",
    ),
    "pyramid_cron": (
        "import pyramid_cron",
        "config.include('pyramid_cron'); config.add_cron_task(work, hour=2)",
    ),
    "APScheduler": (
        "import apscheduler.schedulers.background",
        "from apscheduler.schedulers.background import BackgroundScheduler\n"
        "BackgroundScheduler(timezone='UTC').add_job(work, 'cron', hour=2)",
    ),
    "APScheduler, SQLAlchemy store": (
        "import apscheduler.schedulers.background, apscheduler.jobstores.sqlalchemy",
        "from apscheduler.schedulers.background import BackgroundScheduler\n"
        "scheduler = BackgroundScheduler(timezone='UTC')\n"
        "scheduler.add_jobstore('sqlalchemy', url='sqlite:///jobs.sqlite')\n"
        "scheduler.start(paused=True)\n"
        "scheduler.add_job(print, 'cron', hour=2)\n"
        "scheduler.shutdown()",
    ),
    "Celery": (
        "import celery; celery.Celery",
        "from celery import Celery\nfrom celery.schedules import crontab\n"
        "app = Celery(broker='memory://'); app.task(name='work')(work)\n"
        "app.conf.beat_schedule = {'work': {'task': 'work', 'schedule': crontab(0, 2)}}\n"
        "app.finalize()",
    ),
    "huey": (
        "import huey; huey.SqliteHuey",
        "from huey import SqliteHuey, crontab\n"
        "SqliteHuey(filename='huey.sqlite').periodic_task(crontab('0', '2'))(work)",
    ),
}
"""By name: how the library is imported, and how it has a task in an application."""

OURS = "pyramid_cron"

ENVIRON = {name: each for name, each in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""The environment, in which what was compiled once is kept, as it is where one installs."""

COLUMNS = (
    Column("library"),
    Column("import, ms", ",.0f", compared=True),
    Column("application, ms", ",.0f", compared=True),
    Column("memory, MiB", ",.1f", compared=True),
)


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    milliseconds: float
    mebibytes: float


def run(code: str) -> Cost:
    """Run code in a fresh interpreter; ImportError if it can't."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=ENVIRON, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ImportError(code)
    return Cost(took * 1e3, usage.ru_maxrss / 1024)


def codes(name: str) -> tuple[str, str]:
    """Return what imports a library, and what makes an application with it."""
    imported, used = LIBRARIES[name]
    return imported, PYRAMID + used + MADE


def installed() -> list[str]:
    """Return the libraries that there are, having run each once so that its bytecode is there."""
    found = []
    for name in LIBRARIES:
        try:
            for code in codes(name):
                run(code)
        except ImportError:
            print(f"{name}: absent")
        else:
            found.append(name)
    return found


def measure(names: list[str], rounds: int) -> list[tuple[str, float, float, float]]:
    """Return a row for each library."""
    empty: list[Cost] = []
    costs: dict[str, list[tuple[Cost, Cost]]] = {name: [] for name in names}
    for _ in range(rounds):
        empty.append(run(""))
        for name in names:
            imported, made = codes(name)
            costs[name].append((run(imported), run(made)))
    python = median(each.milliseconds for each in empty)
    return [
        (
            name,
            median(imported.milliseconds for imported, _ in both) - python,
            median(made.milliseconds for _, made in both) - python,
            median(made.mebibytes for _, made in both),
        )
        for name, both in costs.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, rougher figures")
    rounds = 7 if parser.parse_args().quick else 31
    print(f"Python {sys.version.split()[0]}, {rounds} rounds")
    rows = measure(installed(), rounds)
    show(Table("", COLUMNS, rows, OURS, chart="bars", drawn=("application, ms",)))


if __name__ == "__main__":
    main()
