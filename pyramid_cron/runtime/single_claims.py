"""Claiming a single waiting run just before it runs."""

from __future__ import annotations

from enum import Enum

from ..app import CronApp
from ..clock import Stopwatch
from ..planning.pauses import active_pause
from ..planning.snapshot import WaitingRun
from ..planning.tick_plan import blocking_runs
from ..registry import TaskRegistry
from ..run import Run
from ..task import REQUEST_EXECUTOR, WORKER_EXECUTOR


class ClaimRefusal(Enum):
    """Why a run is not claimed just now."""

    #: An active run of the task blocks it.
    BLOCKED = "blocked"
    #: It waits for a later tick.
    POSTPONED = "postponed"
    #: It does not wait any more: another tick has claimed it, or it was cancelled.
    TAKEN = "taken"


def try_claim(
    cron: CronApp, task_registry: TaskRegistry, waiting_run: WaitingRun, clock: Stopwatch
) -> Run | ClaimRefusal:
    """Claim a waiting run if it still may run; write results of this process along with that.

    Raises StoreError.
    """
    if cron.supervisor.is_stopping:
        return ClaimRefusal.POSTPONED
    task = task_registry.get(waiting_run.task)
    if task.executor == WORKER_EXECUTOR and not (
        cron.has_thread_for(task) and cron.worker_threads().free
    ):
        return ClaimRefusal.POSTPONED
    if task.name in cron.supervisor.executions.stuck_tasks():
        return ClaimRefusal.BLOCKED
    with cron.supervisor.claim_transaction(clock, renews_leases=False) as claims:
        current = claims.find_waiting(waiting_run)
        if current is None:
            return ClaimRefusal.TAKEN
        if active_pause(task.name, clock.now(), claims.pause_rules()):
            return ClaimRefusal.POSTPONED
        snapshot = claims.active_runs()
        if blocking_runs(task, snapshot.active_of(task.name), waiting_run.origin):
            return ClaimRefusal.BLOCKED
        in_background = task.executor != REQUEST_EXECUTOR
        if in_background and snapshot.background_weight + task.weight > cron.settings.capacity:
            return ClaimRefusal.POSTPONED
        claimed, _ = claims.claim([current], weight_of=task_registry.weight)
    return claimed[0] if claimed else ClaimRefusal.TAKEN
