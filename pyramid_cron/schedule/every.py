"""`Every` and `At`: a steady interval, and a single moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from .base import seal
from .crontab_text import compact_interval, interval_to_crontab
from .describe import describe_interval
from .quantities import parse_seconds
from .zones import (
    END_SECOND,
    FIRST_SECOND,
    ceil_second,
    floor_second,
    parse_moment,
    second_to_utc,
    to_utc,
)

_NO_DISTANCE = timedelta(0)


@seal
@dataclass(frozen=True, slots=True, init=False, repr=False)
class Every:
    """A slot each so many seconds, counted from the Unix epoch in UTC.

    ``interval`` is ``"90s"``, ``"30m"``, ``"6h"``, ``"1d"``, whole seconds or a timedelta, and at
    least one second. Counting from the epoch lets every host agree on the slots.
    """

    #: The interval.
    seconds: int

    def __init__(self, interval: str | float | timedelta) -> None:
        object.__setattr__(self, "seconds", parse_seconds(interval, argument="every"))

    def matches(self, moment: datetime) -> bool:
        """Tell whether ``moment`` is a slot, exactly."""
        at = floor_second(moment, "moment")
        return at == ceil_second(moment, "moment") and at % self.seconds == 0

    def following(self, after: datetime) -> datetime | None:
        """Return the first slot after ``after``; None when none is left in the calendar."""
        return self._slot_at(floor_second(after, "after") // self.seconds + 1)

    def preceding(self, before: datetime) -> datetime | None:
        """Return the last slot before ``before``; None when there was none in the calendar."""
        return self._slot_at((ceil_second(before, "before") - 1) // self.seconds)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Go through the slots after ``start`` up to and including ``end``, in order."""
        first = floor_second(start, "start") // self.seconds + 1
        last = floor_second(end, "end") // self.seconds
        return filter(None, map(self._slot_at, range(first, last + 1)))

    def _slot_at(self, number: int) -> datetime | None:
        at = number * self.seconds
        return second_to_utc(at) if FIRST_SECOND <= at < END_SECOND else None

    def describe(self) -> str:
        """Say in plain English when this is."""
        return describe_interval(self.seconds)

    def crontab(self) -> str:
        """Return the five fields that mean the same in UTC; ValueError if there are none."""
        return interval_to_crontab(self.seconds)

    __str__ = describe

    def __repr__(self) -> str:
        return f"Every({compact_interval(self.seconds)!r})"


@seal
@dataclass(frozen=True, slots=True, init=False, repr=False)
class At:
    """A single slot: an aware datetime or ISO 8601 text with an offset or ``Z``.

    Text is in the extended format, as ``2026-12-01T09:00:00+01:00``: with dashes and colons.
    """

    #: The slot, in UTC.
    moment: datetime

    def __init__(self, moment: datetime | str) -> None:
        object.__setattr__(self, "moment", _parse_at(moment))

    def matches(self, moment: datetime) -> bool:
        """Tell whether ``moment`` is the slot, exactly."""
        return self._distance_from(moment, "moment") == _NO_DISTANCE

    def following(self, after: datetime) -> datetime | None:
        """Return the slot if it is after ``after``."""
        return self.moment if self._distance_from(after, "after") > _NO_DISTANCE else None

    def preceding(self, before: datetime) -> datetime | None:
        """Return the slot if it is before ``before``."""
        return self.moment if self._distance_from(before, "before") < _NO_DISTANCE else None

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Go through the slot, if it is after ``start`` and not after ``end``."""
        due = self._distance_from(end, "end") <= _NO_DISTANCE < self._distance_from(start, "start")
        return iter([self.moment] if due else [])

    def _distance_from(self, moment: datetime, argument: str) -> timedelta:
        floor_second(moment, argument)  # refuses what isn't aware
        return self.moment - moment

    def describe(self) -> str:
        """Say in plain English when this is."""
        return f"once, at {self.moment.replace(tzinfo=None).isoformat(' ')} UTC"

    def crontab(self) -> str:
        """Raise ValueError: a crontab can't say once."""
        raise ValueError(f"{self!r}: a crontab has no way to run something once")

    __str__ = describe

    def __repr__(self) -> str:
        return f"At({self.moment.isoformat()!r})"


def _parse_at(moment: object) -> datetime:
    try:
        if isinstance(moment, str):
            return parse_moment(moment)
        if isinstance(moment, datetime):
            return to_utc(moment, "at")
    except ValueError:
        pass
    raise ValueError(
        f"at={moment!r}: use an aware datetime or ISO 8601 text in the extended format with an"
        " offset, such as '2026-12-01T09:00:00+01:00'"
    )
