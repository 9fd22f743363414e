"""Claiming waiting runs just before they run, one or a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from ..app import CronApp
from ..clock import Stopwatch
from ..planning.pauses import active_pause
from ..planning.snapshot import ActiveRun, Snapshot, WaitingRun, as_run, is_stuck
from ..planning.tick_plan import find_blocking
from ..registry import TaskRegistry
from ..run import Run
from ..task import REQUEST_EXECUTOR, WORKER_EXECUTOR, Task


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
    [outcome] = try_claims(cron, task_registry, [waiting_run], clock)
    return outcome


def try_claims(
    cron: CronApp, task_registry: TaskRegistry, waiting_runs: Sequence[WaitingRun], clock: Stopwatch
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
            elif active_pause(task.name, clock.now(), rules, current.schedule):
                refusals.append(ClaimRefusal.POSTPONED)
            elif refusal := _find_refusal(cron, task, current, snapshot):
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


def _find_refusal(
    cron: CronApp, task: Task, waiting_run: WaitingRun, snapshot: Snapshot
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
