"""What the clocks of a zone do, and what becomes of slots then (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ..schedule import At, Cron, Every
from ..schedule.local import at_or_after, times_of_day
from ..schedule.moments import floor
from ..schedule.zone import BEYOND, DAY, EPOCH, stretch

AHEAD = 2 * 366 * DAY
"""Seconds within which a zone that shifts at all does so; others have no shift worth a word."""

SECOND = timedelta(seconds=1)

Schedule = Cron | Every | At


class Shift(NamedTuple):
    """That the clocks of a zone are set: from ``before`` to ``after`` at ``moment``.

    ``moment`` is in UTC; ``before`` and ``after`` are what the clocks show, without a zone, and
    ``old`` and ``new`` the names of the times, such as CET and CEST.
    """

    moment: datetime
    before: datetime
    after: datetime
    old: str
    new: str

    @property
    def is_gap(self) -> bool:
        """Whether local times are skipped; otherwise they happen twice."""
        return self.after > self.before

    @property
    def first(self) -> datetime:
        """The first local time concerned."""
        return min(self.before, self.after)

    @property
    def last(self) -> datetime:
        """The end of the local times concerned."""
        return max(self.before, self.after)

    def describe(self) -> str:
        """Say what happens."""
        happens = "is skipped" if self.is_gap else "happens twice"
        return (
            f"{self.before:%Y-%m-%d %H:%M} {self.old} -> {self.after:%H:%M} {self.new}:"
            f" {self.first:%H:%M} to {self.last:%H:%M} {happens}"
        )


def shifts(zone: ZoneInfo, after: datetime) -> Iterator[Shift]:
    """Yield the shifts of a zone after an aware moment, in order."""
    at = floor(after, "after")
    piece = stretch(zone, at)
    while piece.end < BEYOND and piece.end - at < AHEAD:
        nxt = stretch(zone, piece.end)
        if nxt.offset != piece.offset:
            moment = EPOCH + timedelta(seconds=nxt.start)
            at = nxt.start
            new = moment.astimezone(zone)
            old = (moment - SECOND).astimezone(zone)
            yield Shift(
                moment,
                before=old.replace(tzinfo=None, fold=0) + SECOND,
                after=new.replace(tzinfo=None, fold=0),
                old=f"{old:%Z}",
                new=f"{new:%Z}",
            )
        piece = nxt


def what_happens(schedule: Schedule, shift: Shift) -> str:
    """Say what a schedule does at a shift of its zone."""
    if not isinstance(schedule, Cron):
        return "it counts in UTC, and shifts make no difference"
    times = _times(schedule, shift)
    if not times:
        return "it has no slot in that time, and shifts make no difference"
    if schedule.wildcard:
        return (
            "it follows elapsed time: what is skipped is not made up"
            if shift.is_gap
            else "it follows elapsed time: it runs through both passes"
        )
    named = _named(times)
    if shift.is_gap:
        return f"{named} skipped: it runs once instead, at {shift.after:%H:%M} {shift.new}"
    return f"{named} there twice: it runs the first time only"


def notes(schedules: tuple[Schedule, ...], slot: datetime) -> str:
    """Return what there is to say of a slot (aware) that falls on a shift; "" for most."""
    found = {
        note: None
        for schedule in schedules
        if isinstance(schedule, Cron) and schedule.matches(slot)
        if (note := _note(schedule, slot))
    }
    return "; ".join(found)


def _note(schedule: Cron, slot: datetime) -> str:
    zone = schedule.zone
    local = slot.astimezone(zone)
    if local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset():
        # What is skipped never comes back from UTC, so this time happens twice.
        if not schedule.wildcard:
            return f"{local:%H:%M} happens twice: this is the first, the second has no run"
        return f"{local:%H:%M} happens twice: this is the {'second' if local.fold else 'first'}"
    shift = next(shifts(zone, slot - SECOND), None)
    if shift is None or shift.moment != slot or not shift.is_gap:
        return ""
    times = _times(schedule, shift)
    if not times:
        return ""
    span = f"{shift.first:%H:%M} to {shift.last:%H:%M} is skipped"
    if schedule.wildcard:
        return f"{span}: nothing is made up"
    return f"{_named(times)} skipped: runs at {shift.after:%H:%M} instead"


def _times(schedule: Cron, shift: Shift) -> list[datetime]:
    """Return up to three of the schedule's local times that a shift concerns."""
    return list(islice(_all_times(schedule, shift), 3))


def _all_times(schedule: Cron, shift: Shift) -> Iterator[datetime]:
    epoch = EPOCH.replace(tzinfo=None)
    start = -((epoch - shift.first) // timedelta(minutes=1))
    times = times_of_day(schedule.minutes, schedule.hours)
    while (minute := at_or_after(times, schedule.dates, start)) is not None:
        local = epoch + timedelta(minutes=minute)
        if local >= shift.last:
            return
        yield local
        start = minute + 1


def _named(times: list[datetime]) -> str:
    """Name local times, as the subject of a sentence with its verb."""
    shown = [f"{time:%H:%M}" for time in times]
    if len(shown) == 1:
        return f"{shown[0]} is"
    if len(shown) == 2:
        return f"{shown[0]} and {shown[1]} are"
    return f"{shown[0]}, {shown[1]} and so on are"
