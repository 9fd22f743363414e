"""Stored schedules by HTTP."""

import pytest
from webtest import TestApp

from pyramid_cron.app import get_cron
from pyramid_cron.clock import Stopwatch
from tests.apps import NOON, configure

LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
HTML = {"Accept": "text/html"}
REPORT = {"name": "ann", "task": "report", "payload": {"customer": 7}, "hour": 7}
ODD_NAMES = ["a/b", "..", "50%", "a/../b", "<b>&\"'", "ünï", "q?x#y"]


@pytest.fixture
def config():
    config = configure()
    config.add_cron_task(lambda system: None, name="report", on_demand=True)
    return config


@pytest.fixture
def app(config):
    app = TestApp(config.make_wsgi_app(), extra_environ=LOCAL)
    get_cron(app.app.registry).clock = Stopwatch(NOON).now
    return app


def test_one_is_made_shown_changed_and_removed(app):
    made = app.post_json("/cron/schedules", REPORT, status=201).json
    assert (made["name"], made["task"], made["payload"]) == ("ann", "report", {"customer": 7})
    assert (made["description"], made["state"]) == ("at 07:00 every day (UTC)", "ok")
    assert made["next"] == "2026-06-16T07:00:00Z"
    assert (made["hour"], made["min"], made["timezone"]) == (7, None, "UTC")
    assert app.get(made["url"]).json == made
    assert app.get("/cron/schedules").json["schedules"] == [made]
    assert app.get("/cron/schedules?task=other").json["schedules"] == []

    body = {"task": "report", "every": "10m", "enabled": False}
    changed = app.put_json(made["url"], body).json
    assert (changed["every"], changed["hour"], changed["payload"]) == ("10m", None, None)
    assert (changed["enabled"], changed["state"], changed["next"]) == (False, "disabled", None)

    assert app.delete(made["url"]).json == {"name": "ann", "removed": True}
    gone = app.get(made["url"], status=404).json
    assert gone["detail"] == "there is no stored schedule named 'ann'"
    app.delete(made["url"], status=404)


def test_what_is_shown_may_be_sent_back(app):
    made = app.post_json("/cron/schedules", REPORT).json
    again = app.put_json(made["url"], made | {"hour": 8}).json
    assert (again["hour"], again["payload"]) == (8, {"customer": 7})


def test_put_makes_one_that_is_not_there(app):
    made = app.put_json("/cron/schedules/bob", {"task": "report", "every": "1h"}, status=201).json
    assert made["name"] == "bob"


def test_to_make_one_that_is_there_is_a_conflict(app):
    app.post_json("/cron/schedules", REPORT)
    error = app.post_json("/cron/schedules", REPORT, status=409).json["detail"]
    assert error.startswith("name='ann': there is such a schedule; PUT to /cron/schedules/ann")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_may_have_any_characters(app, name):
    made = app.post_json("/cron/schedules", REPORT | {"name": name}, status=201).json
    assert app.get(made["url"]).json["name"] == name
    assert app.put_json(made["url"], made | {"hour": 9}).json["hour"] == 9
    assert app.delete(made["url"]).json["name"] == name


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"task": "none"}, "task='none': there is no such cron task"),
        ({"name": "report"}, "name='report': is a task's"),
        ({"name": None}, "name=None: must be text"),
        ({"hour": 24}, "hour=24"),
        ({"every": "1h"}, "hour=7 and every='1h' each say when"),
        ({"enabled": 1}, "enabled=1: must be True or False"),
        ({"minute": 1}, "'minute' is no field"),
        ({"at": {}}, "hour=7 and at={} each say when"),
        ({"hour": {}}, "hour={}"),
        ({"hour": None, "at": []}, "at=[]"),
        ({"starting": 7}, "starting=7"),
        ({"timezone": 7}, "timezone=7"),
        ({"jitter": []}, "jitter=[]"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_changes(app, change, error):
    response = app.post_json("/cron/schedules", REPORT | change, status=400)
    assert response.json["detail"].startswith(error)
    assert app.get("/cron/schedules").json["schedules"] == []


def test_the_name_in_the_body_is_that_of_the_path(app):
    error = app.put_json("/cron/schedules/bob", REPORT, status=400).json["detail"]
    assert error == "name='ann': must be 'bob', as in the path"


def test_a_browser_needs_a_csrf_token(app):
    browser = {"Sec-Fetch-Site": "cross-site", **HTML}
    app.post("/cron/schedules", {"name": "a", "task": "report"}, headers=browser, status=403)


def test_another_site_removes_nothing(app):
    app.post_json("/cron/schedules", REPORT)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
        app.delete("/cron/schedules/ann", headers=headers, status=403)
        app.put("/cron/schedules/ann", "task=report", headers=headers, status=403)
    assert len(app.get("/cron/schedules").json["schedules"]) == 1


def test_others_may_neither_look_nor_act(app):
    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
    for method in ("get", "post_json"):
        getattr(app, method)("/cron/schedules", extra_environ=elsewhere, status=403)
    app.delete("/cron/schedules/ann", extra_environ=elsewhere, status=403)
    app.post_json("/cron/schedules/ann", {}, status=405)


def test_the_page_lists_them(app):
    app.post_json("/cron/schedules", REPORT | {"name": "<b>ann</b>"})
    page = app.get("/cron/schedules", headers=HTML)
    assert "&lt;b&gt;ann&lt;/b&gt;" in page.text
    assert "at 07:00 every day (UTC)" in page.text
    assert app.get("/cron/schedules?limit=3", status=400).json["detail"].startswith("'limit' is no")
