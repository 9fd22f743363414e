"""Runners of runs: in a request that is there already, or in one made for a single run."""

from __future__ import annotations

import logging
import math
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

from ..action_record import ActionRecord
from ..clock import Stopwatch
from ..planning.catch_up import SkippedSlots
from ..planning.snapshot import Snapshot, WaitingRun, is_stuck
from ..planning.tick_plan import find_blocking, skipped_as_stuck, skipped_for_overlap
from ..run import Run, RunState, Trigger, WaitReason, as_payload, make_adhoc_origin
from ..schedule.zones import get_zone
from ..task import Task
from .cron_parts import CronParts
from .execution import current_execution
from .log_capture import capture_logs
from .runner import RequestRunner
from .shutdown import graceful_signals
from .task_session import end_earlier_work, ensure_same_database, request_session
from .transactions import TaskTransactions, without_transaction

ACTOR_KEY = "pyramid_cron.actor"
"""Under this the environment of a request of a person has who that is."""

APPLICATION_ACTOR = "application"


def set_actor(request: Request, who: str) -> None:
    """Take note that a person acts by this request: who it is where the request has no user."""
    request.environ[ACTOR_KEY] = who


def is_by_hand(request: Request | None) -> bool:
    """Return whether a person acts, by a page or by ``pcron``, and no task or view."""
    return request is not None and ACTOR_KEY in request.environ and current_execution.get() is None


def find_actor(request: Request | None) -> str:
    """Return who acts: the user of the request, if any, else whatever does."""
    execution = current_execution.get()
    if request is not None:
        if (user := _find_user(request)) is not None:
            return user
        if execution is None and ACTOR_KEY in request.environ:
            return str(request.environ[ACTOR_KEY])
    return APPLICATION_ACTOR if execution is None else f"task {execution.run.task}"


def _find_user(request: Request) -> str | None:
    """Return the id of the request's user; None without one, or without a policy that knows."""
    try:
        user = request.authenticated_userid
    except Exception as error:  # a policy that needs more than a request of our own has
        log.debug("the user of %s is unknown: %r", request.path_info, error)
        return None
    return None if user is None else str(user)


OWN_ADDRESS = "127.0.0.1"
"""The address of who made the request: this machine."""


@contextmanager
def own_request(registry: Registry, request: Request | None = None) -> Iterator[Request]:
    """Give a request that is the current one within the block, by default a blank one.

    It has a root of the application's root factory, and is as if that had been found at the URL.
    """
    with prepare(request, registry) as environment:
        request = environment["request"]
        complete_request(request, environment["root"])
        yield request


def complete_request(request: Request, root: Any) -> None:
    """Set what a request has in a view for this root."""
    request.environ.setdefault("REMOTE_ADDR", OWN_ADDRESS)
    request.__dict__.update(
        root=root,
        context=root,
        view_name="",
        subpath=(),
        traversed=(),
        virtual_root=root,
        virtual_root_path=(),
    )


URL_ENVIRON_KEYS = (
    "wsgi.url_scheme",
    "HTTP_HOST",
    "SERVER_NAME",
    "SERVER_PORT",
    "SCRIPT_NAME",
    "REMOTE_ADDR",
)
"""The variables of a request's environment that give the application's URL, and who asked."""

EMPTY_ENVIRON: Mapping[str, Any] = MappingProxyType({})

log = logging.getLogger("pyramid_cron")


@contextmanager
def runner_in_request(
    cron: CronParts,
    request: Request,
    clock: Stopwatch,
    *,
    budget: float,
    commit_first: bool = False,
) -> Iterator[RequestRunner]:
    """Give a runner of this request; results are in the store when the block ends.

    ``budget`` is how many seconds it has from the clock's start. ``commit_first`` is as in
    :func:`~pyramid_cron.runtime.transactions.without_transaction`. Raises StoreError if results
    can't be written.
    """
    with (
        without_transaction(request, commit_first=commit_first) as transactions,
        capture_logs(),
        graceful_signals(cron.supervisor, cron.settings.shutdown_timeout.total_seconds()),
    ):
        ensure_same_database(cron, request)
        runner = _make_runner(
            cron, request, transactions, clock, lambda: budget - clock.elapsed_seconds()
        )
        if runner.session is not None:
            end_earlier_work(runner.session, commit=commit_first)
        try:
            yield runner
        finally:
            cron.supervisor.flush()
        for event_class, *values in cron.supervisor.executions.drain_events():
            runner.notify(event_class, *values)


