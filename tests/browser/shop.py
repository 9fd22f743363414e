"""The demo's shop with some history, served for a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from webtest import TestApp
from webtest.http import StopableWSGIServer

from pyramid_cron.demo.app import make_app
from pyramid_cron.demo.serve import close
from pyramid_cron.state import cronwork

MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 6, 15, 12, 0, tzinfo=timezone.utc)


@contextmanager
def served(folder: Path, minutes: int) -> Iterator[str]:
    """Give the URL of a shop that has ticked for so many minutes up to NOW."""
    app = make_app(
        {
            "shop.url": f"sqlite:///{folder}/shop.sqlite",
            "cron.url": f"sqlite:///{folder}/cron.sqlite",
            "cron.timezone": "Europe/Berlin",
        }
    )
    cron = cronwork(app.registry)
    trigger = TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    for minute in range(minutes, -1, -1):
        cron.clock = lambda now=NOW - minute * MINUTE: now
        trigger.get("/cron")
    trigger.post_json("/cron/tasks/prune-carts/pause", {"for": "2h", "reason": "stock-taking"})
    server = StopableWSGIServer.create(app)
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.shutdown()
        close(app)
