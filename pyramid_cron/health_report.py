"""The health of one application's cron, from its registered tasks and its store."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import TypeVar

from .app import CronApp
from .planning.health import (
    Health,
    MomentFormat,
    TaskHealth,
    TaskHealthInput,
    assess,
    assess_task,
)
from .planning.snapshot import ActiveRun, PauseRule, active_pause
from .registry import TaskRegistry
from .run import Run, RunReason, RunState, Trigger
from .schedule_health import make_schedule_input
from .store.queries import Overview, WaitingSummary, read_overview
from .store.run_stats import RunStats
from .store.schedule_records import ScheduleRecords
from .task import Task
from .text import format_instant

ORPHANED_TASK_LOOK_BACK = timedelta(days=7)
"""How long a task that is not registered any more is shown after its last run."""

URGENT_TRIGGERS = tuple(trigger for trigger in Trigger if trigger is not Trigger.BACKFILL)
"""The triggers of waiting runs that are late after minutes."""

FIXED_DELAY_TRIGGERS = (Trigger.SCHEDULE, Trigger.CATCH_UP, Trigger.RETRY)
"""The triggers of a fixed-delay task's next run."""

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class HealthReport:
    """The health at one moment, and what is on record."""

    #: Aware, in UTC.
    now: datetime
    overview: Overview
    health: Health
    format_moment: MomentFormat
    #: The registered tasks by their names.
    tasks: Mapping[str, Task]

    def task_health(self, name: str) -> TaskHealth:
        """Return the health of a task; one that is not known is orphaned."""
        if (health := self._health_by_task.get(name)) is not None:
            return health
        task_input = TaskHealthInput(name, None, last_run=self.overview.last_runs.get(name))
        return assess_task(task_input, self.now, self.format_moment)

    @cached_property
    def _health_by_task(self) -> dict[str, TaskHealth]:
        return {task.name: task for task in self.health.tasks}

    def running(self, name: str) -> tuple[Run, ...]:
        """Return the active runs of a task, the newest first."""
        return tuple(active.run for active in reversed(self._active_by_task.get(name, ())))

    @cached_property
    def _active_by_task(self) -> Mapping[str, list[ActiveRun]]:
        return _group_by_task(self.overview.active_runs, attrgetter("run.task"))

    @cached_property
    def waiting_counts(self) -> Counter[str]:
        """The number of waiting runs of each task."""
        counts: Counter[str] = Counter()
        for summary in self.overview.waiting:
            counts[summary.task] += summary.count
        return counts

    def pause(self, name: str) -> PauseRule | None:
        """Return the pause that a task is in; None if it is not paused."""
        rules, task = self.overview.pause_rules, self.tasks.get(name)
        return active_pause(name, self.now, rules, command=_command_of(task))


def read_health_report(cron: CronApp, format_moment: MomentFormat = format_instant) -> HealthReport:
    """Return the health as it is now, and what it is made of.

    ``format_moment`` writes the moments in details. Raises StoreError if the store can't be read.
    """
    now = cron.clock()
    overview = read_overview(cron.store, cron.task_registry.task_set_id, now)
    health = assess_overview(cron, overview, now, format_moment)
    tasks = cron.task_registry.by_name
    return HealthReport(now, overview, health, format_moment, tasks)


def assess_health(cron: CronApp, format_moment: MomentFormat = format_instant) -> Health:
    """Return the health as it is now. Raises StoreError if the store can't be read."""
    return read_health_report(cron, format_moment).health


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
    schedules = assess_schedules(cron, overview, overview.troubled, now, format_moment)
    last_tick = max(last_ticks.values(), default=None)
    return assess(task_inputs, last_tick, now, format_moment, schedules)


def assess_schedules(
    cron: CronApp,
    overview: Overview,
    schedules: ScheduleRecords,
    now: datetime,
    format_moment: MomentFormat = format_instant,
) -> list[TaskHealth]:
    """Return how stored schedules are, but for those that are disabled or can't be read."""
    own_id = cron.task_registry.task_set_id
    window_ends = _with_own(overview.window_ends, own_id, cron.window_end)
    active_runs = _group_by_task(overview.active_runs, attrgetter("run.schedule"))
    return [
        assess_task(schedule_input, now, format_moment)
        for schedule, record in schedules
        if (
            schedule_input := make_schedule_input(
                cron,
                schedule,
                overview.pause_rules,
                now,
                record,
                active_runs.get(schedule.name, ()),
                _window_end_of(schedule.task, own_id, overview, window_ends),
            )
        )
    ]


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
            is_waiting=_is_waiting(waiting.get(name, ()), now),
            is_retry_waiting=_is_retry_waiting(waiting.get(name, ())),
            pause=active_pause(
                name, now, overview.pause_rules, command=_command_of(tasks.by_name.get(name))
            ),
            last_run=overview.last_runs.get(name),
            has_failed=_has_failed(run_stats.get(name, ())),
            has_missed=_has_missed(run_stats.get(name, ())),
            mean_duration=_mean_duration(run_stats.get(name, ())),
        )
        for name in (*tasks.by_name, *sorted(orphaned))
    ]


def _command_of(task: Task | None) -> str | None:
    return None if task is None else task.command


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


def _is_waiting(summaries: Iterable[WaitingSummary], now: datetime) -> bool:
    """Return whether one could begin by now, or is another attempt; others are to come later."""
    return _is_retry_waiting(summaries) or any(summary.oldest <= now for summary in summaries)


def _is_retry_waiting(summaries: Iterable[WaitingSummary]) -> bool:
    return any(summary.trigger == Trigger.RETRY for summary in summaries)


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
