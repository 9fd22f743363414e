"""How long an application takes to start, and what it takes up, with a scheduler in it.

    python benchmarks/importing.py [--quick]

Each figure is the median over fresh interpreters, in which each library has its turn. ``memory`` is
the most that a process with the application ever had in use. What Python itself takes to start is
taken off the times.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from common import Column, options, show, show_machine

PYRAMID = """
from pyramid.config import Configurator
def work(*_): pass
config = Configurator(settings={"cron.url": "sqlite:///cron.sqlite"})
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

ENVIRON = {name: each for name, each in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""The environment, in which what was compiled once is kept, as it is where one installs."""

COLUMNS = (
    Column("library"),
    Column("import, ms", ",.0f", compared=True),
    Column("application, ms", ",.0f", compared=True),
    Column("memory, MiB", ",.1f", compared=True),
)


class Cost(NamedTuple):
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


def run_both(name: str) -> tuple[Cost, Cost]:
    """Import a library, and make an application with it."""
    imports, use = LIBRARIES[name]
    return run(imports), run(f"{PYRAMID}{use}\nconfig.make_wsgi_app()")


def measure(rounds: int) -> list[tuple[str, float, float, float]]:
    """Return a row for each library that is installed."""
    empty: list[Cost] = []
    costs: dict[str, list[tuple[Cost, Cost]]] = {}
    for name in LIBRARIES:
        try:
            run_both(name)  # so that its bytecode is there
            costs[name] = []
        except ImportError:
            print(f"{name}: absent")
    for _ in range(rounds):
        empty.append(run(""))
        for name, pairs in costs.items():
            pairs.append(run_both(name))
    python = median(cost.milliseconds for cost in empty)
    return [
        (
            name,
            median(imports.milliseconds for imports, _ in pairs) - python,
            median(use.milliseconds for _, use in pairs) - python,
            median(use.mebibytes for _, use in pairs),
        )
        for name, pairs in costs.items()
    ]


def main() -> None:
    rounds = 7 if options(__doc__, "fewer rounds, rougher figures").parse_args().quick else 31
    show(f"{rounds} rounds", COLUMNS, measure(rounds), "pyramid_cron")
    show_machine("pyramid", "SQLAlchemy", "APScheduler", "celery", "huey")


if __name__ == "__main__":
    main()
