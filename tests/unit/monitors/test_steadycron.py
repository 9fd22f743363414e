"""Pings to a local server that plays SteadyCron's API, compared with those of its own SDK."""

import json
import time
from datetime import timedelta

import pytest
import steadycron
from pyramid.exceptions import ConfigurationError

from pyramid_cron.app import get_cron
from pyramid_cron.monitors import get_monitoring, http_monitors
from pyramid_cron.monitors import http_monitors as ours
from pyramid_cron.version import __version__
from tests.apps import NOON, configure
from tests.http_servers import nobody_there
from tests.monitored import App

RESOLVE = "/api/monitors/resolve"
MINUTE = timedelta(minutes=1)


def api(request):
    if request.path != RESOLVE:
        return 200, ""
    found = {"key": request.query["key"], "kind": "heartbeat", "ping_token": "t0ken"}
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
    assert [(request.method, request.path) for request in server.asked] == [
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


def test_a_failure_that_is_retried_is_not_reported(server, settings):
    App(fail, task={"retry": 2}, **settings).tick(NOON)
    assert server.paths == [RESOLVE, "/t0ken/start"]


def test_before_a_deployment_each_key_can_be_asked_for(server, settings):
    def some(request):
        return api(request) if request.query["key"] == "nightly" else (404, "{}")

    server.answer = some
    config = configure(**settings)
    for name in ("nightly", "hourly"):
        config.add_cron_task(fail, name=name, monitor=name)
    config.add_cron_task(fail, name="unmonitored")
    config.commit()
    tasks = get_cron(config.registry).task_registry.tasks
    assert [*get_monitoring(config.registry).ask(tasks)] == [
        "task 'hourly': monitor='hourly': steadycron: SteadyCron knows no such key"
    ]
    assert {request.method for request in server.asked} == {"GET"}


def test_with_a_token_in_the_settings_nothing_is_asked(server, settings):
    del settings["cron.steadycron.api_key"]
    App(**settings, **{"cron.steadycron.tokens": "\n  nightly=direct\n"}).tick(NOON)
    assert server.paths == ["/direct/start", "/direct"]


def test_a_task_without_token_or_api_key_is_refused(settings):
    del settings["cron.steadycron.api_key"]
    with pytest.raises(ConfigurationError, match=r"'task': monitor='nightly': .*api_key"):
        App(**settings)


def test_the_environment_variables_of_the_sdk_count(server, settings, monkeypatch):
    del settings["cron.steadycron.api_key"]
    monkeypatch.setenv("STEADYCRON_API_KEY", "from-env")
    monkeypatch.setenv("STEADYCRON_ENVIRONMENT", "staging")
    App(**settings).tick(NOON)
    assert server.asked[0].headers["Authorization"] == "Bearer from-env"
    assert server.asked[1].query["env"] == "staging"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((404, '{"error":"monitor_not_found"}'), "SteadyCron knows no such key"),
        ((409, '{"error":"ambiguous_key"}'), "SteadyCron knows several jobs with this key"),
        ((200, '{"kind":"http","ping_token":"t"}'), "the job is of kind 'http', and no heartbeat"),
        ((500, ""), "{url} answered 500 Internal Server Error"),
        ((200, '{"kind":"heartbeat"}'), "{url} answered without a token"),
        ((200, '{"kind":"heartbeat","ping_token":7}'), "{url} answered without a token"),
        ((200, '{"ping_token":"t0ken"}'), "{url} answered without a token"),
        ((200, "<html>"), "{url} answered without a token"),
        ((200, "[]"), "{url} answered without a token"),
        (b"\x00\x01garbage\n", "{url}: no HTTP (BadStatusLine)"),
    ],
)
def test_an_api_that_knows_no_token_is_a_warning_and_the_run_goes_on(
    server, settings, warnings, answer, cause
):
    server.answer = lambda request: answer
    [run] = App(**settings).tick(NOON)
    assert run.state == "succeeded"
    cause = cause.format(url=server.url)
    assert warnings() == [f"monitor steadycron: delivery failed for 'nightly': {cause}"]


@pytest.mark.parametrize("answer", [(404, ""), (500, ""), b"\x00\x01garbage\n"])
def test_a_ping_that_fails_is_a_warning_of_ours_without_the_token(
    server, settings, warnings, caplog, answer
):
    server.answer = lambda request: api(request) if request.path == RESOLVE else answer
    [run] = App(**settings).tick(NOON)
    assert run.state == "succeeded"
    [warning] = warnings()
    assert warning.startswith(f"monitor steadycron: delivery failed for 'nightly': {server.url}")
    assert "t0ken" not in caplog.text


