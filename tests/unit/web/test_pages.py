"""The pages and their JSON: content, access and number of queries."""

from __future__ import annotations

import json
import re
import threading
from datetime import timedelta

import pytest
from pyramid.security import Allowed, Denied
from sqlalchemy import event
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from pyramid_cron.web import pages
from tests.apps import NOON, configure, run_by_hand
from tests.integration.processes import wait_until

LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
BEYOND = "9999-12-31T23:59:59-12:00"
NAMES = [
    "plain",
    "a/run",
    "with space",
    "50%",
    "..",
    "a/../b",
    "ünï",
    "q?x#y",
    "<b>&\"'",
    "a.b;c+d",
]


def browse(config, **environ):
    return TestApp(config.make_wsgi_app(), extra_environ=LOCAL | environ)


def has_ended(page):
    """The page of a run, once it has ended."""
    return page.html.find(attrs={"data-live": True}) is None and page


def shop():
    config = configure()
    config.add_cron_task(lambda system: None, name="fine", description="<i>it</i>")
    config.add_cron_task(failing, name="failing")
    return config


def failing(system):
    raise ValueError("<script>alert(1)</script>\x1b[31m\u202e")


@pytest.mark.parametrize("page", ["tasks", "tasks/failing", "runs", "waiting", "timeline"])
def test_a_browser_gets_a_page_and_others_the_same_as_json(page):
    app = browse(shop())
    app.get("/cron")
    html = app.get(f"/cron/{page}", headers=HTML)
    assert html.content_type == "text/html"
    assert "unsafe-inline" not in html.headers["Content-Security-Policy"]
    for accept in ("text/html; charset=utf-8", "TEXT/HTML", "text/html, */*"):
        assert app.get(f"/cron/{page}", headers={"Accept": accept}).content_type == "text/html"
    for accept in ("*/*", "application/json", "application/json; charset=utf-8", "", "text/*"):
        data = app.get(f"/cron/{page}", headers={"Accept": accept})
        assert data.content_type == "application/json"
        assert (data.headers["Vary"], html.headers["Cache-Control"]) == ("Accept", "no-store")


def test_a_page_shows_text_as_text():
    app = browse(shop())
    app.get("/cron")
    [run] = app.get("/cron/runs?task=failing").json["runs"]
    for page in ("/cron/runs", run["url"], "/cron/tasks"):
        text = app.get(page, headers=HTML).text
        assert "<script>alert" not in text
        assert "<i>it" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "\\x1b[31m\\u202e" in app.get(run["url"], headers=HTML).text
    assert app.get(run["url"]).json["traceback"].startswith("Traceback")


def test_the_page_of_a_program_has_its_exit_status():
    config = shop()
    config.add_cron_command(["sh", "-c", "exit 3"], name="program")
    app = browse(config)
    app.get("/cron")
    for run in app.get("/cron/runs").json["runs"]:
        is_program = run["task"] == "program"
        assert run["exit_status"] == (3 if is_program else None)
        assert ("<dt>Exit status</dt>" in app.get(run["url"], headers=HTML).text) is is_program


def test_a_task_has_the_same_state_everywhere():
    config = configure()
    config.add_cron_task(lambda system: None, name="fine")
    config.add_cron_task(lambda system: None, name="hourly", min=0, hour="*", grace="5m")
    config.add_cron_task(failing, name="failing", pause_after=2)
    app = browse(config)
    cron, tick = get_cron(config.registry), CronTester(config.registry).tick
    tick(at=NOON)
    tick(at=NOON + timedelta(minutes=70))
    cron.clock = lambda: NOON + timedelta(minutes=71)
    expected = {"failing": "gave_up", "hourly": "missed", "fine": "ok"}
    rows = app.get("/cron/tasks").json["tasks"]
    assert {row["task"]: row["state"] for row in rows} == expected
    assert [row["task"] for row in rows] == list(expected)
    page = app.get("/cron/tasks", headers=HTML)
    cells = page.html.find_all("td", attrs={"data-label": "State"})
    shown = [cell.text.split(maxsplit=1)[1].strip() for cell in cells]
    assert shown == ["gave up", "missed", "ok"]
    assert page.html.title.text == "(2) Tasks – cron"
    told = app.get("/cron/health", headers={"Accept": "application/json"}, status=503).json
    assert {task["task"]: task["state"] for task in told["tasks"]} == expected
    for name, state in expected.items():
        assert app.get(f"/cron/tasks/{name}").json["state"] == state
        status = scheduler(config.registry).status(name)
        assert (status.state, status.last.state.is_final) == (state, True)
        assert status.last.state != "skipped"
        assert f'task_state{{state="{state}",task="{name}"}} 1.0' in app.get("/cron/metrics").text
    assert [row["task"] for row in app.get("/cron/tasks?state=missed").json["tasks"]] == ["hourly"]
    assert app.get("/cron/tasks/failing").json["next"] is None
    assert app.get("/cron/tasks/failing").json["next_slots"] == []


