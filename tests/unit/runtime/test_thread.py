"""Runs in threads: after the answer, in requests of their own, within the capacity."""

import asyncio
import math
import threading
import time
from datetime import timedelta
from urllib.request import urlopen

import pytest
from pyramid.events import NewRequest
from pyramid.exceptions import ConfigurationError
from webtest import TestApp
from webtest.http import StopableWSGIServer

from pyramid_cron import Retry, RunState, events, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.runtime import request_scope
from tests.apps import NOON, Note, committed, configure, configure_with_database, cron_of
from tests.integration.processes import wait_until

MINUTE = timedelta(minutes=1)


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


def tick(config, answer="application/json", **settings):
    return web_of(config).get("/cron", headers={"Accept": answer}, **settings)


def add(config, **arguments):
    config.add_cron_task(print, name="some", **arguments)
    config.commit()


def ended(config, count=1):
    """Wait until as many runs are over; return them, oldest first."""
    request_cron = scheduler(config.registry)

    def over():
        runs = [run for run in request_cron.history() if run.state.is_final]
        return len(runs) >= count and runs[::-1]

    return wait_until(over)


def test_a_tick_answers_before_its_thread_runs_end(config, gate):
    config.add_cron_task(lambda system: gate.wait(20), name="long", executor="thread")
    [run] = tick(config).json["runs"]
    assert run["state"] == "claimed"
    wait_until(lambda: scheduler(config.registry).history(state="running"))
    gate.set()
    [over] = ended(config)
    assert (over.id, over.state) == (run["run"], RunState.SUCCEEDED)


def test_the_tester_waits_for_them_and_reports_how_they_ended(config):
    def fail(system):
        raise ValueError("no")

    config.add_cron_task(lambda system: None, name="good", executor="thread")
    config.add_cron_task(fail, name="bad", executor="thread")
    report = cron_of(config).tick(NOON)
    assert {run.task: run.state for run in report.runs} == {
        "good": RunState.SUCCEEDED,
        "bad": RunState.FAILED,
    }


def test_each_has_a_thread_a_request_and_a_transaction_of_its_own(tmp_path):
    config = configure_with_database(tmp_path)
    seen = []

    def add(system):
        seen.append((threading.current_thread().name, system["request"]))
        system["request"].dbsession.add(Note(text=system["run"].task))

    def add_and_fail(system):
        add(system)
        raise ValueError

    config.add_cron_task(add, name="good", executor="thread")
    config.add_cron_task(add_and_fail, name="bad", executor="thread")
    cron_of(config).tick(NOON)
    assert committed(config) == ["good"]
    assert sorted(name for name, _ in seen) == ["pyramid_cron bad", "pyramid_cron good"]
    assert seen[0][1] is not seen[1][1]


@pytest.mark.parametrize("mode", ["explicit", "implicit", "inactive", "none"])
def test_what_they_do_is_committed_whoever_manages_transactions(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)
    config.add_cron_task(
        lambda system: system["request"].dbsession.add(Note(text="here")),
        name="add",
        executor="thread",
    )
    assert tick(config, "text/plain").text == "ok"
    ended(config)
    assert committed(config) == ["here"]


def test_their_requests_are_finished_when_they_end(config):
    closed = []
    config.add_cron_task(
        lambda system: system["request"].add_finished_callback(closed.append),
        name="closing",
        executor="thread",
    )
    cron_of(config).tick(NOON)
    assert len(closed) == 1


def test_their_urls_are_those_of_the_tick(config):
    urls = []
    config.add_route("home", "/home")
    config.add_cron_task(
        lambda system: urls.append(system["request"].route_url("home")),
        name="url",
        executor="thread",
    )
    environ = {"wsgi.url_scheme": "https", "HTTP_HOST": "shop.test:8443", "SCRIPT_NAME": "/app"}
    tick(config, extra_environ=environ)
    ended(config)
    assert urls == ["https://shop.test:8443/app/home"]


def test_or_those_of_the_setting():
    config = configure(**{"cron.base_url": "https://example.com/shop/"})
    urls = []
    config.add_route("home", "/home")
    config.add_cron_task(
        lambda system: urls.append(system["request"].route_url("home")),
        name="url",
        executor="thread",
    )
    cron_of(config).tick(NOON)
    assert urls == ["https://example.com/shop/home"]


