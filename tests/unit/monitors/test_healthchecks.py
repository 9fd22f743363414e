"""Healthchecks, played by a local server."""

import threading
import uuid
from datetime import timedelta

import pytest

from pyramid_cron import scheduler
from pyramid_cron.version import __version__
from tests.apps import NOON
from tests.monitored import App

MINUTE = timedelta(minutes=1)
CHECK = "5d6ce4a8-1d10-4a0b-bb3c-0d5e9a6b1f52"


@pytest.fixture
def settings(server):
    return {
        "cron.monitors": "healthchecks",
        "cron.healthchecks.url": f"{server.url}/",
        "cron.healthchecks.ping_key": "key",
    }


def fail(system):
    raise ValueError("no disk")


def requests(server):
    return [(request.method, request.path) for request in server.asked]


def test_start_and_success_are_reported_in_order_with_one_run_id(server, settings, warnings):
    App(**settings).tick(NOON)
    assert requests(server) == [("GET", "/key/nightly/start"), ("GET", "/key/nightly")]
    [rid] = {request.query["rid"] for request in server.asked}
    assert str(uuid.UUID(rid)) == rid
    assert {request.headers["User-Agent"] for request in server.asked} == {
        f"pyramid_cron/{__version__}"
    }
    assert warnings() == []


def test_each_slot_has_a_run_id_of_its_own(server, settings):
    App(**settings).tick(NOON, NOON + MINUTE)
    assert len({request.query["rid"] for request in server.asked}) == 2


def test_a_failure_goes_with_its_error(server, settings):
    App(fail, **settings).tick(NOON)
    assert requests(server) == [("GET", "/key/nightly/start"), ("POST", "/key/nightly/fail")]
    assert server.asked[1].text == "failed: ValueError: no disk"
    assert server.asked[1].headers["Content-Type"] == "text/plain; charset=utf-8"
    assert server.asked[0].query == server.asked[1].query


def test_a_long_error_goes_with_its_beginning(server, settings):
    def ramble(system):
        raise ValueError("\N{EURO SIGN}" * 5000)

    App(ramble, **settings).tick(NOON)
    text = server.asked[1].text
    assert text == "failed: ValueError: " + "\N{EURO SIGN}" * 987 + "…"


def test_a_monitor_that_is_a_uuid_needs_no_ping_key(server, settings):
    del settings["cron.healthchecks.ping_key"]
    App(monitor=CHECK, **settings).tick(NOON)
    assert server.paths == [f"/{CHECK}/start", f"/{CHECK}"]


def test_a_failure_that_is_tried_again_is_a_log_entry_of_the_same_run(server, settings):
    failures = [ValueError("first"), None]

    def recover(system):
        if failure := failures.pop(0):
            raise failure

    App(recover, task={"retry": 2, "hour": 12}, **settings).tick(NOON, NOON + MINUTE)
    assert server.paths == [
        "/key/nightly/start",
        "/key/nightly/log",
        "/key/nightly/start",
        "/key/nightly",
    ]
    assert server.asked[1].text == "failed (attempt 1 of 2): ValueError: first"
    assert len({request.query["rid"] for request in server.asked}) == 1


def test_the_last_attempt_s_failure_is_a_failure(server, settings):
    App(fail, task={"retry": 2, "hour": 12}, **settings).tick(NOON, NOON + MINUTE)
    assert server.paths[-2:] == ["/key/nightly/start", "/key/nightly/fail"]
    assert "attempt 2 of 2" in server.asked[-1].text


def test_a_retry_by_hand_is_a_run_of_its_own(server, settings):
    app = App(fail, task={"hour": 12}, **settings)
    [run] = app.tick(NOON)
    scheduler(app.config.registry).retry(run.id)
    app.tick(NOON + MINUTE)
    assert server.paths[2:] == ["/key/nightly/start", "/key/nightly/fail"]
    assert len({request.query["rid"] for request in server.asked}) == 2


def test_a_task_that_has_nothing_to_do_is_fine(server, settings):
    App(task={"when": lambda system: False}, **settings).tick(NOON)
    assert server.paths == ["/key/nightly"]


def test_what_is_skipped_before_its_start_is_not_reported(server, settings):
    app = App(task={"catch_up": "none", "hour": 11, "min": 30}, **settings)
    app.tick(NOON - timedelta(hours=1), NOON)
    assert server.paths == []


def test_a_timeout_is_a_failure(server, settings):
    def dawdle(system):
        while True:
            threading.Event().wait(0.01)

    App(dawdle, task={"timeout": 0.1}, **settings).tick(NOON)
    assert server.paths == ["/key/nightly/start", "/key/nightly/fail"]
    assert server.asked[1].text.startswith("timed_out: ")


def test_a_run_by_hand_is_reported(server, settings):
    app = App(task={"on_demand": True}, **settings)
    app.cron.run("task")
    app.cron.run("task")
    assert app.flush()
    assert server.paths == ["/key/nightly/start", "/key/nightly"] * 2
    assert len({request.query["rid"] for request in server.asked}) == 2


def test_a_task_without_monitor_is_not_reported(server, settings):
    App(monitor=None, **settings).tick(NOON)
    assert server.asked == []


@pytest.mark.parametrize("answer", ["OK (not found)", "OK (rate limited)", "<html>Log in</html>"])
def test_a_200_that_is_no_ok_is_a_warning(server, settings, warnings, answer):
    server.answer = lambda request: (200, answer)
    [run] = App(**settings).tick(NOON)
    assert run.state == "succeeded"
    assert warnings() == [
        f"monitor healthchecks: delivery failed for 'nightly': {server.url} answered {answer!r}"
    ]
