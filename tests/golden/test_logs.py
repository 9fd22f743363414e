"""The lines on the logger ``pyramid_cron``."""

from __future__ import annotations

import json
import logging

import pytest
from webtest import TestApp

from pyramid_cron.logs import JSONFormatter
from tests.golden.conftest import play
from tests.golden.shop import configure

USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


@pytest.fixture
def records(caplog):
    """Return the records so far."""
    caplog.set_level(logging.DEBUG, logger="pyramid_cron")
    return lambda: [record for record in caplog.records if record.name == "pyramid_cron"]


def line(record):
    extra = {name: value for name, value in sorted(vars(record).items()) if name not in USUAL}
    return {
        "level": record.levelname,
        "message": record.getMessage(),
        "extra": extra,
        "exception": record.exc_info and repr(record.exc_info[1]),
    }


def formatted(records):
    """The first record of each kind as JSONFormatter has it."""
    kinds = {}
    for record in records:
        values = [getattr(record, name, None) for name in ("state", "reason", "trigger")]
        kinds.setdefault((record.levelname, *values), record)
    return [json.loads(JSONFormatter().format(record)) for record in kinds.values()]


def test_the_lines_of_two_hours(clock, records, golden):
    control = play(configure(**{"cron.url": "sqlite://"}), clock)
    control.cancel(control.history("parcels", limit=1)[0].id)
    golden("logs/lines.json", [line(record) for record in records()])
    golden("logs/formatted.json", formatted(records()))


def test_the_lines_of_what_is_refused(records, golden):
    app = configure(**{"cron.url": "sqlite://", "cron.token": "secret"}).make_wsgi_app()
    web = TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    for peer in ("203.0.113.9", "unix:"):
        web.get("/cron", extra_environ={"REMOTE_ADDR": peer}, status=403)
    web.get("/cron", headers={"X-Forwarded-For": "203.0.113.9"}, status=403)
    web.get("/cron", headers={"Authorization": "Bearer guess"}, status=403)
    web.get("/cron/tasks", status=403)
    golden("logs/refused.json", [line(record) for record in records()])
    golden("logs/refused_formatted.json", formatted(records()))
