"""How an application's cron is: what is on record and what is registered, put together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from .app import CronApp
from .planning.health import Health, MomentFormat, TaskHealthInput, assess
from .planning.pauses import active_pause
from .planning.snapshot import ActiveRun
from .registry import TaskRegistry
from .run import RunReason, RunState, Trigger, first_id
from .store.queries import Overview, WaitingSummary, read_overview
from .store.run_stats import RunStats
from .text import format_instant

ORPHANED_TASK_LOOK_BACK = timedelta(days=7)
"""How long a task that is not registered any more is of interest."""

URGENT_TRIGGERS = tuple(trigger for trigger in Trigger if trigger is not Trigger.BACKFILL)
"""What may not wait for long."""

FIXED_DELAY_TRIGGERS = (Trigger.SCHEDULE, Trigger.CATCH_UP, Trigger.RETRY)
"""What a task that paces itself may go on with."""

TaskItem = TypeVar("TaskItem", RunStats, WaitingSummary)


def assess_health(cron: CronApp, format_moment: MomentFormat = format_instant) -> Health:
    """Return how the application's cron is now. Raises StoreError if the store can't be read."""
    return assess_overview(
        cron, read_overview(cron.store, cron.task_registry.task_set_id), cron.clock(), format_moment
    )


def assess_overview(
    cron: CronApp, overview: Overview, now: datetime, format_moment: MomentFormat = format_instant
) -> Health:
    """Return how the application's cron is at a moment (aware, UTC), by what is on record."""
    last_ticks = dict(overview.last_ticks)
    if cron.last_tick is not None:  # it reaches the store a moment later
        mine = last_ticks.get(cron.task_registry.task_set_id, cron.last_tick)
        last_ticks[cron.task_registry.task_set_id] = max(mine, cron.last_tick)
    last_tick = max(last_ticks.values(), default=None)
    return assess(
        _make_task_inputs(cron.task_registry, overview, last_ticks, now),
        last_tick,
        now,
        format_moment,
    )


def _make_task_inputs(
    tasks: TaskRegistry, overview: Overview, last_ticks: Mapping[str, datetime], now: datetime
) -> list[TaskHealthInput]:
    """Return what is known of each task: the registered ones in order, then the orphaned."""
    totals, queues = _group_by_task(overview.run_stats), _group_by_task(overview.waiting)
    active = _group_active_by_task(overview.active_runs)
    since = first_id(now - ORPHANED_TASK_LOOK_BACK)
    recent = {name for name, ones in totals.items() if any(one.newest_run >= since for one in ones)}
    orphaned = (recent | queues.keys() | active.keys()) - tasks.by_name.keys()
    return [
        TaskHealthInput(
            name,
            tasks.by_name.get(name),
            last_tick=_last_tick_of(name, tasks.task_set_id, overview, last_ticks),
            active=active.get(name, ()),
            waiting_since=_oldest_waiting(queues.get(name, ()), URGENT_TRIGGERS),
            next_waiting_at=_oldest_waiting(queues.get(name, ()), FIXED_DELAY_TRIGGERS),
            pause=active_pause(name, now, overview.pause_rules),
            last_run=overview.last_runs.get(name),
            has_failed=_has_failed(totals.get(name, ())),
            has_missed=_has_missed(totals.get(name, ())),
            mean_duration=_mean_duration(totals.get(name, ())),
        )
        for name in (*tasks.by_name, *sorted(orphaned))
    ]


def _group_by_task(items: Iterable[TaskItem]) -> dict[str, list[TaskItem]]:
    by_task: dict[str, list[TaskItem]] = {}
    for each in items:
        by_task.setdefault(each.task, []).append(each)
    return by_task


def _group_active_by_task(active_runs: Iterable[ActiveRun]) -> dict[str, list[ActiveRun]]:
    by_task: dict[str, list[ActiveRun]] = {}
    for each in active_runs:
        by_task.setdefault(each.run.task, []).append(each)
    return by_task


def _last_tick_of(
    name: str, task_set_id: str, overview: Overview, last_ticks: Mapping[str, datetime]
) -> datetime | None:
    """Return the last tick that knew the task, in whatever version of the application."""
    known = [last_ticks[id_] for id_, names in overview.task_sets.items() if name in names]
    if task_set_id in last_ticks:
        known.append(last_ticks[task_set_id])
    return max(known, default=None)


def _oldest_waiting(
    summaries: Iterable[WaitingSummary], triggers: Collection[Trigger]
) -> datetime | None:
    return min((each.oldest for each in summaries if each.trigger in triggers), default=None)


def _has_failed(run_stats: Iterable[RunStats]) -> bool:
    ran = [each for each in run_stats if not each.is_skipped]
    return bool(ran) and RunState(max(ran, key=_newest_run).state).is_failure


def _has_missed(run_stats: Iterable[RunStats]) -> bool:
    found = list(run_stats)
    return bool(found) and max(found, key=_newest_run).reason == RunReason.MISSED.value


def _newest_run(run_stats: RunStats) -> str:
    return run_stats.newest_run


def _mean_duration(run_stats: Iterable[RunStats]) -> float | None:
    for each in run_stats:
        if each.state == RunState.SUCCEEDED.value and each.duration_count:
            return each.duration_sum / each.duration_count
    return None