def run_in_own_request(
    cron: CronParts,
    registry: Registry,
    task: Task,
    run: Run,
    clock: Stopwatch,
    url_environ: Mapping[str, Any] = EMPTY_ENVIRON,
) -> Run | None:
    """Run one claimed run in a request of its own; return the run as it ended.

    Its URL is that of ``cron.base_url`` or, without that, of ``url_environ``, which
    :func:`url_environ_of` makes. None is returned for a run whose lease was lost before it started.
    """
    blank_request = make_request(registry, cron.settings.base_url, url_environ)
    with (
        own_request(registry, blank_request) as request,
        without_transaction(request) as transactions,
        capture_logs(),
    ):
        time_left = _time_until_deadline(cron, run, clock)
        return _make_runner(cron, request, transactions, clock, time_left).run(task, run)


def announce_in_own_request(
    cron: CronParts, registry: Registry, run: Run, clock: Stopwatch, by_shutdown: bool
) -> None:
    """Log how a run ended that another process had, and notify subscribers."""
    with own_request(registry) as request, without_transaction(request) as transactions:
        runner = _make_runner(cron, request, transactions, clock, lambda: 0.0)
        runner.announce_end(run, by_shutdown)


def url_environ_of(request: Request) -> Mapping[str, Any]:
    """Return the part of a request's environment that gives the application's URL."""
    return {key: request.environ[key] for key in URL_ENVIRON_KEYS if key in request.environ}


def make_request(
    registry: Registry, base_url: str | None, url_environ: Mapping[str, Any]
) -> Request:
    """Return a request for the application's URL, with the application's request factory."""
    factory = registry.queryUtility(IRequestFactory, default=Request)
    if base_url is None:
        request = factory.blank("/", environ=dict(url_environ))
    else:
        request = factory.blank("/", base_url=base_url)
    request.registry = registry
    return request


def _time_until_deadline(cron: CronParts, run: Run, clock: Stopwatch) -> Callable[[], float]:
    """Return a function for the seconds until the run's timeout, infinite without one."""
    execution = cron.supervisor.executions.get(run.id)

    def time_left() -> float:
        if execution is None or execution.deadline is None:
            return math.inf
        return (execution.deadline - clock.now()).total_seconds()

    return time_left


def _make_runner(
    cron: CronParts,
    request: Request,
    transactions: TaskTransactions,
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
        timezone=get_zone(cron.settings.timezone),
        outcome_of=cron.outcome_of,
        session=request_session(cron, request),
    )


def run_manually(
    cron: CronParts,
    request: Request,
    task: Task,
    payload: Any,
    action: ActionRecord,
    *,
    commit_first: bool = False,
) -> Run:
    """Run one task, whatever its schedule, by an action; return the run as it ended.

    Earlier work of the request is committed; with ``commit_first`` an error of that is raised.
    The run is skipped, with the reason ``overlap``, while another run of the task is active, unless
    the task's ``overlap`` allows that, while one of another task has its lock, and while an
    abandoned one goes on in this process. Raises TypeError or ValueError for a payload that is not
    JSON, StoreError if the run can't be claimed or its result can't be written.
    """
    now = action.at
    waiting_run = make_manual_run(task, payload, now)
    caller = current_execution.get()
    with runner_in_request(
        cron,
        request,
        Stopwatch(now),
        budget=cron.settings.budget,
        commit_first=commit_first or caller is not None,
    ) as runner:
        with cron.supervisor.claim_transaction(runner.clock) as claims:
            if skip := find_skip(cron, task, waiting_run, claims.active_runs()):
                _, [run] = claims.claim([], [skip])
            else:
                [run], _ = claims.claim([waiting_run], lock_of=lambda _: task.lock)
            claims.record_action(replace(action, run=run.id))
        if run.state is RunState.SKIPPED:
            runner.announce_end(run)
        else:
            with cron.supervisor.supervising([run], runner.clock):
                run = runner.run(task, run) or run
    if caller is not None:
        caller.raise_if_interrupted()
    return run


def make_manual_run(task: Task, payload: Any, now: datetime) -> WaitingRun:
    """Return a run of a task by hand; TypeError or ValueError for a payload that is not JSON."""
    return WaitingRun(
        task.name,
        now,
        Trigger.MANUAL,
        now,
        origin=make_adhoc_origin(),
        payload=as_payload(payload),
        why=WaitReason.ROOM,
    )


def find_skip(
    cron: CronParts, task: Task, waiting_run: WaitingRun, snapshot: Snapshot
) -> SkippedSlots | None:
    """Return as what a run by hand is skipped; None if no other run keeps it from beginning."""
    stuck = cron.task_registry.with_same_lock(cron.supervisor.executions.stuck_tasks())
    if is_stuck(task, stuck):
        skip = skipped_as_stuck(task, waiting_run.slot)
    elif active_runs := find_blocking(task, snapshot):
        skip = skipped_for_overlap(task, [waiting_run.slot], active_runs)
    else:
        return None
    return replace(skip, waiting_run=waiting_run)
