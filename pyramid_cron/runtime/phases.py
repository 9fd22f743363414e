"""The phases of a tick: what was claimed at once, restarts, then backlog and idle tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from .. import logs
from ..clock import Stopwatch
from ..planning.snapshot import (
    ActiveRun,
    Snapshot,
    WaitingRun,
    active_pause,
    as_run,
    as_waiting_run,
    is_stuck,
)
from ..planning.tick_plan import TickPlan, find_blocking, median_duration
from ..registry import TaskRegistry
from ..run import Run, RunState, TaskKey
from ..task import REQUEST_EXECUTOR, WORKER_EXECUTOR, Task
from .cron_parts import CronParts
from .runner import RequestRunner

MEDIAN_DURATION_RUNS = 20
"""How many of an idle task's latest successes its median duration is of."""

RESTART_WAIT_SECONDS = 5.0
"""Seconds that a tick waits for a run to stop that is to be restarted."""

CLAIM_RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class TickScope:
    """What the phases of one tick work with."""

    cron: CronParts
    runner: RequestRunner
    task_registry: TaskRegistry
    #: Starts runs outside the request.
    launch: Callable[[Sequence[Run]], None]


@dataclass(slots=True)
class TickProgress:
    """What a tick has done so far."""

    runs: list[Run] = field(default_factory=list)
    skipped: list[Run] = field(default_factory=list)
    waiting: list[WaitingRun] = field(default_factory=list)
    #: The idle tasks that it has logged as never fitting into a tick.
    oversized_tasks: set[str] = field(default_factory=set)

    def add(self, run: Run | None) -> None:
        """Add a run as it ended; None is one whose lease was lost."""
        if run is not None:
            (self.skipped if run.state is RunState.SKIPPED else self.runs).append(run)


def run_claimed(
    scope: TickScope, runs: Sequence[Run], ended: Sequence[Run], progress: TickProgress
) -> None:
    """Announce runs that ended otherwise; run what the tick has claimed, one after the other.

    A run that was released meanwhile, since an earlier one took long, is claimed again by itself.
    """
    with scope.cron.supervisor.supervising(runs, scope.runner.clock):
        for run in ended:
            scope.runner.announce_end(run)
        for run in runs:
            final_run = scope.runner.run(scope.task_registry.get(run.task), run)
            if final_run is not None:
                progress.add(final_run)
            elif not scope.cron.supervisor.is_stopping:
                waiting_run = as_waiting_run(run)
                _run_or_postpone(scope, waiting_run, _try_claim(scope, waiting_run), progress)


def run_restarts(scope: TickScope, plan: TickPlan, progress: TickProgress) -> None:
    """Run what waits for a run to stop, if that stops soon; else a later tick does."""
    wait_until = time.monotonic() + RESTART_WAIT_SECONDS
    launched: set[TaskKey | None] = set()
    for waiting_run in plan.restarts:
        task = scope.task_registry.get(waiting_run.task)
        # A background run ends only after this tick.
        if launched & {waiting_run.task_key, task.lock}:
            progress.waiting.append(waiting_run)
            continue
        run = _claim_when_unblocked(scope, waiting_run, lambda: time.monotonic() < wait_until)
        if isinstance(run, Run) and task.executor != REQUEST_EXECUTOR:
            launched |= {waiting_run.task_key, task.lock} - {None}
            scope.launch([run])
            progress.add(run)
        else:
            _run_or_postpone(scope, waiting_run, run, progress)


def run_backlog_and_idle(scope: TickScope, plan: TickPlan, progress: TickProgress) -> None:
    """Run backlog and idle tasks; those for which no time is left wait for a later tick."""
    for waiting_run in plan.backlog:
        has_time = scope.runner.time_left() > 0
        run = _try_claim(scope, waiting_run) if has_time else ClaimRefusal.POSTPONED
        _run_or_postpone(scope, waiting_run, run, progress)
    for waiting_run in plan.idle:
        restart_ids = plan.idle_restart_ids.get(waiting_run.task_key, ())
        run = _claim_idle(scope, waiting_run, restart_ids, progress)
        _run_or_postpone(scope, waiting_run, run, progress)


def _run_or_postpone(
    scope: TickScope,
    waiting_run: WaitingRun,
    run: Run | ClaimRefusal,
    progress: TickProgress,
) -> None:
    if isinstance(run, ClaimRefusal):
        if run is not ClaimRefusal.TAKEN:
            progress.waiting.append(waiting_run)
        return
    with scope.cron.supervisor.supervising([run], scope.runner.clock):
        progress.add(scope.runner.run(scope.task_registry.get(waiting_run.task), run))


def _fits_in_budget(scope: TickScope, waiting_run: WaitingRun, progress: TickProgress) -> bool:
    """Return whether an idle task may start now; log a warning if it never may."""
    time_left, budget = scope.runner.time_left(), scope.cron.settings.budget
    if time_left <= 0:
        return False
    name = waiting_run.task
    median = median_duration(scope.cron.store.recent_durations(name, MEDIAN_DURATION_RUNS))
    if median > budget and name not in progress.oversized_tasks:
        progress.oversized_tasks.add(name)
        logs.log_never_fits(name, median, budget)
    return median <= time_left


