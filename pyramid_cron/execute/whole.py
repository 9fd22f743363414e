"""A tick that is over only when its runs in threads are: for processes that serve no requests."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from pyramid.registry import Registry
from pyramid.scripting import prepare

from ..app import CronApp
from ..runtime.tick import run_tick
from ..store.handoff import make_released_run
from ..tick_report import TickReport


def run_tick_and_wait(cron: CronApp, registry: Registry, now: datetime) -> TickReport:
    """Make a tick at ``now`` (aware, UTC) in a request of its own; return what came of it.

    Runs in threads are reported as they ended; those sent to a queue as they are once that is done,
    and what could not be sent as waiting. Raises StoreError as
    :func:`~pyramid_cron.runtime.tick.tick` does.
    """
    with prepare(registry=registry) as made:
        report = run_tick(cron, made["request"], now)
    going_on = [run.id for run in report.runs if not run.state.is_final]
    if not going_on:
        return report
    cron.background_threads.join(going_on)
    cron.supervisor.flush()
    found = {run_id: cron.store.get_run(run_id) for run_id in going_on}
    runs = [(run, found.get(run.id, run)) for run in report.runs]
    back = [make_released_run(run, now) for run, left in runs if left is None]
    return replace(
        report,
        runs=tuple(left for _, left in runs if left is not None),
        waiting=(*report.waiting, *back),
    )
