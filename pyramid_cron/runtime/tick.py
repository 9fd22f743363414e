"""One tick: find due slots, plan, claim, run, record, report."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request

from .. import events, logs
from ..clock import Stopwatch
from ..planning.catch_up import CONDENSE_LIMIT_SLOTS, NO_COUNTS, SkippedSlots, condense
from ..planning.schedule_book import DueEntry, TaskWindow
from ..planning.slots import (
    SLOT_LOOK_BACK,
    missed_one_shots,
    slots_since,
    window_start,
    window_starts,
)
from ..planning.snapshot import Snapshot, TickReport, as_waiting_run, list_pause_changes
from ..planning.tick_plan import DueTask, plan_tick
from ..registry import TaskRegistry
from ..run import Run, RunState, make_id_prefix
from ..store.store import StorePeek
from ..store.stored_schedules import read_payloads
from ..store.ticks import TickRecord
from .background import launch_runs
from .cron_parts import CronParts
from .phases import TickProgress, TickScope, run_backlog_and_idle, run_claimed, run_restarts
from .request_scope import make_request, own_request, runner_in_request, url_environ_of
from .runner import RequestRunner
from .task_session import ensure_same_database, needs_check
from .transactions import without_transaction


@dataclass(frozen=True, slots=True)
class DueWork:
    """What a tick finds before it claims anything."""

    due: list[DueTask]
    #: Moments of one-shot tasks that were over before any process knew the task.
    missed: list[SkippedSlots]
    #: Whether no tick has recorded this task set yet.
    is_new_task_set: bool


def run_tick(cron: CronParts, request: Request, now: datetime) -> TickReport:
    """Run what is due at ``now`` (aware, UTC) in the request; return the report.

    Raises StoreError if nothing could be claimed, in which case no task has run, or if results
    could not be written, which is then tried again later.
    """
    clock = Stopwatch(now)
    cron.refresh_sources(now)
    tasks = cron.task_registry
    _ensure_store_open(cron, request)
    peek = cron.store.peek(now)
    cron.refresh_schedules(peek.schedules_version)
    record = _make_record(cron, tasks, now)
    _notify_tick(request, events.TickStarted, record.id, now)
    work = _find_due(cron, tasks, peek, now)
    if not (work.due or work.missed or peek.has_work):
        return _record_idle_tick(cron, request, tasks, record, work)
    with runner_in_request(cron, request, clock, budget=cron.settings.budget) as runner:
        progress = _execute_plan(cron, runner, tasks, record, work)
        report = _make_report(record, progress)
        record = replace(record, run_count=len(report.runs), skipped_count=len(report.skipped))
        cron.write_buffer.add_tick(record, tasks.by_name)
    _notify_tick(request, events.TickFinished, report)
    return report


def run_beat(
    cron: CronParts,
    registry: Registry,
    now: datetime,
    *,
    budget: float,
    url_environ: Mapping[str, Any],
    executors: Container[str] | None = None,
) -> TickReport:
    """Run what a tick at ``now`` (aware, UTC) would run, in a request of its own.

    It is no hit: no subscriber is told of a tick, and none is recorded. ``budget`` is how many
    seconds it has for what needs time left. With ``executors`` only waiting runs of tasks with
    these are run, for a worker of a queue. Raises StoreError as :func:`run_tick` does.
    """
    cron.refresh_sources(now)
    tasks = cron.task_registry
    peek = cron.store.peek(now)
    cron.refresh_schedules(peek.schedules_version)
    record = replace(_make_record(cron, tasks, now), is_beat=True)
    blank_request = make_request(registry, cron.settings.base_url, url_environ)
    with own_request(registry, blank_request) as request:
        work = DueWork([], [], is_new_task_set=False)
        if executors is None:
            work = _find_due(cron, tasks, peek, now)
        with runner_in_request(cron, request, Stopwatch(now), budget=budget) as runner:
            progress = _execute_plan(cron, runner, tasks, record, work, executors)
    return _make_report(record, progress)


def _make_record(cron: CronParts, tasks: TaskRegistry, now: datetime) -> TickRecord:
    owner = cron.store.owner
    return TickRecord(
        make_id_prefix(now),
        now,
        tasks.task_set_id,
        owner.host,
        owner.pid,
        schedules_version=cron.schedule_book.version,
    )


def _make_report(record: TickRecord, progress: TickProgress) -> TickReport:
    return TickReport(
        record.id,
        record.at,
        tuple(progress.runs),
        tuple(progress.skipped),
        tuple(progress.waiting),
    )


def _record_idle_tick(
    cron: CronParts, request: Request, tasks: TaskRegistry, record: TickRecord, work: DueWork
) -> TickReport:
    """Record a tick with nothing to do; a moment later, unless it is the first of its task set."""
    logs.log_nothing_due(record.at)
    cron.last_tick = record.at
    cron.note_window(record.at, record.schedules_version)
    cron.write_buffer.add_tick(record, tasks.by_name)
    if work.is_new_task_set:
        cron.supervisor.flush()
    else:
        cron.supervisor.wake()
    report = TickReport(record.id, record.at)
    _notify_tick(request, events.TickFinished, report)
    return report


def _notify_tick(request: Request, event_class: type[events.Event], *values: Any) -> None:
    """Notify subscribers of the tick itself."""

    def call(subscriber: events.Subscriber, event: events.Event) -> None:
        with without_transaction(request) as transactions:
            transactions.call_subscriber(subscriber, event)

    events.notify_subscribers(event_class, request, *values, call=call)


def _ensure_store_open(cron: CronParts, request: Request) -> None:
    """Open the store while the request has no transaction, which could block that."""
    if not cron.store.is_open or needs_check(cron):
        with without_transaction(request):
            cron.store.open()
            ensure_same_database(cron, request)


def _find_due(cron: CronParts, tasks: TaskRegistry, peek: StorePeek, now: datetime) -> DueWork:
    """Return the tasks that have slots since the last tick or beat that knew them."""
    window_ends = dict(peek.window_ends)
    window_end = window_ends.pop(tasks.task_set_id, None)
    handled_version = peek.handled_versions.get(tasks.task_set_id, 0)
    is_new_task_set = window_end is None
    if cron.window_end is not None and cron.window_end <= now:
        # The record of a tick with nothing due reaches the store a moment later.
        known = (window_end or cron.window_end, handled_version)
        window_end, handled_version = max(known, (cron.window_end, cron.handled_version))
    # A window that ends in the future is of a clock that was wrong.
    newer = [
        set_id
        for set_id, moment in window_ends.items()
        if moment <= now and (window_end is None or moment > window_end)
    ]
    known_since = min(cron.known_since, now)
    starts: list[datetime] | datetime = window_start(now, window_end, known_since)
    task_sets = cron.store.task_sets(newer) if newer else []
    if task_sets:
        starts = window_starts(tasks.by_name, now, window_end, task_sets, known_since)
        if window_end is None:
            newest = max(newer, key=window_ends.__getitem__)
            handled_version = peek.handled_versions[newest]
    slots = [
        DueTask(tasks.tasks[position], position, slots)
        for position, slots in slots_since(tasks.tasks, tasks.calendar, starts, now)
    ]
    slots += _find_due_schedules(cron, tasks, starts, now, handled_version)
    due = [_condense_many(cron, due_task, now) for due_task in slots]
    due.sort(key=lambda due_task: (due_task.slots[0], due_task.position))
    missed: list[SkippedSlots] = []
    if window_end is None:
        known_names = frozenset[str]().union(*(task_set.task_names for task_set in task_sets))
        unknown = [task for task in tasks.tasks if task.name not in known_names]
        missed = missed_one_shots(unknown, window_start(now, None, known_since))
    return DueWork(due, missed, is_new_task_set)


def _find_due_schedules(
    cron: CronParts,
    tasks: TaskRegistry,
    starts: Sequence[datetime] | datetime,
    now: datetime,
    handled_version: int,
) -> list[DueTask]:
    """Return the stored schedules that have slots, with their payloads as they are now."""
    book = cron.schedule_book
    if not len(book):
        return []

    def window_of(name: str) -> TaskWindow | None:
        task = tasks.by_name.get(name)
        if task is None:
            return None
        start = starts if isinstance(starts, datetime) else starts[tasks.position(name)]
        if task.grace is None:
            return TaskWindow(start, datetime.min.replace(tzinfo=timezone.utc))
        return TaskWindow(start, now - max(SLOT_LOOK_BACK, task.grace))

    first = starts if isinstance(starts, datetime) else min(starts, default=now)
    due = book.due(window_of, first, now, handled_version)
    if not due:
        return []
    with cron.store.read_session() as session:
        payloads = read_payloads(session, [due_entry.entry.name for due_entry in due])

    def as_due_task(due_entry: DueEntry) -> DueTask:
        entry, slots, is_news = due_entry
        task = entry.as_task(tasks.by_name[entry.task], payloads.get(entry.name))
        return DueTask(task, tasks.position(entry.task), slots, is_news=is_news)

    return [as_due_task(due_entry) for due_entry in due]


def _condense_many(cron: CronParts, due_task: DueTask, now: datetime) -> DueTask:
    """Return a task with a few slots that stand for all, where these are very many.

    Other ticks wait while this one holds the claim transaction: condense before it. A pause rule
    that comes meanwhile applies from now on, not to earlier slots.
    """
    if len(due_task.slots) <= CONDENSE_LIMIT_SLOTS:
        return due_task
    pauses = list_pause_changes(cron.store.pause_rules())
    slots, counts = condense(due_task.task, due_task.slots, now, pauses)
    return due_task._replace(slots=slots, counts=counts)


def _execute_plan(
    cron: CronParts,
    runner: RequestRunner,
    tasks: TaskRegistry,
    record: TickRecord,
    work: DueWork,
    executors: Container[str] | None = None,
) -> TickProgress:
    """Claim and run due slots, then backlog and idle tasks while there is time."""
    with cron.supervisor.claim_transaction(runner.clock) as claims:
        # First of all: MariaDB frees what a frozen process holds sooner once that has written.
        last_end = record.at if executors else claims.record_tick(record, tasks.by_name)
        lost = claims.expire_leases(cron.outcome_of, tasks.by_name)
        snapshot = claims.snapshot(tasks.fixed_delay_names, _fixed_delay_origins(work.due))
        if last_end is not None:  # else the clock of this host may be wrong
            claims.cap_far_leases(snapshot.active)
        stuck = tasks.with_same_lock(cron.supervisor.executions.stuck_tasks())
        snapshot = replace(snapshot, last_tick=last_end, stuck_tasks=stuck)
        due = _add_waiting(cron, _drop_handled(work.due, last_end), tasks, snapshot)
        due = (one for one in due if executors is None or one.task.executor in executors)
        plan = plan_tick(due, snapshot, record.at, cron.settings.capacity, cron.worker_threads())
        claims.dequeue(plan.dequeue)
        claims.enqueue(plan.enqueue)
        claims.request_cancels(plan.cancel_ids)
        skips = [*work.missed, *plan.skipped]
        claimed, skipped = claims.claim(plan.run_now, skips, lock_of=tasks.lock)
        background, _ = claims.claim(plan.background, weight_of=tasks.weight, lock_of=tasks.lock)
    if not executors:
        cron.note_window(record.at, record.schedules_version)
        cron.last_tick = cron.last_tick if record.is_beat else record.at
    environ, registry = url_environ_of(runner.request), runner.request.registry

    def launch(runs: Iterable[Run]) -> None:
        launch_runs(cron, registry, tasks, list(runs), runner.clock, environ)

    # Before the first task in the request begins, which may take long.
    launch(background)
    if cron.is_awake:
        cron.background_threads.offer(
            run for run in plan.over_capacity if cron.has_thread_for(tasks.get(run.task))
        )
    scope = TickScope(cron, runner, tasks, launch)
    progress = TickProgress(skipped=skipped, waiting=plan.over_capacity)
    run_claimed(scope, claimed, [*lost, *skipped], progress)
    run_restarts(scope, plan, progress)
    if record.is_beat:
        progress.waiting += [*plan.backlog, *plan.idle]  # they are for ticks that have time left
    else:
        run_backlog_and_idle(scope, plan, progress)
    progress.runs += background
    return progress


def _drop_handled(due: Iterable[DueTask], window_end: datetime | None) -> Iterator[DueTask]:
    """Yield due tasks without the slots that another tick has handled since this one looked."""
    for due_task in due:
        if window_end is None or due_task.is_news or due_task.slots[0] > window_end:
            yield due_task
        elif slots := due_task.after(window_end):
            yield due_task._replace(slots=slots, counts=NO_COUNTS)


def _fixed_delay_origins(due: Iterable[DueTask]) -> set[str]:
    """Return the stored schedules with fixed delay among what is due."""
    return {
        due_task.task.origin
        for due_task in due
        if due_task.task.schedule_name is not None and due_task.task.fixed_delay is not None
    }


def _add_waiting(
    cron: CronParts, due: Iterable[DueTask], tasks: TaskRegistry, snapshot: Snapshot
) -> Iterator[DueTask]:
    """Yield what is due, and that for which only a waiting run is ready."""
    keys = {run.task_key: run for run in snapshot.waiting}
    for due_task in due:
        keys.pop(due_task.task.key, None)
        yield due_task
    for run in keys.values():
        if run.task in tasks.by_name:
            task = cron.find_task(run.task, run.schedule) if run.schedule else None
            yield DueTask(task or tasks.by_name[run.task], tasks.position(run.task))


def run_tick_and_wait(cron: CronParts, registry: Registry, now: datetime) -> TickReport:
    """Make a tick at ``now`` (aware, UTC) in a request of its own; return the report.

    Runs in threads are reported as they ended, runs of a queue as they are once sent, and those
    that could not be sent as waiting. Raises StoreError as :func:`run_tick` does.
    """
    with own_request(registry) as request:
        report = run_tick(cron, request, now)
    return wait_for_background_runs(cron, report)


def wait_for_background_runs(cron: CronParts, report: TickReport) -> TickReport:
    """Return the report of a tick or beat once its runs in threads have ended.

    Raises StoreError if the store can't be used.
    """
    background_ids = [run.id for run in report.runs if not run.state.is_final]
    if not background_ids:
        return report
    cron.background_threads.join(background_ids)
    cron.supervisor.flush()
    stored = {run_id: cron.store.get_run(run_id) for run_id in background_ids}
    runs = [stored.get(run.id) or run for run in report.runs]
    released = [as_waiting_run(run) for run in runs if run.state is RunState.WAITING]
    return replace(
        report,
        runs=tuple(run for run in runs if run.state is not RunState.WAITING),
        waiting=(*report.waiting, *released),
    )