def test_time_left_is_until_the_timeout_or_without_end(config):
    seconds_left = {}

    def look(system):
        seconds_left[system["run"].task] = system["time_left"]()

    config.add_cron_task(look, name="free", executor="thread")
    config.add_cron_task(look, name="limited", executor="thread", timeout="1h")
    cron_of(config).tick(NOON)
    assert seconds_left["free"] == math.inf
    assert 3500 < seconds_left["limited"] <= 3600


def test_a_timeout_stops_them_and_coroutines_too(config):
    def busy(system):
        while True:
            time.sleep(0.01)

    async def sleepy(system):
        await asyncio.sleep(60)

    for task in (busy, sleepy):
        config.add_cron_task(task, name=task.__name__, executor="thread", timeout=0.2)
    report = cron_of(config).tick(NOON)
    assert [run.state for run in report.runs] == [RunState.TIMED_OUT] * 2


def test_they_can_be_cancelled(config):
    def busy(system):
        while True:
            time.sleep(0.01)

    config.add_cron_task(busy, name="busy", executor="thread")
    [run] = tick(config).json["runs"]
    scheduler(config.registry).cancel(run["run"])
    [over] = ended(config)
    assert over.state is RunState.CANCELLED


def test_their_log_is_recorded_and_subscribers_are_called_in_their_thread(config):
    received = []

    def note(event):
        received.append((type(event).__name__, threading.current_thread().name, event.request))

    def chat(system):
        import logging

        logging.getLogger("chat").warning("hello from %s", system["run"].task)

    config.add_subscriber(note, events.RunStarted)
    config.add_subscriber(note, events.RunSucceeded)
    config.add_cron_task(chat, name="chat", executor="thread")
    [run] = cron_of(config).tick(NOON).runs
    assert "hello from chat" in run.output
    assert [event[:2] for event in received] == [
        ("RunStarted", "pyramid_cron chat"),
        ("RunSucceeded", "pyramid_cron chat"),
    ]


def test_a_condition_skips_them(config):
    config.add_cron_task(print, name="never", executor="thread", when=lambda system: False)
    [run] = cron_of(config).tick(NOON).runs
    assert (run.state, run.reason) == (RunState.SKIPPED, "condition")


def test_a_failure_is_tried_again_at_a_later_tick(config):
    attempts = []

    def fail(system):
        attempts.append(system["run"].attempt)
        raise ValueError

    config.add_cron_task(
        fail, hour=12, name="fail", executor="thread", retry=Retry(attempts=2, delay=30)
    )
    cron = cron_of(config)
    for minute in range(4):
        cron.tick(NOON + minute * MINUTE)
    assert attempts == [1, 2]


def test_by_hand_a_task_runs_in_the_request_at_once(config):
    threads = []
    config.add_cron_task(
        lambda system: threads.append(threading.current_thread()),
        name="here",
        executor="thread",
        on_demand=True,
    )
    assert cron_of(config).run("here").state is RunState.SUCCEEDED
    assert threads == [threading.current_thread()]


def test_what_does_not_fit_waits_and_runs_once_there_is_room(gate):
    config = configure(**{"cron.capacity": "2", "cron.beats": "true"})
    order = []

    def hold(system):
        order.append(system["run"].task)
        gate.wait(20)

    for name, priority in (("low", 0), ("high", 2), ("middle", 1)):
        config.add_cron_task(
            hold, hour=12, name=name, priority=priority, executor="thread", grace="2h"
        )
    web = web_of(config)
    cron = get_cron(config.registry)
    cron.clock = lambda: NOON
    json = {"Accept": "application/json"}
    first = web.get("/cron", headers=json).json
    assert [run["task"] for run in first["runs"]] == ["high", "middle"]
    assert [waiting_run["task"] for waiting_run in first["waiting"]] == ["low"]
    cron.clock = lambda: NOON + MINUTE
    assert web.get("/cron", headers=json).json["runs"] == []
    assert scheduler(config.registry).status("low").waiting == 1
    gate.set()
    assert {run.slot for run in ended(config, 3)} == {NOON}
    assert scheduler(config.registry).status("low").waiting == 0
    assert sorted(order) == ["high", "low", "middle"]


