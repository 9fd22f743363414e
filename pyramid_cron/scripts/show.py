"""The commands that show: list, export, health, history, show."""

from __future__ import annotations

import os
import shutil
import sys
from time import sleep

from ..action_record import ActionKind, ActionRecord, make_action
from ..errors import StoreError
from ..export import export_crontab
from ..health_report import assess_health, read_health_report
from ..run import Run, RunReason, RunState, Trigger
from ..runtime.request_scope import find_actor
from ..schedule.zones import parse_moment
from ..scheduler import TaskStatus, make_task_status
from ..serializers import action_data, health_data, run_data, run_detail
from ..store.action_log import ActionFilter, list_actions
from ..store.queries import RunFilter, list_runs
from ..store.retention import forget_all
from ..task import describe_monitor
from ..text import escape_unprintable, format_instant
from .context import EXIT_BAD_ANSWER, EXIT_FINE, CommandContext, CommandFailedError, format_seconds

FOLLOW_SECONDS = 1.0
"""Seconds after which it is seen what a run has logged meanwhile."""

FOLLOW_OVERLAP_CHARACTERS = 400
"""Characters by which the end of what is printed is found in a text that was cut."""


def list_tasks(context: CommandContext) -> int:
    """``pcron … list``."""
    out = context.output
    report = read_health_report(context.cron)
    tasks, labels = context.cron.task_registry.tasks, context.args.label
    statuses = [
        make_task_status(task, report) for task in tasks if all(map(task.has_label, labels))
    ]
    if out.is_json:
        out.print_json([status.as_dict() for status in statuses])
    elif not statuses:
        text = f"no task has {' and '.join(labels)}" if labels else "no tasks are registered"
        out.print_line(text)
    else:
        heads = ["TASK", "SCHEDULE", "STATE", "NEXT", "LAST", "WAITING"]
        width = 6 if any(status.waiting for status in statuses) else 5
        out.print_table(heads[:width], [_task_row(context, status)[:width] for status in statuses])
    return EXIT_FINE


def _task_row(context: CommandContext, status: TaskStatus) -> list[str]:
    return [
        status.task.name,
        status.task.describe(),
        status.state.value,
        context.output.format_time(status.next),
        "-" if status.last is None else status.last.state.value,
        str(status.waiting or "-"),
    ]


def export(context: CommandContext) -> int:
    """``pcron … export``."""
    path, sign, section = context.args.config_uri.partition("#")
    where = path if ":" in path else os.path.abspath(path)
    uri = where + sign + section
    text = export_crontab(context.scheduler.tasks(), uri, _find_pcron(), context.args.user)
    # Fail rather than write a command with characters escaped.
    text.encode(sys.stdout.encoding, "surrogateescape")
    sys.stdout.write(text)
    return EXIT_FINE


def _find_pcron() -> str:
    """Return the path of ``pcron``, since cron's ``PATH`` may lack it."""
    path: str | None = os.path.join(os.path.dirname(sys.executable), "pcron")
    if not os.access(str(path), os.X_OK):
        path = shutil.which("pcron")
    return os.path.abspath(path) if path else "pcron"


def health(context: CommandContext) -> int:
    """``pcron … health``: exit status 1 if unhealthy."""
    out = context.output
    try:
        report = assess_health(context.cron, format_instant if out.is_json else out.format_time)
    except StoreError as error:
        if not out.is_json:
            raise CommandFailedError(f"the store can't be read: {error}", EXIT_BAD_ANSWER) from None
        out.print_json({"healthy": False, "error": str(error)})
        return EXIT_BAD_ANSWER
    if out.is_json:
        out.print_json(health_data(report))
    else:
        out.print_table(
            ["TASK", "STATE", "DETAIL"],
            [[task.name, task.state.value, task.detail or ""] for task in report.tasks],
        )
        out.print_line(f"last tick: {out.format_time(report.last_tick)}")
        for problem in report.describe_problems():
            out.print_line(f"unhealthy: {escape_unprintable(problem)}")
        if report.is_healthy:
            out.print_line("healthy")
    return EXIT_FINE if report.is_healthy else EXIT_BAD_ANSWER


def history(context: CommandContext) -> int:
    """``pcron … history``."""
    args, out = context.args, context.output
    states = [RunState(args.state)] if args.state else []
    runs = list_runs(
        context.cron.store,
        args.limit,
        task=args.task,
        states=states,
        run_filter=_run_filter(context),
    )
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


def _run_filter(context: CommandContext) -> RunFilter:
    args = context.args
    return RunFilter(
        Trigger(args.trigger) if args.trigger else None,
        RunReason(args.reason) if args.reason else None,
        args.host,
        context.parse_moment(args.since, "--since") if args.since else None,
        context.parse_moment(args.until, "--until") if args.until else None,
        args.schedule,
    )


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
    run = context.scheduler.get_run(context.args.run)
    if context.args.follow:
        return _follow(context, run)
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


