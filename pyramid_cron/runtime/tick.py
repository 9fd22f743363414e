"""One tick: find what is due, claim it, carry it out, record it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.scripting import prepare

from .. import events, logs
from ..app import CronApp
from ..clock import Stopwatch
from ..planning.catch_up import MANY, NO_COUNTS, condense
from ..planning.pauses import changes
from ..planning.slots import slots_since, window_start, window_starts
from ..planning.snapshot import Snapshot
from ..planning.tick_plan import DueTask, plan_tick
from ..registry import TaskRegistry
from ..run import make_id_prefix
from ..store.handoff import make_released_run
from ..store.results import TickRecord
from ..store.store import StorePeek
from ..tick_report import TickReport
from .background import BackgroundLaunch
from .phases import TickProgress, run_backlog_and_idle, run_restarts
from .request_scope import runner_in_request
from .runner import RequestRunner
from .transactions import without_transaction


def run_tick(cron: CronApp, request: Request, now: datetime) -> TickReport:
    """Run what is due at ``now`` (aware, UTC), in the request; return what was done.

    Raises StoreError if nothing could be claimed, in which case no task has run, or if the outcome
    could not be written, which is then tried again later.
    """
    clock = Stopwatch(now)
    cron.refresh_sources(now)
    tasks = cron.task_registry
    _ensure_store_open(cron, request)
    glance = cron.store.peek(now)
    owner = cron.store.owner
    this = TickRecord(make_id_prefix(now), now, tasks.task_set_id, owner.host, owner.pid)
    _notify_tick(request, events.TickStarted, this.id, now)
    due = _find_due(cron, tasks, glance, now)
    if not (due or glance.has_work):
        logs.log_nothing_due(now)
        cron.last_tick = now
        cron.write_buffer.add_tick(this, tasks.by_name)
        cron.supervisor.wake()
        report = TickReport(this.id, now)
        _notify_tick(request, events.TickFinished, report)
        return report
    launch = BackgroundLaunch(cron, tasks, request, clock)
    with launch.safety_timer(), runner_in_request(cron, request, clock) as runner:
        done = _execute_plan(cron, runner, launch, tasks, this, due)
        report = TickReport(
            this.id, now, tuple(done.runs), tuple(done.skipped), tuple(done.waiting)
        )
        counted = replace(this, run_count=len(report.runs), skipped_count=len(report.skipped))
        cron.write_buffer.add_tick(counted, tasks.by_name)
    _notify_tick(request, events.TickFinished, report)
    return report


def _notify_tick(request: Request, event_class: type[events.Event], *values: Any) -> None:
    """Tell of the tick itself."""

    def call(subscriber: events.Subscriber, event: events.Event) -> None:
        with without_transaction(request) as transactions:
            transactions.call_subscriber(subscriber, event)

    events.notify_subscribers(event_class, request, *values, call=call)


def _ensure_store_open(cron: CronApp, request: Request) -> None:
    """See to it that the store is there, with no transaction open that could stand in its way."""
    if not cron.store.is_open:
        with without_transaction(request):
            cron.store.open()


def _find_due(
    cron: CronApp, task_registry: TaskRegistry, peek: StorePeek, now: datetime
) -> list[DueTask]:
    """Return the tasks that have slots since the last tick that knew them."""
    last_ticks = dict(peek.last_ticks)
    mine = last_ticks.pop(task_registry.task_set_id, None)
    if cron.last_tick is not None and cron.last_tick <= now:
        # A tick that found nothing to do reaches the store a moment later.
        mine = cron.last_tick if mine is None else max(mine, cron.last_tick)
    # A last tick that is still to come was made by a clock that was wrong.
    known = {id_: moment for id_, moment in last_ticks.items() if moment <= now}
    newer = [id_ for id_, moment in known.items() if mine is None or moment > mine]
    starts: list[datetime] | datetime = window_start(now, mine)
    if newer:
        starts = window_starts(task_registry.by_name, now, mine, cron.store.task_sets(newer))
    due: list[DueTask] = []
    pauses: Collection[datetime] | None = None
    for position, slots in slots_since(task_registry.tasks, task_registry.calendar, starts, now):
        task, counts = task_registry.tasks[position], NO_COUNTS
        if len(slots) > MANY:
            # Whoever else ticks waits while this tick decides, so little must be left to do then.
            # A pause that is said from now on begins now: it changes nothing for slots before.
            pauses = changes(cron.store.pause_rules()) if pauses is None else pauses
            slots, counts = condense(task, slots, now, pauses)
        due.append(DueTask(task, position, slots, counts))
    # What is skipped is put on record in this order.
    due.sort(key=lambda each: (each.slots[0], each.position))
    return due


def _execute_plan(
    cron: CronApp,
    runner: RequestRunner,
    launch: BackgroundLaunch,
    task_registry: TaskRegistry,
    tick: TickRecord,
    due: Iterable[DueTask],
) -> TickProgress:
    """Claim and run what is due, then what may wait while there is time."""
    with cron.supervisor.claim_transaction(runner.clock) as desk:
        lost = desk.expire_leases(cron.outcome_of, task_registry.by_name)
        facts = desk.snapshot(task_registry.fixed_delay_names)
        last = desk.record_tick(tick, task_registry.by_name)
        if last is not None:  # else it may be this clock that is wrong
            desk.cap_far_leases(facts.active)
        found = _add_tasks_with_waiting_runs(_drop_handled(due, last), task_registry, facts)
        known = replace(facts, last_tick=last)
        decisions = plan_tick(found, known, tick.at, cron.settings.capacity)
        desk.dequeue(decisions.dequeue)
        desk.enqueue(decisions.enqueue)
        desk.request_cancels(decisions.cancel_ids)
        claimed, skipped = desk.claim(decisions.run_now, decisions.skipped)
        apart, _ = desk.claim(decisions.background, weight_of=task_registry.weight)
    cron.last_tick = tick.at
    cron.supervisor.supervise(apart, runner.clock)
    launch.add(apart)
    done = TickProgress(skipped=skipped, waiting=decisions.over_capacity)
    with cron.supervisor.supervising(claimed, runner.clock):
        for run in (*lost, *skipped):
            runner.announce_end(run)
        for run in claimed:
            done.add(runner.run(task_registry.get(run.task), run))
    run_restarts(cron, runner, launch, task_registry, decisions, done)
    run_backlog_and_idle(cron, runner, task_registry, decisions, done)
    done.runs += apart
    return done


def _drop_handled(due: Iterable[DueTask], last_tick: datetime | None) -> Iterator[DueTask]:
    """Yield what is due without the slots that another tick has seen to since this one looked."""
    for each in due:
        if last_tick is None or each.slots[0] > last_tick:
            yield each
        elif slots := each.after(last_tick):
            yield each._replace(slots=slots, counts=NO_COUNTS)


def _add_tasks_with_waiting_runs(
    due: Iterable[DueTask], task_registry: TaskRegistry, snapshot: Snapshot
) -> Iterator[DueTask]:
    """Yield the tasks that are due, and those for which only something that waits is ripe."""
    waiting = {each.task for each in snapshot.waiting}
    for each in due:
        waiting.discard(each.task.name)
        yield each
    for name in waiting:
        if name in task_registry.by_name:
            yield DueTask(task_registry.by_name[name], task_registry.position(name))


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
