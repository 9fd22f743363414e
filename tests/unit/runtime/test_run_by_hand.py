"""A run by hand, as the pages have it: begun at once, outside of the request that asks for it."""

import threading

import pytest
from webtest import TestApp

from pyramid_cron import RunState, events, scheduler
from pyramid_cron.app import get_cron
from tests.apps import Note, committed, configure, configure_with_database, run_by_hand
from tests.integration.processes import wait_until


@pytest.fixture
def config():
    return configure()


@pytest.fixture
def gate():
    """What tasks wait for; opened at the end, so that none goes on for ever."""
    gate = threading.Event()
    yield gate
    gate.set()


def web_of(config):
    return TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})


def press(web, name, status=202):
    return web.post_json(f"/cron/tasks/{name}/run", {}, status=status).json


@pytest.mark.parametrize("executor", ["request", "thread"])
def test_it_goes_on_after_the_answer_whatever_its_executor(config, gate, executor):
    config.add_cron_task(lambda system: gate.wait(20), name="long", executor=executor)
    web = web_of(config)
    run = press(web, "long")
    assert (run["state"], run["trigger"]) == ("claimed", "manual")
    wait_until(lambda: web.get(run["url"]).json["state"] == "running")
    gate.set()
    wait_until(lambda: web.get(run["url"]).json["state"] == "succeeded")


def test_what_it_does_is_committed(tmp_path):
    config = configure_with_database(tmp_path)
    config.add_cron_task(
        lambda system: system["request"].dbsession.add(Note(text=system["payload"])),
        name="add",
        on_demand=True,
    )
    assert run_by_hand(web_of(config), "add", {"payload": "here"})["state"] == "succeeded"
    assert committed(config) == ["here"]


def test_another_one_is_skipped_while_it_goes_on(config, gate):
    skipped = []
    config.add_subscriber(lambda event: skipped.append(event.run.id), events.RunSkipped)
    config.add_cron_task(lambda system: gate.wait(20), name="long")
    web = web_of(config)
    first, second = press(web, "long"), press(web, "long", status=200)
    assert (second["state"], second["reason"]) == ("skipped", "overlap")
    assert first["run"] in second["error"]
    assert skipped == [second["run"]]


def test_with_delay_it_waits_for_the_end_of_the_other(config, gate):
    config.add_cron_task(lambda system: gate.wait(20), name="long", overlap="delay")
    web = web_of(config)
    press(web, "long")
    second = press(web, "long")
    assert (second["state"], second["trigger"]) == ("waiting", "manual")
    assert web.get(second["url"]).json["why"] == "overlap"


def test_without_room_it_waits_for_it(gate):
    config = configure(**{"cron.capacity": "1"})
    for name in ("a", "b"):
        config.add_cron_task(
            lambda system: gate.wait(20), name=name, executor="thread", on_demand=True
        )
    web = web_of(config)
    press(web, "a")
    second = press(web, "b")
    assert (second["state"], web.get(second["url"]).json["why"]) == ("waiting", "room")
    gate.set()
    wait_until(lambda: not web.get("/cron/overview").json["running"])
    assert web.get("/cron").text == "ok"
    wait_until(lambda: web.get(second["url"]).json["state"] == "succeeded")


def test_a_task_of_a_worker_waits_for_one(config):
    config.add_cron_task(lambda system: None, name="far", executor="worker")
    run = press(web_of(config), "far")
    assert (run["state"], run["host"]) == ("waiting", None)


def test_where_no_thread_can_be_had_it_waits_for_the_next_tick(config, monkeypatch):
    config.add_cron_task(lambda system: None, name="fine", on_demand=True)
    web = web_of(config)
    supervisor = get_cron(config.registry).supervisor

    def refuse():
        raise RuntimeError("can't start new thread")

    def no_thread(name, function):
        thread = threading.Thread(target=function)
        thread.start = refuse
        return thread

    with monkeypatch.context() as context:
        context.setattr(supervisor, "make_thread", no_thread)
        run = press(web, "fine")
    assert (run["state"], run["host"]) == ("waiting", None)
    web.get("/cron")
    assert web.get(run["url"]).json["state"] == "succeeded"


def test_a_process_that_stops_leaves_it_to_the_next(config):
    config.add_cron_task(lambda system: None, name="fine", on_demand=True)
    web = web_of(config)
    supervisor = get_cron(config.registry).supervisor
    supervisor._set_deadlines(60)
    assert press(web, "fine")["state"] == "waiting"
    supervisor.withdraw_shutdown()
    web.get("/cron")
    assert [run.state for run in scheduler(config.registry).history()] == [RunState.SUCCEEDED]