def test_durations_are_bars_and_a_failed_run_has_a_dot():
    app = browse(shop())
    assert "<svg" not in app.get("/cron/tasks", headers=HTML).text
    assert "It has not run yet." in app.get("/cron/tasks/fine", headers=HTML).text
    app.get("/cron")
    run_by_hand(app, "fine")
    for page, dots in (("tasks/fine", 0), ("tasks/failing", 1), ("tasks", 1)):
        text = app.get(f"/cron/{page}", headers=HTML).text
        assert text.count("<circle") == text.count('<rect class="bad"') == dots
        assert text.count('<rect class="good"') == (0 if page == "tasks/failing" else 2)
    assert "The last 2 runs took up to " in text
    alone = app.get("/cron/tasks/failing", headers=HTML).text
    assert "The last run took " in alone
    assert "1 did not succeed" in alone


@pytest.mark.parametrize("name", NAMES)
def test_a_task_may_have_any_name(name):
    config = configure()
    config.add_cron_task(lambda system: system["payload"], name=name, on_demand=True)
    app = browse(config)
    [task] = app.get("/cron/tasks").json["tasks"]
    assert not {".", ".."} & set(task["url"].split("/"))
    assert app.get(task["url"]).json["task"] == name
    run = app.post_json(f"{task['url']}/run", {"payload": {"id": 7}}, status=202).json
    assert (run["task"], run["state"], run["payload"]) == (name, "claimed", {"id": 7})
    assert app.post_json(f"{task['url']}/pause", {"for": "2h"}).json["paused"]["until"]
    assert app.get(task["url"]).json["paused"]
    assert app.post_json(f"{task['url']}/resume", {}).json["paused"] is None


@pytest.fixture(scope="module")
def labelled():
    config = configure()
    labels = {"a": {"team": "billing", "tier": "1"}, "b": {"team": "web"}, "c": {}}
    for name, own in labels.items():
        config.add_cron_task(failing, name=name, labels=own)
    return browse(config)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "abc"),
        ("label=", "abc"),
        ("label=team:billing", "a"),
        ("label=team", "ab"),
        ("label=team&label=tier:1", "a"),
        ("label=team:bill", ""),
        ("label=team&q=b", "b"),
    ],
)
def test_tasks_are_found_by_their_labels(labelled, query, names):
    tasks = labelled.get(f"/cron/tasks?{query}").json["tasks"]
    assert "".join(task["task"] for task in tasks) == names


def test_labels_are_links_to_the_tasks_that_have_them(labelled):
    for page in ("/cron/tasks", "/cron/tasks/a"):
        link = '<a href="/cron/tasks?label=team%3Abilling">team:billing</a>'
        assert link in labelled.get(page, headers=HTML).text
    assert labelled.get("/cron/tasks/a").json["labels"] == {"team": "billing", "tier": "1"}


def test_the_next_page_has_the_same_labels(labelled):
    answer = labelled.get("/cron/tasks?label=team&limit=1").json
    assert [task["task"] for task in answer["tasks"]] == ["a"]
    assert answer["next"] == "/cron/tasks?label=team&limit=1&page=2"
    form = labelled.get("/cron/tasks?label=team&label=tier", headers=HTML).form
    assert form.submit().request.GET.getall("label") == ["team", "tier"]


