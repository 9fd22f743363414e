"""What waits, on the pages and as JSON: shown, moved, ended; and retries that wait."""

from __future__ import annotations

import pytest
from webtest import TestApp

from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure, run_by_hand

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
LATER = "2100-01-01T00:00:00Z"
KEYS = {
    *("run", "task", "schedule", "slot", "attempt", "trigger"),
    *("state", "not_before", "why", "key", "payload"),
}


def fail(system):
    raise ValueError("broken")


@pytest.fixture
def config():
    config = configure(**{"cron.timezone": "Europe/Berlin"})
    config.add_cron_task(lambda system: None, name="fine", on_demand=True)
    config.add_cron_task(fail, name="failing", on_demand=True)
    return config


@pytest.fixture
def app(config):
    app = config.make_wsgi_app()
    CronTester(app).tick(at=NOON)
    return TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})


@pytest.fixture
def defer(app):
    """Defer a task; return the run that waits."""

    def defer(**body):
        return app.post_json("/cron/tasks/fine/run", {"at": LATER} | body, status=202).json

    return defer


def page(app, path):
    return app.get(path, headers=HTML)


def follow(app, answer, text):
    """Return the page that a link with this text leads to."""
    [link] = [link for link in answer.html.find_all("a") if text in link.text]
    return page(app, link["href"])


def test_a_deferred_run_is_answered_with_its_id_and_page(app):
    body = {"after": "10m", "key": "k", "payload": {"id": 7}}
    run = app.post_json("/cron/tasks/fine/run", body, status=202).json
    assert run.keys() == KEYS | {"url"}
    assert (run["not_before"], run["state"], run["why"]) == (
        "2026-06-15T12:10:00Z",
        "waiting",
        "later",
    )
    assert app.get(run["url"]).json["payload"] == {"id": 7}


def test_a_key_that_waits_is_moved_only_with_replace(app, defer):
    first = defer(key="k", payload=1)
    assert defer(key="k", payload=2, at="2100-01-02T00:00Z") == first
    moved = defer(key="k", payload=2, at="2100-01-02T00:00Z", replace=True)
    assert (moved["run"], moved["payload"]) == (first["run"], 2)
    assert moved["not_before"] == "2100-01-02T00:00:00Z"
    app.post_json(f"{first['url']}/cancel", {})
    body = {"at": LATER, "key": "k"}
    over = app.post_json("/cron/tasks/fine/run", body, status=200).json
    assert (over["run"], over["state"]) == (first["run"], "cancelled")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"replace": True}, "replace=True: needs a key"),
        ({"replace": 5, "key": "k"}, "replace=5: must be true or false"),
    ],
)
def test_a_wrong_replace_is_refused(app, body, message):
    answer = app.post_json("/cron/tasks/fine/run", body, status=400)
    assert answer.json["detail"].startswith(message)


def test_what_waits_is_listed_and_narrowed(app, defer):
    second, first = defer(at="2100-01-02T00:00Z", key="two"), defer()
    failed = run_by_hand(app, "failing")
    retry = app.post_json(f"{failed['url']}/retry", {}, status=202).json
    answer = app.get("/cron/waiting").json
    assert (answer["runs"], answer["total"]) == ([retry, first, second], 3)
    assert answer["now"].startswith("2026-06-15T12:00:")
    limited = app.get("/cron/waiting?limit=1&task=fine").json
    assert (limited["runs"], limited["total"]) == ([first], 2)
    assert app.get("/cron/waiting?trigger=retry").json["runs"] == [retry]
    assert app.get("/cron/waiting?task=nope").json["runs"] == []
    assert app.get("/cron/runs?state=waiting").json["runs"][0]["why"] == "later"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("state=failed", "'state' is no parameter; there is confirm, limit, task, trigger"),
        ("trigger=odd", "trigger='odd': must be one of schedule, catch_up, retry, manual,"),
        ("limit=0", "limit='0': must be a whole number"),
        ("task=%00", "task: must not contain NUL"),
        ("confirm=cancel", "confirm='cancel': needs a task"),
        ("confirm=fly&task=fine", "confirm='fly': must be one of cancel"),
        ("confirm=cancel&task=fine", "a confirmation is a page; POST to /cron/waiting/cancel"),
    ],
)
def test_a_wrong_query_is_one_line(app, query, message):
    answer = app.get(f"/cron/waiting?{query}", status=400)
    assert answer.json["detail"].startswith(message)


def test_the_page_shows_when_why_key_and_payload(app, defer):
    run = defer(key="order 7", payload={"text": "x" * 100})
    for path in ("/cron/waiting", "/cron/tasks/fine"):
        text = page(app, path).html.find("main").text
        assert "01 Jan 2100 01:00" in text
        assert "its moment" in text
        assert "order 7" in text
        assert '{"text": "xxx' in text
        assert "x" * 80 not in text
    page(app, "/cron/waiting").click(href=run["run"])
    assert "Nothing waits." in page(app, "/cron/waiting?task=failing").text
    navigation = page(app, "/cron/waiting").html.find("nav")
    assert navigation.find(attrs={"aria-current": "page"}).text == "Waiting"


