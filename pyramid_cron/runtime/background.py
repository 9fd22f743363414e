"""Starting background runs, and telling subscribers of what happened outside of ticks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request

from .. import events
from ..action_record import ActionRecord
from ..clock import Stopwatch
from ..errors import StoreError
from ..planning.snapshot import WaitingRun
from ..planning.tick_plan import find_blocking
from ..registry import TaskRegistry
from ..run import Run, RunState, WaitReason, make_run_ids
from ..task import BUILT_IN_EXECUTORS, Overlap, Task
from .cron_parts import CronParts
from .executions import QueuedEvent
from .phases import ClaimRefusal, find_refusal, try_claims
from .queues import send_runs
from .request_scope import (
    announce_in_own_request,
    find_skip,
    make_manual_run,
    own_request,
    run_in_own_request,
    url_environ_of,
)
from .run_processes import run_in_process
from .task_session import ensure_same_database
from .transactions import without_transaction


def launch_runs(
    cron: CronParts,
    registry: Registry,
    task_registry: TaskRegistry,
    runs: Sequence[Run],
    clock: Stopwatch,
    url_environ: Mapping[str, Any],
) -> None:
    """Start runs outside the request, each with a thread, or send them to the queues' workers.

    ``task_registry`` is that of the tick; some tasks may have gone since. Runs for which there is
    no thread are released.
    """
    cron.supervisor.supervise(runs, clock)
    queue_runs: list[Run] = []
    for run in runs:
        task = task_registry.get(run.task)
        if task.executor in BUILT_IN_EXECUTORS:
            _start_thread(cron, registry, task, run, clock, url_environ)
        else:
            queue_runs.append(run)
    if queue_runs:
        # In a thread: a slow broker must not delay the tick.
        cron.background_threads.start(
            "sending", queue_runs, lambda: send_runs(cron, task_registry, queue_runs, clock)
        )


def start_manually(
    cron: CronParts, request: Request, task: Task, payload: Any, action: ActionRecord
) -> Run:
    """Begin a run of a task by hand, outside of the request that asks for it; return the run.

    It is on record as returned, and so is the action. The run is about to begin in a thread of
    this process or by its queue, or waits where there is no room, no worker or no thread, for the
    next beat or tick that has one.
    With ``overlap="delay"`` it waits for the end of the active run; otherwise it is skipped then,
    as :func:`run_manually` does. Earlier work of the request is committed.

    Raises TypeError or ValueError for a payload that is not JSON, StoreError.
    """
    clock = Stopwatch(cron.clock())
    waiting_run = make_manual_run(task, payload, clock.now())
    with without_transaction(request):
        ensure_same_database(cron, request)
        run = _claim_manually(cron, task, waiting_run, clock, action)
        if isinstance(run, WaitingRun):
            run = replace(run, id=make_run_ids(run.slot, 1)[0])
            run = cron.store.enqueue_or_advance(run, replace(action, run=run.id))
            cron.on_deferred()
        elif run.state is RunState.SKIPPED:
            announce_in_own_request(cron, request.registry, run, clock, by_shutdown=False)
        else:
            environ = url_environ_of(request)
            launch_runs(cron, request.registry, cron.task_registry, [run], clock, environ)
            execution = cron.supervisor.executions.get(run.id)
            if execution is not None and execution.is_abandoned:  # there was no thread for it
                cron.supervisor.flush_or_warn(run)
                run = cron.store.get_run(run.id) or run
        return run


def _claim_manually(
    cron: CronParts, task: Task, waiting_run: WaitingRun, clock: Stopwatch, action: ActionRecord
) -> Run | WaitingRun:
    """Claim a run by hand, or record that it is skipped; return it as it is to wait otherwise."""
    tasks = cron.task_registry
    with cron.supervisor.claim_transaction(clock) as claims:
        snapshot = claims.active_runs()
        is_delayed = task.overlap is Overlap.DELAY and find_blocking(task, snapshot)
        if not is_delayed and (skip := find_skip(cron, task, waiting_run, snapshot)):
            _, [run] = claims.claim([], [skip])
        elif refusal := find_refusal(cron, task, waiting_run, snapshot):
            is_blocked = refusal is ClaimRefusal.BLOCKED
            return replace(waiting_run, why=WaitReason.OVERLAP) if is_blocked else waiting_run
        elif cron.supervisor.is_stopping:
            return waiting_run
        else:
            [run], _ = claims.claim([waiting_run], weight_of=tasks.weight, lock_of=tasks.lock)
        claims.record_action(replace(action, run=run.id))
    return run


def _start_thread(
    cron: CronParts,
    registry: Registry,
    task: Task,
    run: Run,
    clock: Stopwatch,
    url_environ: Mapping[str, Any],
) -> None:
    def run_and_go_on() -> None:
        current: Run | None = run
        current_task, current_clock = task, clock
        while current is not None:
            if cron.needs_process(current_task):
                run_in_process(cron, registry, current_task, current)
            else:
                run_in_own_request(
                    cron, registry, current_task, current, current_clock, url_environ
                )
            ended, current_clock = current, Stopwatch(cron.clock())
            current = _claim_next(cron, current_clock)
            if current is None:
                cron.supervisor.flush_or_warn(ended)
            else:
                current_task = cron.task_registry.get(current.task)

    cron.background_threads.start(task.name, [run], run_and_go_on)


def _claim_next(cron: CronParts, clock: Stopwatch) -> Run | None:
    """Write how this thread's run ended, and claim the run that takes its room, if one waits."""
    tasks, threads = cron.task_registry, cron.background_threads

    def claim(candidates: Sequence[WaitingRun]) -> list[Run]:
        known = [candidate for candidate in candidates if candidate.task in tasks.by_name]
        outcomes = try_claims(cron, tasks, known, clock)
        claimed = [outcome for outcome in outcomes if isinstance(outcome, Run)]
        cron.supervisor.supervise(claimed, clock)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, ClaimRefusal)]
        if any(refusal is not ClaimRefusal.TAKEN for refusal in refusals):
            threads.offer(())  # there is no room yet: a beat plans anew
        return claimed

    try:
        return threads.claim_next(claim)
    except StoreError:  # whoever writes the results tells
        return None


def notify_in_thread(
    cron: CronParts, registry: Registry, queued_events: Sequence[QueuedEvent]
) -> None:
    """Call subscribers in a thread and request of their own, so that a slow one delays nothing."""
    if not cron.supervisor.start_thread(
        "events", lambda: _call_subscribers(registry, queued_events)
    ):
        _call_subscribers(registry, queued_events)


def _call_subscribers(registry: Registry, queued_events: Sequence[QueuedEvent]) -> None:
    with own_request(registry) as request, without_transaction(request) as transactions:
        for event_class, *values in queued_events:
            events.notify_subscribers(
                event_class, request, *values, call=transactions.call_subscriber
            )
