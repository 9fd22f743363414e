"""What the clocks of a zone do, and what becomes of slots then (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ..schedule import At, Cron, Every
from ..schedule.local import minute_at_or_after, minutes_of_day
from ..schedule.moments import floor_second
from ..schedule.zones import DAY_SECONDS, END_SECOND, EPOCH, offset_span_at

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
            f"{self.local_before:%Y-%m-%d %H:%M} {self.old_abbreviation} -> {self.local_after:%H:%M} {self.new_abbreviation}:"
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
        return f"{named} skipped: it runs once instead, at {shift.local_after:%H:%M} {shift.new_abbreviation}"
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
