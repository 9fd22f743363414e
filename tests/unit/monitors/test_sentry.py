"""Sentry's own SDK against a local server that takes envelopes."""

from datetime import timedelta

import pytest
import sentry_sdk
from pyramid.exceptions import ConfigurationError

from pyramid_cron import At, Cron, Every, Retry
from pyramid_cron.monitors import sentry
from tests.apps import NOON
from tests.monitored import App


@pytest.fixture
def settings(server):
    return {
        "cron.monitors": "sentry",
        "cron.sentry.dsn": server.url.replace("//", "//public@") + "/7",
        "cron.sentry.environment": "live",
    }


def fail(system):
    raise ValueError("no disk")


def check_ins(server):
    return [item for request in server.asked for item in request.envelope_items()]


def test_a_run_is_one_check_in_from_start_to_end(server, settings, warnings):
    App(**settings).tick(NOON)
    assert server.paths == ["/api/7/envelope/"] * 2
    start, end = check_ins(server)
    assert start["header"]["type"] == "check_in"
    assert (start["status"], end["status"]) == ("in_progress", "ok")
    assert start["check_in_id"] == end["check_in_id"]
    assert {start["monitor_slug"], end["monitor_slug"]} == {"nightly"}
    assert {start["environment"], end["environment"]} == {"live"}
    assert end["duration"] >= 0
    assert warnings() == []


def test_a_failure_is_an_error(server, settings):
    App(fail, **settings).tick(NOON)
    assert [item["status"] for item in check_ins(server)] == ["in_progress", "error"]


def test_attempts_at_one_slot_are_one_check_in(server, settings):
    App(fail, task={"hour": 12, "retry": 2}, **settings).tick(NOON, NOON + timedelta(minutes=1))
    items = check_ins(server)
    assert [item["status"] for item in items] == ["in_progress", "in_progress", "error"]
    assert len({item["check_in_id"] for item in items}) == 1


@pytest.mark.parametrize(
    ("task", "schedule", "zone"),
    [
        ({"hour": 2}, {"type": "crontab", "value": "0 2 * * *"}, "UTC"),
        (
            {"schedule": "*/5 8-17 * * mon-fri", "timezone": "Europe/Berlin"},
            {"type": "crontab", "value": "*/5 8-17 * * 1-5"},
            "Europe/Berlin",
        ),
        (
            {"schedule": Cron("30 4 * * *", timezone="Asia/Tokyo")},
            {"type": "crontab", "value": "30 4 * * *"},
            "Asia/Tokyo",
        ),
        (
            {"every": "30m", "timezone": "Europe/Berlin"},
            {"type": "crontab", "value": "*/30 * * * *"},
            "UTC",
        ),
        ({"every": "90m"}, {"type": "interval", "value": 90, "unit": "minute"}, "UTC"),
        ({"every": "36h"}, {"type": "interval", "value": 36, "unit": "hour"}, "UTC"),
        ({"every": "3d"}, {"type": "interval", "value": 3, "unit": "day"}, "UTC"),
        (
            {"every": "1h", "overlap": "delay"},
            {"type": "interval", "value": 1, "unit": "hour"},
            "UTC",
        ),
    ],
)
def test_sentry_gets_the_schedule(server, settings, task, schedule, zone):
    app = App(task=task, **settings)
    app.cron.run("task")
    assert app.flush()
    config = check_ins(server)[0]["monitor_config"]
    assert config == {"schedule": schedule, "timezone": zone, "checkin_margin": 5}


@pytest.mark.parametrize(
    "task",
    [
        {"on_demand": True},
        {"schedule": At("2026-12-01T09:00:00Z")},
        {"schedule": "0 6 * * 5#2"},
        {"schedule": ["0 6 * * *", Every("7m")]},
        {"every": "90s"},
    ],
)
def test_a_schedule_that_sentry_can_t_express_is_omitted(server, settings, task):
    app = App(task=task, **settings)
    app.cron.run("task")
    assert app.flush()
    assert "monitor_config" not in check_ins(server)[0]


def test_max_runtime_has_room_for_all_attempts_and_the_margin_for_jitter(server, settings):
    retry = Retry(attempts=2, delay="5m")
    app = App(task={"hour": 2, "timeout": "10m", "retry": retry, "jitter": "1h"}, **settings)
    app.cron.run("task")
    assert app.flush()
    config = check_ins(server)[0]["monitor_config"]
    assert config["max_runtime"] == 10 + 5 + 1 + 10
    offset = app.config.introspector.get("cron tasks", "task")["jitter"]
    assert config["checkin_margin"] == 5 + offset // 60


def test_without_a_dsn_the_application_s_sentry_is_used(server, settings):
    dsn = settings.pop("cron.sentry.dsn")
    del settings["cron.sentry.environment"]
    sentry_sdk.init(dsn, environment="shop", default_integrations=False)
    try:
        App(**settings).tick(NOON)
        sentry_sdk.flush(10)
        assert [item["status"] for item in check_ins(server)] == ["in_progress", "ok"]
        assert {item["environment"] for item in check_ins(server)} == {"shop"}
    finally:
        sentry_sdk.get_global_scope().set_client(None)


def test_its_dsn_may_be_used_with_another_environment(server, settings):
    dsn = settings.pop("cron.sentry.dsn")
    sentry_sdk.init(dsn, environment="shop", default_integrations=False)
    try:
        App(**settings).tick(NOON)
        assert {item["environment"] for item in check_ins(server)} == {"live"}
    finally:
        sentry_sdk.get_global_scope().set_client(None)


def test_no_sentry_at_all_is_a_warning(settings, warnings):
    del settings["cron.sentry.dsn"], settings["cron.sentry.environment"]
    [run] = App(**settings).tick(NOON)
    assert run.state == "succeeded"
    [warning] = warnings()
    assert "sentry_sdk is not initialised" in warning


@pytest.mark.parametrize("status", [404, 429, 500])
def test_what_sentry_refuses_is_a_warning(server, settings, warnings, status):
    server.answer = lambda request: (status, "")
    [run] = App(**settings).tick(NOON)
    assert run.state == "succeeded"
    assert f"monitor sentry: delivery failed for 'nightly': Sentry answered {status}" in warnings()


def test_a_sentry_that_hangs_is_a_warning(server, settings, warnings, monkeypatch):
    monkeypatch.setattr(sentry._Transport, "TIMEOUT", 0.1)
    server.hangs = True
    [run] = App(**settings).tick(NOON)
    assert run.state == "succeeded"
    assert warnings() == ["monitor sentry: delivery failed for 'nightly': no answer from Sentry"]


def test_a_dsn_that_is_none_is_refused(settings):
    settings["cron.sentry.dsn"] = "https://sentry.example/1"
    with pytest.raises(ConfigurationError, match=r"cron\.sentry\.dsn: .*expected a DSN"):
        App(**settings)


@pytest.mark.parametrize("slug", ["two words", "x" * 51, "123"])
def test_what_is_no_slug_is_refused(settings, slug):
    with pytest.raises(ConfigurationError, match=r"'task': monitor=.*Sentry knows monitors by"):
        App(monitor=slug, **settings)
