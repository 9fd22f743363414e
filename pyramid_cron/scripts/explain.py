"""Explains a schedule: in words, by its next slots, and around the next shifts of the clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ..planning.forecast import following_slots
from ..schedule import At, Cron, Every, Schedule
from ..schedule.base import Limited
from ..schedule.zones import (
    DAY_SECONDS,
    END_SECOND,
    EPOCH,
    floor_second,
    get_zone,
    offset_span_at,
    to_zone,
)
from ..task import Task
from ..text import escape_unprintable
from .context import EXIT_FINE, CommandContext, CommandFailedError, CommandOutput

MAX_SHIFTS = 2
"""Shifts that are explained: usually one forwards and one back."""

SHIFT_HORIZON_SECONDS = 2 * 366 * DAY_SECONDS
"""How far ahead a shift is looked for."""

SHIFT_RESOLUTION = timedelta(seconds=1)

_UTC_METHODS = (Every.following, At.following)


class ClockShift(NamedTuple):
    """A shift of a zone's clocks."""

    #: When it happens (aware, UTC).
    moment: datetime
    #: What the clocks would show then without it (naive).
    local_before: datetime
    #: What they show then (naive).
    local_after: datetime
    #: The abbreviation of the time before, such as CET.
    old_abbreviation: str
    #: The abbreviation of the time after, such as CEST.
    new_abbreviation: str

    @property
    def is_gap(self) -> bool:
        """Whether local times are skipped; otherwise they happen twice."""
        return self.local_after > self.local_before

    @property
    def first_local(self) -> datetime:
        """The first local time that is skipped or happens twice."""
        return min(self.local_before, self.local_after)

    @property
    def last_local(self) -> datetime:
        """The end of the local times that are skipped or happen twice."""
        return max(self.local_before, self.local_after)

    def describe(self) -> str:
        """Return the shift in one line."""
        happens = "is skipped" if self.is_gap else "happens twice"
        return (
            f"{self.local_before:%Y-%m-%d %H:%M} {self.old_abbreviation} ->"
            f" {self.local_after:%H:%M} {self.new_abbreviation}:"
            f" {self.first_local:%H:%M} to {self.last_local:%H:%M} {happens}"
        )


def explain(context: CommandContext) -> int:
    """``pcron … explain``."""
    args, out = context.args, context.output
    text = " ".join(args.expression)
    task = context.cron.task_registry.by_name.get(text) or _find_stored(context, text)
    default_zone = task.timezone if task else context.cron.settings.timezone
    zone = _parse_zone(args.timezone or default_zone)
    schedules = task.schedules if task else (parse_schedule(text, zone),)
    if out.is_json:
        data = [_explanation_data(schedule, zone, context.now) for schedule in schedules]
        details = None if task is None else {"task": task.name, "jitter": task.offset}
        if task is not None and task.schedule_name is not None:
            details = {"schedule": task.schedule_name, **(details or {})}
        out.print_json(data[0] if details is None else {**details, "schedules": data})
        return EXIT_FINE
    if task is not None:
        name = task.schedule_name or task.name
        out.print_line(escape_unprintable(f"{name}: {task.describe()}"))
    for schedule in schedules:
        if task is not None:
            out.print_line()
        _print_explanation(out, schedule, zone, context.now)
    return EXIT_FINE


def _find_stored(context: CommandContext, text: str) -> Task | None:
    """Return a task as it is for the stored schedule of this name; None for an expression."""
    try:
        parse_schedule(text, context.zone)
    except CommandFailedError:
        context.cron.refresh_schedules()
        entry = context.cron.schedule_book.get(text)
        return None if entry is None else context.cron.find_task(entry.task, entry.name)
    return None


def _print_explanation(
    out: CommandOutput, schedule: Schedule, zone: ZoneInfo, now: datetime
) -> None:
    slots = list(islice(following_slots(schedule, now), 5))
    out.print_line(escape_unprintable(schedule.describe()))
    out.print_line(f"crontab: {_crontab_or_reason(schedule)[1]}")
    out.print_line(f"\nNext in {zone.key}:")
    for slot in slots:
        out.print_line(f"  {_format_slot(schedule, slot, zone)}")
    if not slots:
        out.print_line("  never again")
    if not isinstance(_unlimited(schedule), At):
        _print_shifts(out, schedule, zone, list(islice(clock_shifts(zone, now), MAX_SHIFTS)))


