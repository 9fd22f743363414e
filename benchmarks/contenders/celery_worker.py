"""The Celery application, as both the worker and who sends to it load it."""

from __future__ import annotations

import os

from celery import Celery

URL = os.environ["BENCHMARK_REDIS"]
PREFIX = {"global_keyprefix": os.environ["BENCHMARK_PREFIX"]}

app = Celery("benchmark", broker=URL, backend=URL)
app.conf.update(broker_transport_options=PREFIX, result_backend_transport_options=PREFIX)


@app.task
def task() -> None:
    """Do nothing."""