def test_slots_that_are_filled_in_side_by_side_take_what_room_there_is(gate):
    config = configure(**{"cron.capacity": "3"})
    config.add_cron_task(lambda system: gate.wait(20), name="a", min=0, executor="thread")
    web = web_of(config)
    get_cron(config.registry).clock = lambda: NOON + MINUTE
    request_cron = scheduler(config.registry)
    assert request_cron.backfill("a", NOON - 240 * MINUTE, NOON, overlap="allow") == 4
    answer = web.get("/cron", headers={"Accept": "application/json"}).json
    assert [run["slot"][11:16] for run in answer["runs"]] == ["09:00", "10:00", "11:00"]
    assert [waiting_run["slot"][11:16] for waiting_run in answer["waiting"]] == ["12:00"]


def test_what_waits_past_its_grace_is_skipped_for_want_of_capacity(gate):
    config = configure(**{"cron.capacity": "1"})
    config.add_cron_task(
        lambda system: gate.wait(20), hour=12, name="long", executor="thread", priority=1
    )
    config.add_cron_task(print, hour=12, name="late", executor="thread", grace="10m")
    web = web_of(config)
    cron = get_cron(config.registry)
    for moment in (NOON, NOON + 11 * MINUTE):
        cron.clock = lambda moment=moment: moment
        answer = web.get("/cron", headers={"Accept": "application/json"}).json
    assert [(run["task"], run["reason"]) for run in answer["skipped"]] == [("late", "capacity")]
    assert scheduler(config.registry).status("late").waiting == 0
    [run] = scheduler(config.registry).history("late")
    assert (run.state, run.reason, run.slot) == (RunState.SKIPPED, "capacity", NOON)


def test_weights_count_and_an_idle_task_takes_what_is_left_only(gate):
    config = configure(**{"cron.capacity": "4"})
    for name, weight, idle in (("idle", 1, True), ("heavy", 3, False), ("light", 2, False)):
        config.add_cron_task(
            lambda system: None, hour=12, name=name, weight=weight, idle=idle, executor="thread"
        )
    cron = cron_of(config)
    first, second = (cron.tick(NOON + minute * MINUTE) for minute in (0, 1))
    assert [run.task for run in first.runs] == ["heavy"]
    assert [waiting_run.task for waiting_run in first.waiting] == ["light", "idle"]
    assert [run.task for run in second.runs] == ["light", "idle"]


@pytest.mark.parametrize("catch_up", ["once", "none"])
def test_tasks_that_do_not_all_fit_have_their_turn_one_after_the_other(catch_up):
    config = configure(**{"cron.capacity": "2"})
    for name in "abc":
        config.add_cron_task(
            lambda system: None, name=name, min="*", executor="thread", catch_up=catch_up
        )
    cron = cron_of(config)
    ran = [[run.task for run in cron.tick(NOON + n * MINUTE).runs] for n in range(4)]
    assert ran == [["a", "b"], ["c", "a"], ["b", "a"], ["c", "a"]]


def test_nor_does_a_light_one_with_a_slot_each_minute_keep_a_heavy_one_from_its_turn():
    config = configure(**{"cron.capacity": "2"})
    for name, weight in (("light", 1), ("heavy", 2)):
        config.add_cron_task(
            lambda system: None, name=name, min="*", weight=weight, executor="thread"
        )
    cron = cron_of(config)
    ran = [run.task for n in range(4) for run in cron.tick(NOON + n * MINUTE).runs]
    assert ran == ["light", "heavy", "light", "heavy"]


def test_a_higher_priority_comes_first_however_long_others_wait():
    config = configure(**{"cron.capacity": "1"})
    for name, priority in (("low", 0), ("high", 1)):
        config.add_cron_task(
            lambda system: None, name=name, min="*", priority=priority, executor="thread"
        )
    cron = cron_of(config)
    assert [run.task for n in range(3) for run in cron.tick(NOON + n * MINUTE).runs] == ["high"] * 3


def test_an_overlap_is_skipped_while_the_thread_run_goes_on(config, gate):
    config.add_cron_task(lambda system: gate.wait(20), name="long", executor="thread")
    web = web_of(config)
    cron = get_cron(config.registry)
    for moment in (NOON, NOON + MINUTE):
        cron.clock = lambda moment=moment: moment
        answer = web.get("/cron", headers={"Accept": "application/json"}).json
    assert [run["reason"] for run in answer["skipped"]] == ["overlap"]


