"""A server is told to stop while a task runs."""

import re
import signal
import threading
import time
from contextlib import contextmanager, suppress
from http.client import HTTPException
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

from pyramid_cron import RunState, scheduler
from pyramid_cron.testing import CronTester
from tests.integration import stopping
from tests.integration.processes import DEADLINE, python, wait_until

GUNICORN = ["-m", "gunicorn", "tests.integration.stopping:app()", "-b", "127.0.0.1:0"]
SERVERS = {
    "waitress": ["-m", "tests.integration.stopping", "one"],
    "gunicorn": GUNICORN,
    "gunicorn preload": [*GUNICORN, "--preload"],
    "gunicorn gthread": [*GUNICORN, "-k", "gthread", "--threads", "2"],
}
SIGNALS = [signal.SIGTERM, signal.SIGINT]

every_server = pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS.keys())
some_servers = pytest.mark.parametrize(
    "command",
    [SERVERS["waitress"], SERVERS["gunicorn"], SERVERS["gunicorn gthread"]],
    ids=["waitress", "gunicorn", "gunicorn gthread"],
)
every_signal = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


@contextmanager
def serving(folder, command, timeout, **variables):
    """Run a server; give its process and its address."""
    variables |= {"CRON_FOLDER": str(folder), "CRON_SHUTDOWN_TIMEOUT": str(timeout)}
    with python(folder / "printed", *command, **variables) as server:
        match = wait_until(lambda: re.search(r"Listening at: (http://\S+) ", server.output))
        yield server, match[1]


@contextmanager
def ticking(url, folder):
    """Hit a trigger from another thread until its task has started, which may cut that hit off.

    A first tick, before the task may start, shows that a worker has got over its own start.
    """

    def hit():
        build_opener(ProxyHandler({})).open(url, timeout=DEADLINE).read()

    def hit_until_it_starts():
        with suppress(URLError, ConnectionError, HTTPException):
            while not (folder / "started").exists():
                hit()

    hit()
    (folder / "go").touch()
    thread = threading.Thread(target=hit_until_it_starts)
    thread.start()
    try:
        wait_until((folder / "started").exists)
        yield
    finally:
        thread.join(DEADLINE)
    assert not thread.is_alive()


def code_after(command, number):
    """Waitress handles SIGINT only: SIGTERM ends the process as it would end any."""
    return -number if command is SERVERS["waitress"] and number == signal.SIGTERM else 0


def stop_while_it_runs(folder, command, number, timeout, meanwhile=lambda: None, **variables):
    """Send a signal to a server whose task runs; return its exit code and what it printed."""
    with serving(folder, command, timeout, **variables) as (server, address):
        with ticking(f"{address}/cron", folder):
            server.send(number)
            meanwhile()
            code = server.exit_code()
        return code, server.output


def runs(folder):
    config = stopping.configured(folder)
    config.make_wsgi_app()
    history = scheduler(config.registry).history()
    return {run.task: run for run in reversed(history) if run.state is not RunState.SKIPPED}


def waiting(folder):
    config = stopping.configured(folder)
    config.make_wsgi_app()
    return scheduler(config.registry).waiting()


def tick_elsewhere(folder):
    (folder / "finish").touch()
    config = stopping.configured(folder)
    return CronTester(config.make_wsgi_app()).tick().runs


@every_signal
@every_server
def test_after_the_shutdown_timeout_a_task_is_cancelled_and_an_unstarted_run_waits_again(
    tmp_path, command, number
):
    code, printed = stop_while_it_runs(tmp_path, command, number, timeout=1)
    assert code == code_after(command, number), printed
    assert "Traceback" not in printed
    stopped_runs = runs(tmp_path)
    assert str(stopped_runs["long"].state) == "cancelled", printed
    assert stopped_runs["long"].error.endswith("TaskCancelled: the process stopped")
    assert "in long" in stopped_runs["long"].traceback
    assert stopped_runs["long"].duration > 0.9
    assert not (tmp_path / "ended").exists()
    # A tick that came late has found several slots of it.
    released = waiting(tmp_path)
    assert {(run.task, run.attempt) for run in released} == {("following", 1)}
    assert not (tmp_path / "following 1").exists()
    states = {run.id: str(run.state) for run in tick_elsewhere(tmp_path)}
    assert {states[run.id] for run in released} == {"succeeded"}
    assert (tmp_path / "following 1").exists()


@every_server
def test_a_thread_run_is_cancelled_too_when_its_time_is_up(tmp_path, command):
    code, printed = stop_while_it_runs(
        tmp_path, command, signal.SIGTERM, timeout=1, CRON_EXECUTOR="thread"
    )
    assert code == code_after(command, signal.SIGTERM), printed
    assert "Traceback" not in printed
    run = runs(tmp_path)["long"]
    assert str(run.state) == "cancelled", printed
    assert run.error.endswith("TaskCancelled: the process stopped")
    assert not (tmp_path / "ended").exists()


@pytest.mark.parametrize("executor", ["request", "thread"])
def test_what_was_cancelled_so_is_tried_again_where_attempts_are_left(tmp_path, executor):
    _, printed = stop_while_it_runs(
        tmp_path,
        SERVERS["waitress"],
        signal.SIGTERM,
        timeout=1,
        CRON_EXECUTOR=executor,
        CRON_ATTEMPTS="2",
    )
    stopped = runs(tmp_path)["long"]
    assert str(stopped.state) == "cancelled", printed
    retries = [run for run in tick_elsewhere(tmp_path) if run.slot == stopped.slot]
    assert ("long", 2, "succeeded") in [(run.task, run.attempt, str(run.state)) for run in retries]


