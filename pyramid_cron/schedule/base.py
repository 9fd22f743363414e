"""What every schedule can do."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta
from typing import NoReturn, Protocol, TypeVar, runtime_checkable

from .zones import EPOCH, to_utc

_MICROSECOND = timedelta(microseconds=1)


@runtime_checkable
class Schedule(Protocol):
    """A set of slots: the instants at which something is meant to run.

    A subclass has to say what ``following``, ``preceding`` and ``describe`` return; the rest comes
    of these. It is immutable and hashable.

    Moments given are aware, in any zone (ValueError otherwise); slots come back in UTC, in order.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """Have what a subclass inherits from a built-in schedule obey its own ``following``."""
        super().__init_subclass__()
        if "following" in vars(cls):
            for name in ("matches", "between"):
                if name not in vars(cls):
                    setattr(cls, name, vars(Schedule)[name])

    @abstractmethod
    def following(self, after: datetime) -> datetime | None:
        """Return the first slot strictly after ``after``, or None."""

    @abstractmethod
    def preceding(self, before: datetime) -> datetime | None:
        """Return the last slot strictly before ``before``, or None."""

    @abstractmethod
    def describe(self) -> str:
        """Return in plain English when the slots are."""

    def matches(self, moment: datetime) -> bool:
        """Return whether ``moment`` is a slot."""
        at = to_utc(moment, "moment")
        if at < EPOCH:  # neither way beyond the calendar
            return self.preceding(at + _MICROSECOND) == at
        return self.following(at - _MICROSECOND) == at

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Go through the slots with ``start < slot <= end``."""
        return _slots_between(self, to_utc(start, "start"), to_utc(end, "end"))

    def crontab(self) -> str:
        """Return five crontab fields; ValueError where a crontab can't say it."""
        raise ValueError(f"{self!r}: a crontab has no such schedule")

    def __str__(self) -> str:
        return self.describe()


def _slots_between(schedule: Schedule, start: datetime, end: datetime) -> Iterator[datetime]:
    slot = schedule.following(start)
    while slot is not None and slot <= end:
        yield slot
        slot = schedule.following(slot)


ClassT = TypeVar("ClassT")


def seal(cls: type[ClassT]) -> type[ClassT]:
    """Have a frozen dataclass with slots raise FrozenInstanceError for whatever is assigned.

    Python does so for its fields only. Another name gets a TypeError that speaks of ``super()``:
    the slots make a second class, and what was generated before knows the first.
    """

    def refuse_to_set(_: object, name: str, __: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def refuse_to_delete(_: object, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    cls.__setattr__ = refuse_to_set  # type: ignore[method-assign]
    cls.__delattr__ = refuse_to_delete  # type: ignore[method-assign]
    return cls
