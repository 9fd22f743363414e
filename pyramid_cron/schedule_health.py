"""How stored schedules are: the state of each, as planning has it for a task."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from .app import CronApp
from .planning.health import TaskHealthInput
from .planning.schedule_book import StoredSchedule
from .planning.snapshot import ActiveRun, PauseRule, active_pause
from .run import Trigger, make_task_key
from .store.schedule_records import NO_RECORD, ScheduleRecord

NEXT_TRIGGERS = (Trigger.SCHEDULE, Trigger.CATCH_UP, Trigger.RETRY)
"""The triggers of the next run of a schedule with fixed delay."""


def make_schedule_input(
    cron: CronApp,
    schedule: StoredSchedule,
    pause_rules: Sequence[PauseRule],
    now: datetime,
    record: ScheduleRecord = NO_RECORD,
    active: Sequence[ActiveRun] = (),
    window_end: datetime | None = None,
) -> TaskHealthInput | None:
    """Return what is known of a stored schedule; None if it is disabled, or can't be read.

    ``active`` are its active runs, and until ``window_end`` the slots of its task are handled. That
    no worker is there, if it needs one, is its task's health.
    """
    task = cron.task_registry.by_name.get(schedule.task)
    times = cron.find_times(schedule.name, schedule.arguments)
    if not schedule.is_enabled or (task is not None and times is None):
        return None
    if task is not None and times is not None:
        task = times.apply_to(task, schedule.name)
    command = None if task is None else task.command
    last_run, waiting = record.last_run, record.waiting
    urgent = [oldest for trigger, oldest in waiting.items() if trigger != Trigger.BACKFILL]
    following = [waiting[trigger] for trigger in NEXT_TRIGGERS if trigger in waiting]
    is_retry_waiting = Trigger.RETRY in waiting
    return TaskHealthInput(
        schedule.name,
        task,
        schedule.task,
        window_end=None if window_end is None else max(window_end, schedule.changed),
        worker_seen=now,
        is_stuck=make_task_key(schedule.task, schedule.name)
        in cron.supervisor.executions.stuck_tasks(),
        active=active,
        waiting_since=min(urgent, default=None),
        next_waiting_at=min(following, default=None),
        is_waiting=is_retry_waiting or any(oldest <= now for oldest in waiting.values()),
        is_retry_waiting=is_retry_waiting,
        pause=active_pause(schedule.task, now, pause_rules, schedule.name, command=command),
        last_run=last_run,
        has_failed=last_run is not None and last_run.state.is_failure,
        has_missed=record.has_missed,
    )
