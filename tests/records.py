"""Things to put on record, short to write."""

from dataclasses import replace
from datetime import timedelta

from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import RunState, Trigger
from pyramid_cron.store.results import Outcome, WriteBatch
from tests.apps import NOON

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def slot(task="a", moment=NOON, **changes):
    """A slot of a task that is to run."""
    return replace(WaitingRun(task, moment, Trigger.SCHEDULE, moment), **changes)


def claim(store, *waiting_runs, now=NOON, lease=MINUTE):
    """Claim slots; the runs that are the store's own."""
    with store.claim_transaction(now, now + lease) as claims:
        return claims.claim(waiting_runs or [slot()])[0]


def wait(store, waiting_runs):
    """Let slots wait for a later tick."""
    with store.claim_transaction(NOON, NOON + MINUTE) as claims:
        claims.enqueue(waiting_runs)


def ended(run, state=RunState.SUCCEEDED, after=SECOND, **changes):
    """The run as it is when it is over."""
    return replace(run, state=state, started=run.slot, finished=run.slot + after, **changes)


def write(store, *runs, followups=(), pause_after_failures=None):
    """Write what became of runs."""
    store.write_batch(WriteBatch([Outcome(run, followups, pause_after_failures) for run in runs]))


def failing(run):
    return ended(run, RunState.FAILED, error="ValueError: no", traceback="T")
