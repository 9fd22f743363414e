"""What docs/guarantees.rst says a kill can cost: each line of its table, tried by killing there."""

import shutil
import signal
from datetime import timedelta

import pytest

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import NOON, committed
from tests.integration.dying import APART, WITH_WORK, configured
from tests.integration.processes import python

MINUTE = timedelta(minutes=1)


class After:
    """What is left of a tick at noon whose process was killed, and what later ticks make of it."""

    def __init__(self, folder, point, attempts, store):
        command = ["-m", "tests.integration.dying", folder, point, attempts, store]
        with python(folder / "printed", *command) as child:
            assert child.exit_code() == -signal.SIGKILL, child.output
        self.config = configured(folder, attempts, store=store)
        self.cron = CronTester(self.config.make_wsgi_app())

    @property
    def notes(self):
        return committed(self.config)

    def runs(self, task):
        runs = scheduler(self.config.registry).history(task)
        return [(run.attempt, str(run.state)) for run in reversed(runs)]

    def tick(self, *minutes):
        for minute in minutes:
            self.cron.tick(at=NOON + minute * MINUTE)


@pytest.fixture
def killed(tmp_path):
    return lambda point, attempts=1, store=APART: After(tmp_path, point, attempts, store)


CLAIMED, LOST, ONCE = [(1, "claimed")], [(1, "lost")], [(1, "succeeded")]
AGAIN = [(1, "lost"), (2, "succeeded")]
BOTH = ["first 1", "second 1"]


@pytest.mark.parametrize(
    ("point", "store", "attempts", "at_once", "in_the_end"),
    [
        # The notes and the runs of the first task, after the kill; in the end of the second, too.
        ("before the claim", APART, 1, ([], []), (BOTH, ONCE, ONCE)),
        ("before the claim", WITH_WORK, 1, ([], []), (BOTH, ONCE, ONCE)),
        ("in the task", APART, 1, ([], CLAIMED), ([], LOST, LOST)),
        ("in the task", APART, 2, ([], CLAIMED), (["first 2", "second 2"], AGAIN, AGAIN)),
        ("in the task", WITH_WORK, 1, ([], CLAIMED), (["first 2", "second 2"], AGAIN, AGAIN)),
        ("before the commit", APART, 1, ([], CLAIMED), ([], LOST, LOST)),
        ("before the commit", WITH_WORK, 1, ([], CLAIMED), (["first 2", "second 2"], AGAIN, AGAIN)),
        (
            "between the commit and the record",
            *(APART, 1),
            (["first 1"], CLAIMED),
            (["first 1"], LOST, LOST),
        ),
        (
            "between the commit and the record",
            *(APART, 2),
            (["first 1"], CLAIMED),
            (["first 1", "first 2", "second 2"], AGAIN, AGAIN),
        ),
        (
            "between the commit and the record",
            *(WITH_WORK, 1),
            (["first 1"], ONCE),
            (["first 1", "second 2"], ONCE, AGAIN),
        ),
        ("after the record", APART, 1, (BOTH, ONCE), (BOTH, ONCE, ONCE)),
        ("after the record", WITH_WORK, 1, (BOTH, ONCE), (BOTH, ONCE, ONCE)),
    ],
)
def test_a_kill(killed, point, store, attempts, at_once, in_the_end):
    after = killed(point, attempts, store)
    assert (after.notes, after.runs("first")) == at_once
    after.tick(2, 3, 4)
    assert (after.notes, after.runs("first"), after.runs("second")) == in_the_end


@pytest.mark.parametrize(("store", "runs"), [(APART, []), (WITH_WORK, ONCE)])
def test_a_kill_between_the_commit_and_what_is_deferred(killed, store, runs):
    after = killed("between the commit and what is deferred", store=store)
    after.tick(2, 3, 4)
    assert after.runs("later") == runs


def test_a_lost_run_has_no_log(killed):
    after = killed("in the task")
    after.tick(2)
    [run] = scheduler(after.config.registry).history("first")
    assert run.output is None


def test_a_store_from_a_backup_does_not_know_what_has_run_since(tmp_path):
    tick(tmp_path, NOON - MINUTE)
    shutil.copy(tmp_path / "cron.sqlite", tmp_path / "backup.sqlite")
    assert tick(tmp_path, NOON) == [("first", "succeeded"), ("second", "succeeded")]
    shutil.move(tmp_path / "backup.sqlite", tmp_path / "cron.sqlite")
    # Each writes the note again that may be there once, and so can't commit.
    assert tick(tmp_path, NOON + MINUTE / 2) == [("first", "failed"), ("second", "failed")]


def tick(folder, moment):
    """Tick in an application that is started for it, and stopped."""
    cron = CronTester(configured(folder, 1).make_wsgi_app())
    runs = cron.tick(at=moment).runs
    get_cron(cron.registry).close()
    return [(run.task, str(run.state)) for run in runs]