def test_only_the_task_of_that_name_is_paused():
    config = configure()
    for name in ("*", "ab"):
        config.add_cron_task(lambda system: None, name=name)
    app = browse(config)
    app.post_json("/cron/tasks/*/pause", {"reason": "moving"})
    paused = {task["task"]: task["paused"] for task in app.get("/cron/tasks").json["tasks"]}
    assert paused["ab"] is None
    assert paused["*"]["reason"] == "moving"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "line"),
    [
        ("GET", "/cron/tasks/none", None, 404, "there is no cron task named 'none'"),
        ("GET", "/cron/runs/none", None, 404, "there is no run 'none'"),
        ("GET", "/cron/tasks?q=%ff", None, 400, "the query is not in UTF-8"),
        ("GET", "/cron/runs?limit=0", None, 400, "limit='0': must be a whole number"),
        ("GET", "/cron/runs?state=odd", None, 400, "state='odd': must be one of"),
        ("GET", "/cron/runs?before=x", None, 400, "before='x': must be the id of a run"),
        ("DELETE", "/cron/tasks", None, 405, "DELETE is not allowed here"),
        ("DELETE", "/cron/health", None, 405, "DELETE is not allowed here"),
        ("DELETE", "/cron/metrics", None, 405, "DELETE is not allowed here"),
        ("POST", "/cron/tasks/fine/fly", {}, 404, "a task has no action 'fly'"),
        ("POST", "/cron/tasks/fine/run", {"when": "x"}, 400, "'when' is no field"),
        ("POST", "/cron/tasks/fine/run", [], 400, "the body must be a JSON object"),
        ("POST", "/cron/tasks/fine/pause", {"until": "2020-01-01T00:00Z"}, 400, "in the future"),
        ("POST", "/cron/tasks/fine/pause", {"until": BEYOND}, 400, "is no moment in ISO 8601"),
        ("POST", "/cron/tasks/fine/pause", {"for": "soon"}, 400, "for"),
        ("POST", "/cron/tasks/fine/pause", {"for": "99999999d"}, 400, "for"),
        ("POST", "/cron/tasks/fine/run", {"after": "99999999d"}, 400, "after='99999999d'"),
        ("POST", "/cron/tasks/fine/pause", {"reason": 1}, 400, "reason=1: must be text"),
    ],
)
def test_an_error_is_one_line(method, path, body, status, line):
    app = browse(shop())
    if body is None:
        answer = app.request(path, method=method, status=status)
        html = app.request(path, method=method, status=status, headers=HTML)
        assert html.content_type == "text/html"
    else:
        answer = app.post_json(path, body, status=status)
    assert line in answer.json["detail"]
    assert "\n" not in answer.json["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_action_needs_a_post(method):
    app = browse(shop())
    app.get("/cron")
    run = app.get("/cron/runs?task=failing").json["runs"][0]["url"]
    for path in ("/cron/tasks/fine/run", "/cron/tasks/fine/pause", f"{run}/retry"):
        answer = app.request(path, method=method, status=405)
        assert answer.headers["Allow"] == "POST"
    for path in ("/cron/tasks/none/run", "/cron/tasks/run", "/cron/runs/none/retry"):
        app.request(path, method=method, status=404)


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
@pytest.mark.parametrize("fields", [{}, {"key": "a"}])
def test_a_payload_with_an_infinite_number_is_refused_in_one_line(number, fields):
    app = browse(shop())
    url, as_is = "/cron/tasks/fine/run", {"content_type": "application/json"}
    body = json.dumps(fields | {"payload": "?"}).replace('"?"', number)
    answer = app.post(url, body, status=400, **as_is)
    assert answer.json["detail"].startswith("payload: must be JSON; ")
    token = app.get("/cron/tasks/fine?confirm=run", headers=HTML).form["csrf_token"].value
    form = fields | {"payload": number, "csrf_token": token}
    page = app.post(url, form, headers=HTML, status=400)
    assert "payload: must be JSON; " in page.html.find(class_="notice").text
    assert app.get("/cron/runs").json["runs"] == []


def test_a_payload_that_is_too_long_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr("pyramid_cron.run.MAX_PAYLOAD_CHARACTERS", 100)
    long = {"payload": "x" * 100}
    answer = browse(shop()).post_json("/cron/tasks/fine/run", long, status=400)
    assert "has 102 characters of JSON, at most 100 are kept" in answer.json["detail"]


def test_a_run_that_succeeded_is_neither_cancelled_nor_retried():
    app = browse(shop())
    run = run_by_hand(app, "fine")
    for action in ("cancel", "retry"):
        app.post_json(f"{run['url']}/{action}", {}, status=409)
    failed = run_by_hand(app, "failing")
    retry = app.post_json(f"{failed['url']}/retry", {}, status=202).json
    assert app.get("/cron/tasks/failing").json["waiting_runs"] == [retry]


def test_a_form_needs_the_token_of_its_page_without_any_session():
    app = browse(shop())
    app.post("/cron/tasks/fine/run", status=403)
    form = app.get("/cron/tasks/fine?confirm=run", headers=HTML).forms[0]
    assert [(cookie.name, cookie.path) for cookie in app.cookiejar] == [("cron_csrf", "/cron")]
    form["payload"] = '{"id": 7}'
    answer = form.submit(headers=HTML)
    assert answer.status_int == 303
    page = wait_until(lambda: has_ended(answer.follow(headers=HTML)))
    assert "succeeded" in page.text
    assert "7" in page.html.find("h2", string="Payload").find_next("pre").text
    form["csrf_token"] = "wrong"
    form.submit(headers=HTML, status=403)


@pytest.mark.parametrize("mounted", ["", "/shop"])
def test_a_form_redirects_to_a_path_without_scheme_and_host(mounted):
    app = browse(shop(), SCRIPT_NAME=mounted)
    form = app.get(f"{mounted}/cron/tasks/fine?confirm=pause", headers=HTML).forms[0]
    answer = form.submit(headers=HTML, status=303)
    assert answer.headers["Location"] == f"{mounted}/cron/tasks/fine"
    assert "paused" in answer.follow(headers=HTML).text


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data; boundary=", "application/x-www-form-urlencoded; charset=latin-1"],
)
def test_a_malformed_form_is_refused(kind):
    sent = {"method": "POST", "body": b"a=b", "headers": {"Content-Type": kind}}
    answer = browse(shop()).request("/cron/tasks/fine/run", status=400, **sent)
    assert answer.json["detail"] == "the body is no form in UTF-8"


