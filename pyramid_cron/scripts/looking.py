"""How tasks stand, and whether all is well with them."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from typing import Any

from ..control import TaskStatus
from ..due.pauses import paused
from ..export import crontab
from ..health import health as assessed
from ..run import Run
from ..store.engine import StoreError
from ..store.overview import overview
from ..task import Task
from .context import Context
from .errors import BAD, FINE, CommandFailedError
from .output import printable, run_data


def list_tasks(context: Context) -> int:
    """``pcron … list``."""
    out = context.out
    found = _statuses(context)
    if out.as_json:
        out.json([_status_data(status) for status in found])
    elif not found:
        out.line("no tasks are registered")
    else:
        heads = ["TASK", "SCHEDULE", "NEXT", "LAST", "WAITING"]
        width = 5 if any(status.waiting for status in found) else 4
        out.table(heads[:width], [_row(context, status)[:width] for status in found])
    return FINE


def _row(context: Context, status: TaskStatus) -> list[str]:
    return [
        status.task.name,
        status.task.describe(),
        "paused" if status.paused else context.out.time(status.next),
        _state(status),
        str(status.waiting or "-"),
    ]


def _statuses(context: Context) -> list[TaskStatus]:
    """Return how every task stands: what ``status`` tells of one, in a handful of queries."""
    cron = context.cron
    record = overview(cron.store, cron.tasks.roster)
    running: dict[str, list[Run]] = {}
    for each in reversed(record.active):
        running.setdefault(each.run.task, []).append(each.run)
    waiting: Counter[str] = Counter()
    for queue in record.queues:
        waiting[queue.task] += queue.count
    return [
        TaskStatus(
            task,
            next=task.following(context.now),
            last=record.last.get(task.name),
            running=tuple(running.get(task.name, ())),
            waiting=waiting[task.name],
            paused=paused(task.name, context.now, record.words),
        )
        for task in cron.tasks.all
    ]


def _state(status: TaskStatus) -> str:
    if status.running:
        return "running"
    return "-" if status.last is None else status.last.state.value


def _status_data(status: TaskStatus) -> dict[str, Any]:
    task, paused = status.task, status.paused
    return {
        "task": task.name,
        "description": task.description,
        "schedule": task.describe(),
        "timezone": task.timezone,
        "next": status.next,
        "last": status.last and run_data(status.last),
        "running": [run_data(run) for run in status.running],
        "waiting": status.waiting,
        "paused": paused and {"until": paused.until, "reason": paused.reason},
    }


def check(context: Context) -> int:
    """``pcron … check``: exit status 1 if there are problems."""
    out, tasks = context.out, context.scheduler.tasks()
    problems = [*_store_problems(context), *context.cron.problems]
    problems += [
        f"task {task.name!r} never runs again: {task.describe()}"
        for task in tasks
        if task.schedules and task.following(context.now) is None
    ]
    problems += _duplicates(tasks)
    if out.as_json:
        out.json({"tasks": len(tasks), "problems": problems})
    else:
        for problem in problems:
            out.line(" ".join(problem.split()))
        number = f"{len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}"
        out.line(f"{len(tasks)} task{'' if len(tasks) == 1 else 's'}, {number}")
    return BAD if problems else FINE


def _store_problems(context: Context) -> list[str]:
    try:
        context.cron.store.open()
    except StoreError as error:
        return [str(error)]
    return []


def _duplicates(tasks: list[Task]) -> list[str]:
    """Say which tasks do the same at the same times."""
    first: dict[Any, str] = {}
    found = []
    for task in tasks:
        if not task.schedules:
            continue
        # Neither need be hashable: a callable may be of any class.
        key = (task.function if _hashable(task) else id(task.function), frozenset(task.schedules))
        if key in first:
            found.append(f"task {task.name!r} runs the same at the same times as {first[key]!r}")
        else:
            first[key] = task.name
    return found


def _hashable(task: Task) -> bool:
    try:
        hash(task.function)
    except TypeError:
        return False
    return True


def export(context: Context) -> int:
    """``pcron … export``."""
    path, sign, section = context.args.config_uri.partition("#")
    where = path if ":" in path else os.path.abspath(path)
    text = crontab(context.scheduler.tasks(), where + sign + section, _pcron())
    text.encode(sys.stdout.encoding, "surrogateescape")  # a program must not be written otherwise
    sys.stdout.write(text)
    return FINE


def _pcron() -> str:
    """Return where this program is: cron, which has a ``PATH`` of its own, has to find it."""
    beside = os.path.join(os.path.dirname(sys.executable), "pcron")
    found = beside if os.access(beside, os.X_OK) else shutil.which("pcron")
    return "pcron" if found is None else os.path.abspath(found)


def health(context: Context) -> int:
    """``pcron … health``: exit status 1 if something is wrong."""
    out = context.out
    try:
        found = assessed(context.cron) if out.as_json else assessed(context.cron, out.time)
    except StoreError as error:
        if not out.as_json:
            raise CommandFailedError(f"the store can't be read: {error}", BAD) from None
        out.json({"healthy": False, "error": str(error)})
        return BAD
    if out.as_json:
        out.json(found.as_dict())
    else:
        out.table(
            ["TASK", "STATE", "DETAIL"],
            [[each.name, each.state.value, each.detail or ""] for each in found.tasks],
        )
        out.line(f"last tick: {out.time(found.last_tick)}")
        for complaint in found.complaints():
            out.line(f"unhealthy: {printable(complaint)}")
        if found.healthy:
            out.line("healthy")
    return FINE if found.healthy else BAD
