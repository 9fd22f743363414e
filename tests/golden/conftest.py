"""Golden files: what users see, compared with ``expected/`` to the letter.

``GOLDEN_WRITE=1 pytest tests/golden`` writes the files anew; read the difference before a commit.
"""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.testing import CronTester
from tests.golden.normal import Normal
from tests.golden.shop import configure

EXPECTED = Path(__file__).parent / "expected"
NOON = datetime(2026, 6, 15, 12, 0, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)
AFTER_SCENE = NOON + timedelta(hours=2, minutes=6, seconds=30)


class Clock:
    """Stands where ``pyramid_cron.clock``, the one place that reads the clock, finds datetime."""

    moment = NOON

    def now(self, tz=None):
        """Return the moment of the test's choice."""
        return self.moment.astimezone(tz)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("pyramid_cron.clock.datetime", clock)
    return clock


@pytest.fixture
def normal(tmp_path):
    return Normal(tmp_path)


@pytest.fixture
def golden(normal):
    """Compare text or a JSON value with a file in ``expected/``."""

    def compare(name, value):
        path = EXPECTED / name
        if isinstance(value, str):
            text = normal.text(value)
        else:
            text = json.dumps(normal.value(value), indent=2, ensure_ascii=False) + "\n"
        if os.environ.get("GOLDEN_WRITE") == "1":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


def play(config, clock):
    """Go through two hours of the shop; return its scheduler.

    No tick claims in two steps: runs that are claimed in one millisecond, but not together, have
    ids in any order.
    """
    cron = CronTester(config.make_wsgi_app())
    control = scheduler(cron.registry)
    clock.moment = NOON - 10 * MINUTE
    control.pause("audit", until=NOON + timedelta(days=1), reason="the books are away")
    control.pause("letter")
    control.resume("l*")
    for minutes in (0, 1, 2, 5, 10, 15, 20, 25, 123, 124, 125):
        cron.tick(at=NOON + minutes * MINUTE)
    cron.run("slow", at=NOON + 125.5 * MINUTE)
    cron.run("refund", payload={"order": 7}, at=NOON + 126 * MINUTE)
    control.defer("refund", {"order": 8}, at="2026-06-15T17:00:00+02:00", key="order-8")
    control.backfill("sweep", NOON - timedelta(hours=12), NOON - timedelta(hours=6))
    return control


@pytest.fixture(scope="session")
def played(tmp_path_factory):
    """The store of the shop after two hours, and the scheduler that knows it."""
    path = tmp_path_factory.mktemp("scene") / "cron.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr("pyramid_cron.clock.datetime", clock)
        return path, play(configure(**{"cron.url": f"sqlite:///{path}"}), clock)


@pytest.fixture
def newest(played):
    """Return the id of the newest run of a task."""
    return lambda task: played[1].history(task, limit=1)[0].id


@pytest.fixture
def newest_waiting(played):
    """Return the id of the run of a task that waits."""
    return lambda task: played[1].waiting(task)[-1].id


@pytest.fixture
def store(played, tmp_path, clock):
    """The URL of a copy of that store; the clock shows a moment soon after."""
    clock.moment = AFTER_SCENE
    with sqlite3.connect(played[0]) as source, sqlite3.connect(tmp_path / "cron.sqlite") as target:
        source.backup(target)
    source.close()
    target.close()
    return f"sqlite:///{tmp_path}/cron.sqlite"


@pytest.fixture
def web(store):
    """The shop on that store, as a client on the same host sees it."""
    app = configure(**{"cron.url": store}).make_wsgi_app()
    return TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
