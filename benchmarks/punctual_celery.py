"""The Celery application of lateness.py, as its worker and its beat load it."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from celery.schedules import crontab
from punctual import started

URL = os.environ["BENCHMARK_REDIS"]
PREFIX = {"global_keyprefix": os.environ["BENCHMARK_PREFIX"] + "late_"}

app = Celery("benchmark", broker=URL)
app.conf.update(
    broker_transport_options=PREFIX,
    timezone="UTC",
    beat_schedule={
        f"task {number}": {
            "task": "punctual",
            "schedule": crontab(minute=os.environ["BENCHMARK_MINUTES"]),
            "args": [number],
        }
        for number in range(int(os.environ["BENCHMARK_TASKS"]))
    },
)


@app.task(name="punctual", ignore_result=True)
def task(number: int) -> None:
    """Leave a line."""
    started(Path(os.environ["BENCHMARK_FOLDER"]), number)
