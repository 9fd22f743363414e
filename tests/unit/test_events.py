"""What happened, told to whoever subscribed."""

import asyncio
import logging
import threading
from contextlib import suppress
from datetime import timedelta

import pytest
import transaction
from transaction.interfaces import NoTransaction

from pyramid_cron import events, scheduler
from tests.apps import NOON, Note, committed, configure, configure_with_database, cron_of
from tests.integration.processes import wait_until

MINUTE = timedelta(minutes=1)
MODES = ("explicit", "implicit", "inactive", "none")


@pytest.fixture
def config():
    return configure()


@pytest.fixture
def heard(config):
    """All events there are, in order, by the name of their kind."""
    found = []
    for kind in (events.Event, events.TickStarted):
        assert issubclass(kind, events.Event)
    config.add_subscriber(found.append, events.Event)
    return found


def names(heard):
    return [type(event).__name__ for event in heard]


def fail(system=None):
    raise ValueError("no")


def test_the_events_of_a_tick_and_its_runs_come_in_order(config, heard):
    config.add_cron_task(lambda system: None, name="good")
    config.add_cron_task(fail, name="bad")
    report = cron_of(config).tick(NOON)
    assert names(heard) == [
        "TickStarted",
        "RunStarted",
        "RunSucceeded",
        "RunStarted",
        "RunFailed",
        "TickFinished",
    ]
    assert (heard[0].tick, heard[0].now) == (report.tick, NOON)
    assert (heard[1].run.task, heard[1].run.state) == ("good", "running")
    assert heard[1].run.started == report.runs[0].started
    assert heard[4].run == report.runs[1]
    assert heard[4].run.error == "ValueError: no"
    assert heard[5].report == report
    assert heard[5].registry is config.registry


def test_a_tick_with_nothing_due_has_events_too(config, heard):
    config.add_cron_task(fail, on_demand=True)
    cron_of(config).tick(NOON)
    assert names(heard) == ["TickStarted", "TickFinished"]
    assert heard[1].report.runs == ()


def test_a_run_whose_condition_is_not_met_is_skipped_and_never_starts(config, heard, caplog):
    config.add_cron_task(fail, name="no", when=lambda system: False)
    with caplog.at_level(logging.INFO, "pyramid_cron"):
        cron_of(config).tick(NOON)
    assert names(heard) == ["TickStarted", "RunSkipped", "TickFinished"]
    [line] = [record for record in caplog.records if hasattr(record, "run")]
    assert (line.state, line.reason) == ("skipped", "condition")


def test_a_condition_that_raises_fails_a_run_that_has_started(config, heard):
    config.add_cron_task(print, name="no", when=fail)
    cron_of(config).tick(NOON)
    assert names(heard) == ["TickStarted", "RunStarted", "RunFailed", "TickFinished"]


def test_condition_subscriber_and_task_have_a_transaction_each(config):
    transactions = []

    def note(_):
        transactions.append(transaction.get())
        return True

    config.add_subscriber(note, events.RunStarted)
    config.add_cron_task(note, name="a", when=note)
    cron_of(config).tick(NOON)
    assert len(set(map(id, transactions))) == 3


def test_skipped_slots_have_an_event_with_the_reason(config, heard):
    config.add_cron_task(fail, name="no", when=lambda system: False)
    config.add_cron_task(fail, name="late", catch_up="none", hour=11, min=30)
    cron = cron_of(config)
    cron.tick(NOON - timedelta(hours=1))
    cron.tick(NOON)
    skipped = [event.run for event in heard if isinstance(event, events.RunSkipped)]
    assert {(run.task, run.reason, run.count) for run in skipped} == {
        ("no", "condition", 1),
        ("no", "superseded", 59),
        ("late", "missed", 1),
    }


def test_a_retry_is_announced_after_the_failure(config, heard):
    config.add_cron_task(fail, name="bad", retry=2)
    cron = cron_of(config)
    cron.tick(NOON)
    assert names(heard)[2:4] == ["RunFailed", "RunRetrying"]
    retrying = heard[3]
    assert (retrying.run, retrying.attempt) == (heard[2].run, 2)
    assert retrying.at == NOON + timedelta(seconds=30)
    del heard[:]
    cron.tick(NOON + MINUTE)
    assert "RunRetrying" not in names(heard)[:3]  # the last attempt


def test_pauses_and_resumes_have_an_event_for_every_task(config, heard):
    config.add_cron_task(fail, name="a", on_demand=True)
    config.add_cron_task(fail, name="b", on_demand=True)
    cron_of(config)
    control = scheduler(config.registry)
    control.pause("*", reason="deployment")
    control.resume("b")
    assert [(type(event).__name__, event.task) for event in heard] == [
        ("TaskPaused", "a"),
        ("TaskPaused", "b"),
        ("TaskResumed", "b"),
    ]
    assert (heard[0].reason, heard[0].until) == ("deployment", None)


