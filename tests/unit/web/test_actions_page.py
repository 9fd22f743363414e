"""Who did what, on the pages and as JSON."""

from __future__ import annotations

import threading
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import event
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure

HTML = {"Accept": "text/html"}
LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
KEYS = {"id", "at", "action", "who", "task", "schedule", "run", "pattern", "details"}


class Policy:
    """Knows users by a header; asked by a request without it, fails or knows none."""

    def __init__(self, fails=False):
        self.fails = fails

    def identity(self, request):
        return None

    def authenticated_userid(self, request):
        if self.fails:
            raise KeyError("no session")
        return request.headers.get("X-User")

    def permits(self, request, context, permission):
        return True


def broken(system):
    raise ConnectionError("no mail server")


def pausing(system):
    system["request"].cron.pause("fine", reason="full")


@pytest.fixture
def config():
    config = configure(**{"cron.timezone": "Europe/Berlin"})
    config.add_cron_task(lambda system: None, name="fine", on_demand=True)
    config.add_cron_task(broken, name="broken", on_demand=True, pause_after=1)
    config.add_cron_task(pausing, name="pausing", on_demand=True)
    return config


@pytest.fixture
def make(config):
    def make(**settings):
        config.add_settings(settings)
        app = config.make_wsgi_app()
        CronTester(app).tick(at=NOON)
        moments = (NOON + timedelta(seconds=number) for number in count())
        get_cron(app.registry).clock = lambda: next(moments)  # ids sort by time
        return TestApp(app, extra_environ=LOCAL)

    return make


@pytest.fixture
def app(make):
    return make()


def actions(app, query=""):
    return app.get(f"/cron/actions{query}").json["actions"]


def shown(app, query="", *, keys=("action", "who", "task")):
    return [tuple(action[key] for key in keys) for action in actions(app, query)]


def test_every_action_is_recorded(app):
    def post(path, body=None):
        return app.post_json(f"/cron/{path}", body or {}).json

    post("tasks/fine/pause", {"until": "2026-06-16T00:00:00Z", "reason": "moving"})
    post("tasks/fine/resume")
    ran = scheduler(app.app.registry).run("broken").id
    retried = post(f"runs/{ran}/retry")
    post(f"runs/{retried['run']}/reschedule", {"at": "2026-06-16T00:00:00Z"})
    post(f"runs/{retried['run']}/cancel")
    deferred = post("tasks/fine/run", {"after": "1h", "key": "k"})
    post("waiting/cancel", {"task": "fine"})
    post("schedules", {"name": "ann", "task": "fine", "hour": 7})
    app.delete("/cron/schedules/ann")
    recorded = actions(app)
    assert all(action.keys() == KEYS for action in recorded)
    whole = [
        (action["action"], action["task"], action["run"], action["details"]) for action in recorded
    ]
    later = "2026-06-16T00:00:00Z"
    assert whole[::-1] == [
        ("pause", "fine", None, {"until": later, "reason": "moving"}),
        ("resume", "fine", None, {}),
        ("run", "broken", ran, {}),
        ("pause", "broken", ran, {"reason": "1 failure"}),
        ("retry", "broken", ran, {}),
        ("reschedule", "broken", retried["run"], {"not_before": later}),
        ("cancel", "broken", retried["run"], {}),
        ("defer", "fine", deferred["run"], {"not_before": deferred["not_before"], "key": "k"}),
        ("cancel_all", "fine", None, {"count": 1}),
        ("schedule", "fine", None, {"when": "at 07:00 every day (Europe/Berlin)", "enabled": True}),
        ("unschedule", "fine", None, {}),
    ]
    assert {action["who"] for action in recorded} == {
        "address 127.0.0.1",
        "application",
        "pause_after",
    }
    assert [action["schedule"] for action in recorded[:3]] == ["ann", "ann", None]
    ids = [action["id"] for action in recorded]
    assert ids == sorted(ids, reverse=True)
    assert recorded[-1]["at"] == "2026-06-15T12:00:02Z"


def test_the_user_of_the_request_is_who_acts(config, make):
    config.set_security_policy(Policy())
    app = make()
    app.post_json("/cron/tasks/fine/pause", {}, headers={"X-User": "ann"})
    app.post_json("/cron/tasks/fine/pause", {})
    assert shown(app) == [("pause", "address 127.0.0.1", "fine"), ("pause", "ann", "fine")]


def test_a_token_acts_where_there_is_no_user(make):
    app = make(**{"cron.token": "secret"})
    bearer = {"Authorization": "Bearer secret"}
    app.post_json("/cron/tasks/fine/pause", {}, headers=bearer)
    [action] = app.get("/cron/actions", headers=bearer).json["actions"]
    assert action["who"] == "token"


@pytest.mark.parametrize("fails", [False, True])
def test_a_task_acts_where_there_is_no_user(config, make, fails):
    config.set_security_policy(Policy(fails))
    app = make()
    scheduler(app.app.registry).run("pausing")
    assert shown(app) == [
        ("pause", "task pausing", "fine"),
        ("run", "application", "pausing"),
    ]


def test_a_task_in_the_request_of_a_user_acts_for_the_user(config, make):
    def run(request):
        request.cron.run("pausing")
        return request.response

    config.set_security_policy(Policy())
    config.add_route("shop", "/shop")
    config.add_view(run, route_name="shop")
    app = make()
    app.get("/shop", headers={"X-User": "ann"})
    assert shown(app) == [("pause", "ann", "fine"), ("run", "ann", "pausing")]


