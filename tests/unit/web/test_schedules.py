"""Stored schedules by HTTP."""

from datetime import timedelta

import pytest
from webtest import TestApp

from pyramid_cron.app import get_cron
from pyramid_cron.clock import Stopwatch
from pyramid_cron.testing import CronTester
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
        ({"starting": "2027-01-01T00:00Z", "ending": "2026-01-01T00:00Z"}, "ending='2026-01-01"),
        ({"jitter": []}, "jitter=[]"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_changes(app, change, error):
    response = app.post_json("/cron/schedules", REPORT | change, status=400)
    assert response.json["detail"].startswith(error)
    assert app.get("/cron/schedules").json["schedules"] == []


@pytest.mark.parametrize("headers", [{}, HTML])
def test_a_payload_that_is_too_large_or_no_json_is_refused(app, headers):
    large = REPORT | {"payload": "x" * 5 * 2**20}
    app.post_json("/cron/schedules", large, headers=headers, status=[400, 413])
    app.put_json("/cron/schedules/ann", large, headers=headers, status=[400, 413])
    app.post("/cron/schedules", "{", content_type="application/json", headers=headers, status=400)
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
    assert "at 07:00 every day<" in page.text
    assert app.get("/cron/schedules?size=3", status=400).json["detail"].startswith("'size' is no")


def test_they_are_listed_in_pages_and_found_by_a_part_of_their_names(app):
    for number in range(5):
        app.post_json("/cron/schedules", REPORT | {"name": f"customer {number}"})
    first = app.get("/cron/schedules?limit=2").json
    assert [one["name"] for one in first["schedules"]] == ["customer 0", "customer 1"]
    assert (first["total"], first["page"]) == (5, 1)
    second = app.get(first["next"]).json
    assert [one["name"] for one in second["schedules"]] == ["customer 2", "customer 3"]
    assert app.get(second["next"]).json["next"] is None
    [found] = app.get("/cron/schedules?q=mer 3").json["schedules"]
    assert found["name"] == "customer 3"
    assert app.get("/cron/schedules?q=%25").json["schedules"] == []
    assert 'rel="prev"' in app.get(first["next"], headers=HTML).text


def test_one_is_paused_and_resumed(app):
    made = app.post_json("/cron/schedules", REPORT).json
    app.post_json("/cron/schedules", REPORT | {"name": "anna"})
    paused = app.post_json(made["url"] + "/pause", {"for": "2h", "reason": "late"}).json
    assert (paused["name"], paused["paused"]["reason"]) == ("ann", "late")
    shown = app.get(made["url"]).json
    assert (shown["state"], shown["next"]) == ("paused", None)
    assert app.get("/cron/schedules/anna").json["state"] == "ok"
    assert app.post_json(made["url"] + "/resume").json == {"name": "ann", "paused": None}
    assert app.get(made["url"]).json["state"] == "ok"
    error = app.post_json(made["url"] + "/fly", {}, status=404).json["detail"]
    assert error == "a schedule has no action 'fly', only pause, resume, remove"
    app.post_json("/cron/schedules/bob/pause", {}, status=404)


def test_one_that_is_disabled_is_not_paused(app):
    made = app.post_json("/cron/schedules", REPORT | {"enabled": False}).json
    error = app.post_json(made["url"] + "/pause", {}, status=409).json["detail"]
    assert error == "the schedule 'ann' is disabled"


class TestExplanation:
    def test_says_what_a_schedule_means(self, app):
        meaning = app.get("/cron/explain?schedule=30 7 * * mon&timezone=Europe/Berlin").json
        assert meaning["description"] == "at 07:30 on Monday (Europe/Berlin)"
        assert meaning["next"][0] == "2026-06-22T05:30:00Z"
        assert len(meaning["next"]) == 5
        assert len(meaning["explained"]) == 16

    def test_moments_are_local_in_its_zone(self, app):
        query = "at=2026-12-01T09:00&timezone=Asia/Tokyo"
        assert app.get(f"/cron/explain?{query}").json["next"] == ["2026-12-01T00:00:00Z"]

    @pytest.mark.parametrize(
        ("query", "detail", "argument"),
        [
            ("hour=24", "hour='24': 24 is out of range", "hour"),
            ("every=1h&timezone=Mars", "timezone='Mars' is no IANA time zone", "timezone"),
            ("every=1h&name=report&task=report", "name='report': is a task's", "name"),
            ("every=1h&task=none", "task='none': there is no such cron task", "task"),
            ("at=never", "at='never': ", "at"),
        ],
    )
    def test_says_what_is_wrong(self, app, query, detail, argument):
        problem = app.get(f"/cron/explain?{query}", status=400).json
        assert problem["detail"].startswith(detail)
        assert problem["parameter"] == argument


class TestForm:
    """The pages to add, change, pause, resume and remove a schedule; all without a script."""

    def fill(self, app, **fields):
        form = app.get("/cron/schedules?confirm=add", headers=HTML).form
        for name, text in fields.items():
            form[name] = text
        return form

    def names(self, app):
        return [one["name"] for one in app.get("/cron/schedules").json["schedules"]]

    def test_what_it_means_is_shown_before_it_is_saved(self, app):
        form = self.fill(app, name="ann", task="report", schedule="0 7 * * *", payload='{"id": 7}')
        page = form.submit(headers=HTML)
        assert page.status_int == 200
        assert "at 07:00 every day (UTC)" in page.text
        assert page.text.count("<li><time") == 5
        assert self.names(app) == []
        saved = page.form.submit(headers=HTML)
        assert saved.headers["Location"] == "/cron/schedules/ann"
        shown = app.get("/cron/schedules/ann").json
        assert (shown["schedule"], shown["payload"]) == ("0 7 * * *", {"id": 7})

    def test_what_was_changed_meanwhile_is_shown_again(self, app):
        page = self.fill(app, name="ann", task="report", every="1h").submit(headers=HTML)
        form = page.form
        form["every"] = "2h"
        again = form.submit(headers=HTML)
        assert "every 2 hours" in again.text
        assert self.names(app) == []
        again.form.submit(headers=HTML, status=303)
        assert app.get("/cron/schedules/ann").json["every"] == "2h"

    @pytest.mark.parametrize(
        ("fields", "detail", "field"),
        [
            ({"every": "1x"}, "every='1x'", "every"),
            ({"name": ""}, "name='': must be text of 1 to 200", "name"),
            ({"name": "report"}, "name='report': is a task's", "name"),
            ({"payload": "{"}, "payload: must be JSON", "payload"),
            ({"schedule": "0 7 * * *"}, "each say when", "schedule"),
            (
                {"starting": "2027-01-01", "ending": "2026-01-01"},
                "ending=",
                "ending",
            ),
        ],
    )
    def test_one_that_is_wrong_comes_back_as_it_was_typed(self, app, fields, detail, field):
        values = {"name": "ann", "task": "report", "every": "1h"} | fields
        page = self.fill(app, **values).submit(headers=HTML, status=400)
        assert detail in page.html.find("p", role="alert").text
        assert page.html.find(attrs={"aria-invalid": True})["name"] == field
        for name, text in values.items():
            assert page.form[name].value == text
        assert self.names(app) == []

    def test_a_name_that_is_there_is_a_conflict(self, app):
        app.post_json("/cron/schedules", REPORT)
        page = self.fill(app, name="ann", task="report", every="1h").submit(
            headers=HTML, status=409
        )
        assert "there is such a schedule" in page.text
        assert page.form["every"].value == "1h"

    def test_one_is_changed_from_what_it_is(self, app):
        body = {"name": "ann", "task": "report", "min": [0, 30], "hour": "7", "dow": 0}
        made = app.post_json("/cron/schedules", body | {"starting": "2026-07-01T00:00:00Z"}).json
        form = app.get(made["url"] + "?confirm=change", headers=HTML).form
        assert [form[name].value for name in ("min", "hour", "dow")] == ["0,30", "7", "mon"]
        page = form.submit(headers=HTML)
        assert "on Monday" in page.text
        page.form["hour"] = "8"
        page.form.submit(headers=HTML).form.submit(headers=HTML, status=303)
        changed = app.get(made["url"]).json
        assert (changed["hour"], changed["dow"]) == ("8", "mon")
        assert changed["next"] == "2026-07-06T08:00:00Z"

    def test_several_crontab_lines_are_several_schedules(self, app):
        body = {"name": "ann", "task": "report", "schedule": ["0 7 * * *", "0 19 * * *"]}
        made = app.post_json("/cron/schedules", body | {"enabled": False, "payload": 1}).json
        form = app.get(made["url"] + "?confirm=change", headers=HTML).form
        assert form["schedule"].value.splitlines() == body["schedule"]
        form.submit(headers=HTML).form.submit(headers=HTML, status=303)
        again = app.get(made["url"]).json
        assert again | {"changed": made["changed"]} == made

    def test_one_is_paused_resumed_and_removed(self, app):
        url = app.post_json("/cron/schedules", REPORT).json["url"]
        page = app.get(f"{url}?confirm=pause", headers=HTML)
        form = page.form
        form["for"] = "soon"
        again = form.submit(headers=HTML, status=400)
        assert again.form["for"].value == "soon"
        again.form["for"] = "2h"
        assert again.form.submit(headers=HTML).headers["Location"] == url
        assert "Resume…" in app.get(url, headers=HTML).text
        app.get(f"{url}?confirm=resume", headers=HTML).form.submit(headers=HTML, status=303)
        assert app.get(url).json["state"] == "ok"
        removal = app.get(f"{url}?confirm=remove", headers=HTML)
        assert "what waits for it is cancelled" in removal.text
        removal.form.submit(headers=HTML, status=303)
        assert self.names(app) == []

    def test_forms_need_their_token(self, app):
        url = app.post_json("/cron/schedules", REPORT).json["url"]
        for path in ("/cron/schedules", f"{url}/change", f"{url}/pause", f"{url}/remove"):
            app.post(path, {"every": "1h"}, headers=HTML, status=403)

    def test_other_ways_of_asking_for_them(self, app):
        assert app.get("/cron/schedules?confirm=fly", headers=HTML, status=400)
        problem = app.get("/cron/schedules?confirm=add", status=400).json
        assert problem["detail"].endswith("POST to /cron/schedules instead")

    def test_who_may_only_look_has_no_forms(self, config):
        config.add_settings({"cron.token": "secret", "cron.permission": "act"})
        config.add_settings({"cron.view_permission": "look"})
        config.set_security_policy(Looker())
        app = TestApp(config.make_wsgi_app(), extra_environ=LOCAL)
        headers = {"Authorization": "Bearer secret"}
        url = app.post_json("/cron/schedules", REPORT, headers=headers).json["url"]
        assert "Add a schedule" not in app.get("/cron/schedules", headers=HTML).text
        assert "confirm=" not in app.get(url, headers=HTML).text
        app.get("/cron/schedules?confirm=add", headers=HTML, status=403)
        app.get(f"{url}?confirm=remove", headers=HTML, status=403)


class Looker:
    """Lets everybody look, and nobody act."""

    def permits(self, request, context, permission):
        return permission == "look"

    def identity(self, request):
        return None

    authenticated_userid = forget = remember = identity


class TestPageOfOne:
    def test_it_has_its_next_slots_and_its_runs(self, app):
        cron = CronTester(app.app)
        cron.tick(NOON)
        for name in ("ann", "bob"):
            body = {"name": name, "task": "report", "every": "1h", "payload": {"customer": name}}
            app.post_json("/cron/schedules", body)
        cron.tick(NOON + timedelta(hours=1))
        page = app.get("/cron/schedules/ann", headers=HTML)
        assert page.text.count("<li><time") == 5
        assert len(page.html.find_all(class_="succeeded")) == 1
        assert "{&#34;customer&#34;: &#34;ann&#34;}" in page.text
        runs = app.get("/cron/runs?schedule=ann").json["runs"]
        assert [run["schedule"] for run in runs] == ["ann"]
        [ann, _] = app.get("/cron/schedules").json["schedules"]
        assert ann["last"]["run"] == runs[0]["run"]
        assert ann["last"]["url"] == runs[0]["url"]
