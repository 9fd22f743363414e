"""Slow, obvious slots: walk through UTC step by step and look at the clock on the wall.

A second account of the rules, for the tests to compare with: it knows nothing of masks, stretches
or searching, and asks zoneinfo about each step.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Schedule:
    """What a schedule says, as plain sets; weekdays count from Monday as 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    wildcard: bool
    either: bool = False
    last_day: bool = False
    #: (weekday, n) with n from 1 to 5, or -1 for the last.
    nth: frozenset[tuple[int, int]] = field(default_factory=frozenset)

    def names(self, local: datetime) -> bool:
        """Tell whether the schedule names this local minute."""
        return (
            local.minute in self.minutes
            and local.hour in self.hours
            and self.names_date(local.date())
        )

    def names_date(self, day: date) -> bool:
        length = monthrange(day.year, day.month)[1]
        by_day = day.day in self.days or (self.last_day and day.day == length)
        by_weekday = (
            day.weekday() in self.weekdays
            or (day.weekday(), (day.day + 6) // 7) in self.nth
            or ((day.weekday(), -1) in self.nth and day.day > length - 7)
        )
        matched = (by_day or by_weekday) if self.either else (by_day and by_weekday)
        return day.month in self.months and matched


def slots(schedule: Schedule, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """Return all slots with start < slot <= end; both whole minutes, in UTC."""
    return [at for at in _walk(schedule, zone, start, end) if start < at <= end]


def _walk(schedule: Schedule, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    step = MINUTE if _whole_minutes(zone, start) and _whole_minutes(zone, end) else SECOND
    before, at = start.astimezone(zone), start + step
    while at <= end:
        local = at.astimezone(zone)
        skipped = _minutes(_wall(before) + step, _wall(local))
        made_up = not schedule.wildcard and any(schedule.names(minute) for minute in skipped)
        named = local.second == 0 and schedule.names(local)
        if made_up or (named and (schedule.wildcard or local.fold == 0)):
            yield at
        before, at = local, at + step


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    minute = start.replace(second=0) + (MINUTE if start.second else timedelta())
    while minute < end:
        yield minute
        minute += MINUTE


def _wall(local: datetime) -> datetime:
    return local.replace(tzinfo=None, fold=0)


def _whole_minutes(zone: ZoneInfo, at: datetime) -> bool:
    return at.astimezone(zone).utcoffset() % MINUTE == timedelta()


def shifts(zone: ZoneInfo, year: int) -> list[datetime]:
    """Return the instants of a year, in UTC, at which the zone's offset changes."""
    day = datetime(year, 1, 1, tzinfo=timezone.utc)
    found = []
    while day.year == year:
        following = day + timedelta(days=1)
        if _offset(zone, day) != _offset(zone, following):
            found.append(_shift(zone, day, following))
        day = following
    return found


def _shift(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    while high - low > SECOND:
        middle = low + (high - low) // SECOND // 2 * SECOND
        low, high = (middle, high) if _offset(zone, middle) == _offset(zone, low) else (low, middle)
    return high


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset()