@every_server
def test_a_thread_run_that_ends_in_time_has_succeeded(tmp_path, command):
    code, printed = stop_while_it_runs(
        tmp_path,
        command,
        signal.SIGTERM,
        timeout=20,
        meanwhile=(tmp_path / "finish").touch,
        CRON_EXECUTOR="thread",
    )
    assert code == code_after(command, signal.SIGTERM), printed
    assert (tmp_path / "ended").exists()
    assert str(runs(tmp_path)["long"].state) == "succeeded", printed


@every_signal
@some_servers
def test_a_task_that_ends_in_time_has_succeeded(tmp_path, command, number):
    code, printed = stop_while_it_runs(
        tmp_path, command, number, timeout=20, meanwhile=(tmp_path / "finish").touch
    )
    assert code == code_after(command, number), printed
    assert "Traceback" not in printed
    assert (tmp_path / "ended").exists()
    assert str(runs(tmp_path)["long"].state) == "succeeded", printed


@some_servers
def test_a_task_that_can_not_be_stopped_is_cancelled_on_record(tmp_path, command):
    """It waits in C code, so that nothing reaches it before its process ends."""
    limit = ["--graceful-timeout", "3"] if command is not SERVERS["waitress"] else []
    _, printed = stop_while_it_runs(
        tmp_path, [*command, *limit], signal.SIGTERM, timeout=1, CRON_TASK="deaf"
    )
    assert "Traceback" not in printed
    run = runs(tmp_path)["long"]
    assert str(run.state) == "cancelled", printed
    assert run.error == "the process stopped; it did not stop, and its thread may still be running"


@every_signal
def test_each_of_two_applications_in_one_process_stops_its_runs(tmp_path, number):
    command = ["-m", "tests.integration.stopping", "both"]
    a, b = tmp_path / "a", tmp_path / "b"
    with serving(tmp_path, command, 0.5) as (server, address):
        with ticking(f"{address}/a/cron", a), ticking(f"{address}/b/cron", b):
            server.send(number)
            assert server.exit_code() == (0 if number == signal.SIGINT else -number)
        assert "Traceback" not in server.output
    assert [str(runs(folder)["long"].state) for folder in (a, b)] == ["cancelled", "cancelled"]


@some_servers
def test_with_nothing_to_run_a_server_stops_at_once(tmp_path, command):
    with serving(tmp_path, command, timeout=60) as (server, address):
        (tmp_path / "finish").touch()
        with ticking(f"{address}/cron", tmp_path):
            pass
        # An answer that has come may not have gone yet, as gunicorn sees it, and nothing tells.
        time.sleep(0.3)
        server.send(signal.SIGINT)
        assert server.exit_code() == 0
        assert "Traceback" not in server.output
    assert {str(run.state) for run in runs(tmp_path).values()} == {"succeeded"}


@contextmanager
def ticker(folder):
    """A process that ticks in its main thread, at each line it is told."""
    url = f"sqlite:///{folder}/cron.sqlite"
    command = ["-m", "tests.integration.ticker", folder, url, "cron_", 60]
    with python(folder / "printed", *command) as child:
        child.wait_for("ready")
        yield child


def test_ctrl_c_waits_for_the_running_task_and_is_raised_then(tmp_path):
    (tmp_path / "hold").touch()
    with ticker(tmp_path) as child:
        child.say("tick")
        child.wait_for("started")
        child.send(signal.SIGINT)
        (tmp_path / "hold").unlink()
        assert child.wait_for("interrupted") == ""
        child.ticks_until("first:succeeded second:succeeded")


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    (tmp_path / "hold").touch()
    with ticker(tmp_path) as child:
        child.say("tick")
        child.wait_for("started")
        child.send(signal.SIGINT)
        # Two signals at once would be one: it has to have come back to its work in between.
        child.wait_for("holding", len(child.lines("holding")) + 2)
        assert not child.lines("interrupted")
        child.send(signal.SIGINT)
        child.wait_for("interrupted")
        child.say("history")
        assert child.wait_for("error") == " KeyboardInterrupt"


def test_ctrl_c_between_ticks_is_raised_at_once(tmp_path):
    with ticker(tmp_path) as child:
        child.say("tick")
        child.wait_for("ticked")
        child.send(signal.SIGINT)
        child.wait_for("interrupted")
        child.ticks_until("first:succeeded second:succeeded")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("threads", [0, 1])
def test_a_signal_ends_a_process_that_runs_nothing_as_it_would_any(tmp_path, number, threads):
    with ticker(tmp_path) as child:
        for _ in range(threads):
            child.say("thread")  # that is no daemon
        child.say("tick")
        child.wait_for("ticked")
        child.send(number)
        assert child.exit_code() == -number


def test_a_signal_ends_a_process_when_the_tick_of_its_main_thread_is_over(tmp_path):
    (tmp_path / "hold").touch()
    with ticker(tmp_path) as child:
        child.say("thread")
        child.say("tick")
        child.wait_for("started")
        child.send(signal.SIGTERM)
        child.wait_for("holding", len(child.lines("holding")) + 2)
        assert not child.over()
        (tmp_path / "hold").unlink()
        assert child.exit_code() == -signal.SIGTERM
    with ticker(tmp_path) as child:
        child.ticks_until("second:succeeded")


def test_a_second_sigterm_does_not_wait(tmp_path):
    (tmp_path / "hold").touch()
    with ticker(tmp_path) as child:
        child.say("tick")
        child.wait_for("started")
        child.send(signal.SIGTERM)
        child.wait_for("holding", len(child.lines("holding")) + 2)
        child.send(signal.SIGTERM)
        assert child.exit_code() == -signal.SIGTERM
