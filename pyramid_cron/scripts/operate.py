"""The commands that act: tick, run, backfill, prune, pause, resume."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from ..app import CronApp
from ..clock import Stopwatch
from ..errors import StoreError
from ..planning.snapshot import TickReport
from ..run import Run, RunState
from ..runtime.tick import run_tick_and_wait
from ..serializers import run_detail, tick_report_data
from ..store import retention
from ..task import Task
from ..text import escape_unprintable
from .context import (
    EXIT_BAD_ANSWER,
    EXIT_FINE,
    CommandContext,
    CommandFailedError,
    format_seconds,
    parse_duration_option,
    parse_payload_option,
)

BACKFILL_STEP = timedelta(days=1)
"""A range of slots is counted in steps of this length."""

TRANSACTION_BATCH_SIZE = 500
"""Slots that are backfilled, or records that are deleted, in one short transaction."""


log = logging.getLogger("pyramid_cron")


def tick(context: CommandContext) -> int:
    """``pcron … tick``: exit status 1 if a run failed or was cancelled."""
    cron, out = context.cron, context.output
    now = context.now
    if context.args.at is not None:
        now = context.parse_moment(context.args.at, "--at")
        cron.clock = Stopwatch(now).now
        cron.known_since = now
    report = run_tick_and_wait(cron, context.request.registry, now)
    if out.is_json:
        out.print_json(tick_report_data(report))
    else:
        _show_report(context, report)
    _prune_after_tick(cron)
    return EXIT_BAD_ANSWER if any(_is_unsuccessful(run) for run in report.runs) else EXIT_FINE


def _prune_after_tick(cron: CronApp) -> None:
    """Prune as a server does between ticks, for this process ends too soon for that."""
    try:
        cron.prune_history()
    except StoreError as error:
        # The next tick meets the same error, and reports it.
        log.info("pruning failed: %s", error)


def _is_unsuccessful(run: Run) -> bool:
    return run.state.is_failure or run.state is RunState.CANCELLED


def _show_report(context: CommandContext, report: TickReport) -> None:
    out = context.output
    rows = [
        [
            run.task,
            out.format_time(run.slot),
            run.state.value,
            format_seconds(run.duration),
            run.error or "",
        ]
        for run in report.runs
    ]
    rows += [
        [run.task, out.format_time(run.slot), "skipped", "-", str(run.reason or "")]
        for run in report.skipped
    ]
    rows += [
        [waiting_run.task, out.format_time(waiting_run.slot), "waiting", "-", ""]
        for waiting_run in report.waiting
    ]
    if rows:
        out.print_table(["TASK", "SLOT", "STATE", "DURATION", "WHY"], rows)
    else:
        out.print_line(f"nothing due at {out.format_time(report.now)}")


def run_task(context: CommandContext) -> int:
    """``pcron … run``: exit status 1 unless the run succeeded."""
    args, out = context.args, context.output
    run = context.scheduler.run(args.task, parse_payload_option(args.payload))
    if out.is_json:
        out.print_json(run_detail(run))
    else:
        for text in (run.log, run.stdout, run.stderr):
            if text:
                out.print_line(text.rstrip("\n"))
        why = run.error or run.reason
        out.print_line(
            f"{escape_unprintable(run.task)} run={run.id} {run.state}"
            f" in {format_seconds(run.duration)}"
            + (f": {escape_unprintable(str(why))}" if why else "")
        )
    return EXIT_FINE if run.state is RunState.SUCCEEDED else EXIT_BAD_ANSWER


def backfill(context: CommandContext) -> int:
    """``pcron … backfill``: in batches, so that it can be interrupted and called again."""
    args, out = context.args, context.output
    tasks = context.scheduler.match_tasks(args.task)
    since, until = context.parse_range()
    if until > context.now:
        raise CommandFailedError(
            f"--until {args.until!r} is in the future: those slots will run by themselves"
        )
    answers = [_backfill_task(context, task, since, until) for task in tasks]
    if out.is_json:
        out.print_json(answers if len(answers) > 1 else answers[0])
    return EXIT_FINE


def _backfill_task(
    context: CommandContext, task: Task, since: datetime, until: datetime
) -> dict[str, Any]:
    """Backfill one task, and say so; return what there is to say as JSON values."""
    out = context.output
    waiting = slot_count = 0
    try:
        for start, end, count in split_range(task, since, until):
            waiting += context.scheduler.backfill(task.name, start, end, context.args.overlap)
            slot_count += count
    except KeyboardInterrupt:
        out.print_line(
            f"interrupted: {waiting} slots wait for the next ticks; call it again to go on"
        )
        raise
    if not out.is_json:
        name = escape_unprintable(task.name)
        out.print_line(
            f"{waiting} slots of {name} run at the next ticks;"
            f" {slot_count - waiting} had run or wait already"
            if slot_count
            else f"0 slots of {name}: {_explain_no_slots(task)}"
        )
    return {"task": task.name, "waiting": waiting, "known": slot_count - waiting}


def _explain_no_slots(task: Task) -> str:
    if not task.schedules:
        return "it runs on demand only, and has no slots; use run"
    return f"it has none in this time, {task.describe()}"


def split_range(
    task: Task, since: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime, int]]:
    """Split a range into ranges of about 500 slots; yield their start, end and number of slots."""
    start = end = since
    count = 0
    while end < until:
        step_start, end = end, min(end + BACKFILL_STEP, until)
        count += len(task.between(step_start, end))
        if count >= TRANSACTION_BATCH_SIZE or end == until:
            yield start, end, count
            start, count = end, 0


def prune(context: CommandContext) -> int:
    """``pcron … prune``: in batches, so that it never locks the store for long."""
    out, store = context.output, context.cron.store
    before = context.now - context.cron.settings.retention
    task_names, count = context.cron.task_registry.by_name.keys(), 0
    try:
        while batch_count := retention.prune(
            store, before, TRANSACTION_BATCH_SIZE, task_names, context.now
        ):
            count += batch_count
    except KeyboardInterrupt:
        out.print_line(f"interrupted: deleted {count} runs and ticks; call it again to go on")
        raise
    if out.is_json:
        out.print_json({"before": before, "deleted": count})
    else:
        out.print_line(f"deleted {count} runs and ticks from before {out.format_time(before)}")
    return EXIT_FINE


def pause(context: CommandContext) -> int:
    """``pcron … pause``."""
    args, out = context.args, context.output
    until = _parse_until(context)
    names = context.scheduler.pause(args.pattern, until, args.reason)
    if out.is_json:
        out.print_json({"paused": names, "until": until, "reason": args.reason})
        return EXIT_FINE
    end = "until it is resumed" if until is None else f"until {out.format_time(until)}"
    for name in names:
        out.print_line(f"paused {escape_unprintable(name)} {end}")
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


def _parse_until(context: CommandContext) -> datetime | None:
    args = context.args
    if args.length is not None:
        return context.now + parse_duration_option(args.length, "--for")
    if args.until is None:
        return None
    until = context.parse_moment(args.until, "--until")
    if until <= context.now:
        raise CommandFailedError(
            f"--until {args.until!r} is not in the future:"
            f" it means {context.output.format_time(until)}"
        )
    return until