def _format_slot(schedule: Schedule, slot: datetime, zone: ZoneInfo) -> str:
    """Return a slot in local time, with its note."""
    note = dst_note((schedule,), slot)
    return f"{to_zone(slot, zone):%a %Y-%m-%d %H:%M:%S %Z}" + (f"  ({note})" if note else "")


def _print_shifts(
    out: CommandOutput, schedule: Schedule, zone: ZoneInfo, shifts: list[ClockShift]
) -> None:
    if not shifts:
        out.print_line(f"\nThe clocks of {zone.key} do not shift.")
        return
    out.print_line(f"\nNext shifts of the clocks in {zone.key}:")
    for shift in shifts:
        out.print_line(f"  {shift.describe()}")
        out.print_line(f"    {dst_effect(schedule, shift)}")
        for slot in _slots_around(schedule, shift):
            out.print_line(f"    {_format_slot(schedule, slot, zone)}")


def _slots_around(schedule: Schedule, shift: ClockShift) -> list[datetime]:
    """Return the last slot before the shifted times, and up to five after it."""
    length = shift.last_local - shift.first_local
    start = shift.moment if shift.is_gap else shift.moment - length
    end = shift.moment + length + timedelta(hours=1)
    previous = schedule.preceding(start)
    slots = list(islice(following_slots(schedule, start - timedelta.resolution), 5))
    following = [slot for slot in slots if slot <= end] or list(
        islice(following_slots(schedule, start), 1)
    )
    return following if previous is None else [previous, *following]


def _explanation_data(schedule: Schedule, zone: ZoneInfo, now: datetime) -> dict[str, Any]:
    has_crontab, crontab = _crontab_or_reason(schedule)
    return {
        "schedule": schedule.describe(),
        "timezone": zone.key,
        "crontab": crontab if has_crontab else None,
        "next": [
            {"slot": slot, "note": dst_note((schedule,), slot)}
            for slot in islice(following_slots(schedule, now), 5)
        ],
        "shifts": [
            {
                "moment": shift.moment,
                "shift": shift.describe(),
                "effect": dst_effect(schedule, shift),
                "slots": _slots_around(schedule, shift),
            }
            for shift in islice(clock_shifts(zone, now), MAX_SHIFTS)
        ],
    }


def parse_schedule(text: str, zone: ZoneInfo) -> Schedule:
    """Return a schedule from text: ``every 30m``, cron fields, or a moment with an offset.

    Cron fields are in ``zone``. Raises CommandFailedError for anything else.
    """
    try:
        first, *parts = text.split() or [""]
        if first == "every":
            return Every("".join(parts))
        if not parts and first[:1].isdigit() and len(first) > 9:
            return At(first)
        return Cron(text, timezone=zone.key)
    except ValueError as error:
        raise CommandFailedError(str(error).removeprefix("expression=")) from None


def _parse_zone(name: str) -> ZoneInfo:
    try:
        return get_zone(name)
    except ValueError as error:
        raise CommandFailedError(str(error).replace("timezone=", "--timezone ", 1)) from None


def _crontab_or_reason(schedule: Schedule) -> tuple[bool, str]:
    """Return True and the crontab fields, or False and why there are none."""
    try:
        fields = schedule.crontab()
    except ValueError as error:
        return False, f"none: {str(error).rpartition(': ')[2]}"
    return True, fields + (" (in UTC)" if isinstance(schedule, Every) else "")


def clock_shifts(zone: ZoneInfo, after: datetime) -> Iterator[ClockShift]:
    """Yield the shifts of a zone after an aware moment, in order."""
    second = floor_second(after, "after")
    span = offset_span_at(zone, second)
    while span.end < END_SECOND and span.end - second < SHIFT_HORIZON_SECONDS:
        next_span = offset_span_at(zone, span.end)
        if next_span.offset != span.offset:
            second = next_span.start
            yield _shift_at(zone, EPOCH + timedelta(seconds=second))
        span = next_span


