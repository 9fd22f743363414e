"""What every schedule can do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol, runtime_checkable


@runtime_checkable
class Schedule(Protocol):
    """A set of slots: the instants at which something is meant to run.

    Moments given are aware, in any zone (ValueError otherwise); slots come back in UTC, in order.
    """

    def matches(self, moment: datetime) -> bool:
        """Tell whether ``moment`` belongs to a slot."""
        ...

    def following(self, after: datetime) -> datetime | None:
        """Return the first slot strictly after ``after``, or None."""
        ...

    def preceding(self, before: datetime) -> datetime | None:
        """Return the last slot strictly before ``before``, or None."""
        ...

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Go through the slots with ``start < slot <= end``."""
        ...

    def describe(self) -> str:
        """Say in plain English when this is."""
        ...

    def crontab(self) -> str:
        """Return five crontab fields; ValueError where a crontab can't say it."""
        ...
