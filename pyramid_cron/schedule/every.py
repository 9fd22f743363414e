"""`Every` and `At`: a steady interval, and a single moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from .base import Schedule
from .crontab_text import compact_interval, interval_to_crontab
from .describe import describe_interval, describe_moment
from .frozen import seal
from .quantities import parse_seconds
from .zones import (
    EPOCH,
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
