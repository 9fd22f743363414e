"""What a task logs, and a program writes, can be read while it runs."""

import logging
import sqlite3
import threading

import pytest
from webtest import TestApp

from pyramid_cron import StoreError, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.run import RunState
from pyramid_cron.runtime.supervisor import Supervisor
from tests.apps import configure, cron_of
from tests.integration.processes import wait_until

log = logging.getLogger("orders")


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


def start(config, task, **arguments):
    """Have a tick begin a task in a thread; return the application and the path of its run."""
    config.add_cron_task(task, name="some", executor="thread", **arguments)
    web = web_of(config)
    [run] = web.get("/cron", headers={"Accept": "application/json"}).json["runs"]
    return web, f"/cron/runs/{run['run']}"


def test_what_a_task_has_logged_is_shown_while_it_runs(config, gate):
    def work(system):
        log.warning("half of it")
        gate.wait(20)

    web, path = start(config, work)
    text = wait_until(lambda: web.get(f"{path}/log").text)
    assert text.endswith("[orders] half of it\n")
    run = web.get(path).json
    assert (run["state"], run["log"], run["finished"]) == ("running", text, None)
    assert run["heartbeat"] >= run["started"][:19]
    page = web.get(path, headers={"Accept": "text/html"})
    assert "half of it" in page.html.find(attrs={"data-part": "log"}).text
    for fact in ("Elapsed", "Last heartbeat", "Started"):
        assert page.html.find("dt", string=fact) is not None


def test_what_a_program_has_written_is_shown_while_it_runs(config, tmp_path):
    end = tmp_path / "end"
    script = f"echo out; echo err >&2; while [ ! -e {end} ]; do sleep 0.05; done"
    config.add_cron_command(script, shell=True, name="program", executor="thread")
    web = web_of(config)
    [run] = web.get("/cron", headers={"Accept": "application/json"}).json["runs"]
    path = f"/cron/runs/{run['run']}"
    try:
        wait_until(lambda: web.get(path).json["stdout"] and web.get(path).json["stderr"])
        text = web.get(f"{path}/log").text
        assert text == "==> standard output <==\nout\n\n==> standard error <==\nerr\n"
        assert web.get(path).json["state"] == "running"
    finally:
        end.touch()


def test_a_run_that_logs_nothing_has_no_text(config):
    config.add_cron_task(lambda system: None, name="quiet")
    cron = cron_of(config)
    run = cron.run("quiet")
    answer = web_of(config).get(f"/cron/runs/{run.id[:12]}/log")
    assert (answer.content_type, answer.text) == ("text/plain", "")


class TestWriting:
    """How the supervisor writes it; its loop is not needed for that."""

    @pytest.fixture
    def cron(self, config):
        config.commit()
        return get_cron(config.registry)

    @pytest.fixture
    def running(self, config, cron, monkeypatch):
        """Runs a task that writes what it has logged, each time with a count of the writes."""
        monkeypatch.setattr(Supervisor, "wake", lambda self: None)
        written = []

        def count(rows):
            written.append([row["log"].split("] ")[1].strip() for row in rows])
            write(rows)

        write = cron.store.write_live_outputs
        monkeypatch.setattr(cron.store, "write_live_outputs", count)

        def run(task):
            config.add_cron_task(lambda system: task(), name="some")
            config.commit()
            return scheduler(config.registry).run("some"), written

        return run

    def test_nothing_is_written_where_nothing_has_changed(self, cron, running):
        def task():
            cron.supervisor.executions.write_live_outputs()
            log.warning("a")
            cron.supervisor.executions.write_live_outputs()
            cron.supervisor.executions.write_live_outputs()

        run, written = running(task)
        assert (run.state, written) == (RunState.SUCCEEDED, [["a"]])

    def test_trouble_of_the_store_is_for_the_next_time(self, cron, running, monkeypatch):
        def task():
            log.warning("a")
            store = cron.store
            with monkeypatch.context() as context:

                def refuse(rows):
                    raise StoreError("cron.url …") from sqlite3.OperationalError("it is locked")

                context.setattr(store, "write_live_outputs", refuse)
                cron.supervisor._write_live_outputs()
            cron.supervisor._write_live_outputs()  # not so soon
            cron.supervisor._write_outputs_at = float("-inf")
            cron.supervisor._write_live_outputs()

        run, written = running(task)
        assert (run.state, written) == (RunState.SUCCEEDED, [["a"]])
