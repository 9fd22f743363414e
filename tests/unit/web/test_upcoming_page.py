"""What comes next, on the page and as JSON."""

from __future__ import annotations

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.web import waiting_page
from tests.apps import NOON, configure

HTML = {"Accept": "text/html"}


@pytest.fixture
def app():
    config = configure(**{"cron.timezone": "Europe/Berlin"})
    config.add_cron_task(lambda system: None, name="hourly", min=0)
    config.add_cron_task(
        lambda system: None, name="nightly", hour=3, timezone="America/New_York", priority=1
    )
    config.add_cron_task(lambda system: None, name="yearly", month=3, day=1)
    config.add_cron_task(lambda system: None, name="asked", on_demand=True)
    app = config.make_wsgi_app()
    get_cron(app.registry).clock = lambda: NOON
    return TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})


@pytest.fixture
def control(app):
    return scheduler(app.app.registry)


def upcoming(app, query=""):
    return app.get(f"/cron/upcoming{query}").json


def slots(app, query=""):
    return [
        f"{slot['slot'][8:16]} {slot['schedule'] or slot['task']}"
        for slot in upcoming(app, query)["slots"]
    ]


def test_the_slots_of_the_next_24_hours_are_listed_in_the_order_of_ticks(app):
    data = upcoming(app)
    assert (data["now"], data["until"]) == ("2026-06-15T12:00:00Z", "2026-06-16T12:00:00Z")
    assert data["complete"] is True
    assert [slot["task"] for slot in data["slots"]].count("hourly") == 24
    assert slots(app)[17:20] == ["16T06:00 hourly", "16T07:00 nightly", "16T07:00 hourly"]
    assert data["slots"][0] == {
        "slot": "2026-06-15T13:00:00Z",
        "task": "hourly",
        "schedule": None,
        "description": "every hour (Europe/Berlin)",
        "timezone": "Europe/Berlin",
        "url": "/cron/tasks/hourly",
    }
    [nightly] = [slot for slot in data["slots"] if slot["task"] == "nightly"]
    assert nightly["timezone"] == "America/New_York"
    assert nightly["description"] == "at 03:00 every day (America/New_York)"


def test_they_are_narrowed_to_a_task_a_number_and_a_moment(app):
    assert slots(app, "?limit=2") == ["15T13:00 hourly", "15T14:00 hourly"]
    assert upcoming(app, "?limit=2")["complete"] is False
    assert slots(app, "?task=nightly") == ["16T07:00 nightly"]
    assert slots(app, "?task=yearly&until=2030-01-01&limit=1") == ["28T23:00 yearly"]
    assert slots(app, "?until=2026-06-15T14:00:00Z") == ["15T13:00 hourly", "15T14:00 hourly"]
    assert slots(app, "?task=asked") == []


def test_stored_schedules_are_among_them(app, control):
    control.schedule("ann", "asked", schedule="30 15 * * *")
    assert slots(app, "?limit=2") == ["15T13:00 hourly", "15T13:30 ann"]
    assert slots(app, "?task=asked") == ["15T13:30 ann"]
    [slot] = upcoming(app, "?task=asked")["slots"]
    assert (slot["task"], slot["timezone"]) == ("asked", "Europe/Berlin")
    assert slot["description"] == "at 15:30 every day (Europe/Berlin)"


def test_what_is_paused_is_left_out_until_its_pause_ends(app, control):
    control.schedule("ann", "asked", schedule="30 15 * * *")
    control.pause("hourly", until=NOON.replace(hour=14))
    control.pause("nightly")
    control.pause("ann")
    assert slots(app)[:2] == ["15T14:00 hourly", "15T15:00 hourly"]
    assert slots(app, "?task=nightly") == []
    control.resume("ann")
    assert slots(app, "?limit=1") == ["15T13:30 ann"]


def test_one_that_is_paused_and_often_does_not_hide_others(app, control, monkeypatch):
    monkeypatch.setattr(waiting_page, "MAX_FORECAST_SLOTS", 3)
    control.pause("hourly")
    assert slots(app) == ["16T07:00 nightly"]
    control.resume("hourly")
    control.pause("hourly", until=NOON.replace(hour=18))
    data = upcoming(app)
    assert (data["slots"], data["complete"]) == ([], False)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("task=hurly", "task='hurly': there is no such cron task; did you mean 'hourly'?"),
        ("limit=1001", "limit='1001': must be a whole number"),
        ("until=2026-06-15T12:00:00Z", "until='2026-06-15T12:00:00Z': must be in the future"),
        ("untill=x", "'untill' is no parameter; did you mean 'until'?"),
    ],
)
def test_a_wrong_parameter_is_refused(app, query, detail):
    answer = app.get(f"/cron/upcoming?{query}", status=400)
    assert answer.json["detail"].startswith(detail)
    assert answer.json["parameter"] == query.partition("=")[0]


def test_the_page_shows_when_and_what(app, control):
    control.schedule("ann", "asked", schedule="30 15 * * *")
    page = app.get("/cron/upcoming", headers=HTML)
    text = " ".join(page.html.find("main").text.split())
    assert "All slots until 16 Jun 2026 14:00 in 24 hours, of what is not paused" in text
    assert "15:30:00 in 90 minutes asked ann at 15:30 every day " in text
    # The zone of the page is said once.
    assert "(Europe/Berlin)" not in text
    assert "nightly at 03:00 every day (America/New_York)" in text
    assert page.html.find("a", string="Upcoming")["aria-current"] == "page"
    assert "The next 1 slots" in app.get("/cron/upcoming?limit=1", headers=HTML).text
    control.pause("*")
    assert "No slot to come." in app.get("/cron/upcoming", headers=HTML).text


def test_the_overview_has_the_same(app):
    assert app.get("/cron/overview").json["upcoming"] == [
        {key: value for key, value in slot.items() if key != "url"}
        for slot in upcoming(app, "?limit=10")["slots"]
    ]
    assert "All that comes" in app.get("/cron/overview", headers=HTML).text
