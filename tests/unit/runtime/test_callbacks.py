"""Callbacks that tasks and subscribers add to the tick's request are called, and harm nobody."""

import pytest
from webtest import TestApp

from pyramid_cron import events
from tests.apps import configure, cron_of


@pytest.fixture
def config():
    return configure()


def hit(config):
    return TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"}).get("/cron")


def adding(callback, kind="response"):
    """A task, or a subscriber, that adds a callback to the request."""

    def add(event):
        request = event["request"] if isinstance(event, dict) else event.request
        getattr(request, f"add_{kind}_callback")(callback)

    return add


def fail(*_):
    raise LookupError("no cookie")


def test_a_response_callback_that_a_task_adds_is_called_even_if_the_task_fails(config):
    def task(system):
        system["request"].add_response_callback(
            lambda request, response: response.headers.update({"X-Orders": "41"})
        )
        raise ValueError

    config.add_cron_task(task, name="task")
    config.add_cron_task(lambda system: None, name="next")
    assert hit(config).headers["X-Orders"] == "41"


@pytest.mark.parametrize("kind", ["response", "finished"])
def test_a_callback_that_fails_is_logged_and_the_others_are_called(config, caplog, kind):
    calls = []
    config.add_cron_task(adding(fail, kind), name="a")
    config.add_cron_task(adding(lambda *_: calls.append("b"), kind), name="b")
    assert hit(config).text == "ok"
    assert calls == ["b"]
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().startswith("a run=")
    assert "its callback of the request failed" in record.getMessage()
    assert "LookupError: no cookie" in caplog.text


@pytest.mark.parametrize("event", [events.TickStarted, events.RunStarted, events.TickFinished])
def test_a_callback_of_a_subscriber_that_fails_is_logged(config, caplog, event):
    config.add_subscriber(adding(fail), event)
    config.add_cron_task(lambda system: None, name="a")
    assert hit(config).text == "ok"
    assert f"a subscriber to {event.__name__}: its callback" in caplog.text


def test_a_finished_callback_that_fails_in_a_thread_is_logged(config, caplog):
    config.add_cron_task(adding(fail, "finished"), name="a", executor="thread")
    [run] = cron_of(config).tick().runs
    assert run.state == "succeeded"
    assert "its callback of the request failed" in caplog.text
