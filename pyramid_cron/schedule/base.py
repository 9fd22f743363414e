"""What every schedule can do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import datetime
from typing import NoReturn, Protocol, TypeVar, runtime_checkable


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
