"""The last phases of a tick: restarts, which wait for a run to stop, backlog and idle tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from .. import logs
from ..app import CronApp
from ..planning.pauses import active_pause
from ..planning.snapshot import WaitingRun
from ..planning.tick_plan import TickPlan, blocking_runs, median_duration
from ..registry import TaskRegistry
from ..run import Run, RunState
from ..task import REQUEST_EXECUTOR
from .background import BackgroundLaunch
from .runner import RequestRunner

MEDIAN_DURATION_RUNS = 20
"""How many of an idle task's latest successes its median duration is of."""

RESTART_WAIT_SECONDS = 5.0
"""Seconds that a tick waits for a run to stop that is to be restarted."""

CLAIM_RETRY_SECONDS = 0.1


class ClaimRefusal(Enum):
    """Why a slot is not claimed just now."""

    #: An active run of the task blocks it.
    BLOCKED = "blocked"
    #: It waits for a later tick.
    POSTPONED = "postponed"
    #: Another tick has claimed it.
    TAKEN = "taken"


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


def run_restarts(
    cron: CronApp,
    runner: RequestRunner,
    launch: BackgroundLaunch,
    task_registry: TaskRegistry,
    plan: TickPlan,
    progress: TickProgress,
) -> None:
    """Run what waits for a run to stop, if that stops soon; else a later tick does."""
    wait_until = time.monotonic() + RESTART_WAIT_SECONDS
    launched: set[str] = set()
    for waiting_run in plan.restarts:
        if waiting_run.task in launched:  # a background run ends only after this tick
            progress.waiting.append(waiting_run)
            continue
        run = _claim_when_unblocked(
            cron, runner, task_registry, waiting_run, lambda: time.monotonic() < wait_until
        )
        task = task_registry.get(waiting_run.task)
        if isinstance(run, Run) and task.executor != REQUEST_EXECUTOR:
            launched.add(task.name)
            launch.add([run])
            progress.add(run)
        else:
            _run_or_postpone(runner, task_registry, waiting_run, run, progress)


def run_backlog_and_idle(
    cron: CronApp,
    runner: RequestRunner,
    task_registry: TaskRegistry,
    plan: TickPlan,
    progress: TickProgress,
) -> None:
    """Run backlog and idle tasks; those for which no time is left wait for a later tick."""
    for waiting_run in plan.backlog:
        run = (
            _try_claim(cron, runner, task_registry, waiting_run)
            if runner.time_left() > 0
            else ClaimRefusal.POSTPONED
        )
        _run_or_postpone(runner, task_registry, waiting_run, run, progress)
    for waiting_run in plan.idle:
        restart_ids = plan.idle_restart_ids.get(waiting_run.task, ())
        run = _claim_idle(cron, runner, task_registry, waiting_run, restart_ids, progress)
        _run_or_postpone(runner, task_registry, waiting_run, run, progress)


def _run_or_postpone(
    runner: RequestRunner,
    task_registry: TaskRegistry,
    waiting_run: WaitingRun,
    run: Run | ClaimRefusal,
    progress: TickProgress,
) -> None:
    if isinstance(run, ClaimRefusal):
        if run is not ClaimRefusal.TAKEN:
            progress.waiting.append(waiting_run)
    else:
        progress.add(runner.run(task_registry.get(waiting_run.task), run))


def _fits_in_budget(
    cron: CronApp, runner: RequestRunner, waiting_run: WaitingRun, progress: TickProgress
) -> bool:
    """Return whether an idle task may start now; log a warning if it never may."""
    time_left, budget = runner.time_left(), cron.settings.budget
    if time_left <= 0:
        return False
    name = waiting_run.task
    median = median_duration(cron.store.recent_durations(name, MEDIAN_DURATION_RUNS))
    if median > budget and name not in progress.oversized_tasks:
        progress.oversized_tasks.add(name)
        logs.log_never_fits(name, median, budget)
    return median <= time_left


def _claim_idle(
    cron: CronApp,
    runner: RequestRunner,
    task_registry: TaskRegistry,
    waiting_run: WaitingRun,
    restart_ids: Sequence[str],
    progress: TickProgress,
) -> Run | ClaimRefusal:
    """Claim an idle slot if it fits, and still does once the runs to restart have stopped."""
    wait_until = time.monotonic() + RESTART_WAIT_SECONDS
    if not _fits_in_budget(cron, runner, waiting_run, progress):
        return ClaimRefusal.POSTPONED
    if restart_ids:
        with cron.supervisor.claim_transaction(runner.clock) as claims:
            claims.request_cancels(restart_ids)

    def can_wait() -> bool:
        return (
            bool(restart_ids)
            and time.monotonic() < wait_until
            and _fits_in_budget(cron, runner, waiting_run, progress)
        )

    return _claim_when_unblocked(cron, runner, task_registry, waiting_run, can_wait)


def _claim_when_unblocked(
    cron: CronApp,
    runner: RequestRunner,
    task_registry: TaskRegistry,
    waiting_run: WaitingRun,
    can_wait: Callable[[], bool],
) -> Run | ClaimRefusal:
    """Claim a waiting run once no run blocks it, as long as ``can_wait``."""
    run = _try_claim(cron, runner, task_registry, waiting_run)
    while run is ClaimRefusal.BLOCKED and can_wait():
        time.sleep(CLAIM_RETRY_SECONDS)
        run = _try_claim(cron, runner, task_registry, waiting_run)
    return run


def _try_claim(
    cron: CronApp, runner: RequestRunner, task_registry: TaskRegistry, waiting_run: WaitingRun
) -> Run | ClaimRefusal:
    """Claim a waiting run just before it runs, if it still may."""
    task = task_registry.get(waiting_run.task)
    with cron.supervisor.claim_transaction(runner.clock) as claims:
        active = claims.active_runs(task.name)
        if any(_is_same_slot(active_run.run, waiting_run) for active_run in active):
            return ClaimRefusal.TAKEN
        if active_pause(task.name, runner.clock.now(), claims.pause_rules()):
            return ClaimRefusal.POSTPONED
        if blocking_runs(task, active, waiting_run.nonce):
            return ClaimRefusal.BLOCKED
        in_background = task.executor != REQUEST_EXECUTOR
        if in_background and claims.background_weight() + task.weight > cron.settings.capacity:
            return ClaimRefusal.POSTPONED
        claims.dequeue([waiting_run])
        claimed, _ = claims.claim([waiting_run], weight_of=task_registry.weight)
    cron.supervisor.supervise(claimed, runner.clock)
    return claimed[0] if claimed else ClaimRefusal.TAKEN


def _is_same_slot(run: Run, waiting_run: WaitingRun) -> bool:
    """Return whether a run is of the waiting run's slot, attempt and nonce."""
    return (run.slot, run.attempt, run.nonce) == (
        waiting_run.slot,
        waiting_run.attempt,
        waiting_run.nonce,
    )
