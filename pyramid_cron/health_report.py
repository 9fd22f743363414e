"""The health of one application's cron, from its registered tasks and its store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TypeVar

from .app import CronApp
from .planning.health import Health, MomentFormat, TaskHealthInput, assess
from .planning.pauses import active_pause
from .registry import TaskRegistry
from .run import RunReason, RunState, Trigger
from .store.queries import Overview, WaitingSummary, read_overview
from .store.run_stats import RunStats
from .text import format_instant

ORPHANED_TASK_LOOK_BACK = timedelta(days=7)
"""How long a task that is not registered any more is shown after its last run."""

URGENT_TRIGGERS = tuple(trigger for trigger in Trigger if trigger is not Trigger.BACKFILL)
"""The triggers of waiting runs that are late after minutes."""

FIXED_DELAY_TRIGGERS = (Trigger.SCHEDULE, Trigger.CATCH_UP, Trigger.RETRY)
"""The triggers of a fixed-delay task's next run."""

ItemT = TypeVar("ItemT")


def assess_health(cron: CronApp, format_moment: MomentFormat = format_instant) -> Health:
    """Return the health as it is now. Raises StoreError if the store can't be read."""
    overview = read_overview(cron.store, cron.task_registry.task_set_id)
    return assess_overview(cron, overview, cron.clock(), format_moment)


def assess_overview(
    cron: CronApp, overview: Overview, now: datetime, format_moment: MomentFormat = format_instant
) -> Health:
    """Return the health at a moment (aware, UTC), from what the store has on record."""
    tasks = cron.task_registry
    # What this process has done with nothing due reaches the store a moment later.
    own_id = tasks.task_set_id
    last_ticks = _with_own(overview.last_ticks, own_id, cron.last_tick)
    window_ends = _with_own(overview.window_ends, own_id, cron.window_end)
    stuck_keys = cron.supervisor.executions.stuck_tasks()
    stuck = {key if isinstance(key, str) else key[0] for key in stuck_keys}
    task_inputs = [
        replace(task_input, is_stuck=task_input.name in stuck)
        for task_input in _make_task_inputs(tasks, overview, window_ends, now)
    ]
    return assess(task_inputs, max(last_ticks.values(), default=None), now, format_moment)


def _with_own(
    moments: Mapping[str, datetime], task_set_id: str, own: datetime | None
) -> Mapping[str, datetime]:
    if own is None:
        return moments
    return {**moments, task_set_id: max(moments.get(task_set_id, own), own)}


def _make_task_inputs(
    tasks: TaskRegistry, overview: Overview, window_ends: Mapping[str, datetime], now: datetime
) -> list[TaskHealthInput]:
    """Return an input for each task: the registered ones in order, then the orphaned."""
    run_stats = _group_by_task(overview.run_stats, attrgetter("task"))
    waiting = _group_by_task(overview.waiting, attrgetter("task"))
    active_runs = _group_by_task(overview.active_runs, attrgetter("run.task"))
    first_recent = now - ORPHANED_TASK_LOOK_BACK
    recent = {stats.task for stats in overview.run_stats if stats.newness[0] >= first_recent}
    orphaned = (recent | waiting.keys() | active_runs.keys()) - tasks.by_name.keys()
    return [
        TaskHealthInput(
            name,
            tasks.by_name.get(name),
            window_end=_window_end_of(name, tasks.task_set_id, overview, window_ends),
            worker_seen=overview.worker_seen,
            active=active_runs.get(name, ()),
            waiting_since=_oldest_waiting(waiting.get(name, ()), URGENT_TRIGGERS),
            next_waiting_at=_oldest_waiting(waiting.get(name, ()), FIXED_DELAY_TRIGGERS),
            pause=active_pause(name, now, overview.pause_rules),
            last_run=overview.last_runs.get(name),
            has_failed=_has_failed(run_stats.get(name, ())),
            has_missed=_has_missed(run_stats.get(name, ())),
            mean_duration=_mean_duration(run_stats.get(name, ())),
        )
        for name in (*tasks.by_name, *sorted(orphaned))
    ]


def _group_by_task(
    items: Iterable[ItemT], task_of: Callable[[ItemT], str]
) -> Mapping[str, list[ItemT]]:
    by_task = defaultdict(list)
    for item in items:
        by_task[task_of(item)].append(item)
    return by_task


def _window_end_of(
    name: str, task_set_id: str, overview: Overview, window_ends: Mapping[str, datetime]
) -> datetime | None:
    """Return until when a version of the application that has the task has handled slots."""
    ids = {id_ for id_, names in overview.task_sets.items() if name in names} | {task_set_id}
    return max((window_ends[id_] for id_ in ids & window_ends.keys()), default=None)


def _oldest_waiting(
    summaries: Iterable[WaitingSummary], triggers: Collection[Trigger]
) -> datetime | None:
    return min(
        (summary.oldest for summary in summaries if summary.trigger in triggers), default=None
    )


def _has_failed(run_stats: Iterable[RunStats]) -> bool:
    newest = _newest(stats for stats in run_stats if not stats.is_skipped)
    return newest is not None and RunState(newest.state).is_failure


def _has_missed(run_stats: Iterable[RunStats]) -> bool:
    newest = _newest(run_stats)
    return newest is not None and newest.reason == RunReason.MISSED.value


def _newest(run_stats: Iterable[RunStats]) -> RunStats | None:
    return max(run_stats, key=attrgetter("newness"), default=None)


def _mean_duration(run_stats: Iterable[RunStats]) -> float | None:
    for stats in run_stats:
        if stats.state == RunState.SUCCEEDED.value and stats.duration_count:
            return stats.duration_sum / stats.duration_count
    return None
