"""A claim that has not begun holds nobody up: its run waits again, and runs once."""

import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from webtest import TestApp

from pyramid_cron import RunState, events, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.clock import Stopwatch
from pyramid_cron.errors import StoreError
from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import Trigger
from pyramid_cron.runtime import supervisor
from tests.apps import NOON, configure, cron_of
from tests.integration.processes import wait_until

MINUTE = timedelta(minutes=1)


@pytest.fixture
def gate():
    """What the slow task waits for; opened at the end, so that it does not go on for ever."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def calls():
    return []


@pytest.fixture
def config(gate, calls, tmp_path, monkeypatch):
    """An application with a slow task and two after it, and a supervisor that is impatient."""
    monkeypatch.setattr(supervisor, "RELEASE_AFTER_SECONDS", 0.05)
    config = configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"})
    config.add_cron_task(lambda system: gate.wait(20), hour=12, name="slow", priority=1)
    for name in ("second", "third"):
        config.add_cron_task(
            lambda system: calls.append(system["run"].task), hour=12, name=name, catch_up="all"
        )
    return config


@contextmanager
def ticking(cron, gate):
    """A tick at noon in another thread, which goes on with the slow task; the reports it makes."""
    reports = []
    thread = threading.Thread(target=lambda: reports.append(cron.tick(NOON)))
    thread.start()
    try:
        yield reports
    finally:
        gate.set()
        thread.join()


def names(runs):
    return [run.task for run in runs]


class TestRunsBehindASlowOne:
    def test_they_wait_again_as_the_runs_that_they_were(self, config, gate):
        cron, control = cron_of(config), scheduler(config.registry)
        with ticking(cron, gate):
            waiting = wait_until(control.waiting)
            claimed = {run.id for run in waiting}
            assert names(waiting) == ["second", "third"]
            assert {(run.slot, run.attempt, run.why) for run in waiting} == {(NOON, 1, "room")}
            assert {(run.host, run.pid, run.claimed) for run in waiting} == {("", 0, None)}
        assert {run.id for run in control.history() if run.task != "slow"} == claimed

    def test_another_tick_runs_them_meanwhile_and_they_run_once(self, config, gate, calls):
        cron, control = cron_of(config), scheduler(config.registry)
        with ticking(cron, gate) as reports:
            wait_until(control.waiting)
            assert names(cron.tick(NOON).runs) == ["second", "third"]
        assert names(reports[0].runs) == ["slow"]
        assert calls == ["second", "third"]
        assert {run.state for run in control.history()} == {RunState.SUCCEEDED}
        assert control.waiting() == []

    def test_their_tick_claims_them_again_once_it_comes_to_them(self, config, gate, calls):
        cron, control = cron_of(config), scheduler(config.registry)
        with ticking(cron, gate) as reports:
            wait_until(control.waiting)
        assert names(reports[0].runs) == ["slow", "second", "third"]
        assert calls == ["second", "third"]
        assert {run.state for run in control.history()} == {RunState.SUCCEEDED}

    def test_one_that_is_cancelled_is_not_claimed_again(self, config, gate, calls):
        cron, control = cron_of(config), scheduler(config.registry)
        with ticking(cron, gate) as reports:
            [second, _] = wait_until(control.waiting)
            control.cancel(second.id)
        assert names(reports[0].runs) == ["slow", "third"]
        assert calls == ["third"]
        assert control.get_run(second.id).state is RunState.CANCELLED

    def test_one_whose_cancellation_was_requested_does_not_wait_again(
        self, config, gate, calls, monkeypatch
    ):
        heard = []
        config.add_subscriber(heard.append, events.RunCancelled)
        monkeypatch.setattr(supervisor, "RELEASE_AFTER_SECONDS", 60)
        cron, control = cron_of(config), scheduler(config.registry)
        with ticking(cron, gate):
            wait_until(lambda: control.history(state="running"))
            [second] = [run for run in control.history() if run.task == "second"]
            assert second.state is RunState.CLAIMED
            control.cancel(second.id)
            monkeypatch.setattr(supervisor, "RELEASE_AFTER_SECONDS", 0)
            assert names(wait_until(control.waiting)) == ["third"]
            assert control.get_run(second.id).state is RunState.CANCELLED
        assert calls == ["third"]
        assert [event.run.id for event in heard] == [second.id]


def test_a_claim_and_its_lease_begin_once_other_processes_let_this_one_write(monkeypatch):
    config = configure(**{"cron.lease": "60"})
    config.add_cron_task(lambda system: None, hour=12, name="a")
    cron_of(config).reset()
    cron, seconds = get_cron(config.registry), [0.0]
    cron.clock = lambda: NOON
    claim_transaction = cron.store.claim_transaction

    @contextmanager
    def after_a_wait(*arguments):
        with claim_transaction(*arguments) as claims:
            seconds[0] = 30.0
            yield claims

    monkeypatch.setattr(cron.store, "claim_transaction", after_a_wait)
    with cron.supervisor.claim_transaction(Stopwatch(NOON, lambda: seconds[0])) as claims:
        [run], _ = claims.claim([WaitingRun("a", NOON, Trigger.SCHEDULE, NOON)])
        [active] = claims.active_runs().active[run.task_key]
    assert run.claimed == NOON + timedelta(seconds=30)
    assert active.lease_until == NOON + timedelta(seconds=90)


class TestALostAnswer:
    """A claim is committed, and the database's answer to that never comes."""

    @pytest.fixture
    def lose_answers(self, monkeypatch):
        def lose(store):
            claim_transaction = store.claim_transaction

            @contextmanager
            def without_answer(*arguments):
                with claim_transaction(*arguments) as claims:
                    yield claims
                raise StoreError("no answer")

            monkeypatch.setattr(store, "claim_transaction", without_answer)
            return lambda: monkeypatch.setattr(store, "claim_transaction", claim_transaction)

        return lose

    @pytest.mark.parametrize("executor", ["request", "thread"])
    def test_what_was_claimed_waits_again_a_moment_later(self, lose_answers, executor):
        config = configure()
        config.add_cron_task(lambda system: None, hour=12, name="a", executor=executor)
        cron, control = cron_of(config), scheduler(config.registry)
        answer = lose_answers(get_cron(config.registry).store)
        with pytest.raises(StoreError, match="no answer"):
            cron.tick(NOON)
        answer()
        [waiting] = wait_until(control.waiting)
        assert (waiting.task, waiting.slot, waiting.attempt) == ("a", NOON, 1)
        [run] = cron.tick(NOON + MINUTE).runs
        assert (run.id, run.slot, run.state) == (waiting.id, NOON, RunState.SUCCEEDED)
        assert [run.id for run in control.history()] == [waiting.id]

    def test_it_is_tried_until_the_store_answers(self, lose_answers, monkeypatch):
        config = configure()
        config.add_cron_task(lambda system: None, hour=12, name="a")
        cron, control = cron_of(config), scheduler(config.registry)
        answer = lose_answers(get_cron(config.registry).store)
        release_runs, refused = supervisor.release_runs, []

        def refuse_once(*arguments):
            if not refused:
                refused.append(1)
                raise StoreError("still no answer")
            release_runs(*arguments)

        monkeypatch.setattr(supervisor, "release_runs", refuse_once)
        with pytest.raises(StoreError):
            cron.tick(NOON)
        answer()
        assert names(wait_until(control.waiting)) == ["a"]
        assert refused


def test_where_no_thread_can_be_had_the_tick_answers_and_the_run_waits(monkeypatch, caplog):
    config = configure()
    config.add_cron_task(lambda system: None, hour=12, name="here")
    config.add_cron_task(lambda system: None, hour=12, name="there", executor="thread")
    web = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    control = scheduler(config.registry)
    get_cron(config.registry).clock = lambda: NOON

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        answer = web.get("/cron", headers={"Accept": "application/json"}).json
        assert {run["task"]: run["state"] for run in answer["runs"]}["here"] == "succeeded"
        assert names(control.waiting()) == ["there"]
        assert [(run.task, run.state) for run in control.history()] == [("here", "succeeded")]
    assert "no thread for there, which waits for the next tick: can't start new" in caplog.text
    web.get("/cron")
    wait_until(lambda: [run for run in control.history("there") if run.state.is_final])
    assert control.history("there")[0].state is RunState.SUCCEEDED
