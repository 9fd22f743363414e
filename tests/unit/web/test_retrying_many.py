"""All runs that a filter shows, and that failed for good, are tried again by one action."""

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def works():
    """The names of the tasks that do not fail."""
    return {"fine"}


@pytest.fixture
def config(works):
    config = configure()

    def work(system):
        if system["run"].task not in works:
            raise ValueError("broken")

    for name in ("fine", "mails", "reports"):
        config.add_cron_task(work, name=name, hour=12, min="*")
    return config


@pytest.fixture
def cron(config):
    cron = CronTester(config.make_wsgi_app())
    for minute in range(3):
        cron.tick(at=NOON.replace(minute=minute))
    return cron


@pytest.fixture
def app(config, cron):
    return TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})


def page(app, path):
    return app.get(path, headers=HTML)


def attempts(config, task):
    """The slots' minutes and attempts of a task's runs, oldest first."""
    runs = scheduler(config.registry).history(task)
    return sorted((run.slot.minute, run.attempt) for run in runs)


def test_those_that_fit_the_filter_and_no_others(app, config, cron, works):
    retry = "/cron/runs/retry?task=mails&since=2026-06-15T12:00:30Z"
    assert app.post_json(retry, {}, status=202).json == {"retried": 2}
    works.add("mails")
    cron.tick(at=NOON.replace(minute=3))
    assert attempts(config, "mails") == [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]
    assert attempts(config, "reports") == [(0, 1), (1, 1), (2, 1), (3, 1)]


def test_a_slot_with_a_later_attempt_is_left_alone(app, cron, works):
    works.add("mails")
    app.post_json("/cron/runs/retry?task=mails", {}, status=202)
    cron.tick(at=NOON.replace(minute=3))
    assert app.post_json("/cron/runs/retry?task=mails", {}, status=202).json == {"retried": 0}


def test_cancelled_ones_are_meant_only_if_named(app, config, cron):
    control = scheduler(config.registry)
    control.cancel(control.defer("fine", after="1m").id)
    assert app.post_json("/cron/runs/retry?task=fine", {}, status=202).json == {"retried": 0}
    cancelled = "/cron/runs/retry?task=fine&state=cancelled"
    assert app.post_json(cancelled, {}, status=202).json == {"retried": 1}


def test_those_of_a_task_that_is_gone_are_left_out(app, tmp_path):
    url = f"sqlite:///{tmp_path}/cron.sqlite"
    webs = []
    for name in ("mails", "other"):
        config = configure(**{"cron.url": url})
        config.add_cron_task(lambda system: 1 / 0, name=name, hour=12)
        wsgi = config.make_wsgi_app()
        CronTester(wsgi).tick(at=NOON)
        webs.append(TestApp(wsgi, extra_environ={"REMOTE_ADDR": "127.0.0.1"}))
    assert webs[1].post_json("/cron/runs/retry", {}, status=202).json == {"retried": 1}


def test_the_page_of_runs_leads_there_by_a_confirmation(app):
    shown = page(app, "/cron/runs?task=mails&host=")
    [link] = [link for link in shown.html.find_all("a") if "Try all that failed" in link.text]
    confirmation = page(app, link["href"])
    assert "3 runs that failed, and have no later attempt" in confirmation.text
    [back] = [link for link in confirmation.html.find_all("a") if link.text == "Back"]
    assert back["href"] == "/cron/runs?task=mails"
    answer = confirmation.forms[0].submit(headers=HTML, status=303).follow(headers=HTML)
    assert answer.text.count("/cron/runs/") >= 3
    assert "mails" in answer.text
    assert "Try all that failed" not in page(app, "/cron/runs?task=fine").text


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("state=succeeded", "state='succeeded': to be tried again it must be one of failed"),
        ("before=01a2", "'before' is no parameter"),
        ("trigger=odd", "trigger='odd': must be one of"),
    ],
)
def test_what_can_not_be_tried_again_is_one_line(app, query, detail):
    answer = app.post_json(f"/cron/runs/retry?{query}", {}, status=400)
    assert answer.json["detail"].startswith(detail)


def test_it_takes_a_post_and_a_token_of_the_page(app):
    assert app.get("/cron/runs/retry", status=405).headers["Allow"] == "POST"
    app.post("/cron/runs/retry", {}, status=403)
    answer = app.get("/cron/runs?confirm=fly", headers=HTML, status=400)
    assert "must be one of retry" in answer.text
