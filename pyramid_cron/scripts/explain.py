"""What a schedule means: in words, by its next slots, and around the next shifts of the clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ..schedule import At, Cron, Every
from ..schedule.search import minute_at_or_after, minutes_of_day
from ..schedule.zones import (
    DAY_SECONDS,
    END_SECOND,
    EPOCH,
    floor_second,
    get_zone,
    offset_span_at,
    to_zone,
)
from .context import EXIT_FINE, CommandContext, CommandFailedError

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


SHIFT_HORIZON_SECONDS = 2 * 366 * DAY_SECONDS
"""Seconds within which a zone that shifts at all does so; others have no shift worth a word."""

SHIFT_RESOLUTION = timedelta(seconds=1)

BuiltinSchedule = Cron | Every | At


class ClockShift(NamedTuple):
    """That the clocks of a zone are set: from ``before`` to ``after`` at ``moment``.

    ``moment`` is in UTC; ``before`` and ``after`` are what the clocks show, without a zone, and
    ``old`` and ``new`` the names of the times, such as CET and CEST.
    """

    moment: datetime
    local_before: datetime
    local_after: datetime
    old_abbreviation: str
    new_abbreviation: str

    @property
    def is_gap(self) -> bool:
        """Whether local times are skipped; otherwise they happen twice."""
        return self.local_after > self.local_before

    @property
    def first_local(self) -> datetime:
        """The first local time concerned."""
        return min(self.local_before, self.local_after)

    @property
    def last_local(self) -> datetime:
        """The end of the local times concerned."""
        return max(self.local_before, self.local_after)

    def describe(self) -> str:
        """Say what happens."""
        happens = "is skipped" if self.is_gap else "happens twice"
        return (
            f"{self.local_before:%Y-%m-%d %H:%M} {self.old_abbreviation} ->"
            f" {self.local_after:%H:%M} {self.new_abbreviation}:"
            f" {self.first_local:%H:%M} to {self.last_local:%H:%M} {happens}"
        )


def clock_shifts(zone: ZoneInfo, after: datetime) -> Iterator[ClockShift]:
    """Yield the shifts of a zone after an aware moment, in order."""
    at = floor_second(after, "after")
    piece = offset_span_at(zone, at)
    while piece.end < END_SECOND and piece.end - at < SHIFT_HORIZON_SECONDS:
        nxt = offset_span_at(zone, piece.end)
        if nxt.offset != piece.offset:
            moment = EPOCH + timedelta(seconds=nxt.start)
            at = nxt.start
            new = moment.astimezone(zone)
            old = (moment - SHIFT_RESOLUTION).astimezone(zone)
            yield ClockShift(
                moment,
                local_before=old.replace(tzinfo=None, fold=0) + SHIFT_RESOLUTION,
                local_after=new.replace(tzinfo=None, fold=0),
                old_abbreviation=f"{old:%Z}",
                new_abbreviation=f"{new:%Z}",
            )
        piece = nxt


def dst_effect(schedule: BuiltinSchedule, shift: ClockShift) -> str:
    """Say what a schedule does at a shift of its zone."""
    if not isinstance(schedule, Cron):
        return "it counts in UTC, and shifts make no difference"
    times = _first_times(schedule, shift)
    if not times:
        return "it has no slot in that time, and shifts make no difference"
    if schedule.is_wildcard:
        return (
            "it follows elapsed time: what is skipped is not made up"
            if shift.is_gap
            else "it follows elapsed time: it runs through both passes"
        )
    named = _times_and_verb(times)
    if shift.is_gap:
        instead = f"{shift.local_after:%H:%M} {shift.new_abbreviation}"
        return f"{named} skipped: it runs once instead, at {instead}"
    return f"{named} there twice: it runs the first time only"


def dst_note(schedules: tuple[BuiltinSchedule, ...], slot: datetime) -> str:
    """Return what there is to say of a slot (aware) that falls on a shift; "" for most."""
    found = {
        note: None
        for schedule in schedules
        if isinstance(schedule, Cron) and schedule.matches(slot)
        if (note := _cron_dst_note(schedule, slot))
    }
    return "; ".join(found)


def _cron_dst_note(schedule: Cron, slot: datetime) -> str:
    zone = schedule.zone
    local = slot.astimezone(zone)
    if local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset():
        # What is skipped never comes back from UTC, so this time happens twice.
        if not schedule.is_wildcard:
            return f"{local:%H:%M} happens twice: this is the first, the second has no run"
        return f"{local:%H:%M} happens twice: this is the {'second' if local.fold else 'first'}"
    shift = next(clock_shifts(zone, slot - SHIFT_RESOLUTION), None)
    if shift is None or shift.moment != slot or not shift.is_gap:
        return ""
    times = _first_times(schedule, shift)
    if not times:
        return ""
    span = f"{shift.first_local:%H:%M} to {shift.last_local:%H:%M} is skipped"
    if schedule.is_wildcard:
        return f"{span}: nothing is made up"
    return f"{_times_and_verb(times)} skipped: runs at {shift.local_after:%H:%M} instead"


def _first_times(schedule: Cron, shift: ClockShift) -> list[datetime]:
    """Return up to three of the schedule's local times that a shift concerns."""
    return list(islice(_local_times(schedule, shift), 3))


def _local_times(schedule: Cron, shift: ClockShift) -> Iterator[datetime]:
    epoch = EPOCH.replace(tzinfo=None)
    start = -((epoch - shift.first_local) // timedelta(minutes=1))
    times = minutes_of_day(schedule.minutes, schedule.hours)
    while (minute := minute_at_or_after(times, schedule.dates, start)) is not None:
        local = epoch + timedelta(minutes=minute)
        if local >= shift.last_local:
            return
        yield local
        start = minute + 1


def _times_and_verb(times: list[datetime]) -> str:
    """Name local times, as the subject of a sentence with its verb."""
    shown = [f"{time:%H:%M}" for time in times]
    if len(shown) == 1:
        return f"{shown[0]} is"
    if len(shown) == 2:
        return f"{shown[0]} and {shown[1]} are"
    return f"{shown[0]}, {shown[1]} and so on are"
