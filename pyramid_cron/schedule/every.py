"""`Every` and `At`: a steady interval, and a single moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from .base import Schedule
from .cron import Cron
from .describe import compact_interval, describe_interval, describe_moment, interval_to_crontab
from .fields import DAY_FIELD, DOW_FIELD, MONTH_FIELD
from .frozen import seal
from .parser import CronFields, DateRule
from .quantities import parse_integer, parse_seconds
from .search import highest_bit
from .zones import (
    DAY_SECONDS,
    EPOCH,
    EPOCH_ORDINAL,
    FIRST_SECOND,
    ceil_second,
    floor_second,
    parse_instant,
    second_to_utc,
    to_utc,
)


@seal
@dataclass(frozen=True, slots=True, init=False, repr=False)
class Every(Schedule):
    """A slot each so many seconds, counted from the Unix epoch in UTC.

    ``interval`` is ``"90s"``, ``"30m"``, ``"6h"``, ``"1d"``, whole seconds or a timedelta, at least
    one second and at most 36525 days. Counting from the epoch lets every host agree on the slots.
    """

    none_is_final = True

    #: The interval.
    seconds: int

    def __init__(self, interval: str | float | timedelta) -> None:
        object.__setattr__(self, "seconds", parse_seconds(interval, argument="every"))

    def following(self, after: datetime) -> datetime | None:
        """Return the first slot after ``after``; None when none is left in the calendar."""
        number = floor_second(after, "after") // self.seconds + 1
        return second_to_utc(number * self.seconds)

    def preceding(self, before: datetime) -> datetime | None:
        """Return the last slot before ``before``; None when there was none in the calendar."""
        number = (ceil_second(before, "before") - 1) // self.seconds
        return second_to_utc(number * self.seconds)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Go through the slots after ``start`` up to and including ``end``, in order."""
        first = floor_second(start, "start") // self.seconds + 1
        last = floor_second(end, "end") // self.seconds
        lowest = -(-FIRST_SECOND // self.seconds)
        return (
            EPOCH + timedelta(0, number * self.seconds)
            for number in range(max(first, lowest), last + 1)
        )

    @property
    def is_steady(self) -> bool:
        """Whether its slots are those of the interval: no subclass has its own ``following``."""
        return type(self).following is Every.following

    def describe(self) -> str:
        """Return the interval in plain English."""
        return describe_interval(self.seconds)

    def crontab(self) -> str:
        """Return the five fields that mean the same in UTC; ValueError if there are none."""
        return interval_to_crontab(self.seconds)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({compact_interval(self.seconds)!r})"


@seal
@dataclass(frozen=True, slots=True, init=False, repr=False)
class At(Schedule):
    """A single slot: an aware datetime or ISO 8601 text with an offset or ``Z``.

    Text is in the extended format, as ``2026-12-01T09:00:00+01:00``: with dashes and colons.
    """

    none_is_final = True

    #: The slot, in UTC.
    moment: datetime

    def __init__(self, moment: datetime | str) -> None:
        object.__setattr__(self, "moment", parse_instant("at", moment))

    def following(self, after: datetime) -> datetime | None:
        """Return the slot if it is after ``after``."""
        return self.moment if to_utc(after, "after") < self.moment else None

    def preceding(self, before: datetime) -> datetime | None:
        """Return the slot if it is before ``before``."""
        return self.moment if self.moment < to_utc(before, "before") else None

    def describe(self) -> str:
        """Return the moment, in UTC."""
        return f"once, at {describe_moment(self.moment)}"

    def crontab(self) -> str:
        """Raise ValueError: a crontab can't say once."""
        raise ValueError(f"{self!r}: a crontab has no way to run something once")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.moment.isoformat()!r})"


#: The first Monday after the Unix epoch, in days since that.
FIRST_MONDAY_EPOCH_DAY = 4

#: The longest cycle, in days: ten years.
MAX_CYCLE_DAYS = 3650


@dataclass(frozen=True, slots=True)
class CyclicDateRule(DateRule):
    """A rule for dates: each ``length`` days, one of which is ``phase`` days after 1970-01-01."""

    length: int
    phase: int

    def day_mask(self, year: int, month: int) -> int:
        """Return the days of this month which the rule names, as bits 1 to 31."""
        first = date(year, month, 1).toordinal() - EPOCH_ORDINAL
        end = date(year + month // 12, month % 12 + 1, 1) if (year, month) < (9999, 12) else None
        length = 31 if end is None else end.toordinal() - EPOCH_ORDINAL - first
        start = (self.phase - first) % self.length
        return sum(2 << day for day in range(start, length, self.length))


class EveryDays(Cron):
    """A fixed time of day on each so many days, by the local calendar of a zone.

    ``days`` is 1 to 3650. Counting from 1970-01-01, or with ``phase`` from so many days later, lets
    every host agree on the dates. Zones and daylight saving are as for
    :class:`~pyramid_cron.Cron`.

    Raises ValueError for what is out of range.
    """

    __slots__ = ()

    def __init__(
        self,
        days: int,
        *,
        hour: int = 0,
        min: int = 0,  # noqa: A002
        phase: int = 0,
        timezone: str | None = None,
    ) -> None:
        days = parse_integer("days", days, 1, MAX_CYCLE_DAYS)
        hour = parse_integer("hour", hour, 0, 23)
        min = parse_integer("min", min, 0, 59)  # noqa: A001
        phase = parse_integer("phase", phase, 0, MAX_CYCLE_DAYS)
        dates = CyclicDateRule(
            *(
                DAY_FIELD.full_mask,
                False,
                MONTH_FIELD.full_mask,
                DOW_FIELD.full_mask,
                None,
                False,
                False,
            ),
            length=days,
            phase=phase % days,
        )
        self._init(CronFields(1 << min, 1 << hour, dates, is_wildcard=False), timezone)

    def _describe_times(self) -> str:
        days, phase = self._cycle
        time = f"at {self._hour:02}:{self._minute:02}"
        if days % 7 or phase % 7 != FIRST_MONDAY_EPOCH_DAY:
            return f"{time} {describe_interval(days * DAY_SECONDS)}"
        return f"{time} on " + ("Mondays" if days == 7 else f"Monday, every {days // 7} weeks")

    def crontab(self) -> str:
        """Raise ValueError: a crontab can't count days."""
        raise ValueError(f"{self!r}: a crontab has no way to count days")

    def _repr_arguments(self) -> str:
        days, phase = self._cycle
        return f"{days}, hour={self._hour}, min={self._minute}, phase={phase}"

    @property
    def _cycle(self) -> tuple[int, int]:
        dates = self.fields.dates
        assert isinstance(dates, CyclicDateRule)  # made in no other way
        return dates.length, dates.phase

    @property
    def _hour(self) -> int:
        return highest_bit(self.fields.hours)

    @property
    def _minute(self) -> int:
        return highest_bit(self.fields.minutes)
