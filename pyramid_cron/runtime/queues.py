"""Runs that a task queue carries out on another machine: sending them, and taking them up there."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta

from pyramid.registry import Registry

from ..app import CronApp
from ..clock import Stopwatch
from ..errors import StoreError
from ..registry import TaskRegistry
from ..run import Run, TaskCancelled
from .request_scope import run_in_own_request

HANDOFF_TIMEOUT = timedelta(hours=1)
"""How long a run that was sent may wait for a worker before it counts as lost."""

SendRun = Callable[[Run], object]
"""Sends a run's id to where :meth:`~pyramid_cron.scheduler.Scheduler.carry_out` is called with it."""

log = logging.getLogger("pyramid_cron")


def send_runs(
    cron: CronApp, task_registry: TaskRegistry, runs: Iterable[Run], clock: Stopwatch
) -> None:
    """Send runs, each to its task's queue; those that can't be sent wait for a later tick."""
    by_queue: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_queue[task_registry.get(run.task).executor].append(run)
    for queue, sent in by_queue.items():
        try:
            _send_to_queue(cron, queue, sent, clock)
        except StoreError as error:
            log.error("runs for %s could not be put on record as sent: %s", queue, error)


def _send_to_queue(cron: CronApp, queue: str, runs: Sequence[Run], clock: Stopwatch) -> None:
    for place, run in enumerate(runs):
        if not cron.supervisor.hand_off(run.id):
            continue
        try:
            cron.queues[queue](run)
        except BaseException as error:  # SystemExit, too: nobody else would give the run back
            rest = [run, *(each for each in runs[place + 1 :] if cron.supervisor.hand_off(each.id))]
            cron.store.release(rest, clock.now())
            names = ", ".join(each.task for each in rest)
            log.warning("%s can't be reached; %s will be sent later: %s", queue, names, error)
            return
        cron.store.hand_off(run.id, clock.now() + HANDOFF_TIMEOUT)


def run_handed_off(cron: CronApp, registry: Registry, run_id: str) -> Run | None:
    """Take up a run that was sent here, and carry it out; return it as it ended.

    None is returned if there is nothing to do: somebody has taken it up already, or it is over.
    Raises LookupError for a run or a task that is not known here, StoreError if it could not be
    taken up.
    """
    sent = cron.store.get_run(run_id)
    if sent is None:
        raise LookupError(f"there is no run {run_id!r}")
    task = cron.get_task(sent.task)  # its script may have come since this process last looked
    clock = Stopwatch(cron.clock())
    run = cron.store.take_over(run_id, clock.now(), clock.now() + cron.settings.lease)
    if run is None:
        log.info("%s run=%s is taken up already, or over", sent.task, run_id)
        return None
    with cron.supervisor.supervising([run], clock):
        live = cron.supervisor.executions.get(run_id)
        with suppress(StoreError):  # it is ours from now on; the supervisor asks again in a moment
            if live is not None and run_id in cron.store.cancel_requests():
                live.interrupt(TaskCancelled("was cancelled"))  # before it begins
        return run_in_own_request(cron, registry, task, run, clock)