def test_only_paused_tasks_have_an_event_when_resumed(config, heard):
    for name in ("a", "b", "c"):
        config.add_cron_task(fail, name=name, on_demand=True)
    cron = cron_of(config)
    control = scheduler(config.registry)
    cron.run("a", at=NOON)
    control.pause("b")
    control.pause("c", until=NOON + MINUTE)
    cron.run("a", at=NOON + 2 * MINUTE)
    del heard[:]
    assert control.resume() == ["b"]
    assert control.resume() == []
    assert [(type(event).__name__, event.task) for event in heard] == [("TaskResumed", "b")]


def test_a_pause_after_failures_is_an_event_of_the_tick(config, heard):
    config.add_cron_task(fail, name="bad", pause_after=1)
    cron_of(config).tick(NOON)
    assert names(heard)[-2:] == ["TaskPaused", "TickFinished"]
    assert (heard[-2].task, heard[-2].reason) == ("bad", "1 failure")


def test_a_run_by_hand_has_its_events(config, heard):
    config.add_cron_task(lambda system: None, name="good", on_demand=True)
    cron_of(config).run("good")
    assert names(heard) == ["RunStarted", "RunSucceeded"]


def test_a_timeout_and_a_cancellation_have_events_of_their_own(config, heard):
    def wait(system):
        scheduler(config.registry).cancel(system["run"].id)
        threading.Event().wait(0.01)
        while True:
            threading.Event().wait(0.01)

    config.add_cron_task(wait, name="cancelled", on_demand=True)

    def slow(system):
        while True:
            threading.Event().wait(0.01)

    config.add_cron_task(slow, name="slow", timeout=0.1, on_demand=True)
    cron = cron_of(config)
    cron.run("cancelled")
    cron.run("slow")
    assert names(heard) == ["RunStarted", "RunCancelled", "RunStarted", "RunTimedOut"]


def test_a_failing_subscriber_harms_neither_the_run_nor_the_others(config, heard, caplog):
    def broken(event):
        raise RuntimeError("no mail today")

    for kind in (events.RunStarted, events.RunSucceeded, events.TickStarted, events.TickFinished):
        config.add_subscriber(broken, kind)
    config.add_cron_task(lambda system: None, name="good")
    [run] = cron_of(config).tick(NOON).runs
    assert run.state == "succeeded"
    assert run.output is None
    assert names(heard) == ["TickStarted", "RunStarted", "RunSucceeded", "TickFinished"]
    complaints = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(complaints) == 4
    assert "a subscriber to TickStarted failed" in complaints[0].getMessage()


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
def test_whatever_a_subscriber_raises_every_run_goes_on(config, caplog, error):
    def subscriber(event):
        raise error

    config.add_subscriber(subscriber, events.RunStarted)
    config.add_cron_task(lambda system: None, name="a", min="*")
    config.add_cron_task(lambda system: None, name="b", min="*")
    cron = cron_of(config)
    for minute in range(2):
        report = cron.tick(NOON + minute * MINUTE)
        assert [run.state for run in report.runs] == ["succeeded", "succeeded"]
    assert "a subscriber to RunStarted failed" in caplog.text


def test_an_interrupted_subscriber_leaves_every_slot_to_the_next_tick(config):
    first = [True]

    def subscriber(event):
        if first:
            first.clear()
            raise KeyboardInterrupt

    config.add_subscriber(subscriber, events.RunStarted)
    config.add_cron_task(lambda system: None, name="a", min="*")
    config.add_cron_task(lambda system: None, name="b", min="*", catch_up="all")
    cron = cron_of(config)
    with pytest.raises(KeyboardInterrupt):
        cron.tick(NOON)
    control = scheduler(config.registry)
    assert {run.task: run.state for run in control.history()} == {"a": "failed"}
    assert [(run.task, run.slot, run.why) for run in control.waiting()] == [("b", NOON, "room")]
    report = cron.tick(NOON + MINUTE)
    assert [(run.task, run.slot) for run in report.runs] == [
        ("b", NOON),
        ("a", NOON + MINUTE),
        ("b", NOON + MINUTE),
    ]
    assert {run.state for run in report.runs} == {"succeeded"}


def test_a_subscriber_that_exits_does_not_end_the_tick(config):
    def leave(event):
        raise SystemExit(3)

    config.add_subscriber(leave, events.RunStarted)
    config.add_cron_task(lambda system: None)
    [run] = cron_of(config).tick(NOON).runs
    assert run.state == "succeeded"


@pytest.mark.parametrize("mode", MODES)
def test_a_subscriber_has_a_transaction_of_its_own(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)

    def note(event):
        event.request.dbsession.add(Note(text=f"{type(event).__name__}"))

    def broken(event):
        event.request.dbsession.add(Note(text="never"))
        raise RuntimeError("no")

    for kind in (events.TickStarted, events.RunFailed, events.TickFinished):
        config.add_subscriber(note, kind)
        config.add_subscriber(broken, kind)

    def work(system):
        system["request"].dbsession.add(Note(text="work"))
        raise ValueError("no")

    config.add_cron_task(work)
    cron_of(config).tick(NOON)
    assert committed(config) == ["RunFailed", "TickFinished", "TickStarted"]


def manager_of(request):
    return getattr(request, "tm", None) or transaction.manager