def test_a_restart_cancels_the_thread_run_and_starts_anew(config):
    first = threading.Event()

    def work(system):
        while not first.is_set():
            first.wait(0.01) if system["run"].slot > NOON else time.sleep(0.01)
            if system["run"].slot > NOON:
                first.set()

    config.add_cron_task(work, name="work", executor="thread", overlap="restart")
    web = web_of(config)
    cron = get_cron(config.registry)
    for moment in (NOON, NOON + MINUTE):
        cron.clock = lambda moment=moment: moment
        web.get("/cron")
        wait_until(lambda: scheduler(config.registry).history(state="running") or first.is_set())
    assert [run.state for run in ended(config, 2)] == [RunState.CANCELLED, RunState.SUCCEEDED]


def test_slots_that_are_caught_up_with_restart_nothing_but_what_ran_before():
    config = configure(**{"cron.beats": "false"})
    order, turn = [], threading.Semaphore(0)

    def work(system):
        order.append(system["run"].slot)
        while not (system["run"].slot > NOON and turn.acquire(blocking=False)):
            time.sleep(0.01)

    config.add_cron_task(
        work, min=[0, 1, 2], name="work", executor="thread", overlap="restart", catch_up="all"
    )
    web = web_of(config)
    cron = get_cron(config.registry)

    def tick(minute):
        cron.clock = lambda: NOON + minute * MINUTE
        answer = web.get("/cron", headers={"Accept": "application/json"}).json
        return [[run["slot"][14:16] for run in answer[key]] for key in ("runs", "waiting")]

    assert tick(0) == [["00"], []]
    wait_until(lambda: len(order) == 1)
    assert tick(4) == [["01"], ["02"]]
    wait_until(lambda: len(order) == 2)
    assert tick(5) == [[], []]
    turn.release()
    assert [run.state for run in ended(config, 2)] == [RunState.CANCELLED, RunState.SUCCEEDED]
    turn.release()
    assert tick(6) == [["02"], []]
    assert [run.state for run in ended(config, 3)][2] is RunState.SUCCEEDED


def test_they_begin_even_if_a_finished_callback_fails(config):
    def breaking(event):
        def fail(request):
            raise RuntimeError("another callback fails")

        event.request.add_finished_callback(fail)

    config.add_subscriber(breaking, NewRequest)
    config.add_cron_task(lambda system: None, name="go", executor="thread")
    with pytest.raises(RuntimeError):
        tick(config)
    assert [run.state for run in ended(config)] == [RunState.SUCCEEDED]


def test_closing_the_application_cancels_what_goes_on(tmp_path, gate):
    url = f"sqlite:///{tmp_path}/cron.sqlite"
    config = configure(**{"cron.url": url, "cron.shutdown_timeout": "0.2"})

    def busy(system):
        while not gate.is_set():
            time.sleep(0.01)

    config.add_cron_task(busy, name="busy", executor="thread")
    tick(config)
    wait_until(lambda: scheduler(config.registry).history(state="running"))
    get_cron(config.registry).close()
    [run] = scheduler(config.registry).history()
    assert (run.state, run.error.endswith("the process stopped")) == (RunState.CANCELLED, True)


@pytest.mark.parametrize("policy", [{"executor": "thread"}, {"idle": True}])
def test_a_script_that_goes_before_its_turn_harms_no_other(tmp_path, policy):
    script = tmp_path / "jobs" / "1min" / "script"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    config = configure()

    def remove(system):
        script.unlink()
        get_cron(config.registry).refresh_sources(NOON + MINUTE)

    config.add_cron_task(remove, name="remove", at=NOON)
    config.add_cron_task(lambda system: None, name="other", **policy)
    config.add_cron_folder(str(tmp_path / "jobs"), **policy)
    report = cron_of(config).tick(NOON)
    states = {run.task: run.state for run in report.runs}
    script_state = states.pop("1min/script")
    assert states == {"remove": "succeeded", "other": "succeeded"}
    # In a thread it may have begun before.
    assert script_state == "failed" or "executor" in policy


