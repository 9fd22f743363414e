"""What carries runs out: in a request that is there already, or in one made for a single run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from pyramid.interfaces import IRequestFactory
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.scripting import prepare

from ..clock import Stopwatch
from ..run import Run
from ..state import Cronwork
from ..store.engine import StoreError
from ..task import Task
from .capture import Listener, listening
from .runner import Runner
from .stop import attentive
from .transaction import Transactions, between_transactions

ADDRESS = ("wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME")
"""What in a request's environment says where the application is."""

NOWHERE: Mapping[str, Any] = MappingProxyType({})

log = logging.getLogger("pyramid_cron")


@contextmanager
def carrying(
    cron: Cronwork, request: Request, clock: Stopwatch, *, keep: bool = False
) -> Iterator[Runner]:
    """Give what carries runs out in this request; what they did is on record afterwards.

    ``keep`` is as in :func:`~pyramid_cron.execute.transaction.between_transactions`.
    """
    budget = cron.settings.budget
    patience = cron.settings.shutdown_timeout.total_seconds()
    with (
        between_transactions(request, keep=keep) as transactions,
        listening() as listener,
        attentive(cron.supervisor, patience),
    ):
        runner = _runner(
            cron, request, transactions, listener, clock, lambda: budget - clock.elapsed()
        )
        try:
            yield runner
        finally:
            cron.supervisor.write()
        for news in cron.supervisor.held.take_news():
            runner.tell(*news)


def carry_out_apart(
    cron: Cronwork,
    registry: Registry,
    task: Task,
    run: Run,
    clock: Stopwatch,
    address: Mapping[str, Any] = NOWHERE,
) -> Run | None:
    """Carry out one claimed run in a request of its own; return the run as it ended.

    Its URL is made of ``cron.base_url`` or, without that, of an :func:`address`. None is returned
    for a run that somebody else took for lost before it began.
    """
    made_up = _request(registry, cron.settings.base_url, address)
    with prepare(made_up, registry) as made:
        request = made["request"]
        with between_transactions(request) as transactions, listening() as listener:
            time_left = _time_left(cron, run, clock)
            runner = _runner(cron, request, transactions, listener, clock, time_left)
            ended = runner.carry_out(task, run)
    try:
        cron.supervisor.write()
    except StoreError as error:
        # What happened stays noted, and is written as soon as that can be done.
        log.warning("what became of run %s could not be written yet: %s", run.id, error)
    return ended


def address(request: Request) -> Mapping[str, Any]:
    """Return what in a request says where the application is."""
    return {key: request.environ[key] for key in ADDRESS if key in request.environ}


def _request(registry: Registry, base_url: str | None, address: Mapping[str, Any]) -> Request:
    factory = registry.queryUtility(IRequestFactory, default=Request)
    if base_url is None:
        request = factory.blank("/", environ=dict(address))
    else:
        request = factory.blank("/", base_url=base_url)
    request.registry = registry
    return request


def _time_left(cron: Cronwork, run: Run, clock: Stopwatch) -> Callable[[], float]:
    """Return what tells the seconds until the run's timeout; without one there is no end."""
    live = cron.supervisor.held.live(run.id)

    def time_left() -> float:
        if live is None or live.deadline is None:
            return math.inf
        return (live.deadline - clock.now()).total_seconds()

    return time_left


def _runner(
    cron: Cronwork,
    request: Request,
    transactions: Transactions,
    listener: Listener,
    clock: Stopwatch,
    time_left: Callable[[], float],
) -> Runner:
    return Runner(
        request=request,
        transactions=transactions,
        clock=clock,
        time_left=time_left,
        journal=cron.journal,
        supervisor=cron.supervisor,
        outcome=cron.outcome,
        listener=listener,
    )