def test_json_from_another_site_is_refused():
    app = browse(shop())
    for header in (
        {"Origin": "http://evil.example"},
        {"Origin": "http://[bad"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        app.post_json("/cron/tasks/fine/run", {}, headers=header, status=403)
    app.post("/cron/tasks/fine/run", "{}", content_type="text/plain", status=403)


def test_a_token_takes_the_place_of_the_csrf_check():
    config = configure(**{"cron.token": "secret"})
    config.add_cron_task(lambda system: None, name="fine")
    app = browse(config)
    app.get("/cron/tasks", status=403)
    bearer = {"Authorization": "Bearer secret"}
    app.post("/cron/tasks/fine/run", headers=bearer, status=202)


def test_a_stranger_sees_nothing():
    app = browse(shop(), REMOTE_ADDR="203.0.113.9")
    for page in ("tasks", "runs", "waiting", "timeline", "openapi.json", "tasks/fine"):
        app.get(f"/cron/{page}", status=403)


def test_a_stranger_gets_json_or_a_line(caplog):
    app = browse(shop(), REMOTE_ADDR="203.0.113.9")
    answer = app.get("/cron/tasks", status=403)
    assert answer.json["detail"] == "fail 203.0.113.9"
    assert answer.headers["Cache-Control"] == "no-store"
    answer = app.get("/cron/tasks", headers=HTML, status=403)
    assert (answer.content_type, answer.text) == ("text/plain", "fail 203.0.113.9")
    assert "203.0.113.9 is not in cron.allow" in caplog.text


def test_a_task_can_be_run_later_from_another_machine():
    config = shop()
    app = browse(config)
    body = {"payload": {"id": 7}, "at": "2020-01-01T00:00:00Z", "key": "order 7"}
    answer = app.post_json("/cron/tasks/fine/run", body, status=202)
    run, moment = answer.json["run"], "2020-01-01T00:00:00Z"
    assert answer.json == {
        "run": run,
        "schedule": None,
        "task": "fine",
        "slot": moment,
        "attempt": 1,
        "trigger": "deferred",
        "state": "waiting",
        "not_before": moment,
        "why": "later",
        "key": "order 7",
        "payload": {"id": 7},
        "url": f"/cron/runs/{run}",
    }
    assert app.post_json("/cron/tasks/fine/run", body, status=202).json == answer.json
    app.get("/cron")
    runs = app.get("/cron/runs", {"task": "fine"}).json["runs"]
    assert [run["trigger"] for run in runs].count("deferred") == 1


@pytest.mark.parametrize(
    "body",
    [{"at": "soon"}, {"after": "soon"}, {"at": "2020-01-01T00:00Z", "after": 1}, {"key": 7}],
)
def test_a_wrong_time_or_key_is_refused(body):
    app = browse(shop())
    assert app.post_json("/cron/tasks/fine/run", body, status=400).json["detail"]


def test_the_last_moment_there_is_can_be_shown_east_of_utc():
    config = configure(**{"cron.timezone": "Europe/Berlin"})
    config.add_cron_task(lambda system: None, name="fine", on_demand=True)
    app = browse(config)
    last = "9999-12-31T23:59:59Z"
    app.post_json("/cron/tasks/fine/pause", {"until": last})
    app.post_json("/cron/tasks/fine/run", {"at": last}, status=202)
    for page in ("tasks", "tasks/fine"):
        assert "31 Dec 9999 23:59" in app.get(f"/cron/{page}", headers=HTML).text


def test_a_task_that_vanished_is_orphaned(tmp_path):
    url = {"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"}
    config = configure(**url)
    config.add_cron_task(lambda system: None, name="gone")
    browse(config).get("/cron")
    app = browse(configure(**url))
    [task] = app.get("/cron/tasks").json["tasks"]
    assert (task["task"], task["state"], task["schedule"]) == ("gone", "orphaned", None)
    assert "orphaned" in app.get(task["url"], headers=HTML).text
    app.post_json(f"{task['url']}/run", {}, status=409)


def test_runs_are_paged_by_the_last_run_of_a_page():
    app = browse(shop())
    for _ in range(5):
        run_by_hand(app, "fine")
    seen, path = [], "/cron/runs?limit=2"
    while path:
        page = app.get(path).json
        seen += [run["run"] for run in page["runs"]]
        path = page["next"]
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


def test_without_jinja2_there_is_json_and_a_line_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    pages.template_environment.cache_clear()
    app = browse(shop())
    answer = app.get("/cron/tasks", headers=HTML, status=501)
    assert 'pip install "pyramid_cron[web]"' in answer.text
    assert len(answer.text.splitlines()) == 1
    app.get("/cron/tasks", status=200)


@pytest.mark.parametrize(
    ("page", "queries", "frame"),
    [
        ("tasks", 11, 0),
        ("tasks/task-1", 15, 0),
        ("runs", 1, 9),
        ("waiting", 2, 9),
        ("timeline", 3, 9),
        ("run", 3, 9),
    ],
)
def test_a_page_takes_a_handful_of_queries_however_many_tasks_there_are(page, queries, frame):
    """The frame of a page tells how many tasks are unhealthy, and whether ticks come."""
    config = configure()
    for number in range(300):
        config.add_cron_task(lambda system: None, name=f"task-{number}")
    app = browse(config)
    app.get("/cron")
    path = f"/cron/{page}"
    if page == "run":
        path = app.get("/cron/runs?limit=1").json["runs"][0]["url"]
    statements = []
    engine = get_cron(config.registry).store.database._engine
    here = threading.get_ident()  # and not what the supervisor does beside it

    def record(_connection, _cursor, statement, *_):
        if threading.get_ident() == here:
            statements.append(statement)

    event.listen(engine, "before_cursor_execute", record)
    for headers in (HTML, {}):
        statements.clear()
        app.get(path, headers=headers)
        expected = queries + (frame if headers else 0)
        assert len([sql for sql in statements if sql != "BEGIN"]) == expected, statements


def test_pages_spell_out_invisible_characters():
    template = pages.template_environment().from_string("{{ text }}")
    assert template.render(text="a\0b\u202ec\nd") == "a\\x00b\\u202ec\nd"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "now"),
        (-1, "1 second ago"),
        (31, "in 31 seconds"),
        (31 * 60, "in 31 minutes"),
        (-91 * 60, "91 minutes ago"),
        (119.7, "in 2 minutes"),
        (7_170, "in 120 minutes"),
        (36 * 3600, "in 36 hours"),
        (-86_400 * 2.4, "2 days ago"),
    ],
)
def test_the_distance_of_a_moment_from_now_in_words(seconds, text):
    assert pages.format_relative(NOON + timedelta(seconds=seconds), NOON) == text


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (0.0004, "0 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 0 s"),
        (3599.7, "1 h 0 min"),
    ],
)
def test_a_duration_never_rounds_up_to_a_whole_larger_unit(span, text):
    assert pages.format_seconds(span) == text


