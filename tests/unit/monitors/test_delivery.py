"""Monitors that are slow, down or wrong, and what stays as it is all the same."""

from datetime import timedelta

import pytest

from pyramid_cron.monitors import delivery, http_monitors
from tests.apps import NOON
from tests.http_servers import nobody_there
from tests.monitored import App

MINUTE = timedelta(minutes=1)


def settings(name, url):
    """Settings for this monitor, which is at that URL."""
    return {
        "healthchecks": {
            "cron.monitors": "healthchecks",
            "cron.healthchecks.url": url,
            "cron.healthchecks.ping_key": "key",
        },
        "steadycron": {
            "cron.monitors": "steadycron",
            "cron.steadycron.tokens": "nightly=t0ken",
            "cron.steadycron.ping_url": url,
        },
        "sentry": {
            "cron.monitors": "sentry",
            "cron.sentry.dsn": url.replace("//", "//public@") + "/7",
        },
        "heartbeat": {"cron.heartbeat_url": f"{url}/beat"},
    }[name]


every_monitor = pytest.mark.parametrize(
    "name", ["healthchecks", "steadycron", "sentry", "heartbeat"]
)


@every_monitor
def test_one_that_is_down_fails_no_run_and_is_warned_of_once_until_it_is_back(
    name, server, warnings, caplog
):
    caplog.set_level("INFO", "pyramid_cron")
    up = server.answer
    server.answer = lambda request: (500, "")
    app = App(**settings(name, server.url))
    runs = app.tick(NOON, NOON + MINUTE)
    assert [run.state for run in runs] == ["succeeded", "succeeded"]
    [warning] = warnings()
    assert warning.startswith(f"monitor {name}: delivery failed")
    server.answer = up
    app.tick(NOON + 2 * MINUTE)
    assert next(text for text in caplog.messages if "again" in text).startswith(f"monitor {name}: ")
    server.answer = lambda request: (500, "")
    app.tick(NOON + 3 * MINUTE)
    assert len(warnings()) == 2


@every_monitor
def test_nobody_listening_is_a_warning_and_no_more(name, warnings):
    [run] = App(**settings(name, nobody_there())).tick(NOON)
    assert run.state == "succeeded"
    assert len(warnings()) == 1


@every_monitor
@pytest.mark.parametrize("answer", [(404, "no"), (409, "twice"), b"\x00\x01garbage\n\n"])
def test_wrong_answers_are_a_warning_and_no_more(name, answer, server, warnings):
    server.answer = lambda request: answer
    [run] = App(**settings(name, server.url)).tick(NOON)
    assert run.state == "succeeded"
    assert len(warnings()) == 1


@every_monitor
def test_one_that_hangs_delays_no_tick(name, server):
    server.hangs = True
    app = App(**settings(name, server.url))
    runs = [run for minute in range(3) for run in app.cron.tick(NOON + minute * MINUTE).runs]
    assert [run.state for run in runs] == ["succeeded"] * 3
    assert not app.flush(timeout=0)
    assert len(server.asked) <= 1


def test_a_hang_ends_with_a_warning(server, warnings, monkeypatch):
    monkeypatch.setattr(http_monitors, "MONITOR_TIMEOUT_SECONDS", 0.1)
    server.hangs = True
    App(**settings("heartbeat", server.url)).tick(NOON)
    assert warnings() == [f"monitor heartbeat: delivery failed: {server.url}: no answer in 0.1 s"]


def test_a_monitor_that_hangs_does_not_delay_others(server, second_server):
    server.hangs = True
    both = settings("healthchecks", server.url) | settings("steadycron", second_server.url)
    app = App(**both | {"cron.monitors": "healthchecks steadycron"})
    app.cron.tick(NOON)
    app.flush(timeout=1)
    assert second_server.paths == ["/t0ken/start", "/t0ken"]


def test_what_comes_while_too_much_waits_is_dropped_with_one_warning(server, warnings, monkeypatch):
    monkeypatch.setattr(delivery, "MAX_WAITING_DELIVERIES", 3)
    server.hangs = True
    app = App(**settings("heartbeat", server.url))
    for minute in range(6):
        app.cron.tick(NOON + minute * MINUTE)
    assert warnings() == ["monitor heartbeat: delivery failed: 3 reports wait already"]
    server.hangs = False
    server.released.set()
    assert app.flush()
    assert len(server.asked) in (3, 4)


def test_a_wrong_name_is_warned_of_once_though_other_names_are_right(server, warnings):
    server.answer = lambda request: (404, "") if "wrong" in request.path else (200, "OK")
    app = App(monitor="wrong", **settings("healthchecks", server.url))
    app.config.add_cron_task(lambda system: None, name="other", monitor="right")
    app.config.commit()
    app.tick(NOON, NOON + MINUTE)
    assert [warning.partition(": ")[0] for warning in warnings()] == ["monitor healthchecks"]
    assert "key" not in warnings()[0]


def test_two_applications_of_a_process_keep_apart(server, second_server):
    first = App(monitor="first", **settings("healthchecks", server.url))
    second = App(monitor="second", **settings("healthchecks", second_server.url))
    first.tick(NOON)
    second.tick(NOON)
    assert server.paths == ["/key/first/start", "/key/first"]
    assert second_server.paths == ["/key/second/start", "/key/second"]
