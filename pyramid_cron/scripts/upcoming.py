"""What is to come: the next slots, and what would run in any span of time."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice

from ..planning.forecast import PlannedRun, forecast
from ..task import Task
from ..text import format_instant
from .context import EXIT_FINE, CommandContext
from .explain import dst_note
from .output import CommandOutput, escape_unprintable

WRITE_BATCH_LINES = 2000
"""How many lines are written at once."""


def next_slots(context: CommandContext) -> int:
    """``pcron … next``."""
    args, out = context.args, context.output
    tasks = context.cron.task_registry
    chosen = tasks.tasks if args.task is None else (tasks.get(args.task),)
    found = list(islice(heapq.merge(*(_task_slots(task, context.now) for task in chosen)), args.n))
    rows = [(slot, name, _slot_note(tasks.by_name[name], slot)) for slot, name in found]
    if out.is_json:
        out.print_json([{"slot": slot, "task": name, "note": note} for slot, name, note in rows])
    elif not rows:
        out.print_line("no slots are left")
    else:
        _show_slots(context, rows)
    return EXIT_FINE


def _show_slots(context: CommandContext, rows: list[tuple[datetime, str, str]]) -> None:
    heads, width = ["SLOT", "TASK", "NOTE"], 3
    if not any(note for _, _, note in rows):
        width = 2
    shown = [[context.output.format_time(slot), name, note][:width] for slot, name, note in rows]
    context.output.print_table(heads[:width], shown)


def _task_slots(task: Task, after: datetime) -> Iterator[tuple[datetime, str]]:
    while (slot := task.following(after)) is not None:
        yield slot, task.name
        after = slot


def _slot_note(task: Task, slot: datetime) -> str:
    return dst_note(task.schedules, slot - timedelta(seconds=task.offset))


def simulate(context: CommandContext) -> int:
    """``pcron … simulate``: what would run, written while it is worked out."""
    since, until = context.parse_range()
    tasks = context.cron.task_registry
    planned = forecast(tasks.tasks, tasks.calendar, since, until)
    if context.args.summary:
        _summarize(context, planned)
    elif context.output.is_json:
        _write_batches(context.output, _json_lines(planned))
    else:
        _write_batches(context.output, _plain_lines(context.output, planned))
    return EXIT_FINE


@dataclass(slots=True)
class _Tally:
    """The slots of one task: how many, the first and the last."""

    slots: int = 0
    first: datetime | None = None
    last: datetime | None = None


def _summarize(context: CommandContext, planned_runs: Iterable[PlannedRun]) -> None:
    tallies = {task.name: _Tally() for task in context.cron.task_registry.tasks}
    for slot, task in planned_runs:
        tally = tallies[task]
        tally.slots += 1
        tally.first = tally.first or slot
        tally.last = slot
    out = context.output
    if out.is_json:
        out.print_json([{"task": name, **asdict(tally)} for name, tally in tallies.items()])
        return
    rows = [
        [name, str(tally.slots), out.format_time(tally.first), out.format_time(tally.last)]
        for name, tally in tallies.items()
    ]
    if rows:
        out.print_table(["TASK", "SLOTS", "FIRST", "LAST"], rows)
    busy = [tally.slots for tally in tallies.values() if tally.slots]
    out.print_line(f"{sum(busy)} slots of {len(busy)} tasks")


def _plain_lines(out: CommandOutput, planned_runs: Iterable[PlannedRun]) -> Iterator[str]:
    for slot, task in planned_runs:
        yield f"{out.format_time(slot)}  {escape_unprintable(task)}\n"


def _json_lines(planned_runs: Iterable[PlannedRun]) -> Iterator[str]:
    separator = "["
    for slot, task in planned_runs:
        yield f"{separator}\n{json.dumps({'slot': format_instant(slot), 'task': task})}"
        separator = ","
    yield "[]\n" if separator == "[" else "\n]\n"


def _write_batches(out: CommandOutput, lines: Iterator[str]) -> None:
    while piece := list(islice(lines, WRITE_BATCH_LINES)):
        out.write("".join(piece))
