"""Runs in processes of their own, as the process that starts them has it.

Instead of the application each process loads nothing and does at once what a test is about.
"""

import errno
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace

import pytest
from pyramid.exceptions import ConfigurationError

from pyramid_cron import RunState, events, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.errors import StoreError
from pyramid_cron.runtime import run_processes, supervisor
from pyramid_cron.runtime.subprocesses import Process, UnknownStatusError
from pyramid_cron.runtime.tick import run_tick_and_wait
from pyramid_cron.store.ends import read_ends
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure

BEGIN = """
import os, signal, sqlite3, sys, time

def write(**values):
    columns = ", ".join(f"{name} = ?" for name in values)
    with sqlite3.connect(sys.argv[1], timeout=30) as db:
        db.execute(f"update cron_runs set {columns} where id = ?", [*values.values(), sys.argv[2]])

print("out", flush=True)
print("a\\nb", file=sys.stderr, flush=True)
"""
TAKE_OVER = "write(owner='its', pid=os.getpid(), state='running', started=int(time.time() * 1e6))\n"
END = "write(state='succeeded', finished=int(time.time() * 1e6), lease_until=None)\n"
LOSE = "write(state='lost', finished=int(time.time() * 1e6), lease_until=None)\n"
SLEEP = "time.sleep(60)\n"


def do_nothing(system):
    """Never called here."""