def test_the_page_of_a_task_lists_what_waits_of_it(app, defer):
    runs = [defer(at=f"2100-01-0{day}T00:00:00Z") for day in range(1, 9)]
    answer = app.get("/cron/tasks/fine").json
    assert (answer["waiting"], answer["waiting_runs"]) == (8, runs[:5])
    assert "8 waiting" in page(app, "/cron/tasks/fine").text


def test_the_page_of_a_waiting_run_says_what_it_waits_for(app, defer):
    run = defer(key="order 7", payload={"id": 7})
    html = page(app, run["url"])
    text = html.html.find("main").text
    for part in ("waiting", "Not before", "01 Jan 2100", "its moment", "order 7", '"id": 7'):
        assert part in text
    for part in ("Started", "process", "Where"):
        assert part not in text
    assert [link.text for link in html.html.find_all(class_="button")] == ["Run at…", "Cancel…"]
    assert html.html.find(attrs={"data-live": "1"}) is not None
    assert html.html.find("noscript").a["href"] == run["url"]
    assert html.html.find("progress") is None


def test_a_waiting_run_is_moved(app, defer):
    run = defer()
    moved = app.post_json(f"{run['url']}/reschedule", {"after": "1h"}).json
    assert moved == run | {"not_before": "2026-06-15T13:00:00Z"}
    moved = app.post_json(f"{run['url']}/reschedule", {"at": "2026-07-01T00:00+02:00"}).json
    assert moved["not_before"] == "2026-06-30T22:00:00Z"
    assert app.post_json(f"{run['url']}/reschedule", {}).json["not_before"] == (
        "2026-06-15T12:00:00Z"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"after": "soon"}, "after='soon'"),
        ({"at": "2100-01-01T00:00"}, "at='2100-01-01T00:00'"),
        ({"at": 5}, "at=5"),
        ({"at": LATER, "after": "1h"}, "at='2100-01-01T00:00:00Z' and after='1h' each say when"),
        ({"key": "k"}, "'key' is no field; there is after, at"),
    ],
)
def test_a_wrong_moment_is_refused(app, defer, body, message):
    answer = app.post_json(f"{defer()['url']}/reschedule", body, status=400)
    assert answer.json["detail"].startswith(message)


def test_a_form_takes_local_time(app, defer):
    run = defer()
    form = page(app, f"{run['url']}?confirm=reschedule").forms[0]
    form["at"] = "2026-07-01T09:00"
    answer = form.submit(headers=HTML, status=303)
    assert answer.headers["Location"] == run["url"]
    assert "01 Jul 2026 09:00" in answer.follow(headers=HTML).text
    assert app.get(run["url"]).json["not_before"] == "2026-07-01T07:00:00Z"
    form["at"] = "soon"
    refused = form.submit(headers=HTML, status=400)
    assert refused.html.find(class_="notice").text == "at: 'soon' is no moment in ISO 8601"


def test_a_form_defers_and_leads_to_the_run_that_waits(app):
    form = page(app, "/cron/tasks/fine?confirm=run").forms[0]
    form["after"], form["key"], form["payload"] = "10m", "k", "7"
    answer = form.submit(headers=HTML, status=303)
    assert "/cron/runs/" in answer.headers["Location"]
    assert "its moment" in answer.follow(headers=HTML).text


def test_what_does_not_wait_can_not_be_moved(app):
    run = run_by_hand(app, "fine")
    answer = app.post_json(f"{run['url']}/reschedule", {}, status=409)
    assert "it does not wait, it is succeeded" in answer.json["detail"]


def test_a_retry_is_answered_with_the_run_that_waits(app):
    failed = run_by_hand(app, "failing")
    retry = app.post_json(f"{failed['url']}/retry", {}, status=202).json
    assert retry["run"] != failed["run"]
    assert (retry["state"], retry["attempt"], retry["why"]) == ("waiting", 2, "retry")
    assert app.get(retry["url"]).json["attempts"][0]["run"] == failed["run"]
    form = page(app, f"{failed['url']}?confirm=retry").forms[0]
    answer = form.submit(headers=HTML, status=303)
    assert answer.headers["Location"] == retry["url"]
    assert "its delay after a failure" in answer.follow(headers=HTML).text


def test_a_waiting_run_is_cancelled_at_once(app, defer):
    run = defer()
    answer = app.post_json(f"{run['url']}/cancel", {}, status=200).json
    assert (answer["run"], answer["state"]) == (run["run"], "cancelled")
    assert not answer["cancel_requested"]
    app.post_json(f"{run['url']}/cancel", {}, status=409)


