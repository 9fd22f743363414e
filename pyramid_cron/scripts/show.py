"""How tasks stand, and whether all is well with them."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from typing import Any

from ..errors import StoreError
from ..export import export_crontab
from ..health_report import assess_health as assessed
from ..planning.pauses import active_pause
from ..run import Run
from ..scheduler import TaskStatus
from ..serializers import health_data, run_data, run_detail, task_data
from ..store.queries import read_overview
from ..task import Task
from .context import EXIT_BAD_ANSWER, EXIT_FINE, CommandContext, CommandFailedError
from .output import escape_unprintable, format_seconds


def list_tasks(context: CommandContext) -> int:
    """``pcron … list``."""
    out = context.output
    found = _task_statuses(context)
    if out.is_json:
        out.print_json([_status_data(context, status) for status in found])
    elif not found:
        out.print_line("no tasks are registered")
    else:
        heads = ["TASK", "SCHEDULE", "NEXT", "LAST", "WAITING"]
        width = 5 if any(status.waiting for status in found) else 4
        out.print_table(heads[:width], [_task_row(context, status)[:width] for status in found])
    return EXIT_FINE


def _task_row(context: CommandContext, status: TaskStatus) -> list[str]:
    return [
        status.task.name,
        status.task.describe(),
        "paused" if status.paused else context.output.format_time(status.next),
        _state_of(status),
        str(status.waiting or "-"),
    ]


def _task_statuses(context: CommandContext) -> list[TaskStatus]:
    """Return how every task stands: what ``status`` tells of one, in a handful of queries."""
    cron = context.cron
    record = read_overview(cron.store, cron.task_registry.task_set_id)
    running: dict[str, list[Run]] = {}
    for each in reversed(record.active_runs):
        running.setdefault(each.run.task, []).append(each.run)
    waiting: Counter[str] = Counter()
    for queue in record.waiting:
        waiting[queue.task] += queue.count
    return [
        TaskStatus(
            task,
            next=task.following(context.now),
            last=record.last_runs.get(task.name),
            running=tuple(running.get(task.name, ())),
            waiting=waiting[task.name],
            paused=active_pause(task.name, context.now, record.pause_rules),
        )
        for task in cron.task_registry.tasks
    ]


def _state_of(status: TaskStatus) -> str:
    if status.running:
        return "running"
    return "-" if status.last is None else status.last.state.value


def _status_data(context: CommandContext, status: TaskStatus) -> dict[str, Any]:
    return task_data(
        status.task.name,
        status.task,
        now=context.now,
        last=status.last,
        running=status.running,
        waiting=status.waiting,
        pause=status.paused,
    )


def check(context: CommandContext) -> int:
    """``pcron … check``: exit status 1 if there are problems."""
    out, tasks = context.output, context.scheduler.tasks()
    problems = [*_find_store_problems(context), *context.cron.problems]
    problems += [
        f"task {task.name!r} never runs again: {task.describe()}"
        for task in tasks
        if task.schedules and task.following(context.now) is None
    ]
    problems += _find_duplicates(tasks)
    if out.is_json:
        out.print_json({"tasks": len(tasks), "problems": problems})
    else:
        for problem in problems:
            out.print_line(" ".join(problem.split()))
        number = f"{len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}"
        out.print_line(f"{len(tasks)} task{'' if len(tasks) == 1 else 's'}, {number}")
    return EXIT_BAD_ANSWER if problems else EXIT_FINE


def _find_store_problems(context: CommandContext) -> list[str]:
    try:
        context.cron.store.open()
    except StoreError as error:
        return [str(error)]
    return []


def _find_duplicates(tasks: list[Task]) -> list[str]:
    """Say which tasks do the same at the same times."""
    first: dict[Any, str] = {}
    found = []
    for task in tasks:
        if not task.schedules:
            continue
        # Neither need be hashable: a callable may be of any class.
        key = (
            task.function if _is_hashable(task) else id(task.function),
            frozenset(task.schedules),
        )
        if key in first:
            found.append(f"task {task.name!r} runs the same at the same times as {first[key]!r}")
        else:
            first[key] = task.name
    return found


def _is_hashable(task: Task) -> bool:
    try:
        hash(task.function)
    except TypeError:
        return False
    return True


def export(context: CommandContext) -> int:
    """``pcron … export``."""
    path, sign, section = context.args.config_uri.partition("#")
    where = path if ":" in path else os.path.abspath(path)
    text = export_crontab(context.scheduler.tasks(), where + sign + section, _find_pcron())
    text.encode(sys.stdout.encoding, "surrogateescape")  # a program must not be written otherwise
    sys.stdout.write(text)
    return EXIT_FINE


def _find_pcron() -> str:
    """Return where this program is: cron, which has a ``PATH`` of its own, has to find it."""
    beside = os.path.join(os.path.dirname(sys.executable), "pcron")
    found = beside if os.access(beside, os.X_OK) else shutil.which("pcron")
    return "pcron" if found is None else os.path.abspath(found)


def health(context: CommandContext) -> int:
    """``pcron … health``: exit status 1 if something is wrong."""
    out = context.output
    try:
        found = assessed(context.cron) if out.is_json else assessed(context.cron, out.format_time)
    except StoreError as error:
        if not out.is_json:
            raise CommandFailedError(f"the store can't be read: {error}", EXIT_BAD_ANSWER) from None
        out.print_json({"healthy": False, "error": str(error)})
        return EXIT_BAD_ANSWER
    if out.is_json:
        out.print_json(health_data(found))
    else:
        out.print_table(
            ["TASK", "STATE", "DETAIL"],
            [[each.name, each.state.value, each.detail or ""] for each in found.tasks],
        )
        out.print_line(f"last tick: {out.format_time(found.last_tick)}")
        for complaint in found.describe_problems():
            out.print_line(f"unhealthy: {escape_unprintable(complaint)}")
        if found.is_healthy:
            out.print_line("healthy")
    return EXIT_FINE if found.is_healthy else EXIT_BAD_ANSWER


def history(context: CommandContext) -> int:
    """``pcron … history``."""
    args, out = context.args, context.output
    runs = context.scheduler.history(args.task, args.state, args.limit)
    if not runs and args.task is not None and not context.scheduler.history(args.task, limit=1):
        context.cron.task_registry.get(args.task)
    if out.is_json:
        out.print_json([run_data(run) for run in runs])
    elif not runs:
        out.print_line("no such runs")
    else:
        heads = ["RUN", "TASK", "SLOT", "STATE", "DURATION", "WHY"]
        out.print_table(heads, [_run_row(context, run) for run in runs])
    return EXIT_FINE


def _run_row(context: CommandContext, run: Run) -> list[str]:
    why = run.error or (str(run.reason) if run.reason else "")
    if run.count > 1:
        why += f" ({run.count} slots)"
    return [
        run.id,
        run.task,
        context.output.format_time(run.slot),
        run.state.value,
        format_seconds(run.duration),
        why.strip(),
    ]


def show(context: CommandContext) -> int:
    """``pcron … show``."""
    out = context.output
    run = context.cron.store.get_run(context.args.run)
    if run is None:
        raise CommandFailedError(f"there is no run {context.args.run!r}")
    texts = {"traceback": run.traceback, "stdout": run.stdout, "stderr": run.stderr}
    if out.is_json:
        out.print_json(run_detail(run))
        return EXIT_FINE
    out.print_pairs(_run_pairs(context, run))
    for name, text in {"output": run.log, **texts}.items():
        if text:
            out.print_line(f"\n{name}:")
            out.print_line(text.rstrip("\n"))
    return EXIT_FINE


def _run_pairs(context: CommandContext, run: Run) -> dict[str, str]:
    """Return what there is to say of a run in a word each."""
    time = context.output.format_time
    progress = run.progress
    facts = {
        "run": run.id,
        "task": run.task,
        "state": run.state.value + (f" ({run.reason})" if run.reason else ""),
        "slot": time(run.slot) + (f", the newest of {run.count}" if run.count > 1 else ""),
        "attempt": str(run.attempt),
        "trigger": run.trigger.value,
        "started": time(run.started),
        "finished": time(run.finished),
        "duration": format_seconds(run.duration),
        "where": f"{run.host}, process {run.pid}",
    }
    if run.payload is not None:
        facts["payload"] = repr(run.payload)
    if progress is not None:
        total = "" if progress.total is None else f" of {progress.total:g}"
        facts["progress"] = f"{progress.done:g}{total} {progress.message or ''}".strip()
    if run.error:
        facts["error"] = run.error
    return facts