def test_a_request_that_can_not_be_made_leaves_the_slot_to_a_later_tick(config, monkeypatch):
    config.add_cron_task(lambda system: None, name="some", executor="thread")
    cron = cron_of(config)
    make_request, refused = request_scope.make_request, []

    def factory(*args):
        if not refused:
            refused.append(args)
            raise SystemExit("no request")
        return make_request(*args)

    monkeypatch.setattr(request_scope, "make_request", factory)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    report = cron.tick(NOON)
    assert (report.runs, [run.slot for run in report.waiting]) == ((), [NOON])
    [run] = cron.tick(NOON).runs
    assert (run.slot, run.state) == (NOON, RunState.SUCCEEDED)


@pytest.mark.parametrize("heeds", [True, False])
def test_what_closing_the_application_stops_is_tried_again_where_attempts_are_left(
    tmp_path, gate, heeds
):
    heard = []

    def application():
        settings = {"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.shutdown_timeout": "0.2"}
        config = configure(**settings)
        config.add_subscriber(heard.append, events.RunRetrying)
        retry = Retry(attempts=2, delay=0)
        config.add_cron_task(work, hour=12, name="work", executor="thread", retry=retry)
        web = web_of(config)
        get_cron(config.registry).clock = lambda: NOON + len(started) * MINUTE
        return config, web

    def work(system):
        started.append(system["run"])
        while not gate.wait(0.01 if heeds else 20):
            pass

    started = []
    for attempt in (1, 2):
        config, web = application()
        request_cron = scheduler(config.registry)
        web.get("/cron")
        wait_until(lambda request_cron=request_cron: request_cron.history(state="running"))
        get_cron(config.registry).close()
        over = request_cron.history()[0]
        assert (over.attempt, over.slot, over.state) == (attempt, NOON, RunState.CANCELLED)
        assert "the process stopped" in over.error
        assert request_cron.status("work").waiting == 2 - attempt
    if heeds:
        wait_until(lambda: heard)
        assert [(event.run.id, event.attempt) for event in heard] == [(started[0].id, 2)]


def test_what_somebody_cancelled_is_not_tried_again_though_its_process_stops(tmp_path, gate):
    url = f"sqlite:///{tmp_path}/cron.sqlite"
    config = configure(**{"cron.url": url, "cron.shutdown_timeout": "0.2"})
    config.add_cron_task(lambda system: gate.wait(20), name="deaf", executor="thread", retry=3)
    [run] = tick(config).json["runs"]
    request_cron = scheduler(config.registry)
    wait_until(lambda: request_cron.history(state="running"))
    request_cron.cancel(run["run"])
    live = get_cron(config.registry).supervisor.executions.get(run["run"])
    wait_until(lambda: live.interruption)
    get_cron(config.registry).close()
    assert [run.state for run in request_cron.history()] == [RunState.CANCELLED]
    assert request_cron.status("deaf").waiting == 0


def test_a_server_answers_at_once(config, gate):
    config.add_cron_task(lambda system: gate.wait(20), name="long", executor="thread")
    server = StopableWSGIServer.create(config.make_wsgi_app())
    try:
        with urlopen(f"http://127.0.0.1:{server.effective_port}/cron") as answer:
            assert answer.read() == b"ok"
        wait_until(lambda: scheduler(config.registry).history(state="running"))
        gate.set()
        ended(config)
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"executor": "proces"},
            "executor='proces': must be one of 'request', 'thread', 'process', 'worker', 'celery'",
        ),
        ({"executor": None}, "executor=None: must be 'request'"),
        ({"weight": 0}, "weight=0: must be 1 or more"),
        ({"weight": True}, "weight=True: must be an integer"),
        ({"weight": "2"}, "weight='2': must be an integer"),
        ({"weight": 9, "executor": "thread"}, "weight=9: it would never run, .*capacity is 8"),
    ],
)
def test_wrong_arguments_are_refused(config, wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        add(config, **wrong)


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "", 0, True, None, 2.0])
def test_a_wrong_capacity_is_refused(value):
    with pytest.raises(ConfigurationError, match=r"cron\.capacity: .*expected an integer, 1 or mo"):
        configure(**{"cron.capacity": value}).commit()


@pytest.mark.parametrize(
    "value", ["example.com", "ftp://example.com", "http://", "http://a/?b", "http://a:x/", 3]
)
def test_a_wrong_base_url_is_refused(value):
    with pytest.raises(ConfigurationError, match=r"cron\.base_url: .*expected a URL such as"):
        configure(**{"cron.base_url": value}).commit()