def test_the_cancellation_of_an_active_run_is_requested_and_shown(config):
    answers = []

    def cancel_itself(system):
        app = TestApp(config.registry["app"], extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        url = f"/cron/runs/{system['run'].id}"
        answers.append(app.post_json(f"{url}/cancel", {}, status=202).json)
        answers.append(app.get(url).json)
        answers.append(page(app, url).html.find("main"))

    config.add_cron_task(cancel_itself, name="task", on_demand=True)
    config.registry["app"] = config.make_wsgi_app()
    cron = get_cron(config.registry)
    # As if it ran in another process: it is not interrupted here.
    cron.supervisor.cancel = lambda run_id: None
    cron.store.cancel_requests = set
    CronTester(config.registry["app"]).run("task")
    cancelled, shown, main = answers
    assert (cancelled["cancel_requested"], shown["cancel_requested"]) == (True, True)
    assert "cancellation requested" in main.text
    assert main.find(class_="button") is None


def test_all_that_waits_of_a_task_is_cancelled(app, defer):
    for _ in range(3):
        defer()
    shown = page(app, "/cron/waiting?task=fine&trigger=deferred")
    form = follow(app, shown, "Cancel all 3").forms[0]
    assert (form["task"].value, form["trigger"].value) == ("fine", "deferred")
    answer = form.submit(headers=HTML, status=303)
    assert "Nothing waits." in answer.follow(headers=HTML).text
    defer()
    kept = app.post_json("/cron/waiting/cancel", {"task": "fine", "trigger": "retry"}).json
    assert kept == {"task": "fine", "trigger": "retry", "cancelled": 0}
    ended = app.post_json("/cron/waiting/cancel", {"task": "fine"}).json
    assert ended == {"task": "fine", "trigger": None, "cancelled": 1}


def test_the_page_of_a_task_leads_to_cancelling_all(app, defer):
    defer()
    confirmation = follow(app, page(app, "/cron/tasks/fine"), "Cancel all that waits")
    assert "fine: 1 waiting run" in confirmation.text
    follow(app, confirmation, "Back")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "task: must be the name of the task"),
        ({"task": 5}, 400, "task=5: must be text"),
        ({"task": "a\0"}, 400, "task: must not contain NUL"),
        ({"task": "fine", "trigger": "odd"}, 400, "trigger='odd': must be one of"),
        ({"task": "nope"}, 404, "there is no cron task named 'nope'"),
        ({"run": "x"}, 400, "'run' is no field; there is task, trigger"),
    ],
)
def test_what_can_not_be_cancelled_is_one_line(app, body, status, message):
    answer = app.post_json("/cron/waiting/cancel", body, status=status)
    assert answer.json["detail"].startswith(message)


def test_to_cancel_all_takes_a_post_and_a_token_of_the_page(app):
    assert app.get("/cron/waiting/cancel", status=405).headers["Allow"] == "POST"
    app.post("/cron/waiting/cancel", {"task": "fine"}, status=403)


@pytest.mark.parametrize("action", ["", "/reschedule", "/cancel"])
def test_the_id_in_a_path_may_be_shortened(app, defer, action):
    run = defer()
    ask = app.post_json if action else app.get
    arguments = [{}] if action else []
    assert ask(f"/cron/runs/{run['run'][:6]}{action}", *arguments).json["run"] == run["run"]
    short = ask(f"/cron/runs/{run['run'][:3]}{action}", *arguments, status=404)
    assert "is too short for a run's id" in short.json["detail"]
    defer()
    both = ask(f"/cron/runs/{run['run'][:6]}{action}", *arguments, status=404)
    assert "the ids of 2 runs begin with" in both.json["detail"]


def test_a_wrong_form_is_shown_again_as_it_was_filled_in(app, defer):
    form = page(app, "/cron/tasks/fine?confirm=run").forms[0]
    form["payload"], form["after"], form["key"] = "{", "soon", "order 7"
    for message in ("payload: must be JSON", "after='soon': use"):
        answer = form.submit(headers=HTML, status=400)
        assert message in answer.html.find(class_="notice", role="alert").text
        form = answer.forms[0]
        assert (form["after"].value, form["key"].value) == ("soon", "order 7")
        form["payload"] = "7"
    form["after"] = "10m"
    assert "its moment" in form.submit(headers=HTML, status=303).follow(headers=HTML).text
    form = page(app, f"{defer()['url']}?confirm=reschedule").forms[0]
    form["after"] = "soon"
    answer = form.submit(headers=HTML, status=400)
    assert answer.forms[0]["after"].value == "soon"
    form = page(app, "/cron/tasks/fine?confirm=pause").forms[0]
    form["for"], form["reason"] = "soon", "moving"
    answer = form.submit(headers=HTML, status=400)
    assert (answer.forms[0]["for"].value, answer.forms[0]["reason"].value) == ("soon", "moving")


def test_a_form_that_is_none_is_a_page_with_the_error(app):
    body = {"headers": HTML | {"Content-Type": "multipart/form-data; boundary="}, "status": 400}
    answer = app.request("/cron/tasks/fine/run", method="POST", body=b"a=b", **body)
    assert "the body is no form in UTF-8" in answer.html.find(class_="notice").text
