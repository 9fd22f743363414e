"""Tasks and runs as the JSON that the pages are made of, too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pyramid.request import Request

from ..logs import format_instant
from ..planning.pauses import PauseRule
from ..planning.snapshot import WaitingRun
from ..run import Run, RunState
from ..task import Task
from .urls import run_path, task_path

JSONObject = dict[str, Any]

SUCCESS_RATE_STATES = (RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT, RunState.LOST)


def moment_or_none(moment: datetime | None) -> str | None:
    """Return an aware moment as ISO 8601 in UTC."""
    return None if moment is None else format_instant(moment)


def run_data(request: Request, run: Run) -> JSONObject:
    """Return a run as lists show it."""
    progress = run.progress
    return {
        "id": run.id,
        "task": run.task,
        "slot": format_instant(run.slot),
        "attempt": run.attempt,
        "trigger": run.trigger.value,
        "state": run.state.value,
        "reason": run.reason and run.reason.value,
        "count": run.count,
        "started": moment_or_none(run.started),
        "finished": moment_or_none(run.finished),
        "duration": run.duration,
        "error": run.error,
        "progress": progress
        and {"done": progress.done, "total": progress.total, "message": progress.message},
        "host": run.host,
        "pid": run.pid,
        "url": run_path(request, run.id),
    }


def run_detail(request: Request, run: Run) -> JSONObject:
    """Return a run with its long texts."""
    return {
        **run_data(request, run),
        "payload": run.payload,
        "traceback": run.traceback,
        "output": run.output,
        "stdout": getattr(run, "stdout", None),
        "stderr": getattr(run, "stderr", None),
    }


def success_rate(runs: Sequence[Run]) -> float | None:
    """Return the share of successes among the runs that succeeded or went wrong."""
    judged = [run.state is RunState.SUCCEEDED for run in runs if run.state in SUCCESS_RATE_STATES]
    return sum(judged) / len(judged) if judged else None


def pause_data(rule: PauseRule | None) -> JSONObject | None:
    """Return since when, until when and why a task is paused."""
    if rule is None:
        return None
    return {
        "since": format_instant(rule.since),
        "until": moment_or_none(rule.until),
        "reason": rule.reason,
    }


def waiting_run_data(waiting_run: WaitingRun) -> JSONObject:
    """Return a slot that waits."""
    return {
        "slot": format_instant(waiting_run.slot),
        "attempt": waiting_run.attempt,
        "trigger": waiting_run.trigger.value,
        "not_before": format_instant(waiting_run.not_before),
    }


def task_data(
    request: Request,
    name: str,
    task: Task | None,
    runs: Sequence[Run],
    *,
    active_runs: Sequence[Run],
    waiting_count: int,
    pause: PauseRule | None,
    now: datetime,
) -> JSONObject:
    """Return how a task stands; ``task`` is None for one that is not registered any more."""
    last = next((run for run in runs if run.state.is_final), None)
    return {
        "name": name,
        "description": task.description if task else "",
        "schedule": task.describe() if task else None,
        "state": _task_state(task, last, active_runs, pause),
        "next": moment_or_none(task.following(now)) if task else None,
        "last": last and run_data(request, last),
        "running": [run_data(request, run) for run in active_runs],
        "waiting": waiting_count,
        "success_rate": success_rate(runs),
        "paused": pause_data(pause),
        "url": task_path(request, name),
    }


def _task_state(
    task: Task | None, last: Run | None, active_runs: Sequence[Run], pause: PauseRule | None
) -> str:
    if task is None:
        return "orphaned"
    if active_runs:
        return "running"
    if pause is not None:
        return "paused"
    return last.state.value if last else "waiting"


def policy_data(task: Task) -> JSONObject:
    """Return how a task is run, spans in seconds."""
    retry = task.retry
    return {
        "timezone": task.timezone,
        "idle": task.idle,
        "priority": task.priority,
        "overlap": task.overlap.value,
        "catch_up": task.catch_up.value,
        "grace": task.grace and task.grace.total_seconds(),
        "timeout": task.timeout and task.timeout.total_seconds(),
        "attempts": retry.attempts,
        "retry_delay": retry.delay,
        "pause_after": task.pause_after,
    }
