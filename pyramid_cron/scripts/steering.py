"""Pausing, resuming, cancelling, trying again."""

from __future__ import annotations

from datetime import datetime

from .context import Context
from .errors import FINE, CommandFailedError
from .moments import duration
from .output import printable


def pause(context: Context) -> int:
    """``pcron … pause``."""
    args, out = context.args, context.out
    until = _until(context)
    names = context.scheduler.pause(args.pattern, until, args.reason)
    if out.as_json:
        out.json({"paused": names, "until": until, "reason": args.reason})
        return FINE
    how_long = "until it is resumed" if until is None else f"until {out.time(until)}"
    for name in names:
        out.line(f"paused {printable(name)} {how_long}")
    return FINE


def resume(context: Context) -> int:
    """``pcron … resume``."""
    names = context.scheduler.resume(context.args.pattern)
    if context.out.as_json:
        context.out.json({"resumed": names})
        return FINE
    if not names:
        context.out.line("none of them was paused")
    for name in names:
        context.out.line(f"resumed {printable(name)}")
    return FINE


def cancel(context: Context) -> int:
    """``pcron … cancel``."""
    context.scheduler.cancel(context.args.run)
    context.out.line(f"asked for the end of run {context.args.run}")
    return FINE


def retry(context: Context) -> int:
    """``pcron … retry``."""
    context.scheduler.retry(context.args.run)
    context.out.line(f"run {context.args.run} is tried again at the next tick")
    return FINE


def _until(context: Context) -> datetime | None:
    args = context.args
    if args.length is not None:
        return context.now + duration(args.length, "--for")
    if args.until is None:
        return None
    until = context.moment(args.until, "--until")
    if until <= context.now:
        raise CommandFailedError(
            f"--until {args.until!r} is not in the future: it means {context.out.time(until)}"
        )
    return until
