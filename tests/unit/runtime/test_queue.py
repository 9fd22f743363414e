"""Other queues: sending, trouble with it, and the worker's side."""

import logging
import threading
from datetime import timedelta

import pytest
from pyramid.exceptions import ConfigurationError

from pyramid_cron import RunState, events, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.errors import StoreError
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure

MINUTE = timedelta(minutes=1)


@pytest.fixture
def sent():
    return []


def application(send, **arguments):
    config = configure()
    config.add_cron_queue("post", send)
    config.add_cron_task(lambda system: None, name="task", executor="post", **arguments)
    return CronTester(config.make_wsgi_app())


def test_a_run_is_sent_and_carried_out_by_its_id_once(sent):
    cron = application(sent.append)
    [run] = cron.tick().runs
    assert run.state is RunState.CLAIMED
    assert [run.id for run in sent] == [run.id]
    request_cron = scheduler(cron.registry)
    assert request_cron.execute(run.id).state is RunState.SUCCEEDED
    assert request_cron.execute(run.id) is None
    assert request_cron.history()[0].state is RunState.SUCCEEDED


def test_one_that_is_cancelled_before_it_is_taken_up_is_over_at_once(sent, caplog):
    received = []
    cron = application(sent.append, overlap="skip")
    cron.registry.registerHandler(received.append, [events.RunCancelled])
    [run] = cron.tick(NOON).runs
    request_cron = scheduler(cron.registry)
    with caplog.at_level(logging.INFO, "pyramid_cron"):
        request_cron.cancel(run.id)
    [over] = request_cron.history()
    assert (over.state, over.error) == (RunState.CANCELLED, "was cancelled before it began")
    assert [event.run for event in received] == [over]
    assert f"run={run.id} " in caplog.text
    assert request_cron.execute(run.id) is None
    assert [run.state for run in cron.tick(NOON + MINUTE).runs] == [RunState.CLAIMED]
    with pytest.raises(ValueError, match="is over"):
        request_cron.cancel(run.id)


def test_a_run_that_is_not_known_is_an_error(sent):
    with pytest.raises(LookupError, match="there is no run 'x'"):
        scheduler(application(sent.append).registry).execute("x")


def test_a_run_that_was_taken_up_is_carried_out_though_the_store_goes_away(sent, monkeypatch):
    cron = application(sent.append)
    cron.tick()
    store = get_cron(cron.registry).store

    def away():
        monkeypatch.undo()
        raise StoreError("gone")

    monkeypatch.setattr(store, "cancel_requests", away)
    assert scheduler(cron.registry).execute(sent[0].id).state is RunState.SUCCEEDED
    assert [str(run.state) for run in store.history()] == ["succeeded"]


def test_what_can_not_be_sent_waits_and_is_sent_by_a_later_tick(sent):
    def send(run):
        if not sent:
            sent.append(None)
            raise ConnectionError("no way")
        sent.append(run)

    cron = application(send, retry=1)
    report = cron.tick()
    assert (report.runs, [waiting_run.task for waiting_run in report.waiting]) == ((), ["task"])
    store = get_cron(cron.registry).store
    assert (store.history(), store.count_waiting("task")) == ([], 1)
    [run] = cron.tick().runs
    assert (run.id, run.attempt) == (sent[1].id, 1)
    assert scheduler(cron.registry).execute(run.id).state is RunState.SUCCEEDED


def test_a_queue_that_would_end_the_process_is_one_that_can_not_be_reached(caplog):
    def send(run):
        raise SystemExit("no broker")

    cron = application(send)
    assert [waiting_run.slot for waiting_run in cron.tick(NOON).waiting] == [NOON]
    assert "post can't be reached; task will be sent later: no broker" in caplog.text
    report = cron.tick(NOON + MINUTE)
    assert [run.reason for run in report.skipped] == ["superseded"]
    assert [waiting_run.slot for waiting_run in report.waiting] == [NOON + MINUTE]


def test_a_process_without_threads_to_spare_leaves_the_run_to_a_later_tick(caplog):
    config = configure()
    config.add_cron_task(
        lambda system: None, at="2026-06-15T12:00Z", name="task", executor="thread"
    )
    cron = CronTester(config.make_wsgi_app())
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "pyramid_cron task":
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        report = cron.tick(NOON)
    assert (report.runs, [run.slot for run in report.waiting]) == ((), [NOON])
    assert "no thread for task, which waits for the next tick: can't start new" in caplog.text
    [waiting] = scheduler(cron.registry).waiting("task")
    assert (waiting.slot, waiting.attempt, waiting.why) == (NOON, 1, "room")
    [run] = cron.tick(NOON + MINUTE).runs
    assert (run.id, run.slot, run.attempt) == (waiting.id, NOON, 1)
    assert run.state is RunState.SUCCEEDED


def test_a_worker_carries_out_a_script_that_came_after_it_had_looked(sent, tmp_path):
    (tmp_path / "jobs" / "1min").mkdir(parents=True)
    ours, workers = (configure(**{"cron.url": f"sqlite:///{tmp_path}/cron"}) for _ in range(2))
    for config in ours, workers:
        config.add_cron_queue("post", sent.append)
        config.add_cron_folder(tmp_path / "jobs", executor="post")
        config.commit()
    worker = scheduler(workers.registry)
    assert worker.tasks() == []
    path = tmp_path / "jobs" / "1min" / "new"
    path.write_text("#!/bin/sh\necho $CRON_TASK\n")
    path.chmod(0o755)
    [run] = CronTester(ours.make_wsgi_app()).tick().runs
    assert worker.execute(run.id).stdout == "1min/new\n"


@pytest.mark.parametrize(
    ("name", "send", "message"),
    [
        ("thread", print, "name='thread': must be text, and none of"),
        ("", print, "name='': must be text"),
        (3, print, "name=3: must be text"),
        ("post", "print", "'post': send='print': must be callable"),
    ],
)
def test_wrong_arguments_are_refused(name, send, message):
    with pytest.raises(ConfigurationError, match=message):
        configure().add_cron_queue(name, send)
