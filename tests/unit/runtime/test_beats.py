"""What goes on between ticks: room that becomes free, work that is deferred, slots of seconds."""

import threading
import time
from datetime import timedelta

import pytest
from webtest import TestApp

from pyramid_cron import Retry, RunState, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.clock import utc_now
from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import Run, Trigger
from pyramid_cron.runtime.supervisor import Supervisor
from pyramid_cron.runtime.threads import BackgroundThreads
from tests.apps import NOON, configure
from tests.integration.processes import wait_until


@pytest.fixture
def config(tmp_path):
    settings = {"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.beats": "true"}
    config = configure(**settings, **{"cron.capacity": "2"})
    yield config
    get_cron(config.registry).close()


def hit(config):
    """Make a tick as the trigger does, from which the process goes on by itself."""
    web = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    web.get("/cron")
    return scheduler(config.registry)


def over(control, count):
    """Wait until so many runs are over; return them."""

    def found():
        runs = control.history(limit=1000)
        return runs if len(runs) == count and all(run.state.is_final for run in runs) else None

    return wait_until(found)


def test_room_that_becomes_free_is_used_at_once(config):
    config.add_cron_task(
        lambda system: time.sleep(0.001), name="job", on_demand=True, executor="thread"
    )
    control = hit(config)
    for number in range(30):
        control.defer("job", {"number": number})
    runs = over(control, 30)
    assert {run.state for run in runs} == {RunState.SUCCEEDED}
    assert sorted(control.get_run(run.id).payload["number"] for run in runs) == [*range(30)]


def test_no_more_runs_go_on_at_once_than_there_is_room_for(config):
    lock, active, most = threading.Lock(), [], []

    def work(system):
        with lock:
            active.append(1)
            most.append(len(active))
        time.sleep(0.002)
        with lock:
            active.pop()

    config.add_cron_task(work, name="job", on_demand=True, executor="thread", overlap="allow")
    control = hit(config)
    for _ in range(20):
        control.defer("job")
    over(control, 20)
    assert max(most) <= 2


def test_what_is_deferred_in_the_process_begins_at_once(config):
    config.add_cron_task(lambda system: None, name="letter", on_demand=True)
    control = hit(config)
    run = control.defer("letter")
    [ended] = over(control, 1)
    assert (ended.id, ended.state) == (run.id, RunState.SUCCEEDED)
    assert (ended.started - run.not_before).total_seconds() < 10


def test_a_retry_begins_when_its_delay_is_over(config):
    failures = []

    def unlucky(system):
        if not failures:
            failures.append(1)
            raise ConnectionError("no")

    config.add_cron_task(unlucky, name="unlucky", retry=2, on_demand=True)
    control = hit(config)
    control.defer("unlucky")
    [waiting] = wait_until(lambda: [run for run in control.waiting() if run.attempt == 2])
    control.reschedule(waiting.id, after=0.001)
    assert [run.attempt for run in over(control, 2)] == [2, 1]


def test_slots_of_seconds_run_without_a_hit(config):
    config.add_cron_task(lambda system: None, name="second", every="1s", grace="1m")
    control = hit(config)
    runs = wait_until(lambda: [run for run in control.history() if run.started][2:])
    assert len({run.slot for run in runs}) == len(runs)


def test_without_beats_all_waits_for_the_next_tick(tmp_path):
    settings = {"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.beats": "false"}
    config = configure(**settings)
    config.add_cron_task(lambda system: None, name="letter", on_demand=True)
    control = hit(config)
    assert get_cron(config.registry).dispatcher is None
    control.defer("letter")
    assert [run.task for run in control.waiting()] == ["letter"]
    hit(config)
    assert control.waiting() == []


class TestClaimingTogether:
    @pytest.fixture
    def threads(self):
        class NoSupervisor:
            make_thread = staticmethod(Supervisor.make_thread)

        threads = BackgroundThreads(NoSupervisor())
        threads.offer([WaitingRun(f"task {n}", NOON, Trigger.DEFERRED, NOON) for n in range(5)])
        return threads

    def test_a_thread_alone_claims_one_run(self, threads):
        asked = []

        def claim(candidates):
            asked.append(len(candidates))
            return [make_run(candidate) for candidate in candidates]

        assert threads.claim_next(claim).task == "task 0"
        assert asked == [1]

    def test_threads_that_come_meanwhile_have_theirs_claimed_along(self, threads):
        entered, go_on, asked, got = threading.Event(), threading.Event(), [], []

        def claim(candidates):
            asked.append([candidate.task for candidate in candidates])
            entered.set()
            go_on.wait(10)
            return [make_run(candidate) for candidate in candidates]

        def ask():
            got.append(threads.claim_next(claim).task)

        askers = [threading.Thread(target=ask) for _ in range(4)]
        askers[0].start()
        entered.wait(10)
        for asker in askers[1:]:
            asker.start()
        wait_until(lambda: threads._asking == 4)
        go_on.set()
        for asker in askers:
            asker.join()
        assert asked == [["task 0"], ["task 1", "task 2", "task 3"]]
        assert sorted(got) == ["task 0", "task 1", "task 2", "task 3"]

    def test_one_that_is_refused_is_no_end(self, threads):
        claim = lambda candidates: [make_run(one) for one in candidates if one.task != "task 0"]  # noqa: E731
        assert threads.claim_next(claim).task == "task 1"

    def test_where_nothing_waits_there_is_no_run(self, threads):
        threads.offer(())
        assert threads.claim_next(lambda candidates: 1 / 0) is None
        assert not threads.is_draining


def make_run(waiting_run):
    return Run(
        f"id of {waiting_run.task}",
        waiting_run.task,
        NOON,
        1,
        Trigger.DEFERRED,
        RunState.CLAIMED,
        "h",
        1,
    )


def test_the_run_of_a_process_that_died_is_lost_and_tried_again_without_a_tick(config):
    config.add_cron_task(lambda system: None, name="job", on_demand=True, retry=Retry(2, delay=0))
    control = hit(config)
    store, now = get_cron(config.registry).store, utc_now()
    with store.claim_transaction(now, now + timedelta(milliseconds=1)) as claims:
        claims.claim([WaitingRun("job", now, Trigger.MANUAL, now)])
    runs = over(control, 2)
    assert [(run.attempt, str(run.state)) for run in runs] == [(2, "succeeded"), (1, "lost")]