def test_pages_load_nothing_from_other_hosts():
    app = browse(shop())
    app.get("/cron")
    for page in ("tasks", "runs", "timeline", "tasks/fine"):
        text = app.get(f"/cron/{page}", headers=HTML).text
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)
        assert " style=" not in text
        for path in re.findall(r"""(?:src|href)="(/cron/static[^"]+)""", text):
            app.get(path, status=200)


def test_where_addresses_alone_guard_the_pages_the_host_has_to_be_known(caplog):
    app = browse(configure(**{"cron.hosts": "shop.example"}), HTTP_HOST="evil.example")
    for path in ("tasks", "health", "metrics", "static/cron.css"):
        app.get(f"/cron/{path}", status=403)
    assert "/cron/tasks refused: asked for as 'evil.example', a name that" in caplog.text
    app.get("/cron", status=200)
    app.get("/cron/tasks", headers={"Host": "shop.example:8080"}, status=200)


class Security:
    """Each user has one permission, of the same name as the user."""

    def permits(self, request, context, permission):
        user = request.headers.get("X-User")
        return Allowed("") if user == permission else Denied("")

    def identity(self, request):
        return None

    authenticated_userid = forget = remember = identity


def secured(**settings):
    config = configure(**settings)
    config.set_security_policy(Security())
    config.add_cron_task(lambda system: None, name="fine")
    return browse(config, REMOTE_ADDR="203.0.113.9")


