"""Running tasks, now or at the next ticks, and forgetting what is old."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from ..clock import Stopwatch
from ..execute.tick import TickReport
from ..execute.whole import whole_tick
from ..run import Run, RunState
from ..task import Task
from .context import Context
from .errors import BAD, FINE, CommandFailedError
from .output import printable, run_data, seconds

DAY = timedelta(days=1)

PIECE = 500
"""How many slots are put on record, or runs forgotten, in one short transaction."""


def make_tick(context: Context) -> int:
    """``pcron … tick``: exit status 1 if a run went wrong."""
    cron, out = context.cron, context.out
    now = context.now
    if context.args.at is not None:
        now = context.moment(context.args.at, "--at")
        cron.clock = Stopwatch(now).now
    report = whole_tick(cron, context.request.registry, now)
    if out.as_json:
        out.json(_report_data(report))
    else:
        _show_report(context, report)
    return BAD if any(_went_wrong(run) for run in report.runs) else FINE


def _went_wrong(run: Run) -> bool:
    return run.state.failure or run.state is RunState.CANCELLED


def _report_data(report: TickReport) -> dict[str, Any]:
    return {
        "tick": report.tick,
        "now": report.now,
        "runs": [run_data(run) for run in report.runs],
        "skipped": [run_data(run) for run in report.skipped],
        "waiting": [{"task": each.task, "slot": each.slot} for each in report.waiting],
    }


def _show_report(context: Context, report: TickReport) -> None:
    out = context.out
    rows = [
        [run.task, out.time(run.slot), run.state.value, seconds(run.duration), run.error or ""]
        for run in report.runs
    ]
    rows += [
        [run.task, out.time(run.slot), "skipped", "-", str(run.reason or "")]
        for run in report.skipped
    ]
    rows += [[each.task, out.time(each.slot), "waiting", "-", ""] for each in report.waiting]
    if rows:
        out.table(["TASK", "SLOT", "STATE", "DURATION", "WHY"], rows)
    else:
        out.line(f"nothing due at {out.time(report.now)}")


def run(context: Context) -> int:
    """``pcron … run``: exit status 1 unless it succeeded."""
    args, out = context.args, context.out
    ended = context.scheduler.run(args.task, _payload(args.payload))
    if out.as_json:
        texts = {"output": ended.output, "stdout": ended.stdout, "stderr": ended.stderr}
        out.json(run_data(ended) | texts)
    else:
        for text in (ended.logged, ended.stdout, ended.stderr):
            if text:
                out.line(text.rstrip("\n"))
        why = ended.error or ended.reason
        out.line(
            f"{printable(ended.task)} run={ended.id} {ended.state} in {seconds(ended.duration)}"
            + (f": {printable(str(why))}" if why else "")
        )
    return FINE if ended.state is RunState.SUCCEEDED else BAD


def _payload(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandFailedError(f"--payload {text!r} is no JSON: {error}") from None


def backfill(context: Context) -> int:
    """``pcron … backfill``: in pieces, so that it can be interrupted and called again."""
    args, out = context.args, context.out
    task = context.cron.tasks.named(args.task)
    since, until = context.span()
    if until > context.now:
        raise CommandFailedError(
            f"--until {args.until!r} is in the future: those slots will run by themselves"
        )
    waiting = found = 0
    try:
        for start, end, count in pieces(task, since, until):
            waiting += context.scheduler.backfill(task.name, start, end, args.overlap)
            found += count
    except KeyboardInterrupt:
        out.line(f"interrupted: {waiting} slots wait for the next ticks; call it again to go on")
        raise
    if out.as_json:
        out.json({"task": task.name, "waiting": waiting, "known": found - waiting})
    else:
        out.line(
            f"{waiting} slots of {printable(task.name)} run at the next ticks;"
            f" {found - waiting} had run or wait already"
        )
    return FINE


def pieces(
    task: Task, since: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime, int]]:
    """Cut a span into some with about 500 slots each; yield these with their number of slots."""
    start, count = since, 0
    at = since
    while at < until:
        end = min(at + DAY, until)
        count += len(task.between(at, end))
        at = end
        if count >= PIECE or at == until:
            yield start, at, count
            start, count = at, 0


def prune(context: Context) -> int:
    """``pcron … prune``: in pieces, so that nobody has to wait and it can be interrupted."""
    out, store = context.out, context.cron.store
    before = context.now - context.cron.settings.retention
    gone = 0
    try:
        while piece := store.prune(before, PIECE):
            gone += piece
    except KeyboardInterrupt:
        out.line(f"interrupted: {gone} runs and ticks are forgotten; call it again to go on")
        raise
    if out.as_json:
        out.json({"before": before, "forgotten": gone})
    else:
        out.line(f"forgot {gone} runs and ticks from before {out.time(before)}")
    return FINE
