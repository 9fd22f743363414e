"""The overview: the page that the trigger's path leads to."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.run import Progress, RunState
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure
from tests.records import claim, slot, write

MINUTE = timedelta(minutes=1)
HTML = {"Accept": "text/html"}
LOCAL = {"REMOTE_ADDR": "127.0.0.1"}


def nothing(system):
    """Do nothing."""


def broken(system):
    raise ConnectionError("no mail server")


class Shop:
    """An application with its pages, its ticks and its clock."""

    def __init__(self, config):
        app = config.make_wsgi_app()
        self.registry = app.registry
        self.web = TestApp(app, extra_environ=LOCAL)
        self.tick = CronTester(app).tick
        self.store = get_cron(app.registry).store
        self.control = scheduler(app.registry)

    def at(self, moment):
        """Stop the clock at a moment."""
        get_cron(self.registry).clock = lambda: moment

    def overview(self):
        return self.web.get("/cron/overview").json

    def page(self, path="/cron/overview"):
        return self.web.get(path, headers=HTML, status="*")


@pytest.fixture
def shop():
    config = configure()
    config.add_cron_task(nothing, name="fine", min=0)
    config.add_cron_task(broken, name="mail", min=0)
    config.add_cron_task(nothing, name="often", every="10m", priority=1)
    config.add_cron_task(nothing, name="asked", on_demand=True)
    shop = Shop(config)
    shop.at(NOON)
    return shop


def test_the_path_of_the_trigger_with_a_slash_leads_to_the_overview(shop):
    answer = shop.web.get("/cron/", status=303)
    assert answer.headers["Location"] == "/cron/overview"
    assert shop.web.get("/cron/", extra_environ={"REMOTE_ADDR": "203.0.113.9"}, status=403)


def test_before_the_first_tick_there_is_the_line_to_install(shop):
    data = shop.overview()
    line = "* * * * *  curl -fsSL --max-redirs 0 -o /dev/null http://localhost/cron"
    assert (data["healthy"], data["ticking"], data["last_tick"]) == (False, False, None)
    assert data["crontab_line"] == line
    for path in ("/cron/overview", "/cron/tasks", "/cron/runs", "/cron/health", "/cron/runs/none"):
        page = shop.page(path)
        assert "No tick has come yet: nothing runs." in page.text
        assert page.html.find(class_="banner").find("pre").text == line


def test_two_minutes_without_a_tick_are_told_on_every_page(shop):
    shop.tick(at=NOON)
    shop.at(NOON + 2 * MINUTE)
    assert shop.overview()["crontab_line"] is None
    assert shop.page("/cron/runs").html.find(class_="banner") is None
    shop.at(NOON + 2 * MINUTE + timedelta(seconds=1))
    assert shop.overview()["ticking"] is False
    for path in ("/cron/overview", "/cron/tasks/fine", "/cron/timeline", "/cron/waiting"):
        assert "No tick has come since" in shop.page(path).html.find(class_="banner").text


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"cron.self_trigger": "true"}, None),
        ({"cron.token": "d41f0c2ab95e4c70"}, 'null -H "Authorization: Bearer TOKEN" http'),
        ({"cron.path": "/timer"}, "http://localhost/a\\%20b/timer"),
    ],
)
def test_the_line_fits_the_settings(settings, line):
    config = configure(**settings)
    shop = Shop(config)
    path = f"/a%20b{settings.get('cron.path', '/cron')}/overview"
    environ = {"SCRIPT_NAME": "/a b"}
    token = {"Authorization": "Bearer d41f0c2ab95e4c70"}
    told = shop.web.get(path, headers=token, extra_environ=environ).json["crontab_line"]
    assert (told is None) if line is None else (line in told)
    get_cron(config.registry).close()


def test_tasks_are_counted_by_state_and_those_to_look_after_are_named(shop):
    shop.tick(at=NOON)
    data = shop.overview()
    assert {state: count for state, count in data["states"].items() if count} == {
        "failing": 1,
        "ok": 3,
    }
    [mail] = data["unhealthy"]
    assert (mail["task"], mail["state"], mail["url"]) == ("mail", "failing", "/cron/tasks/mail")
    page = shop.page()
    assert page.html.title.text == "(1) Overview – cron"
    assert "1 of 4 tasks needs a look." in page.text
    assert "%23b3261e" in page.html.find("link", rel="icon")["href"]
    shop.control.pause("mail")
    page = shop.page()
    assert page.html.title.text == "Overview – cron"
    assert "All is well" in page.text


def test_it_shows_what_failed_in_the_last_day(shop):
    shop.tick(at=NOON)
    shop.tick(at=NOON + timedelta(hours=1))
    shop.at(NOON + timedelta(hours=1))
    failed = shop.overview()["failed"]
    assert (failed["since"], failed["total"]) == ("2026-06-14T13:00:00Z", 2)
    [mail] = failed["tasks"]
    assert (mail["task"], mail["failures"]) == ("mail", 2)
    assert (mail["last"]["slot"], mail["last"]["state"]) == ("2026-06-15T13:00:00Z", "failed")
    assert "Failed in the last 24 hours: 2 runs" in shop.page().text
    shop.at(NOON + timedelta(hours=25, minutes=1))
    assert shop.overview()["failed"]["tasks"] == []
    assert "Nothing failed in the last 24 hours." in shop.page().text


def test_it_shows_what_runs_for_how_long_and_how_far_it_is(shop):
    [run] = claim(shop.store, slot("fine"), lease=timedelta(days=1))
    progress = Progress(3, 12, "books")
    write(shop.store, replace(run, state=RunState.RUNNING, started=NOON, progress=progress))
    shop.at(NOON + 90 * timedelta(seconds=1))
    [running] = shop.overview()["running"]
    assert (running["task"], running["elapsed"]) == ("fine", 90.0)
    assert running["progress"] == {"done": 3, "total": 12, "message": "books"}
    text = shop.page().text
    assert "1 min 30 s" in text
    assert "3 of 12 books" in text


def test_it_shows_the_next_ten_slots_but_of_paused_tasks(shop):
    shop.tick(at=NOON)
    upcoming = shop.overview()["upcoming"]
    slots = [(row["slot"][11:16], row["task"]) for row in upcoming]
    assert slots[:5] == [(f"12:{minute}", "often") for minute in range(10, 60, 10)]
    assert slots[5:8] == [("13:00", "often"), ("13:00", "fine"), ("13:00", "mail")]
    assert len(slots) == 10
    shop.control.pause("often")
    assert [row["task"] for row in shop.overview()["upcoming"][:3]] == ["fine", "mail", "fine"]
    shop.control.pause("*")
    assert shop.overview()["upcoming"] == []


def test_stored_schedules_are_among_the_next_slots(shop):
    shop.control.schedule("report of Ada", "asked", schedule="5 * * * *")
    shop.tick(at=NOON)
    first = shop.overview()["upcoming"][0]
    assert first == {
        "slot": "2026-06-15T12:05:00Z",
        "task": "asked",
        "schedule": "report of Ada",
        "description": "at minute 5 of every hour (UTC)",
        "timezone": "UTC",
    }
    shop.control.pause("report*")
    assert {row["schedule"] for row in shop.overview()["upcoming"]} == {None}


def test_it_shows_what_waits_and_for_what(shop):
    shop.control.defer("asked", {"order": 7}, after="1h")
    waiting = shop.overview()["waiting"]
    assert waiting["total"] == 1
    [run] = waiting["runs"]
    assert (run["task"], run["why"], run["payload"]) == ("asked", "later", {"order": 7})
    assert "1 waiting" in shop.page().text


def test_unknown_parameters_are_refused(shop):
    for page in ("overview", "tasks", "runs"):
        answer = shop.web.get(f"/cron/{page}?order=name", status=400)
        assert "'order' is no parameter" in answer.json["detail"]


def test_it_takes_a_handful_of_queries_however_many_tasks_there_are():
    config = configure()
    for number in range(300):
        config.add_cron_task(broken, name=f"task-{number}")
    shop = Shop(config)
    shop.tick(at=NOON)
    statements = []
    here = threading.get_ident()  # and not what the supervisor does beside it

    def record(_connection, _cursor, statement, *_):
        if threading.get_ident() == here and statement != "BEGIN":
            statements.append(statement)

    event.listen(shop.store.database._engine, "before_cursor_execute", record)
    for ask in (shop.overview, shop.page):
        statements.clear()
        ask()
        assert len(statements) <= 13, statements


def test_runs_are_filtered_by_trigger_reason_host_and_moment(shop):
    shop.tick(at=NOON)
    shop.tick(at=NOON + timedelta(hours=3))
    host = shop.control.history()[0].host

    def count(query):
        return len(shop.web.get(f"/cron/runs?{query}").json["runs"])

    everything = count("")
    assert count(f"host={host}") == everything
    assert count("host=elsewhere") == 0
    missed = shop.web.get("/cron/runs?reason=missed").json["runs"]
    assert {run["reason"] for run in missed} == {"missed"}
    caught_up = shop.web.get("/cron/runs?trigger=catch_up").json["runs"]
    assert {run["trigger"] for run in caught_up} == {"catch_up"}
    assert count("until=2026-06-15T13:00Z") + count("since=2026-06-15T13:00:00") == everything
    first = shop.web.get("/cron/runs?since=2026-06-15T13:00&limit=1").json
    assert "since=2026-06-15T13%3A00" in first["next"]
    assert shop.web.get(first["next"]).json["runs"]
    assert 'value="elsewhere"' in shop.page("/cron/runs?host=elsewhere").text


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("since=soon", "since='soon': must be a moment in ISO 8601, as 2026-12-01T09:00:00Z"),
        ("reason=odd", "reason='odd': must be one of overlap, paused, missed"),
        ("trigger=odd", "trigger='odd': must be one of schedule"),
        ("host=%00", "host: must not contain NUL"),
    ],
)
def test_a_wrong_filter_is_refused_in_one_line(shop, query, line):
    assert line in shop.web.get(f"/cron/runs?{query}", status=400).json["detail"]