def _shift_at(zone: ZoneInfo, moment: datetime) -> ClockShift:
    local_before = (moment - SHIFT_RESOLUTION).astimezone(zone)
    local_after = moment.astimezone(zone)
    return ClockShift(
        moment,
        local_before=local_before.replace(tzinfo=None, fold=0) + SHIFT_RESOLUTION,
        local_after=local_after.replace(tzinfo=None, fold=0),
        old_abbreviation=f"{local_before:%Z}",
        new_abbreviation=f"{local_after:%Z}",
    )


def _unlimited(schedule: Schedule) -> Schedule:
    return schedule.schedule if isinstance(schedule, Limited) else schedule


def _cron_of(schedule: Schedule) -> Cron | None:
    """Return the schedule of fields that a schedule's slots are by, if it is by fields alone."""
    cron = _unlimited(schedule)
    return cron if isinstance(cron, Cron) and type(cron).following is Cron.following else None


def dst_effect(schedule: Schedule, shift: ClockShift) -> str:
    """Return what a schedule does at a shift of its zone."""
    every, cron = _unlimited(schedule), _cron_of(schedule)
    if cron is None:
        is_utc = isinstance(every, (Every, At)) and type(every).following in _UTC_METHODS
        return (
            "it counts in UTC, and shifts make no difference"
            if is_utc
            else f"{type(every).__name__} says what it does; its slots around are"
        )
    times = _first_times(cron, shift) if _has_slot_at(schedule, shift) else []
    if not times:
        return "it has no slot in that time, and shifts make no difference"
    if cron.fields.is_wildcard:
        return (
            "it follows elapsed time: what is skipped is not made up"
            if shift.is_gap
            else "it follows elapsed time: it runs through both passes"
        )
    subject = _times_and_verb(times)
    if shift.is_gap:
        instead = f"{shift.local_after:%H:%M} {shift.new_abbreviation}"
        return f"{subject} skipped: it runs once instead, at {instead}"
    return f"{subject} there twice: it runs the first time only"


def _has_slot_at(schedule: Schedule, shift: ClockShift) -> bool:
    """Tell whether a limited schedule's bounds and exclusions leave a slot at a shift."""
    if not isinstance(schedule, Limited):
        return True
    length = shift.last_local - shift.first_local
    start = shift.moment - (SHIFT_RESOLUTION if shift.is_gap else length + SHIFT_RESOLUTION)
    return next(schedule.between(start, shift.moment + length), None) is not None


def dst_note(schedules: tuple[Schedule, ...], slot: datetime) -> str:
    """Return a note on a slot (aware) at a shift of the clocks; "" for any other slot."""
    notes = {
        note: None
        for schedule in schedules
        if (cron := _cron_of(schedule)) is not None and schedule.matches(slot)
        if (note := _cron_dst_note(cron, slot))
    }
    return "; ".join(notes)


def _cron_dst_note(schedule: Cron, slot: datetime) -> str:
    zone = schedule.search.zone
    local = slot.astimezone(zone)
    if local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset():
        # A local time converted from UTC is never in a gap, so this one happens twice.
        if not schedule.fields.is_wildcard:
            return f"{local:%H:%M} happens twice: this is the first, the second has no run"
        return f"{local:%H:%M} happens twice: this is the {'second' if local.fold else 'first'}"
    shift = next(clock_shifts(zone, slot - SHIFT_RESOLUTION), None)
    if shift is None or shift.moment != slot or not shift.is_gap:
        return ""
    times = _first_times(schedule, shift)
    if not times:
        return ""
    span = f"{shift.first_local:%H:%M} to {shift.last_local:%H:%M} is skipped"
    if schedule.fields.is_wildcard:
        return f"{span}: nothing is made up"
    return f"{_times_and_verb(times)} skipped: runs at {shift.local_after:%H:%M} instead"


def _first_times(schedule: Cron, shift: ClockShift) -> list[datetime]:
    """Return up to three of the schedule's local times that a shift skips or repeats."""
    return list(islice(schedule.search.local_times(shift.first_local, shift.last_local), 3))


def _times_and_verb(times: list[datetime]) -> str:
    """Return local times and "is" or "are", to begin a sentence."""
    texts = [f"{time:%H:%M}" for time in times]
    if len(texts) == 1:
        return f"{texts[0]} is"
    if len(texts) == 2:
        return f"{texts[0]} and {texts[1]} are"
    return f"{texts[0]}, {texts[1]} and so on are"
