"""How many bytes a registered task takes.

    python benchmarks/memory.py

Registers the same realistic mix of 10,000 schedules with pyramid_cron and its peers and counts what
stays allocated for each, names and functions aside.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from common import Column, realistic, show, show_machine

from pyramid_cron.app import CronApp
from pyramid_cron.schedule import Cron
from pyramid_cron.settings import parse_settings
from pyramid_cron.task import Task

TASKS = 10_000
ZONE = "Europe/Berlin"
COLUMNS = (Column("what"), Column("bytes per task", ",.0f", compared=True))
MIDNIGHT = datetime(2026, 6, 1, tzinfo=timezone.utc)

Register = Callable[[Sequence[str], Sequence[str]], object]
"""Takes names and crontab expressions, and returns what keeps the memory in use."""


def job() -> None:
    """Stand for what is run; all tasks share it."""


def tasks_and_calendar(names: Sequence[str], expressions: Sequence[str]) -> object:
    """Register as the directive does, and ask what is due in a minute."""
    cron = CronApp(parse_settings({"cron.url": "sqlite://", "cron.timezone": ZONE}))
    for name, expression in zip(names, expressions, strict=True):
        cron.register(Task(name, job, (Cron(expression).with_timezone(ZONE),), ZONE))
    cron.task_registry.calendar.due(MIDNIGHT - timedelta(minutes=1), MIDNIGHT)
    return cron


def apscheduler(names: Sequence[str], expressions: Sequence[str]) -> object:
    """Add jobs to a scheduler with a job store in memory; it isn't started."""
    from apscheduler.jobstores.memory import MemoryJobStore
    from apscheduler.schedulers.background import BackgroundScheduler
    from apscheduler.triggers.cron import CronTrigger

    zone = ZoneInfo(ZONE)
    scheduler = BackgroundScheduler(jobstores={"default": MemoryJobStore()}, timezone=zone)
    for name, expression in zip(names, expressions, strict=True):
        trigger = CronTrigger.from_crontab(expression, timezone=zone)
        scheduler.add_job(job, trigger, id=name, name=name)
    return scheduler


def celery(_: Sequence[str], expressions: Sequence[str]) -> object:
    """Make the schedules of a beat, without their entries."""
    from celery.schedules import crontab

    fields = (expression.split() for expression in expressions)
    return [crontab(minute, hour, dow, day, month) for minute, hour, day, month, dow in fields]


def croniter(_: Sequence[str], expressions: Sequence[str]) -> object:
    """Make the iterators, without anything to run."""
    from croniter import croniter

    start = datetime(2026, 6, 1, tzinfo=ZoneInfo(ZONE))
    return [croniter(expression, start) for expression in expressions]


def bytes_per_task(register: Register, names: Sequence[str], expressions: Sequence[str]) -> float:
    """Return what registering all of them leaves allocated, divided by their number."""
    register(names[:50], expressions[:50])  # What is loaded or cached at first belongs to no task.
    gc.collect()
    tracemalloc.start()
    registered = register(names, expressions)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del registered
    return used / len(names)


OURS = "pyramid_cron, tasks and calendar"
LIBRARIES: dict[str, Register] = {
    OURS: tasks_and_calendar,
    "APScheduler, jobs": apscheduler,
    "Celery, crontab objects": celery,
    "croniter, iterators": croniter,
}


def main() -> None:
    expressions = [fields.crontab() for fields in realistic(TASKS)]
    names = [f"app.tasks.task_{number}" for number in range(TASKS)]
    rows: list[tuple[str, float | None]] = []
    for title, register in LIBRARIES.items():
        try:
            rows.append((title, bytes_per_task(register, names, expressions)))
        except ImportError:
            rows.append((title, None))
    title = f"{TASKS:,} tasks, {len(set(expressions)):,} distinct schedules"
    show(title, COLUMNS, rows, OURS)
    show_machine("APScheduler", "celery", "croniter")


if __name__ == "__main__":
    main()
