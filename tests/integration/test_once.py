"""What a kill costs where the end of a run is in the task's own transaction: nothing."""

import os
import signal
import sys
from datetime import timedelta

import pytest

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from tests.apps import NOON
from tests.databases import SHARED, place
from tests.exactly import close_all
from tests.integration.once import POINTS, Outside, configured
from tests.integration.processes import python, wait_until

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=SHARED)
def shared(request, tmp_path):
    with place(request.param, tmp_path) as found:
        yield found
        close_all()
        found.execute(f"DROP TABLE IF EXISTS {found.prefix}ledger")


def states(tester, name):
    runs = scheduler(tester.registry).history(name)
    return [(run.attempt, str(run.state)) for run in reversed(runs)]


@pytest.fixture(params=[kind for kind in SHARED if kind != "file"])
def server(request, tmp_path):
    with place(request.param, tmp_path) as found:
        yield found
        close_all()
        found.execute(f"DROP TABLE IF EXISTS {found.prefix}ledger")


def ticking(found, folder, point, *signal_name):
    """A process that ticks at noon, and gets a signal at a point of its run."""
    url = found.url.render_as_string(hide_password=False)
    command = ["-m", "tests.integration.once", url, found.prefix, point, *signal_name]
    return python(folder / "printed", *command)


@pytest.mark.parametrize("point", POINTS)
def test_work_and_what_it_deferred_are_done_once(shared, point, tmp_path):
    with ticking(shared, tmp_path, point) as child:
        assert child.exit_code() == -signal.SIGKILL, child.output
    books = configured(shared)
    tester = books.tester()
    get_cron(tester.registry).clock = lambda: NOON + MINUTE
    is_committed = point == "after the commit"
    assert books.written() == (["work"] if is_committed else [])
    # On record is what is committed, before any other process has looked after it.
    assert states(tester, "work") == [(1, "succeeded" if is_committed else "claimed")]
    for minute in (2, 3, 4):
        tester.tick(NOON + minute * MINUTE)
    assert books.written() == ["later", "work"]
    lost = [] if is_committed else [(1, "lost")]
    assert states(tester, "work") == [*lost, (len(lost) + 1, "succeeded")]
    assert states(tester, "later") == [(1, "succeeded")]


def test_a_process_that_is_frozen_past_its_lease_commits_nothing(shared, tmp_path):
    """Before it has written: on SQLite nobody could write as long as it has the file."""
    check_woken(shared, tmp_path, "before the work")


def test_nor_does_one_that_had_written(server, tmp_path):
    check_woken(server, tmp_path, "after the work")


def check_woken(found, folder, point):
    with ticking(found, folder, point, "SIGSTOP") as child:
        child.wait_for("signalled")
        tester = configured(found).tester()
        for minute in (2, 3):
            tester.tick(NOON + minute * MINUTE)
        child.send(signal.SIGCONT)
        assert child.exit_code() == 0, child.output
    books = configured(found)
    assert books.written() == ["later", "work"]
    assert states(books.tester(), "work") == [(1, "lost"), (2, "succeeded")]


def test_one_that_is_frozen_while_it_commits_holds_up_nobody(server, tmp_path):
    """Nobody can know what comes of it, so its run is left alone; it goes on where it was."""
    with ticking(server, tmp_path, "before the commit", "SIGSTOP") as child:
        child.wait_for("signalled")
        books = configured(server)
        books.add_task("other", lambda system: books.write(system["request"], "other"), hour=12)
        tester = books.tester()
        scheduler(tester.registry).defer("other", at=NOON)
        report = tester.tick(NOON + 2 * MINUTE)  # or it would wait for a lock in vain
        assert [(run.task, str(run.state)) for run in report.runs] == [("other", "succeeded")]
        assert states(tester, "work") == [(1, "claimed")]  # so far nobody has written more
        child.send(signal.SIGCONT)
        assert child.exit_code() == 0, child.output
    for minute in (3, 4):
        tester.tick(NOON + minute * MINUTE)
    assert books.written() == ["later", "other", "work"]
    assert states(tester, "work") == [(1, "succeeded")]


@pytest.mark.parametrize("point", POINTS)
def test_in_a_process_of_its_own(tmp_path, monkeypatch, point):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    shop = Outside(tmp_path, "process", point)
    shop.control.defer("work")
    shop.tick()
    is_committed = point == "after the commit"
    assert shop.ended() == [(1, "succeeded" if is_committed else "lost")]
    shop.finish()
    assert shop.ended()[1:] == ([] if is_committed else [(2, "succeeded")])


def test_by_a_worker(tmp_path):
    shop = Outside(tmp_path, "worker", "before the commit", lease=2)
    shop.control.defer("work")
    command = ["-m", "pyramid_cron.scripts.pcron", shop.ini, "work"]
    with python(tmp_path / "first", *command) as worker:
        assert worker.exit_code() == -signal.SIGKILL, worker.output
    assert (shop.written(), shop.ended()) == ([], [])
    with python(tmp_path / "second", *command):
        wait_until(lambda: shop.written() == ["later", "work"])
        wait_until(lambda: len(shop.ended()) == 2)
    assert shop.ended() == [(1, "lost"), (2, "succeeded")]
