"""Pausing, resuming, cancelling, trying again."""

from __future__ import annotations

from datetime import datetime

from .context import CommandContext
from .errors import EXIT_FINE, CommandFailedError
from .moments import parse_duration_option
from .output import escape_unprintable


def pause(context: CommandContext) -> int:
    """``pcron … pause``."""
    args, out = context.args, context.output
    until = _parse_until(context)
    names = context.scheduler.pause(args.pattern, until, args.reason)
    if out.is_json:
        out.print_json({"paused": names, "until": until, "reason": args.reason})
        return EXIT_FINE
    how_long = "until it is resumed" if until is None else f"until {out.format_time(until)}"
    for name in names:
        out.print_line(f"paused {escape_unprintable(name)} {how_long}")
    return EXIT_FINE


def resume(context: CommandContext) -> int:
    """``pcron … resume``."""
    names = context.scheduler.resume(context.args.pattern)
    if context.output.is_json:
        context.output.print_json({"resumed": names})
        return EXIT_FINE
    if not names:
        context.output.print_line("none of them was paused")
    for name in names:
        context.output.print_line(f"resumed {escape_unprintable(name)}")
    return EXIT_FINE


def cancel(context: CommandContext) -> int:
    """``pcron … cancel``."""
    context.scheduler.cancel(context.args.run)
    context.output.print_line(f"asked for the end of run {context.args.run}")
    return EXIT_FINE


def retry(context: CommandContext) -> int:
    """``pcron … retry``."""
    context.scheduler.retry(context.args.run)
    context.output.print_line(f"run {context.args.run} is tried again at the next tick")
    return EXIT_FINE


def _parse_until(context: CommandContext) -> datetime | None:
    args = context.args
    if args.length is not None:
        return context.now + parse_duration_option(args.length, "--for")
    if args.until is None:
        return None
    until = context.parse_moment(args.until, "--until")
    if until <= context.now:
        raise CommandFailedError(
            f"--until {args.until!r} is not in the future: it means {context.output.format_time(until)}"
        )
    return until
