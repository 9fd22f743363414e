"""Starting background runs, and telling subscribers of what happened outside of ticks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyramid.registry import Registry

from .. import events
from ..app import CronApp, get_cron
from ..clock import Stopwatch
from ..errors import StoreError
from ..planning.snapshot import WaitingRun
from ..registry import TaskRegistry
from ..run import Run
from ..task import PROCESS_EXECUTOR, THREAD_EXECUTOR, WORKER_EXECUTOR, Task
from .executions import QueuedEvent
from .phases import ClaimRefusal, try_claims
from .queues import send_runs
from .request_scope import own_request, run_in_own_request
from .run_processes import run_in_process
from .transactions import without_transaction


def launch_runs(
    cron: CronApp,
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
        if task.executor in (THREAD_EXECUTOR, PROCESS_EXECUTOR, WORKER_EXECUTOR):
            _start_thread(cron, registry, task, run, clock, url_environ)
        else:
            queue_runs.append(run)
    if queue_runs:
        # In a thread: a slow broker must not delay the tick.
        cron.background_threads.start(
            "sending", queue_runs, lambda: send_runs(cron, task_registry, queue_runs, clock)
        )


def _start_thread(
    cron: CronApp,
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


def _claim_next(cron: CronApp, clock: Stopwatch) -> Run | None:
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


def notify_in_thread(registry: Registry, queued_events: Sequence[QueuedEvent]) -> None:
    """Call subscribers in a thread and request of their own, so that a slow one delays nothing."""
    supervisor = get_cron(registry).supervisor
    if not supervisor.start_thread("events", lambda: _call_subscribers(registry, queued_events)):
        _call_subscribers(registry, queued_events)


def _call_subscribers(registry: Registry, queued_events: Sequence[QueuedEvent]) -> None:
    with own_request(registry) as request, without_transaction(request) as transactions:
        for event_class, *values in queued_events:
            events.notify_subscribers(
                event_class, request, *values, call=transactions.call_subscriber
            )
