"""``pcron … execute``, which the process of one run does."""

import io
import os
import signal
import sys
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import make_url

from pyramid_cron import RunState
from pyramid_cron.clock import utc_now
from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import Trigger
from pyramid_cron.scripts import work
from pyramid_cron.store.handoff import hand_off_run
from pyramid_cron.store.store import Store
from tests.records import claim

MINUTE = timedelta(minutes=1)
PROCESSES = """
    def stop(system):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            pass

    import os, signal
    options = {"on_demand": True, "executor": "process"}
    config.add_cron_task(clean, name="cleans", **options)
    config.add_cron_task(fail, name="breaks", **options)
    config.add_cron_task(stop, name="stops", **options)
    config.add_cron_task(lambda system: print("hello"), name="says", **options)
"""


@pytest.fixture
def store(shop, monkeypatch):
    monkeypatch.setattr(work, "kill_this_process", print)  # it is that of the tests
    shop.write(
        PROCESSES, "cron.config_uri = shop.ini\ncron.shutdown_timeout = 0\ncron.self_trigger = true"
    )
    store = Store(make_url(f"sqlite:///{shop.folder}/cron.sqlite"), "cron_")
    yield store
    store.database.dispose()


@pytest.fixture
def claimed(store):
    """Claims a run of a task, and hands it off."""

    def claim_run(task):
        now = utc_now()
        [run] = claim(store, WaitingRun(task, now, Trigger.MANUAL, now, payload=7), now=now)
        hand_off_run(store, run.id, now + MINUTE)
        return run.id

    return claim_run


def test_it_carries_out_a_run_and_records_its_end(shop, store, claimed):
    run_id = claimed("cleans")
    assert shop.fine("execute", run_id[:20]) == ""
    run = store.get_run(run_id)
    assert (run.state, run.pid) == (RunState.SUCCEEDED, os.getpid())
    assert "cleaned 7" in run.log


def test_it_prints_what_the_task_prints(shop, claimed):
    assert shop.fine("execute", claimed("says")) == "hello\n"


def test_a_failure_is_its_exit_status(shop, store, claimed):
    run_id = claimed("breaks")
    assert (shop("execute", run_id), shop.out) == (1, "")
    assert store.get_run(run_id).error == "RuntimeError: no stock"


def test_it_stops_its_task_at_a_signal_however_often_that_comes(shop, store, claimed):
    run_id = claimed("stops")
    handler = signal.getsignal(signal.SIGTERM)
    assert shop("execute", run_id) == 1
    assert signal.getsignal(signal.SIGTERM) is handler
    run = store.get_run(run_id)
    assert run.state is RunState.CANCELLED
    assert run.error.endswith("the process stopped")


def test_after_a_signal_it_begins_no_run(shop, store, claimed, monkeypatch):
    @contextmanager
    def signalled():
        os.kill(os.getpid(), signal.SIGTERM)
        yield

    run_id = claimed("cleans")
    monkeypatch.setattr(work, "_lasting_output", signalled)
    assert shop("execute", run_id) == 1
    assert store.get_run(run_id).state is RunState.CLAIMED


def test_one_that_is_over_or_of_another_kind_of_task_is_refused(shop, store, claimed):
    run_id = claimed("cleans")
    shop("execute", run_id)
    assert shop("execute", run_id) == 1
    assert shop.err.startswith(f"pcron: run {run_id} can't be executed: it is succeeded, and not")
    thread_run = claimed("clean")
    assert shop.wrong("execute", thread_run) == (
        f"run {thread_run} is of 'clean', which has executor='request': only runs of tasks with"
        " 'process' can be executed"
    )
    assert shop.wrong("execute", "f" * 26) == f"there is no run '{'f' * 26}'"


def test_what_is_printed_when_nobody_reads_any_more_is_dropped(monkeypatch):
    reader, writer = os.pipe()
    stream = io.TextIOWrapper(os.fdopen(writer, "wb", buffering=0), write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    with work._lasting_output():
        print("one \udc80")
        assert os.read(reader, 99) == b"one \\udc80\n"
        os.close(reader)
        print("two", flush=True)
    stream.close()
