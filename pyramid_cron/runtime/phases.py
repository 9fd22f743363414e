"""What a tick does last: what waits for another run to stop, or runs only while there is time."""

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

USUAL_DURATION_RUNS = 20
"""How many of an idle task's latest successes tell its usual duration."""

RESTART_WAIT_SECONDS = 5.0
"""Seconds that a tick waits for a run to stop that is to be restarted."""


class ClaimRefusal(Enum):
    """Why a slot is not claimed just now.

    A run is ``IN_THE_WAY``, or else it ``WAITS`` for a later tick, or somebody has ``TAKEN`` it.
    """

    BLOCKED = "in the way"
    POSTPONED = "waits"
    TAKEN = "taken"


@dataclass(slots=True)
class TickProgress:
    """What a tick has done so far.

    ``too_long`` are the idle tasks of which it has said that they never fit into a tick.
    """

    runs: list[Run] = field(default_factory=list)
    skipped: list[Run] = field(default_factory=list)
    waiting: list[WaitingRun] = field(default_factory=list)
    oversized_tasks: set[str] = field(default_factory=set)

    def add(self, run: Run | None) -> None:
        """Add a run as it ended; None is one that somebody else took for lost."""
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
    """Run what was to wait for a run to stop, if that stops soon; else a later tick does."""
    give_up = time.monotonic() + RESTART_WAIT_SECONDS
    begun: set[str] = set()
    for each in plan.restarts:
        if each.task in begun:  # outside, that ends only after this tick
            progress.waiting.append(each)
            continue
        run = _claim_when_unblocked(
            cron, runner, task_registry, each, lambda: time.monotonic() < give_up
        )
        if isinstance(run, Run) and task_registry.get(each.task).executor != REQUEST_EXECUTOR:
            begun.add(each.task)
            launch.add([run])
            progress.add(run)
        else:
            _run_or_postpone(runner, task_registry, each, run, progress)


def run_backlog_and_idle(
    cron: CronApp,
    runner: RequestRunner,
    task_registry: TaskRegistry,
    plan: TickPlan,
    progress: TickProgress,
) -> None:
    """Run what catches up and what is idle; what finds no time waits for a later tick."""
    for each in plan.backlog:
        run = (
            _try_claim(cron, runner, task_registry, each)
            if runner.time_left() > 0
            else ClaimRefusal.POSTPONED
        )
        _run_or_postpone(runner, task_registry, each, run, progress)
    for each in plan.idle:
        others = plan.idle_restart_ids.get(each.task, ())
        run = _claim_idle(cron, runner, task_registry, each, others, progress)
        _run_or_postpone(runner, task_registry, each, run, progress)


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
    """Return whether an idle task may start now; say so if it never may."""
    time_left, budget = runner.time_left(), cron.settings.budget
    if time_left <= 0:
        return False
    usual = median_duration(cron.store.recent_durations(waiting_run.task, USUAL_DURATION_RUNS))
    if usual > budget and waiting_run.task not in progress.oversized_tasks:
        progress.oversized_tasks.add(waiting_run.task)
        logs.log_never_fits(waiting_run.task, usual, budget)
    return usual <= time_left


def _claim_idle(
    cron: CronApp,
    runner: RequestRunner,
    task_registry: TaskRegistry,
    waiting_run: WaitingRun,
    restart_ids: Sequence[str],
    progress: TickProgress,
) -> Run | ClaimRefusal:
    """Claim an idle slot if it fits, and still does once the others have stopped."""
    give_up = time.monotonic() + RESTART_WAIT_SECONDS
    if not _fits_in_budget(cron, runner, waiting_run, progress):
        return ClaimRefusal.POSTPONED
    if restart_ids:
        with cron.supervisor.claim_transaction(runner.clock) as desk:
            desk.request_cancels(restart_ids)

    def patient() -> bool:
        return (
            bool(restart_ids)
            and time.monotonic() < give_up
            and _fits_in_budget(cron, runner, waiting_run, progress)
        )

    return _claim_when_unblocked(cron, runner, task_registry, waiting_run, patient)


def _claim_when_unblocked(
    cron: CronApp,
    runner: RequestRunner,
    task_registry: TaskRegistry,
    waiting_run: WaitingRun,
    can_wait: Callable[[], bool],
) -> Run | ClaimRefusal:
    """Claim what may have to wait for a run to stop, unless that takes more than patience."""
    run = _try_claim(cron, runner, task_registry, waiting_run)
    while run is ClaimRefusal.BLOCKED and can_wait():
        time.sleep(0.1)
        run = _try_claim(cron, runner, task_registry, waiting_run)
    return run


def _try_claim(
    cron: CronApp, runner: RequestRunner, task_registry: TaskRegistry, waiting_run: WaitingRun
) -> Run | ClaimRefusal:
    """Claim what waits just before it runs, if it still may."""
    task = task_registry.get(waiting_run.task)
    with cron.supervisor.claim_transaction(runner.clock) as desk:
        active = desk.active_runs(task.name)
        if any(_is_same_slot(run.run, waiting_run) for run in active):
            return ClaimRefusal.TAKEN
        if active_pause(task.name, runner.clock.now(), desk.pause_rules()):
            return ClaimRefusal.POSTPONED
        if blocking_runs(task, active, waiting_run.nonce):
            return ClaimRefusal.BLOCKED
        outside = task.executor != REQUEST_EXECUTOR
        if outside and desk.background_weight() + task.weight > cron.settings.capacity:
            return ClaimRefusal.POSTPONED
        desk.dequeue([waiting_run])
        claimed, _ = desk.claim([waiting_run], weight_of=task_registry.weight)
    cron.supervisor.supervise(claimed, runner.clock)
    return claimed[0] if claimed else ClaimRefusal.TAKEN


def _is_same_slot(run: Run, waiting_run: WaitingRun) -> bool:
    """Return whether a run is one of this slot."""
    return (run.slot, run.attempt, run.nonce) == (
        waiting_run.slot,
        waiting_run.attempt,
        waiting_run.nonce,
    )