class Shop:
    """An application whose task runs in a process that executes a program of a test's choice."""

    def __init__(self, path, program, **arguments):
        self.path, self.program = path, program
        settings = {"cron.url": f"sqlite:///{path}", "cron.config_uri": "shop.ini"}
        config = configure(**settings)
        config.add_cron_task(
            do_nothing, name="task", on_demand=True, executor="process", **arguments
        )
        config.make_wsgi_app()
        self.registry = config.registry
        self.cron, self.scheduler = get_cron(self.registry), scheduler(self.registry)

    def make_process(self, _cron, run):
        argv = (sys.executable, "-S", "-c", BEGIN + self.program, str(self.path), run.id)
        return Process(argv, {}, None, None)

    def tick(self):
        return run_tick_and_wait(self.cron, self.registry, self.cron.clock())

    def run(self):
        """Have one run; return it as it is on record."""
        deferred = self.scheduler.defer("task")
        self.tick()
        return self.scheduler.get_run(deferred.id)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setattr(run_processes, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(run_processes, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(run_processes, "OUTPUT_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(run_processes, "CANCEL_GRACE", timedelta(0))
    monkeypatch.setattr(run_processes, "KILL_MARGIN", timedelta(0))
    monkeypatch.setattr(run_processes, "EXIT_SECONDS", 0.0)

    def make(program, **arguments):
        shop = Shop(tmp_path / "cron.sqlite", program, **arguments)
        monkeypatch.setattr(run_processes, "_make_process", shop.make_process)
        return shop

    return make


def wait_for(condition):
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


class TestAtItsEnd:
    def test_what_it_wrote_is_kept_beside_the_end_that_it_has_recorded(self, shop):
        run = shop(TAKE_OVER + END).run()
        assert (run.state, run.error, run.exit_status) == (RunState.SUCCEEDED, None, None)
        assert (run.stdout, run.stderr) == ("out\n", "a\nb\n")

    def test_a_status_without_a_recorded_end_is_a_failure(self, shop):
        run = shop(TAKE_OVER + "os._exit(3)").run()
        assert (run.state, run.exit_status) == (RunState.FAILED, 3)
        assert run.error == "its process ended with status 3"
        assert (run.stdout, run.stderr) == ("out\n", "a\nb\n")
        assert run.duration < 30

    def test_so_is_a_signal(self, shop):
        run = shop(TAKE_OVER + "os.kill(os.getpid(), signal.SIGKILL)").run()
        assert (run.state, run.exit_status) == (RunState.FAILED, -9)
        assert run.error == "its process was ended by signal 9 (SIGKILL)"

    @pytest.mark.parametrize("begins", ["", TAKE_OVER])
    def test_where_lost_attempts_are_made_good_a_signal_loses_it(self, shop, begins):
        killed = shop(begins + "os.kill(os.getpid(), signal.SIGKILL)", lost_attempts=1)
        told = []
        killed.registry.registerHandler(told.append, [events.RunLost])
        run = killed.run()
        assert (run.state, run.exit_status) == (RunState.LOST, -9)
        assert run.error == "lost: its process was ended by signal 9 (SIGKILL)"
        assert [event.run.id for event in told] == [run.id]
        [waiting] = killed.scheduler.waiting()
        assert (waiting.attempt, waiting.lost_count) == (2, 1)

    def test_an_end_that_it_has_left_on_record_is_its_own(self, shop):
        program = """
with sqlite3.connect(sys.argv[1], timeout=30) as db:
    moment = int(time.time() * 1e6)
    db.execute("insert into cron_ends values (?, 'succeeded', ?, ?)", [sys.argv[2], moment, moment])
os.kill(os.getpid(), signal.SIGKILL)
"""
        killed = shop(TAKE_OVER + program, lost_attempts=1)
        run = killed.run()
        assert (run.state, run.error, run.stdout) == (RunState.SUCCEEDED, None, "out\n")
        assert killed.scheduler.waiting() == []
        with killed.cron.store.read_session() as session:
            assert read_ends(session, [run.id]) == {}

    def test_one_that_could_not_begin_is_a_failure_that_says_why(self, shop):
        run = shop("sys.exit('no such file')").run()
        assert (run.state, run.started, run.exit_status) == (RunState.FAILED, None, 1)
        assert run.error == "its process ended with status 1 before it began: no such file"

    def test_one_that_could_not_be_started_is_too(self, shop, monkeypatch):
        missing = shop("")
        monkeypatch.setattr(
            run_processes, "_make_process", lambda *_: Process(("/none",), {}, None, None)
        )
        run = missing.run()
        assert run.error.startswith("its process could not be started: [Errno 2] No such file")

    @pytest.mark.parametrize(
        "error", [RuntimeError("can't start new thread"), OSError(errno.EAGAIN, "try again")]
    )
    def test_where_no_process_is_to_be_had_the_run_waits(self, shop, monkeypatch, caplog, error):
        def refuse(*values, **options):
            raise error

        refused = shop("")
        where = (Process, "start") if isinstance(error, RuntimeError) else (subprocess, "Popen")
        monkeypatch.setattr(*where, refuse)
        assert refused.run().state is RunState.WAITING
        assert f"no process: {error}" in caplog.text

    def test_a_failure_is_told_and_tried_again(self, shop):
        crashing = shop(TAKE_OVER + "os._exit(3)", retry=2)
        told = []
        for event in events.RunFailed, events.RunRetrying:
            crashing.registry.registerHandler(told.append, [event])
        run = crashing.run()
        assert [type(event) for event in told] == [events.RunFailed, events.RunRetrying]
        assert told[0].run == run
        [waiting] = crashing.scheduler.waiting()
        assert (waiting.attempt, str(waiting.why)) == (2, "retry")

    def test_one_that_has_begun_is_not_recorded_by_another(self, shop):
        run = shop(TAKE_OVER.replace("os.getpid()", "1") + "os._exit(3)").run()
        assert (run.state, run.pid) == (RunState.RUNNING, 1)

    def test_a_status_that_is_not_known_is_said_to_be(self):
        process = Process(("true",), {}, None, None)
        process.error = UnknownStatusError()
        assert run_processes.describe_end(process).endswith("its exit status is not known")
        process.returncode = -99
        assert run_processes.describe_end(process) == "its process was ended by signal 99"


def test_as_long_as_it_lives_its_run_is_not_lost(shop):
    program = """
write(lease_until=int(time.time() * 1e6))
give_up = time.time() + 30
while time.time() < give_up:
    with sqlite3.connect(sys.argv[1], timeout=30) as db:
        query = "select lease_until from cron_runs where id = ?"
        [[lease_until]] = db.execute(query, sys.argv[2:])
    if lease_until / 1e6 > time.time() + 30:
        break
    time.sleep(0.01)
else:
    os._exit(1)
"""
    assert shop(TAKE_OVER + program + END).run().state is RunState.SUCCEEDED


class TestItIsEnded:
    def test_at_the_timeout(self, shop):
        run = shop(TAKE_OVER + SLEEP, timeout=0.01).run()
        assert (run.state, run.exit_status) == (RunState.TIMED_OUT, -15)
        end = "its process was ended by signal 15 (SIGTERM)"
        assert run.error == f"ran longer than its timeout; {end}"

    def test_when_it_is_cancelled(self, shop):
        endless = shop(TAKE_OVER + SLEEP)
        deferred = endless.scheduler.defer("task")
        ticking = in_thread(endless.tick)
        wait_for(lambda: endless.scheduler.get_run(deferred.id).state is RunState.RUNNING)
        wait_for(lambda: endless.scheduler.get_run(deferred.id).stdout)  # live
        endless.scheduler.cancel(deferred.id)
        ticking.join()
        run = endless.scheduler.get_run(deferred.id)
        assert run.state is RunState.CANCELLED
        assert run.error == "was cancelled; its process was ended by signal 15 (SIGTERM)"

    @pytest.mark.parametrize(("end", "state"), [(END, RunState.SUCCEEDED), (LOSE, RunState.LOST)])
    def test_when_its_run_is_over_and_it_goes_on(self, shop, end, state):
        assert shop(TAKE_OVER + end + SLEEP).run().state is state

    def test_when_it_does_not_begin(self, shop, monkeypatch):
        monkeypatch.setattr(run_processes, "START_TIMEOUT", timedelta(0))
        slow = shop(SLEEP)
        monkeypatch.setattr(run_processes, "hand_off_run", _hand_off_for_a_day)
        run = slow.run()
        assert (run.state, run.started) == (RunState.FAILED, None)
        assert run.error == "its process did not begin it within 0 minutes"

    def test_when_the_process_that_started_it_stops(self, shop):
        endless = shop(TAKE_OVER + SLEEP, retry=2)
        deferred = endless.scheduler.defer("task")
        ticking = in_thread(endless.tick)
        wait_for(lambda: endless.scheduler.get_run(deferred.id).state is RunState.RUNNING)
        endless.cron.supervisor.shutdown(30)
        ticking.join()
        run = endless.scheduler.get_run(deferred.id)
        end = "its process was ended by signal 15 (SIGTERM)"
        assert (run.state, run.error) == (RunState.CANCELLED, f"the process stopped; {end}")
        assert [waiting.attempt for waiting in endless.scheduler.waiting()] == [2]

    def test_by_a_kill_if_it_has_not_stopped_in_time(self, shop, monkeypatch):
        monkeypatch.setattr(supervisor, "SHUTDOWN_PROCESS_SECONDS", 0.3)
        program = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + TAKE_OVER + SLEEP
        endless = shop(program)
        deferred = endless.scheduler.defer("task")
        ticking = in_thread(endless.tick)
        wait_for(lambda: endless.scheduler.get_run(deferred.id).state is RunState.RUNNING)
        endless.cron.supervisor.shutdown(0)
        ticking.join()
        run = endless.scheduler.get_run(deferred.id)
        end = "its process was ended by signal 9 (SIGKILL)"
        assert (run.state, run.error) == (RunState.CANCELLED, f"the process stopped; {end}")

    def test_and_its_run_waits_if_it_had_not_begun(self, shop):
        slow = shop(SLEEP)
        deferred = slow.scheduler.defer("task")
        ticking = in_thread(slow.tick)
        wait_for(lambda: [one for one in slow.cron.supervisor.executions.all() if one.is_delegated])
        slow.cron.supervisor.shutdown(30)
        ticking.join()
        assert slow.scheduler.get_run(deferred.id).state is RunState.WAITING


def _hand_off_for_a_day(store, run_id, _):
    from pyramid_cron.clock import utc_now
    from pyramid_cron.store.handoff import hand_off_run

    hand_off_run(store, run_id, utc_now() + timedelta(days=1))


class TestBeforeItIsStarted:
    def test_a_run_that_can_not_be_handed_off_waits(self, shop, monkeypatch, caplog):
        away = shop("")

        def refuse(*_):
            raise StoreError("gone")

        monkeypatch.setattr(run_processes, "hand_off_run", refuse)
        assert away.run().state is RunState.WAITING
        assert "no process is started: gone" in caplog.text

    def test_one_that_was_cancelled_is_over(self, shop, monkeypatch):
        shut = shop("")
        launch = run_processes.run_in_process

        def cancel_first(cron, registry, task, run):
            cron.supervisor.cancel(run.id)
            launch(cron, registry, task, run)

        monkeypatch.setattr("pyramid_cron.runtime.background.run_in_process", cancel_first)
        run = shut.run()
        assert (run.state, run.error) == (RunState.CANCELLED, "was cancelled before it began")


def test_what_waits_for_room_begins_when_a_process_has_ended(shop):
    busy = shop(TAKE_OVER + END, weight=8, overlap="allow")
    ids = [busy.scheduler.defer("task").id for _ in range(2)]
    busy.cron.dispatcher = SimpleNamespace(is_awake=True, hit=nullcontext, wake=print)
    busy.tick()
    assert [str(busy.scheduler.get_run(run_id).state) for run_id in ids] == ["succeeded"] * 2


def test_the_command_loads_the_configuration_and_tells_of_crashes(shop, monkeypatch):
    make_process = run_processes._make_process
    started = shop("")
    monkeypatch.setattr(run_processes, "_make_process", make_process)
    run = started.scheduler.defer("task")
    argv = make_process(started.cron, run)._popen_arguments[0]
    assert argv[0] == sys.executable
    assert argv[-3:] == (started.cron.settings.config_uri, "execute", run.id)
    assert "faulthandler" in argv


def test_a_server_that_embeds_python_is_not_taken_for_it(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert run_processes._find_interpreter() == f"{sys.exec_prefix}/bin/python3"


def test_a_process_whose_task_does_not_stop_ends_in_a_moment(monkeypatch):
    killed = []
    monkeypatch.setattr(run_processes, "SELF_KILL_SECONDS", 0.0)
    monkeypatch.setattr("os.getpgrp", lambda: 4711)
    monkeypatch.setattr("os.getpid", lambda: 4711)
    monkeypatch.setattr("os.killpg", lambda *values: killed.append(values))
    monkeypatch.setattr("os.kill", lambda *values: killed.append(values))
    run_processes.kill_this_process()
    wait_for(lambda: len(killed) == 2)
    assert killed == [(0, signal.SIGKILL), (4711, signal.SIGKILL)]


class TestConfiguration:
    def test_a_process_needs_the_configuration_it_is_to_load(self):
        config = configure()
        config.add_cron_task(do_nothing, name="task", executor="process")
        with pytest.raises(ConfigurationError) as error:
            config.commit()
        assert "cron task 'task': executor='process': needs the setting cron.config_uri" in str(
            error.value
        )

    def test_a_program_needs_none_since_it_is_a_process(self):
        config = configure()
        config.add_cron_command(["true"], name="it", hour=12, executor="process")
        [run] = CronTester(config.make_wsgi_app()).tick(NOON).runs
        assert (run.state, run.exit_status) == (RunState.SUCCEEDED, 0)

    def test_where_no_process_would_see_the_store_a_thread_has_the_run(self):
        config = configure(**{"cron.config_uri": "shop.ini"})
        called = []
        config.add_cron_task(called.append, name="task", hour=12, executor="process")
        config.make_wsgi_app()
        run_tick_and_wait(get_cron(config.registry), config.registry, NOON)
        assert len(called) == 1

    def test_so_it_has_in_a_test_with_a_clock_of_its_own(self, tmp_path):
        settings = {"cron.config_uri": "shop.ini", "cron.url": f"sqlite:///{tmp_path}/cron"}
        config = configure(**settings)
        config.add_cron_task(lambda system: None, name="task", hour=12, executor="process")
        [run] = CronTester(config.make_wsgi_app()).tick(NOON).runs
        assert run.state is RunState.SUCCEEDED
