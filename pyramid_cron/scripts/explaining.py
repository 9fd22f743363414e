"""What a schedule means: in words, by its next slots, and around the next shifts of the clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from ..schedule import At, Cron, Every
from ..schedule.moments import in_zone
from ..schedule.zone import named
from .context import Context
from .errors import FINE, CommandFailedError
from .shifts import Schedule, Shift, notes, shifts, what_happens

SHIFTS = 2
"""How many shifts are explained: one forwards and one back, where both are usual."""


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
        shown = f"{in_zone(slot, _zone(zone)):%a %Y-%m-%d %H:%M:%S %Z}"
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
            shown = f"{in_zone(slot, _zone(zone)):%a %Y-%m-%d %H:%M:%S %Z}"
            out.line(f"    {shown}" + (f"  ({note})" if note else ""))


def _around(schedule: Schedule, shift: Shift) -> list[datetime]:
    """Return the slots around a shift: the last before the times concerned, and up to five more."""
    length = shift.last - shift.first
    start = shift.moment if shift.is_gap else shift.moment - length
    before = schedule.preceding(start)
    found = [] if before is None else [before]
    end = shift.moment + length + timedelta(hours=1)
    following = [
        slot for slot in _following(schedule, start - timedelta.resolution, 5) if slot <= end
    ]
    return found + (following or list(_following(schedule, start, 1)))


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