def test_a_permission_takes_the_place_of_the_addresses():
    app = secured(**{"cron.permission": "boss"})
    app.get("/cron/tasks", status=403)
    app.get("/cron/tasks", headers={"X-User": "boss"}, status=200)
    app.post_json("/cron/tasks/fine/run", {}, headers={"X-User": "boss"}, status=202)
    app.post("/cron/tasks/fine/run", headers={"X-User": "boss"}, status=403)


def test_a_permission_to_look_is_none_to_act(caplog):
    app = secured(**{"cron.view_permission": "clerk", "cron.permission": "boss"})
    app.get("/cron/tasks", status=403)
    assert "lacks the permission 'clerk'" in caplog.text
    clerk, boss = ({"X-User": user} for user in ("clerk", "boss"))
    for path in ("tasks", "tasks/fine", "runs", "timeline", "static/cron.css"):
        app.get(f"/cron/{path}", headers=clerk, status=200)
        app.get(f"/cron/{path}", headers=boss, status=200)
    app.post_json("/cron/tasks/fine/run", {}, headers=clerk, status=403)
    assert "lacks the permission 'boss'" in caplog.text
    app.post_json("/cron/tasks/fine/run", {}, headers=boss, status=202)
    assert "confirm=" in app.get("/cron/tasks/fine", headers=HTML | boss).text
    assert "confirm=" not in app.get("/cron/tasks/fine", headers=HTML | clerk).text
    app.get("/cron/tasks/fine?confirm=run", headers=HTML | boss, status=200)
    app.get("/cron/tasks/fine?confirm=run", headers=HTML | clerk, status=403)


def test_with_a_permission_to_look_alone_the_guard_says_who_may_act():
    app = secured(**{"cron.view_permission": "clerk"})
    clerk = {"X-User": "clerk"}
    app.get("/cron/tasks", headers=clerk, status=200)
    app.get("/cron/tasks", extra_environ=LOCAL, status=403)
    app.post_json("/cron/tasks/fine/run", {}, headers=clerk, status=403)
    app.post_json("/cron/tasks/fine/run", {}, extra_environ=LOCAL, status=202)


def test_without_a_security_policy_a_permission_is_nobodys(caplog):
    config = configure(**{"cron.permission": "see cron", "cron.token": "0123456789abcdef"})
    config.add_cron_task(lambda system: None, name="fine")
    app = browse(config)
    app.get("/cron/tasks", status=403)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "/cron/tasks refused: the application has no security policy to grant the permission"
        " 'see cron'"
    ]
    app.post_json("/cron/tasks/fine/run", {}, status=403)
    app.get("/cron/tasks", headers={"Authorization": "Bearer 0123456789abcdef"}, status=200)