def test_nobody_there_is_a_warning(settings, warnings):
    settings["cron.steadycron.api_url"] = nobody_there()
    [run] = App(**settings).tick(NOON)
    assert run.state == "succeeded"
    [warning] = warnings()
    assert "Connection refused" in warning


def test_an_api_that_hangs_is_left_behind(server, settings, warnings, monkeypatch):
    monkeypatch.setattr(http_monitors, "MONITOR_TIMEOUT_SECONDS", 0.2)
    server.hangs = True
    app = App(**settings)
    [run] = app.cron.tick(NOON).runs
    assert run.state == "succeeded"
    assert app.flush()
    assert warnings() == [
        f"monitor steadycron: delivery failed for 'nightly': {server.url}: no answer in 0.2 s"
    ]


def test_two_applications_have_each_their_own_settings(server, second_server, settings):
    second_server.answer = lambda request: (
        (200, '{"kind":"heartbeat","ping_token":"other"}') if request.path == RESOLVE else (200, "")
    )
    others = settings | {
        "cron.steadycron.api_key": "sc_ro_2",
        "cron.steadycron.api_url": second_server.url,
        "cron.steadycron.ping_url": second_server.url,
    }
    first, second = App(**settings), App(**others)
    first.tick(NOON)
    second.tick(NOON)
    assert server.paths == [RESOLVE, "/t0ken/start", "/t0ken"]
    assert second_server.paths == [RESOLVE, "/other/start", "/other"]
    assert second_server.asked[0].headers["Authorization"] == "Bearer sc_ro_2"


def test_a_token_is_asked_for_again_after_an_hour(server, settings, monkeypatch):
    app = App(**settings)
    app.tick(NOON, NOON + MINUTE)
    assert server.paths.count(RESOLVE) == 1
    later = time.monotonic() + ours.TOKEN_LIFETIME_SECONDS
    monkeypatch.setattr(ours.time, "monotonic", lambda: later)
    app.tick(NOON + 2 * MINUTE)
    assert server.paths[-3:] == [RESOLVE, "/t0ken/start", "/t0ken"]


def test_a_token_that_pings_were_refused_for_is_asked_for_again(server, settings):
    app = App(**settings)
    app.tick(NOON)
    server.answer = lambda request: api(request) if request.path == RESOLVE else (404, "")
    app.tick(NOON + MINUTE)
    server.answer = api
    app.tick(NOON + 2 * MINUTE)
    assert server.paths.count(RESOLVE) == 3  # after either ping was refused
    assert server.paths[-2:] == ["/t0ken/start", "/t0ken"]


# What the SDK sends.


@pytest.fixture
def sdk(server):
    """The SDK with the same settings."""
    before = vars(steadycron).copy()
    steadycron.configure(
        api_key="sc_ro_1",
        api_url=server.url,
        ping_url=server.url,
        environment="live & well",
        capture_errors=True,
    )
    steadycron.clear_cache()
    yield steadycron
    vars(steadycron).update(before)
    steadycron.clear_cache()


def on_the_wire(request):
    """What matters of a request, whatever its run is called."""
    length, kind = request.headers["Content-Length"], request.headers["Content-Type"]
    run_id = request.query.get("run_id", "no run id")
    target = request.target.replace(run_id, "RUN")
    authorization = request.headers["Authorization"]
    return request.method, target, authorization, length, kind, request.body


NAMES = ("nightly", "nächtlich & mehr/+?", "a=b")


@pytest.mark.parametrize("key", NAMES)
@pytest.mark.parametrize(
    "error", [None, "no disk", "x" * 1100, "ä" * 600, "\U0001f4be" * 300, "x" * 1009 + "äöü"]
)
def test_the_requests_are_those_of_the_sdk(server, settings, sdk, key, error):
    def work(system=None):
        if error is not None:
            raise ValueError(error)

    more = {
        "cron.steadycron.environment": "live & well",
        "cron.steadycron.capture_errors": "true",
    }
    [run] = App(work, monitor=key, **settings, **more).tick(NOON)
    ours_sent = list(server.asked)
    del server.asked[:]

    if error is None:
        steadycron.job(key)(work)()
    else:
        # The SDK sends the error alone, without its kind and what became of the run.
        def fail():
            raise ValueError(f"{run.state}: {run.error}")

        with pytest.raises(ValueError, match=run.state):
            steadycron.job(key)(fail)()
    assert len(ours_sent) == 3
    assert [on_the_wire(request) for request in ours_sent] == [
        on_the_wire(request) for request in server.asked
    ]
    assert {request.headers["User-Agent"] for request in ours_sent} == {
        f"pyramid_cron/{__version__}"
    }
    run_ids = [request.query["run_id"] for request in ours_sent[1:]]
    assert len(set(run_ids)) == 1
    assert [len(each) for each in run_ids] == [
        len(request.query["run_id"]) for request in server.asked[1:]
    ]
