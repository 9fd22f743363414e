"""The commands about future slots: next and simulate."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice

from ..planning.forecast import PlannedRun, following_slots, forecast
from ..task import Task
from ..text import escape_unprintable, format_instant
from .context import EXIT_FINE, CommandContext
from .explain import dst_note
from .output import CommandOutput

WRITE_BATCH_LINES = 2000
"""Lines that are written at once."""


def next_slots(context: CommandContext) -> int:
    """``pcron … next``."""
    args, out = context.args, context.output
    tasks = context.cron.task_registry
    selected = tasks.tasks if args.task is None else (tasks.get(args.task),)
    slots = heapq.merge(*(_task_slots(task, context.now) for task in selected))
    rows = [
        (slot, name, _slot_note(tasks.by_name[name], slot)) for slot, name in islice(slots, args.n)
    ]
    if out.is_json:
        out.print_json([{"slot": slot, "task": name, "note": note} for slot, name, note in rows])
    elif not rows:
        out.print_line("no slots are left")
    else:
        _show_slots(context, rows)
    return EXIT_FINE


def _show_slots(context: CommandContext, rows: list[tuple[datetime, str, str]]) -> None:
    width = 3 if any(note for _, _, note in rows) else 2
    format_time = context.output.format_time
    cells = [[format_time(slot), name, note][:width] for slot, name, note in rows]
    context.output.print_table(["SLOT", "TASK", "NOTE"][:width], cells)


def _task_slots(task: Task, after: datetime) -> Iterator[tuple[datetime, str]]:
    return ((slot, task.name) for slot in following_slots(task, after))


def _slot_note(task: Task, slot: datetime) -> str:
    return dst_note(task.schedules, slot - timedelta(seconds=task.offset))


def simulate(context: CommandContext) -> int:
    """``pcron … simulate``: write slots as they are computed."""
    since, until = context.parse_range()
    tasks = context.cron.task_registry
    context.cron.refresh_schedules()
    book = context.cron.schedule_book
    planned_runs = forecast(tasks.tasks, tasks.calendar, since, until, book)
    if context.args.summary:
        _summarize(context, planned_runs)
    elif context.output.is_json:
        _write_batches(context.output, _json_lines(planned_runs))
    else:
        _write_batches(context.output, _plain_lines(context.output, planned_runs))
    return EXIT_FINE


@dataclass(slots=True)
class _Tally:
    """The number of slots of one task, the first and the last."""

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
    counts = [tally.slots for tally in tallies.values() if tally.slots]
    out.print_line(f"{sum(counts)} slots of {len(counts)} tasks")


def _plain_lines(out: CommandOutput, planned_runs: Iterable[PlannedRun]) -> Iterator[str]:
    for run in planned_runs:
        schedule = "" if run.schedule is None else f"  {escape_unprintable(run.schedule)}"
        yield f"{out.format_time(run.slot)}  {escape_unprintable(run.task)}{schedule}\n"


def _json_lines(planned_runs: Iterable[PlannedRun]) -> Iterator[str]:
    separator = "["
    for run in planned_runs:
        data = {"slot": format_instant(run.slot), "task": run.task, "schedule": run.schedule}
        yield f"{separator}\n{json.dumps(data)}"
        separator = ","
    yield "[]\n" if separator == "[" else "\n]\n"


def _write_batches(out: CommandOutput, lines: Iterator[str]) -> None:
    while batch := list(islice(lines, WRITE_BATCH_LINES)):
        out.write("".join(batch))