def write_and_fail(system):
    system["request"].dbsession.add(Note(text="never"))
    raise ValueError("no")


@pytest.mark.parametrize("mode", MODES)
def test_an_unused_transaction_of_a_subscriber_hinders_no_other(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)
    for kind in (events.RunStarted, events.RunFailed, events.RunSucceeded):
        config.add_subscriber(lambda event: None, kind)
    config.add_subscriber(
        lambda event: event.request.dbsession.add(Note(text=event.run.task)), events.RunFailed
    )
    config.add_cron_task(write_and_fail, name="a")
    config.add_cron_task(lambda system: system["request"].dbsession.add(Note(text="b")), name="b")
    config.add_cron_task(write_and_fail, name="c")
    cron_of(config).tick(NOON)
    assert committed(config) == ["a", "b", "c"]


@pytest.mark.parametrize("mode", MODES)
def test_a_hook_of_a_subscriber_does_not_wait_for_the_task(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)
    done = []

    def hook(event):
        open_now = manager_of(event.request).get()
        open_now.addAfterCommitHook(lambda committed: done.append(("subscriber", committed)))

    config.add_subscriber(hook, events.RunStarted)
    config.add_cron_task(lambda system: done.append("task") or fail())
    cron_of(config).tick(NOON)
    assert done == [("subscriber", True), "task"]


@pytest.mark.parametrize("mode", MODES)
def test_a_subscriber_that_dooms_its_transaction_does_not_doom_the_tasks(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)
    config.add_subscriber(lambda event: manager_of(event.request).doom(), events.RunStarted)
    config.add_cron_task(lambda system: system["request"].dbsession.add(Note(text="kept")))
    cron_of(config).tick(NOON)
    assert committed(config) == ["kept"]


@pytest.mark.parametrize("mode", MODES)
def test_a_task_does_not_act_as_the_user_that_a_subscriber_named(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)
    users = []
    config.add_subscriber(
        lambda event: manager_of(event.request).get().setUser("subscriber"), events.RunStarted
    )
    config.add_cron_task(lambda system: users.append(manager_of(system["request"]).get().user))
    cron_of(config).tick(NOON)
    assert users == [""]


@pytest.fixture
def handler():
    """One that hears what pyramid_cron logs."""
    logger, found = logging.getLogger("pyramid_cron"), logging.Handler()
    level = logger.level
    logger.addHandler(found)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(found)
    logger.setLevel(level)


class Synchronizer:
    """Counts, as ZODB's connections do to see what others have committed."""

    def __init__(self):
        self.begun = self.completed = 0

    def newTransaction(self, _):  # noqa: N802 - the interface's name
        self.begun += 1

    def beforeCompletion(self, _): ...  # noqa: N802

    def afterCompletion(self, _):  # noqa: N802
        self.completed += 1


@pytest.mark.parametrize("mode", MODES)
def test_synchronizers_see_every_subscriber_s_transaction(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)
    synchronizer, seen = Synchronizer(), []

    def register(event):
        manager_of(event.request).registerSynch(synchronizer)

    def look(*_):
        seen.append((synchronizer.begun, synchronizer.completed))

    config.add_subscriber(register, events.TickStarted)
    config.add_subscriber(look, events.RunStarted)
    config.add_subscriber(look, events.RunSucceeded)
    config.add_cron_task(look)
    cron_of(config).tick(NOON)
    (begun, completed), *_ = seen
    assert seen == [(begun + number, completed + number) for number in range(3)]


@pytest.mark.parametrize("end", ["commit", "abort"])
@pytest.mark.parametrize("mode", MODES)
def test_a_log_handler_that_ends_transactions_does_no_harm(tmp_path, mode, end, handler):
    config = configure_with_database(tmp_path, mode=mode)
    requests = []
    config.add_subscriber(lambda event: requests.append(event.request), events.RunStarted)
    config.add_subscriber(lambda event: None, events.RunSucceeded)
    for name in "ab":
        config.add_cron_task(
            lambda system: system["request"].dbsession.add(Note(text=system["run"].task)), name=name
        )

    def finish(record):
        if requests:
            with suppress(NoTransaction):
                getattr(manager_of(requests[0]), end)()

    handler.emit = finish
    assert {run.state for run in cron_of(config).tick(NOON).runs} == {"succeeded"}
    assert committed(config) == ["a", "b"]


def test_events_outside_of_ticks_have_a_request_of_their_own(config, heard, monkeypatch):
    monkeypatch.setattr("pyramid_cron.runtime.supervisor.CANCEL_GRACE", timedelta(seconds=0.1))
    stuck = threading.Event()

    def block(system):
        stuck.wait()

    config.add_cron_task(block, name="stuck", timeout=0.05, on_demand=True)
    cron = cron_of(config)
    thread = threading.Thread(target=cron.run, args=["stuck"])
    thread.start()
    try:
        wait_until(lambda: "RunTimedOut" in names(heard))
    finally:
        stuck.set()
        thread.join()
    assert heard[-1].request is not None
    assert names(heard).count("RunTimedOut") == 1