def _claim_idle(
    scope: TickScope,
    waiting_run: WaitingRun,
    restart_ids: Sequence[str],
    progress: TickProgress,
) -> Run | ClaimRefusal:
    """Claim an idle slot if it fits, and still does once the runs to restart have stopped."""
    wait_until = time.monotonic() + RESTART_WAIT_SECONDS
    if not _fits_in_budget(scope, waiting_run, progress):
        return ClaimRefusal.POSTPONED
    if restart_ids:
        with scope.cron.supervisor.claim_transaction(scope.runner.clock) as claims:
            claims.request_cancels(restart_ids)

    def can_wait() -> bool:
        return (
            bool(restart_ids)
            and time.monotonic() < wait_until
            and _fits_in_budget(scope, waiting_run, progress)
        )

    return _claim_when_unblocked(scope, waiting_run, can_wait)


def _claim_when_unblocked(
    scope: TickScope, waiting_run: WaitingRun, can_wait: Callable[[], bool]
) -> Run | ClaimRefusal:
    """Claim a waiting run once no run blocks it, as long as ``can_wait``."""
    run = _try_claim(scope, waiting_run)
    while run is ClaimRefusal.BLOCKED and can_wait():
        time.sleep(CLAIM_RETRY_SECONDS)
        run = _try_claim(scope, waiting_run)
    return run


def _try_claim(scope: TickScope, waiting_run: WaitingRun) -> Run | ClaimRefusal:
    return try_claim(scope.cron, scope.task_registry, waiting_run, scope.runner.clock)


class ClaimRefusal(Enum):
    """Why a run is not claimed just now."""

    #: An active run of the task blocks it.
    BLOCKED = "blocked"
    #: It waits for a later tick.
    POSTPONED = "postponed"
    #: It does not wait any more: another tick has claimed it, or it was cancelled.
    TAKEN = "taken"


def try_claim(
    cron: CronParts, task_registry: TaskRegistry, waiting_run: WaitingRun, clock: Stopwatch
) -> Run | ClaimRefusal:
    """Claim a waiting run if it still may run; write results of this process along with that.

    Raises StoreError.
    """
    [outcome] = try_claims(cron, task_registry, [waiting_run], clock)
    return outcome


def try_claims(
    cron: CronParts,
    task_registry: TaskRegistry,
    waiting_runs: Sequence[WaitingRun],
    clock: Stopwatch,
) -> list[Run | ClaimRefusal]:
    """Claim those of the waiting runs that still may run, in one transaction; return each's fate.

    Results of this process are written along with that. Raises StoreError.
    """
    if cron.supervisor.is_stopping:
        return [ClaimRefusal.POSTPONED for _ in waiting_runs]
    with cron.supervisor.claim_transaction(clock, renews_leases=False) as claims:
        snapshot, rules = claims.active_runs(), claims.pause_rules()
        refusals: list[ClaimRefusal | None] = []
        accepted: list[WaitingRun] = []
        for current, waiting_run in zip(
            claims.find_waiting(waiting_runs), waiting_runs, strict=True
        ):
            task = replace(task_registry.get(waiting_run.task), schedule_name=waiting_run.schedule)
            if current is None:
                refusals.append(ClaimRefusal.TAKEN)
            elif active_pause(
                task.name, clock.now(), rules, current.schedule, command=task.command
            ):
                refusals.append(ClaimRefusal.POSTPONED)
            elif refusal := find_refusal(cron, task, current, snapshot):
                refusals.append(refusal)
            else:
                refusals.append(None)
                accepted.append(current)
                weight = task_registry.weight(task.name)
                snapshot = _with_claim(snapshot, current, weight, task.lock)
        claimed, _ = claims.claim(
            accepted, weight_of=task_registry.weight, lock_of=task_registry.lock
        )
    runs = iter(claimed)
    return [next(runs) if refusal is None else refusal for refusal in refusals]


def find_refusal(
    cron: CronParts, task: Task, waiting_run: WaitingRun, snapshot: Snapshot
) -> ClaimRefusal | None:
    """Return why a run may not run beside the active ones; None if it may."""
    stuck = cron.supervisor.executions.stuck_tasks()
    if is_stuck(task, cron.task_registry.with_same_lock(stuck)):
        return ClaimRefusal.BLOCKED
    if find_blocking(task, snapshot, waiting_run.origin):
        return ClaimRefusal.BLOCKED
    if task.executor == REQUEST_EXECUTOR:
        return None
    is_for_worker = task.executor == WORKER_EXECUTOR
    if is_for_worker and not (cron.has_thread_for(task) and cron.worker_threads().free):
        return ClaimRefusal.POSTPONED
    has_room = snapshot.background_weight + task.weight <= cron.settings.capacity
    return None if has_room else ClaimRefusal.POSTPONED


def _with_claim(
    snapshot: Snapshot, waiting_run: WaitingRun, weight: int, lock: str | None
) -> Snapshot:
    """Return a snapshot in which a run is active as well."""
    claim = ActiveRun(as_run(waiting_run), waiting_run.slot, weight, lock)
    key = waiting_run.task_key
    return Snapshot(active={**snapshot.active, key: [*snapshot.active_of(key), claim]})
