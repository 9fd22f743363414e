"""The commands on stored schedules: schedule, unschedule, schedules."""

from __future__ import annotations

from typing import Any

from ..schedule_arguments import SCHEDULE_ARGUMENTS
from ..schedule_control import ScheduleStatus, schedule_data
from ..text import escape_unprintable
from .context import EXIT_FINE, CommandContext, parse_payload_option


def schedule(context: CommandContext) -> int:
    """``pcron … schedule``."""
    args, out = context.args, context.output
    when: dict[str, Any] = {
        name: getattr(args, name) for name in SCHEDULE_ARGUMENTS if hasattr(args, name)
    }
    for name in ("at", "starting", "ending"):
        if when[name] is not None:
            when[name] = context.parse_moment(when[name], f"--{name}")
    payload = parse_payload_option(args.payload)
    status = context.scheduler.schedule(args.name, args.task, payload, not args.disabled, **when)
    if out.is_json:
        out.print_json(schedule_data(status))
        return EXIT_FINE
    name, task = escape_unprintable(status.name), escape_unprintable(status.task)
    upcoming = "disabled" if args.disabled else f"next {out.format_time(status.next)}"
    out.print_line(f"{name}: {task} {status.description}; {upcoming}")
    return EXIT_FINE


def unschedule(context: CommandContext) -> int:
    """``pcron … unschedule``."""
    name = context.args.name
    context.scheduler.unschedule(name)
    if context.output.is_json:
        context.output.print_json({"name": name, "removed": True})
    else:
        context.output.print_line(f"removed {escape_unprintable(name)}")
    return EXIT_FINE


def schedules(context: CommandContext) -> int:
    """``pcron … schedules``."""
    args, out = context.args, context.output
    statuses = context.scheduler.schedules(args.task)
    if not statuses and args.task is not None:
        context.cron.task_registry.get(args.task)
    if out.is_json:
        out.print_json([schedule_data(status) for status in statuses])
    elif not statuses:
        out.print_line("there are no stored schedules")
    else:
        rows = [_row(context, status) for status in statuses]
        out.print_table(["NAME", "TASK", "STATE", "NEXT", "WHEN"], rows)
    return EXIT_FINE


def _row(context: CommandContext, status: ScheduleStatus) -> list[str]:
    upcoming = context.output.format_time(status.next)
    return [status.name, status.task, status.state, upcoming, status.description]
