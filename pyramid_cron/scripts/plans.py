"""What is to come: next slots, what a schedule means, a month in advance."""

from __future__ import annotations

import heapq
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from ..due.plan import Planned, plan
from ..logs import instant
from ..schedule import At, Cron, Every
from ..schedule.zone import named
from ..task import Task
from .context import Context
from .errors import FINE, CommandFailedError
from .output import printable
from .shifts import Schedule, Shift, notes, shifts, what_happens

SHIFTS = 2
"""How many shifts are explained: one forwards and one back, where both are usual."""

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


def explain(context: Context) -> int:
    """``pcron … explain``."""
    args, out = context.args, context.out
    zone = args.timezone or context.cron.settings.timezone
    schedule = read_schedule(" ".join(args.expression), _zone(zone))
    slots = list(_following(schedule, context.now, 5))
    coming = list(islice(shifts(_zone(zone), context.now), SHIFTS))
    if out.as_json:
        out.json(_explained(schedule, zone, slots, coming))
        return FINE
    out.line(schedule.describe())
    out.line(f"crontab: {_crontab(schedule)[1]}")
    out.line(f"\nNext in {zone}:")
    for slot in slots:
        note = notes((schedule,), slot)
        shown = f"{slot.astimezone(_zone(zone)):%a %Y-%m-%d %H:%M:%S %Z}"
        out.line(f"  {shown}" + (f"  ({note})" if note else ""))
    if not slots:
        out.line("  never again")
    if not isinstance(schedule, At):
        _show_shifts(context, schedule, zone, coming)
    return FINE


def _show_shifts(context: Context, schedule: Schedule, zone: str, coming: list[Shift]) -> None:
    out = context.out
    if not coming:
        out.line(f"\nThe clocks of {zone} do not shift.")
        return
    out.line(f"\nNext shifts of the clocks in {zone}:")
    for shift in coming:
        out.line(f"  {shift.describe()}")
        out.line(f"    {what_happens(schedule, shift)}")
        for slot in _around(schedule, shift):
            note = notes((schedule,), slot)
            shown = f"{slot.astimezone(_zone(zone)):%a %Y-%m-%d %H:%M:%S %Z}"
            out.line(f"    {shown}" + (f"  ({note})" if note else ""))


def _around(schedule: Schedule, shift: Shift) -> list[datetime]:
    """Return the slots around a shift: the last before the times concerned, and up to five more."""
    length = shift.last - shift.first
    start = shift.moment if shift.is_gap else shift.moment - length
    before = schedule.preceding(start)
    found = [] if before is None else [before]
    end = shift.moment + length + timedelta(hours=1)
    following = [slot for slot in _following(schedule, start - _INSTANT, 5) if slot <= end]
    return found + (following or list(_following(schedule, start, 1)))


_INSTANT = timedelta.resolution


def _explained(
    schedule: Schedule, zone: str, slots: list[datetime], coming: list[Shift]
) -> dict[str, Any]:
    fields, said = _crontab(schedule)
    return {
        "schedule": schedule.describe(),
        "timezone": zone,
        "crontab": said if fields else None,
        "next": [{"slot": slot, "note": notes((schedule,), slot)} for slot in slots],
        "shifts": [
            {
                "moment": shift.moment,
                "shift": shift.describe(),
                "effect": what_happens(schedule, shift),
                "slots": _around(schedule, shift),
            }
            for shift in coming
        ],
    }


def read_schedule(text: str, zone: ZoneInfo) -> Schedule:
    """Return the schedule meant: ``every 30m``, cron fields, or a moment with an offset."""
    try:
        words = text.split()
        if words[:1] == ["every"]:
            return Every("".join(words[1:]))
        if len(words) == 1 and words[0][:1].isdigit() and len(words[0]) > 9:
            return At(words[0])
        return Cron(text, timezone=zone.key)
    except ValueError as error:
        raise CommandFailedError(str(error).removeprefix("expression=")) from None


def _zone(name: str) -> ZoneInfo:
    try:
        return named(name)
    except ValueError as error:
        raise CommandFailedError(str(error).replace("timezone=", "--timezone ", 1)) from None


def _crontab(schedule: Schedule) -> tuple[bool, str]:
    """Return whether a crontab can say it, and its fields, or why not."""
    try:
        fields = schedule.crontab()
    except ValueError as error:
        return False, f"none: {str(error).rpartition(': ')[2]}"
    return True, fields + (" (in UTC)" if isinstance(schedule, Every) else "")


def _following(schedule: Schedule, after: datetime, count: int) -> Iterator[datetime]:
    for _ in range(count):
        slot = schedule.following(after)
        if slot is None:
            return
        yield slot
        after = slot


def simulate(context: Context) -> int:
    """``pcron … simulate``: what would run, written while it is worked out."""
    since, until = context.span()
    tasks = context.cron.tasks
    planned = plan(tasks.all, tasks.index, since, until)
    if context.args.summary:
        _summarize(context, planned)
    elif context.out.as_json:
        _write(_json_lines(planned))
    else:
        _write(_plain_lines(context.zone, planned))
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


def _plain_lines(zone: ZoneInfo, planned: Iterable[Planned]) -> Iterator[str]:
    named = _Known(lambda task: f"{printable(task)}\n")
    at, shown = None, ""
    for slot, task in planned:
        if slot != at:
            at, shown = slot, f"{slot.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}  "
        yield shown + named[task]


def _json_lines(planned: Iterable[Planned]) -> Iterator[str]:
    quoted = _Known(json.dumps)
    separator, at, shown = "[", None, ""
    for slot, task in planned:
        if slot != at:
            at, shown = slot, instant(slot)
        yield f'{separator}\n{{"slot": "{shown}", "task": {quoted[task]}}}'
        separator = ","
    yield "[]\n" if at is None else "\n]\n"


class _Known(dict[str, str]):
    """What a function makes of texts, made once each: there are far fewer tasks than slots."""

    def __init__(self, make: Callable[[str], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> str:
        made = self[text] = self._make(text)
        return made


def _write(lines: Iterator[str]) -> None:
    while piece := list(islice(lines, PIECE)):
        sys.stdout.write("".join(piece))