def test_a_run_by_a_page_is_recorded_with_its_id_whether_it_begins_or_waits(config, make):
    config.add_cron_task(lambda system: None, name="away", on_demand=True, executor="worker")
    app = make()
    for task in ("fine", "away"):
        run = app.post_json(f"/cron/tasks/{task}/run", {}, status=202).json
        keys = ("action", "who", "task", "run")
        recorded = shown(app, f"?task={task}", keys=keys)
        assert recorded == [("run", "address 127.0.0.1", task, run["run"])]


def test_the_application_acts_else_and_what_it_defers_is_its_work(app):
    control = scheduler(app.app.registry)
    control.defer("fine")
    control.backfill("fine", NOON, NOON)
    control.pause("*")
    assert shown(app, keys=("action", "who", "task", "pattern")) == [
        ("pause", "application", None, "*")
    ]


def test_a_backfill_is_recorded_with_its_range_and_number(config, make):
    config.add_cron_task(lambda system: None, name="hourly", min=0)
    app = make()
    scheduler(app.app.registry).backfill("hourly", NOON.replace(hour=9), NOON)
    [action] = actions(app)
    assert (action["action"], action["task"]) == ("backfill", "hourly")
    assert action["details"] == {
        "since": "2026-06-15T09:00:00Z",
        "until": "2026-06-15T12:00:00Z",
        "count": 2,
    }


def test_a_pause_of_a_schedule_has_its_name_and_its_task(app):
    control = scheduler(app.app.registry)
    control.schedule("ann", "fine", hour=7)
    control.pause("ann")
    keys = ("action", "task", "schedule")
    assert shown(app, "?task=ann", keys=keys) == [
        ("pause", "fine", "ann"),
        ("schedule", "fine", "ann"),
    ]


def test_what_came_to_nothing_is_not_recorded(app):
    app.post_json("/cron/tasks/fine/pause", {"for": "soon"}, status=400)
    app.post_json("/cron/waiting/cancel", {"task": "fine"})
    app.post_json("/cron/schedules", {"name": "a", "task": "fine", "hour": 77}, status=400)
    assert actions(app) == []


def test_actions_are_filtered(app):
    app.post_json("/cron/tasks/fine/pause", {})
    run = scheduler(app.app.registry).run("pausing").id
    assert shown(app, "?who=task+pausing", keys=("action",)) == [("pause",)]
    assert shown(app, f"?run={run}&action=run", keys=("task",)) == [("pausing",)]
    assert len(actions(app, "?task=fine")) == 2
    assert len(actions(app, "?since=2026-06-15T14:00")) == 3
    assert actions(app, "?until=2026-06-15T12:00:00Z") == []


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("action=fly", "action='fly': must be one of run, defer,"),
        ("before=x", "before='x': must be the id"),
        ("since=soon", "since='soon': must be a moment"),
        ("who=%00", "who: must not contain NUL"),
    ],
)
def test_a_wrong_filter_is_refused(app, query, detail):
    answer = app.get(f"/cron/actions?{query}", status=400)
    assert answer.json["detail"].startswith(detail)
    assert answer.json["parameter"] == query.partition("=")[0]


def test_older_actions_are_on_another_page(app):
    for _ in range(3):
        app.post_json("/cron/tasks/fine/pause", {})
    first = app.get("/cron/actions?task=fine&limit=2").json
    rest = app.get(first["next"]).json
    assert (len(first["actions"]), len(rest["actions"]), rest["next"]) == (2, 1, None)
    assert 'rel="next"' in app.get("/cron/actions?limit=2", headers=HTML).text


def test_the_page_says_who_did_what_to_what(app):
    control = scheduler(app.app.registry)
    control.pause("*", until=NOON.replace(hour=18), reason="<moving>")
    control.run("broken")
    app.post_json("/cron/schedules", {"name": "ann", "task": "fine", "hour": 7})
    page = app.get("/cron/actions", headers=HTML)
    text = " ".join(page.html.find("main").text.split())
    assert "all that match * until: 20:00:00 in 6 hours reason: <moving>" in text
    assert "pause_after pause broken" in text
    assert "schedule fine ann when: at 07:00 every day (Europe/Berlin) enabled: yes" in text
    assert page.html.find("a", string="Actions")["aria-current"] == "page"
    assert "No actions." in app.get("/cron/actions?who=nobody", headers=HTML).text


def test_a_task_and_a_run_show_theirs(app):
    control = scheduler(app.app.registry)
    run, other = (f"/cron/runs/{control.run(task).id}" for task in ("fine", "pausing"))
    task = app.get("/cron/tasks/fine").json
    assert [action["action"] for action in task["actions"]] == ["pause", "run"]
    [action] = app.get(run).json["actions"]
    assert (action["action"], action["run"]) == ("run", run.rpartition("/")[2])
    for url in ("/cron/tasks/fine", other):
        page = app.get(url, headers=HTML)
        assert "Who did what" in page.text
        assert page.click("All actions", index=0).status_int == 200


def test_the_actions_of_a_task_take_a_handful_of_queries(app):
    control = scheduler(app.app.registry)
    for _ in range(20):
        control.pause("fine")
    statements, here = [], threading.get_ident()

    def record(_connection, _cursor, statement, *_):
        if threading.get_ident() == here and statement != "BEGIN":
            statements.append(statement)

    engine = get_cron(app.app.registry).store.database._engine
    event.listen(engine, "before_cursor_execute", record)
    app.get("/cron/actions?task=fine")
    assert len(statements) <= 4, statements
