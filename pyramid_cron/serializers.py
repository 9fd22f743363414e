"""Runs, tasks and reports as JSON values: one set of keys for pages, ``pcron``, ticks and logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from .action_record import ActionRecord
from .planning.health import Health, TaskHealth
from .planning.snapshot import PauseRule, TickReport
from .run import Run
from .task import Task
from .text import format_instant

JSONObject = dict[str, Any]


def instant_or_none(moment: datetime | None) -> str | None:
    """Return a moment as :func:`format_instant` has it; None for None."""
    return None if moment is None else format_instant(moment)


def select_keys(data: Mapping[str, Any], keys: Iterable[str]) -> JSONObject:
    """Return these keys of an object, in this order."""
    return {key: data[key] for key in keys}


def run_data(run: Run) -> JSONObject:
    """Return a run without its long texts."""
    progress = run.progress
    return {
        "run": run.id,
        "task": run.task,
        "schedule": run.schedule,
        "slot": format_instant(run.slot),
        "attempt": run.attempt,
        "trigger": run.trigger.value,
        "state": run.state.value,
        "reason": run.reason and run.reason.value,
        "count": run.count,
        "not_before": instant_or_none(run.not_before),
        "why": run.why and run.why.value,
        "key": run.key,
        "started": instant_or_none(run.started),
        "finished": instant_or_none(run.finished),
        "duration": run.duration,
        "error": run.error,
        "exit_status": run.exit_status,
        "progress": progress
        and {"done": progress.done, "total": progress.total, "message": progress.message},
        "host": run.host or None,
        "pid": run.pid or None,
    }


def run_detail(run: Run) -> JSONObject:
    """Return a run with its payload and its long texts."""
    return {
        **run_data(run),
        "cancel_requested": run.is_cancel_requested,
        "payload": run.payload,
        "traceback": run.traceback,
        "output": run.output,
        "log": run.log,
        "stdout": run.stdout,
        "stderr": run.stderr,
    }


def waiting_run_data(run: Run) -> JSONObject:
    """Return a waiting run, with its payload."""
    keys = (
        "run",
        "task",
        "schedule",
        "slot",
        "attempt",
        "trigger",
        "state",
        "not_before",
        "why",
        "key",
    )
    return {**select_keys(run_data(run), keys), "payload": run.payload}


def pause_data(rule: PauseRule | None) -> JSONObject | None:
    """Return since when, until when and why a task is paused; None if it is not."""
    if rule is None:
        return None
    return {
        "since": format_instant(rule.since),
        "until": instant_or_none(rule.until),
        "reason": rule.reason,
    }


def task_data(
    health: TaskHealth,
    task: Task | None,
    *,
    running: Sequence[Run],
    waiting: int,
    pause: PauseRule | None,
) -> JSONObject:
    """Return a task with its state, and its next, last, active and waiting runs.

    ``task`` is None if it is orphaned.
    """
    return {
        "task": health.name,
        "description": task.description if task else "",
        "labels": dict(task.labels) if task else {},
        "schedule": task.describe() if task else None,
        "timezone": task.timezone if task else None,
        "state": health.state.value,
        "detail": health.detail,
        "next": instant_or_none(health.next),
        "last": health.last and run_data(health.last),
        "running": [run_data(run) for run in running],
        "waiting": waiting,
        "paused": pause_data(pause),
    }


def action_data(action: ActionRecord) -> JSONObject:
    """Return who did what, and when."""
    return {
        "id": action.id,
        "at": format_instant(action.at),
        "action": action.kind.value,
        "who": action.who,
        "task": action.task,
        "schedule": action.schedule,
        "run": action.run,
        "pattern": action.pattern,
        "details": dict(action.details),
    }


def policy_data(task: Task) -> JSONObject:
    """Return a task's policies, durations in seconds."""
    retry = task.retry
    return {
        "timezone": task.timezone,
        "executor": task.executor,
        "weight": task.weight,
        "idle": task.idle,
        "priority": task.priority,
        "overlap": task.overlap.value,
        "lock": task.lock,
        "catch_up": task.catch_up.value,
        "grace": task.grace and task.grace.total_seconds(),
        "timeout": task.timeout and task.timeout.total_seconds(),
        "attempts": retry.attempts,
        "retry_delay": retry.delay,
        "retry_factor": retry.factor,
        "retry_max_delay": retry.max_delay,
        "retry_on": [error.__name__ for error in retry.on],
        "lost_attempts": task.lost_attempts,
        "pause_after": task.pause_after,
        "jitter": task.offset,
        "when": None if task.when is None else getattr(task.when, "__qualname__", "yes"),
        "transactional": task.transactional,
        "monitor": dict(task.monitor) if isinstance(task.monitor, Mapping) else task.monitor,
    }


def tick_report_data(report: TickReport) -> JSONObject:
    """Return a tick with its runs as :func:`run_data` has them."""
    return {
        "tick": report.tick,
        "now": format_instant(report.now),
        "runs": [run_data(run) for run in report.runs],
        "skipped": [run_data(run) for run in report.skipped],
        "waiting": [
            {"task": waiting_run.task, "slot": format_instant(waiting_run.slot)}
            for waiting_run in report.waiting
        ],
    }


def tick_summary(report: TickReport) -> JSONObject:
    """Return a tick as whoever triggers it may see it: no errors, hosts or messages."""
    data = tick_report_data(report)
    runs = [select_keys(run, ("task", "run", "slot", "state", "duration")) for run in data["runs"]]
    skipped = [select_keys(run, ("task", "slot", "reason", "count")) for run in data["skipped"]]
    return {**data, "runs": runs, "skipped": skipped}


def health_data(health: Health) -> JSONObject:
    """Return a health report as JSON values, moments as ISO 8601 in UTC."""
    return {
        "healthy": health.is_healthy,
        "last_tick": instant_or_none(health.last_tick),
        "since_last_tick": health.since_last_tick,
        "tasks": [task_health_data(task) for task in health.tasks],
        "schedules": [schedule_health_data(schedule) for schedule in health.schedules],
    }


def schedule_health_data(health: TaskHealth) -> JSONObject:
    """Return the health of one stored schedule."""
    return {"schedule": health.schedule, **task_health_data(health)}


def task_health_data(health: TaskHealth) -> JSONObject:
    """Return the health of one task."""
    return {
        "task": health.name,
        "state": health.state.value,
        "detail": health.detail,
        "next": instant_or_none(health.next),
        "last": health.last and run_summary(health.last),
    }


def run_summary(run: Run) -> JSONObject:
    """Return the last run of a task or schedule, as a line about that has it."""
    keys = ("run", "slot", "state", "finished", "duration", "error")
    return select_keys(run_data(run), keys)
