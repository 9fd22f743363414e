"""What a schedule means: in words, by its next slots, and around the next shifts of the clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from ..schedule import At, Cron, Every
from ..schedule.moments import to_zone
from ..schedule.zones import get_zone
from .context import CommandContext
from .errors import EXIT_FINE, CommandFailedError
from .shifts import BuiltinSchedule, ClockShift, clock_shifts, dst_effect, dst_note

MAX_SHIFTS = 2
"""How many shifts are explained: one forwards and one back, where both are usual."""


def explain(context: CommandContext) -> int:
    """``pcron … explain``."""
    args, out = context.args, context.output
    zone = args.timezone or context.cron.settings.timezone
    schedule = parse_schedule(" ".join(args.expression), _parse_zone(zone))
    slots = list(_next_slots(schedule, context.now, 5))
    coming = list(islice(clock_shifts(_parse_zone(zone), context.now), MAX_SHIFTS))
    if out.is_json:
        out.print_json(_explanation_data(schedule, zone, slots, coming))
        return EXIT_FINE
    out.print_line(schedule.describe())
    out.print_line(f"crontab: {_crontab_or_reason(schedule)[1]}")
    out.print_line(f"\nNext in {zone}:")
    for slot in slots:
        note = dst_note((schedule,), slot)
        shown = f"{to_zone(slot, _parse_zone(zone)):%a %Y-%m-%d %H:%M:%S %Z}"
        out.print_line(f"  {shown}" + (f"  ({note})" if note else ""))
    if not slots:
        out.print_line("  never again")
    if not isinstance(schedule, At):
        _show_shifts(context, schedule, zone, coming)
    return EXIT_FINE


def _show_shifts(
    context: CommandContext, schedule: BuiltinSchedule, zone: str, shifts: list[ClockShift]
) -> None:
    out = context.output
    if not shifts:
        out.print_line(f"\nThe clocks of {zone} do not shift.")
        return
    out.print_line(f"\nNext shifts of the clocks in {zone}:")
    for shift in shifts:
        out.print_line(f"  {shift.describe()}")
        out.print_line(f"    {dst_effect(schedule, shift)}")
        for slot in _slots_around(schedule, shift):
            note = dst_note((schedule,), slot)
            shown = f"{to_zone(slot, _parse_zone(zone)):%a %Y-%m-%d %H:%M:%S %Z}"
            out.print_line(f"    {shown}" + (f"  ({note})" if note else ""))


def _slots_around(schedule: BuiltinSchedule, shift: ClockShift) -> list[datetime]:
    """Return the slots around a shift: the last before the times concerned, and up to five more."""
    length = shift.last_local - shift.first_local
    start = shift.moment if shift.is_gap else shift.moment - length
    before = schedule.preceding(start)
    found = [] if before is None else [before]
    end = shift.moment + length + timedelta(hours=1)
    following = [
        slot for slot in _next_slots(schedule, start - timedelta.resolution, 5) if slot <= end
    ]
    return found + (following or list(_next_slots(schedule, start, 1)))


def _explanation_data(
    schedule: BuiltinSchedule, zone: str, slots: list[datetime], shifts: list[ClockShift]
) -> dict[str, Any]:
    fields, said = _crontab_or_reason(schedule)
    return {
        "schedule": schedule.describe(),
        "timezone": zone,
        "crontab": said if fields else None,
        "next": [{"slot": slot, "note": dst_note((schedule,), slot)} for slot in slots],
        "shifts": [
            {
                "moment": shift.moment,
                "shift": shift.describe(),
                "effect": dst_effect(schedule, shift),
                "slots": _slots_around(schedule, shift),
            }
            for shift in shifts
        ],
    }


def parse_schedule(text: str, zone: ZoneInfo) -> BuiltinSchedule:
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


def _parse_zone(name: str) -> ZoneInfo:
    try:
        return get_zone(name)
    except ValueError as error:
        raise CommandFailedError(str(error).replace("timezone=", "--timezone ", 1)) from None


def _crontab_or_reason(schedule: BuiltinSchedule) -> tuple[bool, str]:
    """Return whether a crontab can say it, and its fields, or why not."""
    try:
        fields = schedule.crontab()
    except ValueError as error:
        return False, f"none: {str(error).rpartition(': ')[2]}"
    return True, fields + (" (in UTC)" if isinstance(schedule, Every) else "")


def _next_slots(schedule: BuiltinSchedule, after: datetime, count: int) -> Iterator[datetime]:
    for _ in range(count):
        slot = schedule.following(after)
        if slot is None:
            return
        yield slot
        after = slot
