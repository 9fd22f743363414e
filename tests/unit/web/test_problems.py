"""Errors and unchanged answers, as machines read them."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.errors import StoreError
from pyramid_cron.store.results import write_outputs
from pyramid_cron.testing import CronTester
from pyramid_cron.web.request_bodies import MAX_BODY_BYTES
from tests.apps import NOON, configure

HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}
STRANGER = {"REMOTE_ADDR": "203.0.113.9"}
TEXT_TYPE = {"Content-Type": "text/plain"}
TAGGED = ("actions", "upcoming", "overview", "tasks", "tasks/fine", "runs", "waiting", "schedules")
PAGES = (
    *("", "overview", "tasks", "tasks/fine", "runs", "waiting", "schedules", "timeline"),
    *("health", "openapi.json", "upcoming", "actions"),
)


@pytest.fixture
def config():
    config = configure()
    config.add_cron_task(lambda system: None, name="fine", on_demand=True)
    return config


@pytest.fixture
def app(config):
    app = config.make_wsgi_app()
    CronTester(app).tick(at=NOON)
    get_cron(app.registry).clock = lambda: NOON
    return TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})


def problem_of(answer):
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    problem = answer.json
    assert (problem.pop("type"), problem.pop("status")) == ("about:blank", answer.status_int)
    return problem


def test_an_unknown_parameter_is_named_with_what_was_meant(app):
    problem = problem_of(app.get("/cron/runs?tusk=fine", status=400))
    assert (problem["title"], problem["parameter"]) == ("Bad Request", "tusk")
    meant = "'tusk' is no parameter; did you mean 'task'?; there is before, confirm, host, "
    assert problem["detail"].startswith(meant)
    assert problem_of(app.get("/cron/overview?x=1", status=400)) == {
        "title": "Bad Request",
        "detail": "'x' is no parameter; there is none",
        "parameter": "x",
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_page_refuses_an_unknown_parameter(app, page):
    problem = problem_of(app.get(f"/cron/{page}?nonsense=1", status=400))
    assert problem["parameter"] == "nonsense"


@pytest.mark.parametrize("action", ["tasks/fine/run", "waiting/cancel", "schedules"])
def test_an_action_refuses_an_unknown_parameter(app, action):
    answer = app.post_json(f"/cron/{action}?payload=1", {}, status=400)
    assert problem_of(answer)["detail"] == "'payload' is no parameter; there is none"


def test_a_parameter_that_is_to_blame_is_named(app):
    assert problem_of(app.get("/cron/runs?limit=0", status=400))["parameter"] == "limit"
    assert "parameter" not in problem_of(app.get("/cron/runs?task=%ff", status=400))


@pytest.mark.parametrize(
    ("action", "body", "argument"),
    [
        ("run", {"paylod": 1}, "paylod"),
        ("run", {"after": "soon"}, "after"),
        ("pause", {"for": "soon"}, "for"),
        ("pause", {"until": "soon"}, "until"),
        ("pause", {"reason": 1}, "reason"),
        ("run", [], None),
    ],
)
def test_an_argument_that_is_to_blame_is_named(app, action, body, argument):
    problem = problem_of(app.post_json(f"/cron/tasks/fine/{action}", body, status=400))
    assert problem.get("argument") == argument


def test_a_field_that_is_unknown_is_named_with_what_was_meant(app):
    problem = problem_of(app.post_json("/cron/tasks/fine/run", {"paylod": 1}, status=400))
    assert problem["detail"].startswith("'paylod' is no field; did you mean 'payload'?; there is")


def test_what_is_not_there_or_against_the_state_is_a_problem(app):
    assert problem_of(app.get("/cron/tasks/other", status=404))["title"] == "Not Found"
    run = app.post_json("/cron/tasks/fine/run", {"after": 0}).json
    app.post_json(f"{run['url']}/cancel", {})
    assert problem_of(app.post_json(f"{run['url']}/cancel", {}, status=409)) == {
        "title": "Conflict",
        "detail": f"run {run['run']} is over: it has cancelled",
    }


def test_a_method_that_is_not_allowed_is_a_problem(app):
    answer = app.delete("/cron/tasks", status=405)
    assert problem_of(answer)["detail"] == "DELETE is not allowed here"
    assert answer.headers["Allow"] == "GET, HEAD"
    page = app.request("/cron/tasks", method="DELETE", headers=HTML, status=405)
    assert (page.content_type, page.headers["Allow"]) == ("text/html", "GET, HEAD")


def test_a_body_of_another_type_is_refused(app):
    post = "/cron/tasks/fine/pause"
    app.post_json(post, {})
    with_token = configure(**{"cron.token": "secret"})
    with_token.add_cron_task(lambda system: None, name="fine", on_demand=True)
    app = TestApp(with_token.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    headers = {"Authorization": "Bearer secret", **TEXT_TYPE}
    problem = problem_of(app.post(post, "{}", headers=headers, status=415))
    assert problem["detail"] == "text/plain: must be application/json or a form"
    assert app.post(post, "", headers=headers, status=200)


def test_a_body_that_is_too_large_is_refused(app):
    post = "/cron/tasks/fine/run"
    body = {"payload": "x" * MAX_BODY_BYTES}
    problem = problem_of(app.post_json(post, body, status=413))
    assert problem["detail"] == "the body is too large: it may have 5,242,880 bytes"


def test_a_body_that_comes_in_chunks_is_read_as_far_as_it_may_be(app):
    environ = {"wsgi.input_terminated": True, "REMOTE_ADDR": "127.0.0.1"}

    def send(body, status):
        request = app.RequestClass.blank("/cron/tasks/fine/pause", method="POST", environ=environ)
        request.body = body
        request.content_type = "application/json"
        request.content_length = None
        return app.do_request(request, status=status)

    assert send(b'{"for": "2h"}', 200).json["paused"]["until"] == "2026-06-15T14:00:00Z"
    assert problem_of(send(b" " * (MAX_BODY_BYTES + 1), 413))


@pytest.mark.parametrize("path", ["/cron/tasks", "/cron/health", "/cron"])
def test_a_stranger_who_asks_for_json_gets_a_problem(app, path):
    answer = app.get(path, headers=JSON, extra_environ=STRANGER, status=403)
    assert problem_of(answer) == {"title": "Forbidden", "detail": "fail 203.0.113.9"}


def test_the_trigger_answers_with_text_unless_json_is_asked_for(app):
    assert app.get("/cron", extra_environ=STRANGER, status=403).text == "fail 203.0.113.9"
    answer = app.delete("/cron", status=405)
    assert (answer.text, answer.headers["Allow"]) == ("method not allowed", "GET, POST")
    answer = app.delete("/cron", headers=JSON, status=405)
    assert problem_of(answer)["detail"] == "method not allowed"
    assert answer.headers["Allow"] == "GET, POST"


def test_who_lacks_the_permission_gets_a_problem_in_json_and_else_the_applications_view(config):
    config.add_settings({"cron.permission": "operate"})
    config.add_forbidden_view(lambda request: request.response)
    app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    problem = problem_of(app.get("/cron/tasks", headers=JSON, status=403))
    assert problem == {"title": "Forbidden", "detail": "the permission is missing"}
    for accept in ("*/*", "text/html", "text/html, application/json;q=0.9"):
        assert app.get("/cron/tasks", headers={"Accept": accept}).text == ""


def test_a_store_that_can_not_be_read_is_a_problem(app, monkeypatch):
    def fail(*_):
        raise StoreError("away") from OperationalError("", {}, Exception())

    monkeypatch.setattr(get_cron(app.app.registry).store.database, "read", fail)
    problem = problem_of(app.get("/cron/runs", status=503))
    assert problem["detail"] == "the store can't be read or written"
    problem = problem_of(app.get("/cron/health", headers=JSON, status=503))
    assert problem["healthy"] is False
    assert problem["detail"] == "the store can't be read: away"
    assert app.get("/cron", status=503).text == "fail store"
    assert problem_of(app.get("/cron", headers=JSON, status=503))["detail"] == "fail store"


@pytest.mark.parametrize("accept", [JSON, HTML])
@pytest.mark.parametrize("page", [page for page in PAGES if page in TAGGED])
def test_who_has_a_page_already_gets_no_other_until_something_happens(app, page, accept):
    first = app.get(f"/cron/{page}", headers=accept)
    asks = {**accept, "If-None-Match": first.headers["ETag"]}
    get_cron(app.app.registry).clock = lambda: NOON.replace(second=9)
    same = app.get(f"/cron/{page}", headers=asks, status=304)
    assert (same.body, same.headers["ETag"]) == (b"", first.headers["ETag"])
    app.post_json("/cron/tasks/fine/run", {"after": "1h"})
    app.post_json("/cron/tasks/fine/run", {})
    app.post_json("/cron/schedules", {"name": "a", "task": "fine", "hour": 7})
    assert (
        app.get(f"/cron/{page}", headers=asks, status=200).headers["ETag"] != asks["If-None-Match"]
    )


def test_who_has_a_log_already_gets_no_other_until_it_grows(app):
    run = scheduler(app.app.registry).run("fine")
    first = app.get(f"/cron/runs/{run.id}/log")
    asks = {"If-None-Match": first.headers["ETag"]}
    app.get(f"/cron/runs/{run.id}/log", headers=asks, status=304)
    store = get_cron(app.app.registry).store
    with store.write_session() as session:
        write_outputs(session, [{"run_id": run.id, "log": "more", "stdout": None, "stderr": None}])
    assert app.get(f"/cron/runs/{run.id}/log", headers=asks, status=200).text == "more"


def test_json_may_be_kept_and_asked_for_again_and_pages_may_not(app):
    data = app.get("/cron/runs", headers=JSON)
    assert data.headers["Cache-Control"] == "private, no-cache"
    assert data.headers["ETag"].startswith('W/"')
    assert app.get("/cron/runs", headers=HTML).headers["Cache-Control"] == "no-store"
