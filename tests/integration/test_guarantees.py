"""What docs/guarantees.rst says a kill can cost, at each point of a tick."""

import shutil
import signal
from datetime import timedelta

import pytest

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import NOON, committed
from tests.integration.dying import configured
from tests.integration.processes import python

MINUTE = timedelta(minutes=1)


class After:
    """What is left of a tick at noon whose process was killed, and what later ticks make of it."""

    def __init__(self, folder, point, attempts):
        command = ["-m", "tests.integration.dying", folder, point, attempts]
        with python(folder / "printed", *command) as child:
            assert child.exit_code() == -signal.SIGKILL, child.output
        self.config = configured(folder, attempts)
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
    return lambda point, attempts=1: After(tmp_path, point, attempts)


def test_before_the_claim_nothing_is_on_record_and_the_next_tick_runs_the_slot(killed):
    after = killed("before the claim")
    assert (after.notes, after.runs("first")) == ([], [])
    after.tick(2)
    assert after.notes == ["first 1", "second 1"]
    assert after.runs("first") == [(1, "succeeded")]


def test_in_the_task_its_work_is_undone_and_the_slot_is_not_started_again(killed):
    after = killed("in the task")
    assert after.notes == []
    after.tick(2, 3, 4)
    assert after.notes == []
    assert after.runs("first") == [(1, "lost")]
    [run] = scheduler(after.config.registry).history("first")
    assert run.output is None


def test_what_was_claimed_and_had_not_begun_does_not_run_either(killed):
    after = killed("in the task")
    assert after.runs("second") == [(1, "claimed")]
    after.tick(2, 3, 4)
    assert after.runs("second") == [(1, "lost")]


def test_with_attempts_left_both_are_tried_again(killed):
    after = killed("in the task", attempts=2)
    after.tick(2, 3, 4)
    assert after.notes == ["first 2", "second 2"]
    assert after.runs("first") == after.runs("second") == [(1, "lost"), (2, "succeeded")]


def test_between_the_commit_and_the_record_the_work_is_done_and_the_run_lost(killed):
    after = killed("between the commit and the record")
    assert after.notes == ["first 1"]
    after.tick(2, 3, 4)
    assert after.notes == ["first 1"]
    assert after.runs("first") == [(1, "lost")]


def test_and_with_attempts_left_it_is_done_a_second_time(killed):
    after = killed("between the commit and the record", attempts=2)
    after.tick(2, 3, 4)
    assert after.notes == ["first 1", "first 2", "second 2"]


def test_after_the_record_nothing_is_lost(killed):
    after = killed("after the record")
    after.tick(2, 3, 4)
    assert after.notes == ["first 1", "second 1"]
    assert after.runs("first") == after.runs("second") == [(1, "succeeded")]


def test_what_is_deferred_is_lost_between_the_commit_and_its_record(killed):
    after = killed("between the commit and what is deferred")
    after.tick(2, 3, 4)
    assert after.notes == ["first 1"]
    assert after.runs("later") == []


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
