"""django-celery-beat: what its DatabaseScheduler takes from a change of one to the next tick.

``python -m contenders.django_beat URL COUNT TIMES``; it prints the median, in milliseconds.
"""

from __future__ import annotations

import random
import sys
import time
from statistics import median
from typing import Any
from urllib.parse import urlsplit


def configure(url: str) -> None:
    """Set Django up with a database of its own: a SQLite file, or tables of a server."""
    import django
    from django.conf import settings

    parts = urlsplit(url.replace("+psycopg", ""))
    database: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path[1:]}
    if parts.scheme == "postgresql":
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path.strip("/"),
            "HOST": parts.hostname,
            "PORT": parts.port or 5432,
            "USER": parts.username,
            "PASSWORD": parts.password or "",
        }
    settings.configure(
        DATABASES={"default": database},
        INSTALLED_APPS=["django_celery_beat"],
        USE_TZ=True,
        TIME_ZONE="UTC",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    )
    django.setup()


def fill(count: int) -> None:
    """Put so many periodic tasks on record, of as many customers, all of them enabled."""
    from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks

    crontabs: dict[tuple[str, ...], Any] = {}
    tasks = []
    for number in range(count):
        rng = random.Random(number)
        minute, hour = rng.choice(("0", "15", "30", "45")), str(rng.randrange(24))
        key = (minute, hour, str(rng.randrange(7)) if rng.random() < 0.5 else "*")
        if key not in crontabs:
            names = ("minute", "hour", "day_of_week")
            crontabs[key] = CrontabSchedule.objects.create(**dict(zip(names, key, strict=True)))
        tasks.append(PeriodicTask(name=f"report {number}", task="report", crontab=crontabs[key]))
    PeriodicTask.objects.bulk_create(tasks, batch_size=1000)
    PeriodicTasks.update_changed()


def milliseconds(times: int) -> list[float]:
    """Return how long it takes, each time, to save a change and make the tick that knows it."""
    from celery import Celery
    from django_celery_beat.models import PeriodicTask
    from django_celery_beat.schedulers import DatabaseScheduler

    scheduler = DatabaseScheduler(app=Celery("benchmark", broker="memory://"))
    scheduler.apply_entry = lambda *_, **__: None  # nothing is sent
    scheduler.tick()
    took = []
    for number in range(times):
        start = time.perf_counter()
        task = PeriodicTask.objects.get(name=f"report {number}")
        task.priority = number % 10
        task.save()
        scheduler.tick()
        took.append((time.perf_counter() - start) * 1000)
    return took


def main(url: str, count: int, times: int) -> None:
    configure(url)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    try:
        fill(count)
        print(median(milliseconds(times)))
    finally:
        call_command("migrate", "django_celery_beat", "zero", verbosity=0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
