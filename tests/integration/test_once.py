"""What a kill costs where the end of a run is in the task's own transaction: nothing."""

import signal
from datetime import timedelta

import pytest

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from tests.apps import NOON
from tests.databases import SHARED, place
from tests.exactly import close_all
from tests.integration.once import POINTS, configured
from tests.integration.processes import python

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


@pytest.mark.parametrize("point", POINTS)
def test_work_and_what_it_deferred_are_done_once(shared, point, tmp_path):
    url = shared.url.render_as_string(hide_password=False)
    command = ["-m", "tests.integration.once", url, shared.prefix, point]
    with python(tmp_path / "printed", *command) as child:
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
