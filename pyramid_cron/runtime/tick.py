"""One tick: find due slots, plan, claim, run, record, report."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request

from .. import events, logs
from ..app import CronApp
from ..clock import Stopwatch
from ..planning.catch_up import CONDENSE_LIMIT_SLOTS, NO_COUNTS, condense
from ..planning.pauses import list_pause_changes
from ..planning.slots import slots_since, window_start, window_starts
from ..planning.snapshot import Snapshot
from ..planning.tick_plan import DueTask, plan_tick
from ..registry import TaskRegistry
from ..run import make_id_prefix
from ..store.handoff import make_released_run
from ..store.store import StorePeek
from ..store.ticks import TickRecord
from ..tick_report import TickReport
from .background import BackgroundLaunch
from .own_request import own_request
from .phases import TickProgress, run_backlog_and_idle, run_restarts
from .request_scope import runner_in_request
from .runner import RequestRunner
from .transactions import without_transaction


def run_tick(cron: CronApp, request: Request, now: datetime) -> TickReport:
    """Run what is due at ``now`` (aware, UTC) in the request; return the report.

    Raises StoreError if nothing could be claimed, in which case no task has run, or if results
    could not be written, which is then tried again later.
    """
    clock = Stopwatch(now)
    cron.refresh_sources(now)
    tasks = cron.task_registry
    _ensure_store_open(cron, request)
    peek = cron.store.peek(now)
    owner = cron.store.owner
    record = TickRecord(make_id_prefix(now), now, tasks.task_set_id, owner.host, owner.pid)
    _notify_tick(request, events.TickStarted, record.id, now)
    due = _find_due(cron, tasks, peek, now)
    if not (due or peek.has_work):
        logs.log_nothing_due(now)
        cron.last_tick = now
        cron.write_buffer.add_tick(record, tasks.by_name)
        cron.supervisor.wake()
        report = TickReport(record.id, now)
        _notify_tick(request, events.TickFinished, report)
        return report
    launch = BackgroundLaunch(cron, tasks, request, clock)
    with launch.safety_timer(), runner_in_request(cron, request, clock) as runner:
        progress = _execute_plan(cron, runner, launch, tasks, record, due)
        report = TickReport(
            record.id, now, tuple(progress.runs), tuple(progress.skipped), tuple(progress.waiting)
        )
        record = replace(record, run_count=len(report.runs), skipped_count=len(report.skipped))
        cron.write_buffer.add_tick(record, tasks.by_name)
    _notify_tick(request, events.TickFinished, report)
    return report


def _notify_tick(request: Request, event_class: type[events.Event], *values: Any) -> None:
    """Notify subscribers of the tick itself."""

    def call(subscriber: events.Subscriber, event: events.Event) -> None:
        with without_transaction(request) as transactions:
            transactions.call_subscriber(subscriber, event)

    events.notify_subscribers(event_class, request, *values, call=call)


def _ensure_store_open(cron: CronApp, request: Request) -> None:
    """Open the store while the request has no transaction, which could block that."""
    if not cron.store.is_open:
        with without_transaction(request):
            cron.store.open()


def _find_due(
    cron: CronApp, task_registry: TaskRegistry, peek: StorePeek, now: datetime
) -> list[DueTask]:
    """Return the tasks that have slots since the last tick that knew them."""
    last_ticks = dict(peek.last_ticks)
    last_tick = last_ticks.pop(task_registry.task_set_id, None)
    if cron.last_tick is not None and cron.last_tick <= now:
        # The record of a tick with nothing due reaches the store a moment later.
        last_tick = cron.last_tick if last_tick is None else max(last_tick, cron.last_tick)
    # A last tick in the future is of a clock that was wrong.
    newer = [
        set_id
        for set_id, moment in last_ticks.items()
        if moment <= now and (last_tick is None or moment > last_tick)
    ]
    starts: list[datetime] | datetime = window_start(now, last_tick)
    if newer:
        starts = window_starts(task_registry.by_name, now, last_tick, cron.store.task_sets(newer))
    due: list[DueTask] = []
    pauses: Collection[datetime] | None = None
    for position, slots in slots_since(task_registry.tasks, task_registry.calendar, starts, now):
        task, counts = task_registry.tasks[position], NO_COUNTS
        if len(slots) > CONDENSE_LIMIT_SLOTS:
            # Other ticks wait while this one holds the claim transaction: condense before it.
            # A pause rule that comes meanwhile applies from now on, not to earlier slots.
            pauses = list_pause_changes(cron.store.pause_rules()) if pauses is None else pauses
            slots, counts = condense(task, slots, now, pauses)
        due.append(DueTask(task, position, slots, counts))
    due.sort(key=lambda due_task: (due_task.slots[0], due_task.position))
    return due


def _execute_plan(
    cron: CronApp,
    runner: RequestRunner,
    launch: BackgroundLaunch,
    task_registry: TaskRegistry,
    record: TickRecord,
    due: Iterable[DueTask],
) -> TickProgress:
    """Claim and run due slots, then backlog and idle tasks while there is time."""
    with cron.supervisor.claim_transaction(runner.clock) as claims:
        lost = claims.expire_leases(cron.outcome_of, task_registry.by_name)
        snapshot = claims.snapshot(task_registry.fixed_delay_names)
        last_tick = claims.record_tick(record, task_registry.by_name)
        if last_tick is not None:  # else the clock of this host may be wrong
            claims.cap_far_leases(snapshot.active)
        snapshot = replace(snapshot, last_tick=last_tick)
        due = _add_tasks_with_waiting_runs(_drop_handled(due, last_tick), task_registry, snapshot)
        plan = plan_tick(due, snapshot, record.at, cron.settings.capacity)
        claims.dequeue(plan.dequeue)
        claims.enqueue(plan.enqueue)
        claims.request_cancels(plan.cancel_ids)
        claimed, skipped = claims.claim(plan.run_now, plan.skipped)
        background, _ = claims.claim(plan.background, weight_of=task_registry.weight)
    cron.last_tick = record.at
    if background:
        cron.supervisor.supervise(background, runner.clock)
        launch.add(background)
    progress = TickProgress(skipped=skipped, waiting=plan.over_capacity)
    with cron.supervisor.supervising(claimed, runner.clock):
        for run in (*lost, *skipped):
            runner.announce_end(run)
        for run in claimed:
            progress.add(runner.run(task_registry.get(run.task), run))
    run_restarts(cron, runner, launch, task_registry, plan, progress)
    run_backlog_and_idle(cron, runner, task_registry, plan, progress)
    progress.runs += background
    return progress


def _drop_handled(due: Iterable[DueTask], last_tick: datetime | None) -> Iterator[DueTask]:
    """Yield due tasks without the slots that another tick has handled since this one looked."""
    for due_task in due:
        if last_tick is None or due_task.slots[0] > last_tick:
            yield due_task
        elif slots := due_task.after(last_tick):
            yield due_task._replace(slots=slots, counts=NO_COUNTS)


def _add_tasks_with_waiting_runs(
    due: Iterable[DueTask], task_registry: TaskRegistry, snapshot: Snapshot
) -> Iterator[DueTask]:
    """Yield the due tasks, and those for which only a waiting run is ready."""
    names = {waiting_run.task for waiting_run in snapshot.waiting}
    for due_task in due:
        names.discard(due_task.task.name)
        yield due_task
    for name in names:
        if name in task_registry.by_name:
            yield DueTask(task_registry.by_name[name], task_registry.position(name))


def run_tick_and_wait(cron: CronApp, registry: Registry, now: datetime) -> TickReport:
    """Make a tick at ``now`` (aware, UTC) in a request of its own; return the report.

    Runs in threads are reported as they ended, runs of a queue as they are once sent, and those
    that could not be sent as waiting. Raises StoreError as :func:`run_tick` does.
    """
    with own_request(registry) as request:
        report = run_tick(cron, request, now)
    background_ids = [run.id for run in report.runs if not run.state.is_final]
    if not background_ids:
        return report
    cron.background_threads.join(background_ids)
    cron.supervisor.flush()
    current = {run_id: cron.store.get_run(run_id) for run_id in background_ids}
    runs = [(run, current.get(run.id, run)) for run in report.runs]
    released = [make_released_run(run, now) for run, current_run in runs if current_run is None]
    return replace(
        report,
        runs=tuple(current_run for _, current_run in runs if current_run is not None),
        waiting=(*report.waiting, *released),
    )
