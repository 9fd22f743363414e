"""``lock=``: runs of tasks with the same lock go on one after the other, wherever they run."""

import threading
from datetime import timedelta

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure, cron_of
from tests.integration.processes import wait_until

MINUTE = timedelta(minutes=1)


class Disk:
    """Knows how many runs use it at once."""

    def __init__(self):
        self.users, self.most_users, self.runs = 0, 0, []
        self._lock = threading.Lock()

    def use(self, system):
        with self._lock:
            self.users += 1
            self.most_users = max(self.users, self.most_users)
        self.runs.append(system["run"].task)
        threading.Event().wait(0.02)
        with self._lock:
            self.users -= 1


@pytest.fixture
def disk():
    return Disk()


@pytest.mark.parametrize("executors", [("request",) * 3, ("thread",) * 3, ("thread", "request")])
def test_tasks_that_are_due_together_run_one_after_the_other(disk, executors):
    config = configure(**{"cron.beats": "true"})
    for number, executor in enumerate(executors):
        config.add_cron_task(
            disk.use, name=f"task {number}", lock="disk", hour=12, executor=executor
        )
    cron = cron_of(config)
    cron.tick(NOON)
    cron.advance(NOON + MINUTE)
    assert sorted(disk.runs) == [f"task {number}" for number in range(len(executors))]
    assert disk.most_users == 1


@pytest.mark.parametrize("first", ["request", "thread"])
def test_a_run_by_hand_is_skipped_while_another_task_has_the_lock(disk, first):
    config = configure()
    ended = []

    def outer(system):
        ended.append(scheduler(system["registry"]).run("inner"))

    config.add_cron_task(outer, name="outer", lock="disk", hour=12, executor=first)
    config.add_cron_task(disk.use, name="inner", lock="disk", on_demand=True)
    cron_of(config).tick(NOON)
    [run] = ended
    assert (run.state, run.reason) == ("skipped", "overlap")
    assert run.error.startswith("still going on: outer, which has the same lock: run ")
    assert disk.runs == []


@pytest.mark.parametrize(("lock", "state"), [("disk", "skipped"), ("mail", "succeeded")])
def test_applications_with_other_tasks_have_the_same_locks(disk, tmp_path, lock, state):
    settings = {"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"}
    other = configure(**settings)
    other.add_cron_task(disk.use, name="theirs", lock=lock, on_demand=True)
    theirs = CronTester(other.make_wsgi_app())
    config = configure(**settings)
    states = []

    def ours(system):
        states.append(theirs.run("theirs", at=NOON).state)

    config.add_cron_task(ours, name="ours", lock="disk", hour=12)
    cron_of(config).tick(NOON)
    assert states == [state]


def test_a_slot_that_waits_for_the_lock_is_next_however_often_the_other_task_is_due(disk):
    config = configure(**{"cron.beats": "true"})
    release = threading.Event()

    def hold(system):
        if system["run"].slot == NOON:
            release.wait(5)
        disk.use(system)

    config.add_cron_task(hold, name="first", lock="disk", executor="thread", priority=1)
    config.add_cron_task(disk.use, name="second", lock="disk", executor="thread")
    app = config.make_wsgi_app()
    cron = CronTester(app)
    thread = threading.Thread(target=cron.tick, args=[NOON])
    thread.start()
    try:
        while not scheduler(app.registry).status("second").waiting:
            threading.Event().wait(0.01)
        report = CronTester(app).tick(NOON + MINUTE)
        assert [(run.task, run.reason) for run in report.skipped] == [
            ("first", "overlap"),
            ("second", "overlap"),
        ]
    finally:
        release.set()
        thread.join(10)
    cron.advance(NOON + 2 * MINUTE - timedelta(seconds=1))
    cron.tick(NOON + MINUTE + timedelta(seconds=10))
    assert disk.runs == ["first", "second"]


def test_a_backfill_beside_other_runs_is_refused(disk):
    config = configure()
    config.add_cron_task(disk.use, name="a", lock="disk", min=0)
    control = scheduler(cron_of(config).registry)
    with pytest.raises(ValueError, match=r"^overlap='allow': a has the lock 'disk'; use 'delay'$"):
        control.backfill("a", NOON - 3 * MINUTE, NOON, overlap="allow")


def test_between_ticks_each_begins_when_the_one_before_has_ended(disk, tmp_path):
    config = configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.beats": "true"})
    for name in ("a", "b"):
        config.add_cron_task(disk.use, name=name, lock="disk", on_demand=True, executor="thread")
    app = config.make_wsgi_app()
    try:
        TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"}).get("/cron")
        for number in range(6):
            scheduler(app.registry).defer("ab"[number % 2])
        wait_until(lambda: len(disk.runs) == 6)
        assert disk.most_users == 1
    finally:
        get_cron(app.registry).close()
