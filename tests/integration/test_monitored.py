"""Monitors and processes: killed, forked, ended; and a server that serves."""

from datetime import timedelta

import pytest
from webtest.http import StopableWSGIServer

from tests.apps import NOON
from tests.http_servers import serving
from tests.integration.processes import python, wait_until
from tests.integration.test_server import curl, wait_for_room_in_this_minute
from tests.monitored import App


@pytest.fixture
def server():
    with serving() as server:
        yield server


def run(tmp_path, server, what):
    """Let a process tick and end; return its exit code."""
    store = tmp_path / "cron.sqlite"
    with python(tmp_path / what, "-m", "tests.monitored", server.url, store, what) as child:
        return child.exit_code()


def settings(server):
    return {
        "cron.monitors": "healthchecks",
        "cron.healthchecks.url": server.url,
        "cron.healthchecks.ping_key": "key",
    }


def test_a_lost_run_is_a_failure_of_the_run_that_was_started(tmp_path, server):
    assert run(tmp_path, server, "die") == 9
    assert server.paths == ["/key/nightly/start"]
    finder = App(
        task={"hour": 12},
        **settings(server),
        **{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.lease": "1"},
    )
    finder.tick(NOON + timedelta(minutes=1))
    assert server.paths == ["/key/nightly/start", "/key/nightly/fail"]
    assert len({asked.query["rid"] for asked in server.asked}) == 1
    assert server.asked[1].text.startswith("lost")


def test_a_process_made_by_a_fork_tells_monitors_and_ends_only_when_all_is_sent(tmp_path, server):
    assert run(tmp_path, server, "fork") == 0
    assert server.paths == ["/key/nightly/start", "/key/nightly"] * 2
    assert len({asked.query["rid"] for asked in server.asked}) == 2


def test_what_waits_when_the_process_ends_is_sent(tmp_path, server):
    assert run(tmp_path, server, "end") == 0
    assert server.paths == ["/key/nightly/start", "/key/nightly"]


def test_a_monitor_that_hangs_delays_the_end_of_the_process_by_seconds(tmp_path, server):
    server.hangs = True
    assert run(tmp_path, server, "end") == 0
    assert server.paths == ["/key/nightly/start"]


def test_under_waitress_a_hit_of_the_trigger_tells_the_monitor(server):
    app = App(**settings(server), **{"cron.heartbeat_url": f"{server.url}/beat"})
    wait_for_room_in_this_minute()
    waitress = StopableWSGIServer.create(app.wsgi)
    try:
        assert curl(f"http://127.0.0.1:{waitress.effective_port}/cron").stdout == "ok"
        wait_until(lambda: len(server.asked) == 3)
    finally:
        waitress.shutdown()
    assert [path for path in server.paths if path != "/beat"] == [
        "/key/nightly/start",
        "/key/nightly",
    ]
    assert "/beat" in server.paths
