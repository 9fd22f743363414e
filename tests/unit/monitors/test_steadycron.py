"""SteadyCron's own SDK against a local server that plays its API and its pings."""

import json
import threading
import time

import pytest
import steadycron
from pyramid.exceptions import ConfigurationError

from pyramid_cron.monitors import steadycron as ours
from tests.apps import NOON
from tests.http_servers import nobody_there
from tests.monitored import App

RESOLVE = "/api/monitors/resolve"


def api(asked):
    if asked.path != RESOLVE:
        return 200, ""
    found = {"key": asked.query["key"], "kind": "heartbeat", "ping_token": "t0ken"}
    return 200, json.dumps(found)


@pytest.fixture
def settings(server, monkeypatch):
    monkeypatch.delenv("STEADYCRON_API_KEY", raising=False)
    monkeypatch.delenv("STEADYCRON_ENVIRONMENT", raising=False)
    server.answer = api
    return {
        "cron.monitors": "steadycron",
        "cron.steadycron.api_key": "sc_ro_1",
        "cron.steadycron.api_url": server.url,
        "cron.steadycron.ping_url": server.url,
    }


def fail(system):
    raise ValueError("no disk")


def test_the_token_is_asked_for_once_and_pings_have_one_run_id(server, settings, warnings):
    App(**settings).tick(NOON)
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("GET", RESOLVE),
        ("POST", "/t0ken/start"),
        ("POST", "/t0ken"),
    ]
    assert server.asked[0].query == {"key": "nightly"}
    assert server.asked[0].headers["Authorization"] == "Bearer sc_ro_1"
    start, end = server.asked[1:]
    assert start.query == end.query
    assert len(start.query["run_id"]) == 32
    assert warnings() == []


def test_the_environment_and_the_error_are_sent_if_so_set(server, settings):
    more = {"cron.steadycron.environment": "live", "cron.steadycron.capture_errors": "true"}
    App(fail, **settings, **more).tick(NOON)
    assert server.paths[-1] == "/t0ken/fail"
    assert server.asked[-1].query["env"] == "live"
    assert server.asked[-1].text == "failed: ValueError: no disk"


def test_the_error_is_kept_to_oneself_otherwise(server, settings):
    App(fail, **settings).tick(NOON)
    assert server.paths[-1] == "/t0ken/fail"
    assert server.asked[-1].body == b""


def test_a_failure_that_is_tried_again_is_not_told(server, settings):
    App(fail, task={"retry": 2}, **settings).tick(NOON)
    assert server.paths == [RESOLVE, "/t0ken/start"]


def test_with_a_token_in_the_settings_nothing_is_asked(server, settings):
    del settings["cron.steadycron.api_key"]
    App(**settings, **{"cron.steadycron.tokens": "\n  nightly=direct\n"}).tick(NOON)
    assert server.paths == ["/direct/start", "/direct"]


def test_a_task_without_token_or_api_key_is_refused(settings):
    del settings["cron.steadycron.api_key"]
    with pytest.raises(ConfigurationError, match=r"'task': monitor='nightly': .*api_key"):
        App(**settings)


def test_the_sdk_s_environment_variables_count(server, settings, monkeypatch):
    del settings["cron.steadycron.api_key"]
    monkeypatch.setenv("STEADYCRON_API_KEY", "from-env")
    monkeypatch.setenv("STEADYCRON_ENVIRONMENT", "staging")
    App(**settings).tick(NOON)
    assert server.asked[0].headers["Authorization"] == "Bearer from-env"
    assert server.asked[1].query["env"] == "staging"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, '{"error":"monitor_not_found"}'), "MonitorNotFoundError: Job key 'nightly'"),
        ((409, '{"error":"ambiguous_key"}'), "AmbiguousJobKeyError: Job key 'nightly'"),
        ((200, '{"kind":"http","ping_token":"t"}'), "InvalidMonitorKindError: "),
        ((500, ""), "RuntimeError: Resolve returned HTTP 500"),
        ((200, "<html>"), "JSONDecodeError: "),
        ((200, "[]"), "AttributeError: "),
        (b"\x00\x01garbage\n", "BadStatusLine: "),
    ],
)
def test_an_api_that_knows_no_token_is_a_warning_and_the_run_goes_on(
    server, settings, warnings, answer, said
):
    server.answer = lambda asked: answer
    [run] = App(**settings).tick(NOON)
    assert run.state == "succeeded"
    [warning] = warnings()
    assert warning.startswith(f"monitor steadycron was not told of 'nightly': {said}")


@pytest.mark.parametrize("answer", [(404, ""), (500, ""), b"\x00\x01garbage\n"])
def test_a_ping_that_fails_is_a_warning_of_ours_without_the_token(
    server, settings, warnings, caplog, answer
):
    server.answer = lambda asked: api(asked) if asked.path == RESOLVE else answer
    [run] = App(**settings).tick(NOON)
    assert run.state == "succeeded"
    [warning] = warnings()
    assert "the ping failed: SteadyCron ping failed" in warning
    assert "t0ken" not in caplog.text
    assert {record.name for record in caplog.records} <= {"pyramid_cron"}


def test_nobody_there_is_a_warning(settings, warnings):
    settings["cron.steadycron.api_url"] = nobody_there()
    [run] = App(**settings).tick(NOON)
    assert run.state == "succeeded"
    [warning] = warnings()
    assert "Connection refused" in warning


def test_an_api_that_hangs_is_left_behind(server, settings, warnings, monkeypatch):
    monkeypatch.setattr(ours, "PATIENCE", 0.2)
    server.hangs = True
    app = App(**settings)
    start = time.monotonic()
    [run] = app.cron.tick(NOON).runs
    assert run.state == "succeeded"
    assert app.flush()
    assert time.monotonic() - start < 5
    assert warnings() == [
        f"monitor steadycron was not told of 'nightly': {server.url}: no answer in 0.2 s"
    ]


def test_two_applications_use_the_sdk_each_with_its_own_settings(server, second_server, settings):
    second_server.answer = lambda asked: (
        (200, '{"kind":"heartbeat","ping_token":"other"}') if asked.path == RESOLVE else (200, "")
    )
    others = settings | {
        "cron.steadycron.api_key": "sc_ro_2",
        "cron.steadycron.api_url": second_server.url,
        "cron.steadycron.ping_url": second_server.url,
    }
    first, second = App(**settings), App(**others)
    threads = [threading.Thread(target=app.tick, args=[NOON]) for app in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.paths == [RESOLVE, "/t0ken/start", "/t0ken"]
    assert second_server.paths == [RESOLVE, "/other/start", "/other"]
    assert second_server.asked[0].headers["Authorization"] == "Bearer sc_ro_2"
    assert (steadycron.api_key, steadycron.monitors) == (None, {})
