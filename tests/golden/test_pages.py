"""The pages as JSON, and what their actions answer."""

from __future__ import annotations

import re

import pytest

from tests.golden.conftest import MINUTE
from tests.integration.processes import wait_until

STRANGER = {"REMOTE_ADDR": "203.0.113.9"}


@pytest.fixture
def ask(web):
    """Ask for a page; return the request and all of the answer that a client looks at."""

    def ask(method, path, body=None, headers=None, environ=None):
        answer = send(web, method, path, body, headers, environ)
        shown = {"request": f"{method} {path}", "sent": body, "status": answer.status}
        shown |= {
            name: answer.headers[name]
            for name in ("Content-Type", "Cache-Control", "Allow", "Location", "Vary")
            if name in answer.headers
        }
        is_json = answer.content_type.endswith("json")
        shown["body"] = answer.json if is_json and method != "HEAD" else answer.text.splitlines()
        return shown

    return ask


def send(web, method, path, body, headers, environ):
    common = {"headers": headers, "expect_errors": True}
    if method == "POST":
        body = "" if body is None else body
        post = web.post if isinstance(body, str) else web.post_json
        return post(path, body, extra_environ=environ, **common)
    return web.request(path, method=method, environ=environ, **common)


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("tasks", ["/cron/tasks", "/cron/tasks?q=a&limit=2&page=2"]),
        ("task", [f"/cron/tasks/{task}" for task in ("orders", "audit", "sweep", "parcels")]),
        ("runs", ["/cron/runs", "/cron/runs?task=mail&state=failed&state=lost&limit=2"]),
        ("waiting", ["/cron/waiting", "/cron/waiting?task=sweep&trigger=deferred&limit=2"]),
        ("timeline", ["/cron/timeline"]),
        ("health", ["/cron/health"]),
        ("openapi", ["/cron/openapi.json"]),
    ],
)
def test_a_page(ask, golden, name, paths):
    accept = {"Accept": "application/json"}
    golden(f"pages/{name}.json", [ask("GET", path, headers=accept) for path in paths])


@pytest.mark.parametrize("task", ["orders", "mail", "refund", "backup", "forecast", "parcels"])
def test_a_run(ask, golden, newest, task):
    run = newest(task)
    golden(f"pages/run_{task}.json", [ask("GET", f"/cron/runs/{run}{end}") for end in ("", "/log")])


def test_health_as_text(ask, golden):
    golden("pages/health_text.json", ask("GET", "/cron/health"))


def test_metrics(ask, golden):
    shown = ask("GET", "/cron/metrics", headers={"Accept": "text/plain"})
    shown["body"] = [
        re.sub(r"(_seconds_(?:sum|bucket)\{.*|_success_timestamp_seconds\{.*) .*", r"\1 #", line)
        for line in shown["body"]
    ]
    # The version of the format is the client library's.
    shown["Content-Type"] = shown["Content-Type"].partition(";")[0]
    golden("pages/metrics.json", shown)


def test_actions_on_tasks(ask, golden, clock, web):
    steps = [
        ("orders/run", {"payload": {"of": "today"}}),
        ("mail/run", {}),
        ("orders/pause", {"for": "2h", "reason": "moving"}),
        ("poll/pause", {"until": "2026-06-16T00:00:00+02:00"}),
        ("mail/pause", {}),
        ("orders/resume", {}),
        ("refund/run", {"after": "90s", "key": "a", "payload": 1}),
        ("refund/run", {"at": "2026-06-15T18:00:00Z"}),
        ("refund/run", {"after": "90s", "key": "a", "payload": 2, "replace": True}),
    ]
    answers = []
    for path, body in steps:
        clock.moment += MINUTE
        answers.append(ask("POST", f"/cron/tasks/{path}", body))
        if "/run" in path and answers[-1]["body"]["state"] == "claimed":
            wait_until(lambda: web.get(answers[-1]["body"]["url"]).json["finished"])
    golden("pages/actions_on_tasks.json", answers)


