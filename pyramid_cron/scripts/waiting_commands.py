"""The commands on what waits, and on runs: waiting, defer, reschedule, cancel, retry."""

from __future__ import annotations

import json
from typing import Any

from ..run import Run, RunState, Trigger
from ..serializers import run_detail, waiting_run_data
from ..store.waiting import find_by_key
from ..text import escape_unprintable
from .context import (
    EXIT_FINE,
    CommandContext,
    CommandFailedError,
    parse_duration_option,
    parse_payload_option,
)


def waiting(context: CommandContext) -> int:
    """``pcron … waiting``."""
    args, out, cron = context.args, context.output, context.cron
    runs = context.scheduler.waiting(args.task, args.limit, trigger=args.trigger)
    if not runs and args.task is not None and not cron.store.history(args.task, limit=1):
        cron.task_registry.get(args.task)
    if out.is_json:
        out.print_json([waiting_run_data(run) for run in runs])
    elif not runs:
        out.print_line("nothing waits")
    else:
        entries = [(_waiting_row(context, run), _describe_waiting(context, run)) for run in runs]
        out.print_entries(["RUN", "NOT BEFORE", "WHY", "TRIGGER"], entries)
        _print_rest(context, len(runs))
    return EXIT_FINE


def _waiting_row(context: CommandContext, run: Run) -> list[str]:
    why = run.why.value if run.why else "-"
    return [run.id, context.output.format_time(run.not_before), why, run.trigger.value]


def _describe_waiting(context: CommandContext, run: Run) -> str:
    """Return the task of a run, which may be long, and what else is known of it, in a line."""
    facts = [run.task]
    if run.attempt > 1:
        facts.append(f"attempt {run.attempt}")
    if run.slot != run.not_before:
        facts.append(f"slot {context.output.format_time(run.slot)}")
    if run.key is not None:
        facts.append(f"key {run.key}")
    if run.payload is not None:
        facts.append(f"payload {json.dumps(run.payload, ensure_ascii=False)}")
    return ", ".join(facts)


def _print_rest(context: CommandContext, shown: int) -> None:
    args = context.args
    if shown == args.limit:
        trigger = None if args.trigger is None else Trigger(args.trigger)
        total = context.cron.store.count_waiting(args.task, trigger)
        if total > shown:
            context.output.print_line(f"{shown} of {total} are shown; --limit shows more")


def defer(context: CommandContext) -> int:
    """``pcron … defer``."""
    args, out = context.args, context.output
    if args.replace and args.key is None:
        raise CommandFailedError("--replace needs --key KEY: which of those that wait to move")
    payload, when = parse_payload_option(args.payload), _parse_when(context)
    known = None if args.key is None else find_by_key(context.cron.store, args.task, args.key)
    run = context.scheduler.defer(args.task, payload, **when, key=args.key, replace=args.replace)
    if out.is_json:
        out.print_json(waiting_run_data(run))
    elif known is None or known.id != run.id:
        out.print_line(_describe_run(context, run))
    elif run.state is not RunState.WAITING:
        out.print_line(f"{_describe_run(context, run)}; it has the key, so nothing is deferred")
    else:
        key = "has been moved" if args.replace else "had the key already; --replace moves it"
        out.print_line(f"{_describe_run(context, run)}; it {key}")
    return EXIT_FINE


def reschedule(context: CommandContext) -> int:
    """``pcron … reschedule``."""
    run = context.scheduler.reschedule(context.args.run, **_parse_when(context))
    _print_waiting_run(context, run)
    return EXIT_FINE


def _parse_when(context: CommandContext) -> dict[str, Any]:
    """Return the moment or the interval of ``--at`` and ``--after``."""
    at, after = context.args.at, context.args.after
    return {
        "at": None if at is None else context.parse_moment(at, "--at"),
        "after": None if after is None else parse_duration_option(after, "--after"),
    }


def cancel(context: CommandContext) -> int:
    """``pcron … cancel``."""
    args, out = context.args, context.output
    if args.all is not None:
        return _cancel_all(context)
    if args.trigger is not None:
        raise CommandFailedError("--trigger goes with --all TASK: a run's id says which it is")
    run = context.scheduler.cancel(args.run)
    if out.is_json:
        out.print_json(run_detail(run))
    else:
        out.print_line(_describe_run(context, run))
    return EXIT_FINE


def _cancel_all(context: CommandContext) -> int:
    args, out = context.args, context.output
    count = context.scheduler.cancel_all(args.all, args.trigger)
    if out.is_json:
        out.print_json({"task": args.all, "trigger": args.trigger, "cancelled": count})
    else:
        runs = f"{count} waiting run{'' if count == 1 else 's'}"
        out.print_line(f"{runs} of {escape_unprintable(args.all)} cancelled")
    return EXIT_FINE


def retry(context: CommandContext) -> int:
    """``pcron … retry``."""
    _print_waiting_run(context, context.scheduler.retry(context.args.run))
    return EXIT_FINE


def _print_waiting_run(context: CommandContext, run: Run) -> None:
    if context.output.is_json:
        context.output.print_json(waiting_run_data(run))
    else:
        context.output.print_line(_describe_run(context, run))


def _describe_run(context: CommandContext, run: Run) -> str:
    """Return a run and what happens to it, in a line."""
    name = f"run {run.id} of {escape_unprintable(run.task)}"
    if run.state is RunState.WAITING:
        attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
        not_before = context.output.format_time(run.not_before)
        return f"{name} waits{attempt}, not before {not_before}"
    if run.state.is_active and run.is_cancel_requested:
        return f"{name} is {run.state}: cancellation requested"
    return f"{name} is {run.state}"
