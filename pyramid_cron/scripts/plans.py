"""What is to come: the next slots, and what would run in any span of time."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice

from ..due.plan import Planned, plan
from ..logs import instant
from ..task import Task
from .context import Context
from .errors import FINE
from .output import Output, printable
from .shifts import notes

PIECE = 2000
"""How many lines are written at once."""


def following(context: Context) -> int:
    """``pcron … next``."""
    args, out = context.args, context.out
    tasks = context.cron.tasks
    chosen = tasks.all if args.task is None else (tasks.named(args.task),)
    found = list(islice(heapq.merge(*(_slots(task, context.now) for task in chosen)), args.n))
    rows = [(slot, name, _note(tasks.by_name[name], slot)) for slot, name in found]
    if out.as_json:
        out.json([{"slot": slot, "task": name, "note": note} for slot, name, note in rows])
    elif not rows:
        out.line("no slots are left")
    else:
        _show_slots(context, rows)
    return FINE


def _show_slots(context: Context, rows: list[tuple[datetime, str, str]]) -> None:
    heads, width = ["SLOT", "TASK", "NOTE"], 3
    if not any(note for _, _, note in rows):
        width = 2
    shown = [[context.out.time(slot), name, note][:width] for slot, name, note in rows]
    context.out.table(heads[:width], shown)


def _slots(task: Task, after: datetime) -> Iterator[tuple[datetime, str]]:
    while (slot := task.following(after)) is not None:
        yield slot, task.name
        after = slot


def _note(task: Task, slot: datetime) -> str:
    return notes(task.schedules, slot - timedelta(seconds=task.offset))


def simulate(context: Context) -> int:
    """``pcron … simulate``: what would run, written while it is worked out."""
    since, until = context.span()
    tasks = context.cron.tasks
    planned = plan(tasks.all, tasks.calendar, since, until)
    if context.args.summary:
        _summarize(context, planned)
    elif context.out.as_json:
        _write(context.out, _json_lines(planned))
    else:
        _write(context.out, _plain_lines(context.out, planned))
    return FINE


@dataclass(slots=True)
class _Tally:
    """The slots of one task: how many, the first and the last."""

    slots: int = 0
    first: datetime | None = None
    last: datetime | None = None


def _summarize(context: Context, planned: Iterable[Planned]) -> None:
    tallies = {task.name: _Tally() for task in context.cron.tasks.all}
    for slot, task in planned:
        tally = tallies[task]
        tally.slots += 1
        tally.first = tally.first or slot
        tally.last = slot
    out = context.out
    if out.as_json:
        out.json([{"task": name, **asdict(tally)} for name, tally in tallies.items()])
        return
    rows = [
        [name, str(tally.slots), out.time(tally.first), out.time(tally.last)]
        for name, tally in tallies.items()
    ]
    if rows:
        out.table(["TASK", "SLOTS", "FIRST", "LAST"], rows)
    busy = [tally.slots for tally in tallies.values() if tally.slots]
    out.line(f"{sum(busy)} slots of {len(busy)} tasks")


def _plain_lines(out: Output, planned: Iterable[Planned]) -> Iterator[str]:
    for slot, task in planned:
        yield f"{out.time(slot)}  {printable(task)}\n"


def _json_lines(planned: Iterable[Planned]) -> Iterator[str]:
    separator = "["
    for slot, task in planned:
        yield f"{separator}\n{json.dumps({'slot': instant(slot), 'task': task})}"
        separator = ","
    yield "[]\n" if separator == "[" else "\n]\n"


def _write(out: Output, lines: Iterator[str]) -> None:
    while piece := list(islice(lines, PIECE)):
        out.write("".join(piece))