def test_actions_on_runs(ask, golden, newest):
    mail, parcels = newest("mail"), newest("parcels")
    steps = [f"{mail}/retry", f"{parcels}/cancel", f"{mail}/cancel", f"{parcels}/fly"]
    golden("pages/actions_on_runs.json", [ask("POST", f"/cron/runs/{step}", {}) for step in steps])


def test_actions_on_what_waits(ask, golden, newest_waiting):
    run = newest_waiting("refund")
    steps = [
        (f"runs/{run}/reschedule", {"at": "2026-06-16T09:00:00+02:00"}),
        (f"runs/{run}/reschedule", {"after": "soon"}),
        (f"runs/{run}/cancel", {}),
        (f"runs/{run}/reschedule", {"after": "10m"}),
        ("waiting/cancel", {"task": "sweep", "trigger": "backfill"}),
        ("waiting/cancel", {"task": "sweep", "trigger": "odd"}),
        ("waiting/cancel", {"task": "nope"}),
        ("waiting/cancel", {}),
        (f"runs/{run[:3]}/cancel", {}),
    ]
    answers = [ask("POST", f"/cron/{path}", body) for path, body in steps]
    golden("pages/actions_on_waiting.json", answers)


@pytest.mark.parametrize("page", ["tasks", "tasks/orders", "runs", "health", "metrics", ""])
def test_a_stranger_is_refused(ask, golden, page):
    path = f"/cron/{page}".rstrip("/")
    answers = [
        ask("GET", path, environ=STRANGER, headers={"Accept": accept})
        for accept in ("*/*", "application/json", "text/html")
    ]
    golden(f"pages/refused_{page.replace('/', '_') or 'trigger'}.json", answers)


def test_what_is_not_there(ask, golden):
    paths = ["tasks/order", "tasks/orders/", "runs/none", "runs/none/log", "static/none.css", "no"]
    golden("pages/not_found.json", [ask("GET", f"/cron/{path}") for path in paths[:4]])
    statuses = {path: ask("GET", f"/cron/{path}")["status"] for path in paths[4:]}
    golden("pages/not_found_elsewhere.json", statuses)


def test_methods_that_are_not_allowed(ask, golden):
    pages = ("", "/tasks", "/tasks/orders", "/runs", "/waiting", "/timeline", "/health", "/metrics")
    asked = [("DELETE", f"/cron{page}") for page in pages]
    asked += [("POST", "/cron/tasks"), ("POST", "/cron/runs"), ("HEAD", "/cron")]
    golden("pages/not_allowed.json", [ask(*each) for each in asked])


def test_what_is_no_query(ask, golden):
    queries = [
        "tasks?q=%ff",
        "tasks?page=0",
        "tasks?limit=101",
        "tasks/orders?confirm=fly",
        "tasks/orders?confirm=run",
        "runs?limit=0",
        "runs?state=odd",
        "runs?before=x",
        "waiting?trigger=odd",
        "waiting?state=failed",
        "waiting?confirm=cancel",
    ]
    golden("pages/wrong_query.json", [ask("GET", f"/cron/{query}") for query in queries])


def test_what_is_no_action(ask, golden):
    bodies = [
        ("fly", {}),
        ("run", []),
        ("run", {"when": "x"}),
        ("run", {"after": "soon"}),
        ("run", {"at": "2026-06-15T18:00:00"}),
        ("run", {"key": ""}),
        ("run", {"replace": True}),
        ("pause", {"until": "2020-01-01"}),
        ("pause", {"until": "2020-01-01", "for": "1h"}),
        ("pause", {"for": "soon"}),
        ("pause", {"reason": 1}),
        ("resume", {"for": "1h"}),
        ("run", "payload=1"),
    ]
    answers = [ask("POST", f"/cron/tasks/orders/{action}", body) for action, body in bodies]
    elsewhere = {"Origin": "https://example.com"}
    answers.append(ask("POST", "/cron/tasks/orders/run", {}, headers=elsewhere))
    golden("pages/wrong_action.json", answers)
