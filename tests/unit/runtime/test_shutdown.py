"""How a signal ends a process that has runs, and one that has none."""

import os
import signal
import sys
import threading
import types

import pytest

from pyramid_cron import scheduler
from pyramid_cron.app import CronApp, get_cron
from pyramid_cron.runtime import shutdown
from pyramid_cron.settings import parse_settings
from tests.apps import NOON, configure, cron_of
from tests.integration.processes import wait_until


@pytest.fixture
def supervisor():
    return CronApp(parse_settings({"cron.url": "sqlite://"})).supervisor


@pytest.fixture
def sent(monkeypatch):
    """The signals that this process would have ended by."""
    sent, came = [], threading.Event()

    def end_by_signal(number, _frame=None):
        sent.append(number)
        came.set()

    monkeypatch.setattr(shutdown, "end_by_signal", end_by_signal)
    sent_numbers = types.SimpleNamespace(numbers=sent, wait=lambda: came.wait(20) and sent)
    handlers = {number: signal.getsignal(number) for number in shutdown.SHUTDOWN_SIGNALS}
    for number in shutdown.TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    yield sent_numbers
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_process_ends_by_a_signal_that_nobody_handles(supervisor, sent):
    shutdown.install_shutdown_hooks(supervisor, 0.0)
    signal.raise_signal(signal.SIGTERM)
    assert sent.wait() == [signal.SIGTERM]


def test_a_second_signal_does_not_wait_for_the_first(supervisor, sent, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(supervisor, "shutdown", lambda timeout: gate.wait(20))
    shutdown.install_shutdown_hooks(supervisor, 0.0)
    signal.raise_signal(signal.SIGTERM)
    assert sent.numbers == []
    signal.raise_signal(signal.SIGTERM)
    assert sent.numbers == [signal.SIGTERM]
    gate.set()
    wait_until(lambda: len(sent.numbers) == 2)  # the thread must not come to it after this test


def test_a_tick_of_another_thread_is_given_time_to_answer(supervisor, sent, monkeypatch):
    monkeypatch.setattr(shutdown, "ANSWER_GRACE_SECONDS", 0.0)
    shutdown.install_shutdown_hooks(supervisor, 0.0)
    ended, started = [], threading.Event()

    def tick():
        with supervisor.tick_in_progress():
            started.set()
            while not supervisor.is_stopping:
                pass
            ended.append("tick")

    thread = threading.Thread(target=tick)
    thread.start()
    assert started.wait(20)
    signal.raise_signal(signal.SIGTERM)
    assert sent.wait() == [signal.SIGTERM]
    assert ended == ["tick"]
    thread.join()


def test_where_no_thread_can_be_started_the_process_ends_at_once(supervisor, sent, monkeypatch):
    def fail(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    shutdown.install_shutdown_hooks(supervisor, 0.0)
    signal.raise_signal(signal.SIGHUP)
    assert sent.numbers == [signal.SIGHUP]


def test_under_gevent_a_handler_waits_for_nothing(supervisor, sent, monkeypatch):
    """It may run in the greenlet of gevent's hub, which must not wait."""
    spawned = []
    gevent, monkey = types.ModuleType("gevent"), types.ModuleType("gevent.monkey")
    monkey.is_module_patched = lambda name: True
    gevent.spawn = lambda function, *values: spawned.append((function, values))
    monkeypatch.setitem(sys.modules, "gevent", gevent)
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    shutdown.install_shutdown_hooks(supervisor, 0.0)
    signal.raise_signal(signal.SIGTERM)
    request, end = spawned
    assert request == (supervisor.request_shutdown, (0.0,))
    assert sent.numbers == []
    end[0]()
    assert sent.numbers == [signal.SIGTERM]


@pytest.fixture
def aborting():
    """What gunicorn does in a worker that takes too long."""
    previous = signal.signal(signal.SIGABRT, lambda *_: sys.exit(1))
    yield
    signal.signal(signal.SIGABRT, previous)


def test_a_tick_that_is_aborted_begins_no_other_run_and_what_it_claimed_waits(aborting):
    config = configure()
    config.add_cron_task(lambda: signal.raise_signal(signal.SIGABRT), name="long", priority=1)
    config.add_cron_task(lambda: None, name="second")
    config.add_cron_task(lambda: None, name="idle", idle=True)
    cron = cron_of(config)
    control = scheduler(cron.registry)
    [run] = cron.tick(NOON).runs
    assert (run.task, str(run.state), run.error) == ("long", "failed", "SystemExit: 1")
    assert {waiting.task for waiting in control.waiting()} == {"second", "idle"}
    get_cron(cron.registry).supervisor.withdraw_shutdown()
    assert {run.task for run in cron.tick(NOON).runs} == {"second", "idle"}


def test_a_process_that_is_aborted_while_it_stops_gives_its_claims_back_before_it_is_killed(
    aborting, monkeypatch
):
    config = configure()
    config.add_cron_task(lambda: gate.wait(20), name="long", priority=1)
    config.add_cron_task(lambda: None, name="second")
    cron, gate, reports = cron_of(config), threading.Event(), []
    control, supervisor = scheduler(cron.registry), get_cron(cron.registry).supervisor
    shutdown.install_shutdown_hooks(supervisor, 20)
    monkeypatch.setattr(shutdown, "ABORT_TIMEOUT_SECONDS", 0.0)
    thread = threading.Thread(target=lambda: reports.append(cron.tick(NOON)))
    thread.start()
    wait_until(lambda: control.history(state="running"))
    supervisor.request_shutdown(20)
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGABRT)
    wait_until(lambda: control.history(state="cancelled"), 10)
    assert [run.task for run in control.waiting()] == ["second"]
    gate.set()
    thread.join()


class EndedError(Exception):
    pass


def test_a_process_that_its_signals_do_not_end_exits_as_a_shell_would_say(monkeypatch):
    """The first process of a container is one."""
    actions = []

    def leave(status):
        actions.append(status)
        raise EndedError

    monkeypatch.setattr(shutdown, "SIGNAL_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(shutdown, "_set_signal_action", lambda *values: actions.append(values))
    monkeypatch.setattr(os, "kill", lambda *values: actions.append(values))
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(EndedError):
        shutdown.end_by_signal(signal.SIGTERM)
    number = signal.SIGTERM
    assert actions == [(number, None), (os.getpid(), number), 128 + number]
