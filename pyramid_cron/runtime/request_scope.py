"""What carries runs out: in a request that is there already, or in one made for a single run."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pyramid.interfaces import IRequestFactory
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.scripting import prepare

from ..app import CronApp
from ..clock import Stopwatch
from ..errors import StoreError
from ..planning.snapshot import WaitingRun
from ..planning.tick_plan import blocking_runs, skipped_for_overlap
from ..run import Run, RunState, Trigger, as_payload
from ..task import Task
from .execution import current_execution
from .log_capture import CaptureHandler, capture_logs
from .runner import RequestRunner
from .shutdown import graceful_signals
from .transactions import TaskTransactions, without_transaction

URL_ENVIRON_KEYS = ("wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME")
"""What in a request's environment says where the application is."""

EMPTY_ENVIRON: Mapping[str, Any] = MappingProxyType({})

log = logging.getLogger("pyramid_cron")


@contextmanager
def runner_in_request(
    cron: CronApp, request: Request, clock: Stopwatch, *, commit_first: bool = False
) -> Iterator[RequestRunner]:
    """Give what carries runs out in this request; what they did is on record afterwards.

    ``keep`` is as in :func:`~pyramid_cron.runtime.transactions.between_transactions`.
    """
    budget = cron.settings.budget
    patience = cron.settings.shutdown_timeout.total_seconds()
    with (
        without_transaction(request, commit_first=commit_first) as transactions,
        capture_logs() as listener,
        graceful_signals(cron.supervisor, patience),
    ):
        runner = _make_runner(
            cron, request, transactions, listener, clock, lambda: budget - clock.elapsed_seconds()
        )
        try:
            yield runner
        finally:
            cron.supervisor.flush()
        for news in cron.supervisor.executions.drain_events():
            runner.notify(*news)


def run_in_own_request(
    cron: CronApp,
    registry: Registry,
    task: Task,
    run: Run,
    clock: Stopwatch,
    url_environ: Mapping[str, Any] = EMPTY_ENVIRON,
) -> Run | None:
    """Carry out one claimed run in a request of its own; return the run as it ended.

    Its URL is made of ``cron.base_url`` or, without that, of an :func:`address`. None is returned
    for a run that somebody else took for lost before it began.
    """
    made_up = _make_request(registry, cron.settings.base_url, url_environ)
    with prepare(made_up, registry) as made:
        request = made["request"]
        with without_transaction(request) as transactions, capture_logs() as listener:
            time_left = _time_until_deadline(cron, run, clock)
            runner = _make_runner(cron, request, transactions, listener, clock, time_left)
            ended = runner.run(task, run)
    try:
        cron.supervisor.flush()
    except StoreError as error:
        # What happened stays noted, and is written as soon as that can be done.
        log.warning("what became of run %s could not be written yet: %s", run.id, error)
    return ended


def url_environ_of(request: Request) -> Mapping[str, Any]:
    """Return what in a request says where the application is."""
    return {key: request.environ[key] for key in URL_ENVIRON_KEYS if key in request.environ}


def _make_request(
    registry: Registry, base_url: str | None, url_environ: Mapping[str, Any]
) -> Request:
    factory = registry.queryUtility(IRequestFactory, default=Request)
    if base_url is None:
        request = factory.blank("/", environ=dict(url_environ))
    else:
        request = factory.blank("/", base_url=base_url)
    request.registry = registry
    return request


def _time_until_deadline(cron: CronApp, run: Run, clock: Stopwatch) -> Callable[[], float]:
    """Return what tells the seconds until the run's timeout; without one there is no end."""
    live = cron.supervisor.executions.get(run.id)

    def time_left() -> float:
        if live is None or live.deadline is None:
            return math.inf
        return (live.deadline - clock.now()).total_seconds()

    return time_left


def _make_runner(
    cron: CronApp,
    request: Request,
    transactions: TaskTransactions,
    capture_handler: CaptureHandler,
    clock: Stopwatch,
    time_left: Callable[[], float],
) -> RequestRunner:
    return RequestRunner(
        request=request,
        transactions=transactions,
        clock=clock,
        time_left=time_left,
        write_buffer=cron.write_buffer,
        supervisor=cron.supervisor,
        outcome_of=cron.outcome_of,
        capture_handler=capture_handler,
    )


def run_manually(
    cron: CronApp,
    request: Request,
    task: Task,
    payload: Any,
    now: datetime,
    *,
    commit_first: bool = False,
) -> Run:
    """Run one task at once, whatever its schedule says; return the run as it ended.

    What was done before in the request is committed; with ``keep`` it is raised if that fails.

    It is skipped, with the reason ``overlap``, while another run of the task goes on, unless the
    task's ``overlap`` allows that. Raises TypeError or ValueError for a payload that is not JSON.
    """
    given = as_payload(payload)
    asked = WaitingRun(
        task.name, now, Trigger.MANUAL, now, nonce=secrets.randbits(62) + 2, payload=given
    )
    caller = current_execution.get()
    with runner_in_request(
        cron, request, Stopwatch(now), commit_first=commit_first or caller is not None
    ) as runner:
        with cron.supervisor.claim_transaction(runner.clock) as desk:
            if active := blocking_runs(task, desk.active_runs(task.name)):
                skip = replace(skipped_for_overlap(task, [now], active), waiting_run=asked)
                _, [run] = desk.claim([], [skip])
            else:
                [run], _ = desk.claim([asked])
        if run.state is RunState.SKIPPED:
            runner.announce_end(run)
        else:
            with cron.supervisor.supervising([run], runner.clock):
                run = runner.run(task, run) or run
    if caller is not None:
        caller.raise_if_interrupted()
    return run
