"""The demo's shop with some history, served for a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from webtest import TestApp
from webtest.http import StopableWSGIServer

from pyramid_cron.app import get_cron
from pyramid_cron.demo import main
from pyramid_cron.testing import CronTester

MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 6, 15, 12, 0, tzinfo=timezone.utc)


@contextmanager
def served(folder: Path, minutes: int) -> Iterator[str]:
    """Yield the URL of a shop with ticks in that many minutes up to NOW."""
    settings = {
        "shop.import_delay": "0",
        "cron.url": f"sqlite:///{folder}/cron.sqlite",
        "cron.timezone": "Europe/Berlin",
    }
    app = main({}, **settings)
    cron = get_cron(app.registry)
    tester = CronTester(app)
    for minute in range(minutes, -1, -1):
        tester.tick(at=NOW - minute * MINUTE)
    cron.clock = lambda: NOW
    browser = TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    pause = {"for": "2h", "reason": "stock-taking"}
    browser.post_json("/cron/tasks/delete-old-orders/pause", pause)
    server = StopableWSGIServer.create(app, clear_untrusted_proxy_headers=False)
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.shutdown()
        cron.close()
