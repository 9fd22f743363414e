"""Patterns that begin with ``command:`` are for command lines of tasks, wherever one is taken."""

from datetime import timedelta

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure

MINUTE = timedelta(minutes=1)
PATTERN = "command:*false*"


class Shop:
    """Two commands, and a function whose name looks like one."""

    def __init__(self, **policies):
        config = configure()
        config.add_cron_command(["false"], name="one", **policies)
        config.add_cron_command("false || false", name="two", shell=True, **policies)
        config.add_cron_task(lambda system: None, name="false")
        self.registry = config.registry
        app = config.make_wsgi_app()
        self.tick = CronTester(app).tick
        self.cron = scheduler(app.registry)
        self.web = TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        get_cron(app.registry).clock = lambda: NOON

    def at(self, moment):
        get_cron(self.registry).clock = lambda: moment

    def ran(self, moment):
        report = self.tick(moment)
        return [run.task for run in report.runs], [run.task for run in report.skipped]


def test_they_pause_and_resume():
    shop = Shop()
    shop.tick(NOON)
    shop.at(NOON + timedelta(seconds=5))
    assert shop.cron.pause(PATTERN, reason="moving") == ["one", "two"]
    assert shop.ran(NOON + MINUTE) == (["false"], ["one", "two"])
    status = shop.cron.status("one")
    assert (status.state, status.paused.reason) == ("paused", "moving")
    assert shop.web.get("/cron/tasks/one").json["paused"]["reason"] == "moving"
    assert shop.web.get("/cron/tasks/false").json["paused"] is None
    shop.at(NOON + timedelta(seconds=70))
    assert shop.cron.resume("command:re:^false$") == ["one"]
    assert shop.ran(NOON + 2 * MINUTE) == (["one", "false"], ["two"])


def test_one_that_matches_nothing_is_a_lookup_error():
    with pytest.raises(LookupError, match="no cron task matches 'command:nothing'"):
        Shop().cron.pause("command:nothing")


def test_a_resume_counts_the_failures_anew():
    shop = Shop(pause_after=2)
    shop.tick(NOON)
    shop.at(NOON + timedelta(seconds=5))
    shop.cron.resume(PATTERN)
    shop.tick(NOON + MINUTE)
    assert shop.cron.status("one").state == "failing"
    shop.tick(NOON + 2 * MINUTE)
    assert shop.cron.status("one").state == "gave_up"


def test_they_pause_stored_schedules_of_their_task():
    shop = Shop(on_demand=True)
    shop.tick(NOON)
    shop.cron.schedule("north", "one", every="1m")
    shop.at(NOON + timedelta(seconds=5))
    shop.cron.pause("command:false")
    assert shop.cron.get_schedule("north").state == "paused"
    assert shop.ran(NOON + MINUTE) == (["false"], ["one"])
    page = shop.web.get("/cron/overview").json
    assert "north" not in str(page["upcoming"])


def test_they_cancel_what_waits():
    shop = Shop(on_demand=True)
    for name in ("one", "two", "false"):
        shop.cron.defer(name, after="1h")
    assert shop.cron.cancel_all(PATTERN) == 2
    assert [run.task for run in shop.cron.waiting()] == ["false"]
    assert shop.cron.cancel_all("f*", trigger="backfill") == 0
    with pytest.raises(LookupError, match="no cron task named 'command:nothing'"):
        shop.cron.cancel_all("command:nothing")


def test_they_backfill():
    shop = Shop(hour="*")
    shop.tick(NOON)
    assert shop.cron.backfill(PATTERN, NOON - timedelta(hours=3), NOON - MINUTE) == 4
    assert shop.cron.backfill("o*", NOON - timedelta(hours=3), NOON - MINUTE) == 0
    assert shop.cron.backfill("false", NOON - 3 * MINUTE, NOON - MINUTE) == 2
    with pytest.raises(LookupError, match="no cron task named 'command:nothing'"):
        shop.cron.backfill("command:nothing", NOON - MINUTE, NOON)
    with pytest.raises(LookupError, match="there is no cron task named 3: a name is text"):
        shop.cron.backfill(3, NOON - MINUTE, NOON)


@pytest.mark.parametrize(
    ("task", "status", "count"),
    [(PATTERN, 200, 2), ("one", 200, 1), ("command:x", 404, None), ("command:re:(", 400, None)],
)
def test_they_cancel_what_waits_by_http(task, status, count):
    shop = Shop(on_demand=True)
    for name in ("one", "two"):
        shop.cron.defer(name, after="1h")
    answer = shop.web.post_json("/cron/waiting/cancel", {"task": task}, status=status)
    assert answer.json.get("cancelled") == count


def test_what_waits_of_a_task_that_is_gone_is_found_by_a_pattern(tmp_path):
    url = {"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"}
    config = configure(**url)
    config.add_cron_task(lambda system: None, name="gone", on_demand=True)
    old = CronTester(config.make_wsgi_app())
    old.tick(NOON)
    scheduler(config.registry).defer("gone")
    config = configure(**url)
    config.make_wsgi_app()
    assert scheduler(config.registry).cancel_all("go*") == 1