def _follow(context: CommandContext, run: Run) -> int:
    """Print what a run logs and its program writes until it is over, then its short values."""
    out = context.output
    printed: dict[str, str] = {}
    while True:
        for name in ("log", "stdout", "stderr") if not out.is_json else ():
            text = getattr(run, name) or ""
            sys.stdout.write(find_new_text(printed.get(name, ""), text))
            printed[name] = text
        sys.stdout.flush()
        if run.state.is_final:
            break
        sleep(FOLLOW_SECONDS)
        run = context.scheduler.get_run(run.id)
    if out.is_json:
        out.print_json(run_detail(run))
    else:
        out.print_line()
        out.print_pairs(_run_pairs(context, run))
    return EXIT_FINE


def find_new_text(printed: str, text: str) -> str:
    """Return what has been added to a text, of which the beginning may have been left out since."""
    if text.startswith(printed):
        return text[len(printed) :]
    last_lines = printed[-FOLLOW_OVERLAP_CHARACTERS:]
    start = text.rfind(last_lines)
    return text if start < 0 else text[start + len(last_lines) :]


def _describe_state(run: Run) -> str:
    if run.state.is_active and run.is_cancel_requested:
        return f"{run.state}, cancellation requested"
    return f"{run.state} ({run.reason})" if run.reason else run.state.value


def _run_pairs(context: CommandContext, run: Run) -> dict[str, str]:
    """Return the short values of a run as text."""
    time = context.output.format_time
    progress = run.progress
    pairs = {
        "run": run.id,
        "task": run.task,
        "state": _describe_state(run),
        "slot": time(run.slot) + (f", the newest of {run.count}" if run.count > 1 else ""),
        "attempt": str(run.attempt),
        "trigger": run.trigger.value,
    }
    task = context.cron.task_registry.by_name.get(run.task)
    if task is not None and task.monitor is not None:
        pairs["monitor"] = describe_monitor(task.monitor)
    if run.key is not None:
        pairs["key"] = run.key
    if run.state is RunState.WAITING:
        pairs |= {"not before": time(run.not_before), "why": run.why.value if run.why else "-"}
    else:
        pairs |= {
            "started": time(run.started),
            "finished": time(run.finished),
            "duration": format_seconds(run.duration),
            "where": f"{run.host}, process {run.pid}" if run.host else "-",
        }
    if run.payload is not None:
        pairs["payload"] = repr(run.payload)
    if progress is not None:
        total = "" if progress.total is None else f" of {progress.total:g}"
        pairs["progress"] = f"{progress.done:g}{total} {progress.message or ''}".strip()
    if run.exit_status is not None:
        pairs["exit status"] = str(run.exit_status)
    if run.error:
        pairs["error"] = run.error
    return pairs


MOMENT_DETAILS = ("until", "since", "not_before")
"""Details of actions that are moments."""


def actions(context: CommandContext) -> int:
    """``pcron … actions``."""
    args, out = context.args, context.output
    task = context.cron.task_registry.by_name.get(args.task)
    action_filter = ActionFilter(
        task=args.task,
        command=None if task is None else task.command,
        kind=None if args.action is None else ActionKind(args.action),
        who=args.who,
        since=None if args.since is None else context.parse_moment(args.since, "--since"),
        until=None if args.until is None else context.parse_moment(args.until, "--until"),
    )
    with context.cron.store.read_session() as session:
        records = list_actions(session, args.n, action_filter)
    if out.is_json:
        out.print_json([action_data(record) for record in records])
    elif not records:
        out.print_line("no such actions")
    else:
        entries = [(_row(context, record), _describe(context, record)) for record in records]
        out.print_entries(["WHEN", "ACTION", "WHO"], entries)
    return EXIT_FINE


def _row(context: CommandContext, record: ActionRecord) -> list[str]:
    return [context.output.format_time(record.at), record.kind.value, record.who]


def _describe(context: CommandContext, record: ActionRecord) -> str:
    """Return what an action was on, and its details, in a line."""
    if record.task is not None:
        facts = [record.task]
    else:
        facts = ["everything" if record.pattern is None else f"all that match {record.pattern}"]
    for name, text in (("schedule", record.schedule), ("run", record.run)):
        if text is not None:
            facts.append(f"{name} {text}")
    for name, value in record.details.items():
        text = context.output.format_time(parse_moment(value)) if name in MOMENT_DETAILS else value
        facts.append(f"{name.replace('_', ' ')} {text}")
    return ", ".join(facts)


def reset(context: CommandContext) -> int:
    """``pcron … reset --yes``."""
    cron, out = context.cron, context.output
    if not context.args.yes:
        raise CommandFailedError(
            f"reset forgets all runs, pauses, schedules and actions in"
            f" {cron.store.database.display_url}; if that is meant, say --yes"
        )
    who = find_actor(context.request)
    forget_all(cron.store, make_action(ActionKind.RESET, context.now, who))
    if out.is_json:
        out.print_json({"reset": True})
    else:
        out.print_line(f"all in {cron.store.database.display_url} is forgotten")
    return EXIT_FINE
