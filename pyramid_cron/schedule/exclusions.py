"""What a schedule leaves out: dates, the slots of another schedule, or what a function says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol, TypeAlias
from zoneinfo import ZoneInfo

from .zones import EPOCH, MomentSpan, date_span, to_zone

MAX_DATES_IN_DESCRIPTION = 3
"""More dates than this are counted, not listed."""


class ExcludedSchedule(Protocol):
    """What is asked of a schedule whose slots are left out."""

    def match_span(self, moment: datetime) -> MomentSpan | None:
        """Return a span around a moment within which all moments match; None if it does not."""
        ...

    def with_timezone(self, timezone: str) -> ExcludedSchedule:
        """Return the schedule in a zone, unless it has one of its own."""
        ...

    def describe(self) -> str:
        """Return in plain English when the slots are."""
        ...


@dataclass(frozen=True, slots=True)
class DateExclusion:
    """Leaves out the local dates that are in a collection."""

    #: Only asked whether a date is ``in`` it.
    dates: Container[Any]

    def span(self, slot: datetime, zone: ZoneInfo) -> MomentSpan | None:
        """Return the span around an excluded slot that is excluded as well; None for others."""
        if to_zone(slot, zone).date() not in self.dates:
            return None
        return date_span(slot, zone) or (slot, slot)

    def with_timezone(self, timezone: str) -> DateExclusion:  # noqa: ARG002
        """Return the same: dates are local anywhere."""
        return self

    def describe(self) -> str:
        """Return the dates, or how many they are."""
        if not isinstance(self.dates, frozenset):
            return f"on dates in {self._name}"
        if len(self.dates) > MAX_DATES_IN_DESCRIPTION:
            return f"on {len(self.dates)} dates"
        return "on " + (" and ".join(map(str, sorted(self.dates))) or "no date")

    def __repr__(self) -> str:
        return repr(sorted(self.dates)) if isinstance(self.dates, frozenset) else f"<{self._name}>"

    @property
    def _name(self) -> str:
        # Not the representation, which may be long, and change as the collection is asked.
        cls = type(self.dates)
        return f"{cls.__module__.partition('.')[0]}.{cls.__name__}"

    def __hash__(self) -> int:
        return _hash_or_type(self.dates)


@dataclass(frozen=True, slots=True)
class SlotExclusion:
    """Leaves out the moments that match another schedule."""

    schedule: ExcludedSchedule

    def span(self, slot: datetime, zone: ZoneInfo) -> MomentSpan | None:  # noqa: ARG002
        """Return the span around an excluded slot that is excluded as well; None for others."""
        return self.schedule.match_span(slot)

    def with_timezone(self, timezone: str) -> SlotExclusion:
        """Return the same with the schedule in this zone, unless that has its own."""
        return SlotExclusion(self.schedule.with_timezone(timezone))

    def describe(self) -> str:
        """Return the other schedule in plain English."""
        return self.schedule.describe()

    def __repr__(self) -> str:
        return repr(self.schedule)


@dataclass(frozen=True, slots=True)
class FunctionExclusion:
    """Leaves out the slots for which a function of the local date and time is true."""

    function: Callable[[datetime], Any]

    def span(self, slot: datetime, zone: ZoneInfo) -> MomentSpan | None:
        """Return the slot's own moment if it is excluded; None for others."""
        return (slot, slot) if self.function(to_zone(slot, zone)) else None

    def with_timezone(self, timezone: str) -> FunctionExclusion:  # noqa: ARG002
        """Return the same: the function is given local times of any zone."""
        return self

    def describe(self) -> str:
        """Return the function's name."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return f"when {name}() says so"

    def __repr__(self) -> str:
        return repr(self.function)

    def __hash__(self) -> int:
        return _hash_or_type(self.function)


Exclusion: TypeAlias = DateExclusion | SlotExclusion | FunctionExclusion


def parse_exclusion(what: Any) -> DateExclusion | FunctionExclusion:
    """Return what leaves out a collection of dates, or what a function says.

    Plain collections are copied; any other that knows ``in``, as a mapping of holidays, is asked.
    Raises ValueError for anything else.
    """
    if isinstance(what, (str, bytes, date, type)):
        raise _refusal(what)
    if isinstance(what, (list, tuple, set, frozenset)) or type(what) is dict:
        return _parse_dates(what)
    if hasattr(what, "__contains__"):
        return DateExclusion(what)
    if callable(what):
        _check_function(what)
        return FunctionExclusion(what)
    if isinstance(what, Iterable):
        return _parse_dates(what)
    raise _refusal(what)


def _parse_dates(what: Iterable[Any]) -> DateExclusion:
    dates = frozenset(what)
    for day in dates:
        if not isinstance(day, date) or isinstance(day, datetime):
            raise ValueError(f"excluding: {day!r} is no date; use datetime.date(2026, 12, 25)")
    return DateExclusion(dates)


def _check_function(function: Callable[..., Any]) -> None:
    try:
        inspect.signature(function).bind(EPOCH)
    except TypeError:
        raise ValueError(
            f"excluding={function!r}: must take one argument, the local date and time"
        ) from None
    except ValueError:
        pass  # some builtins have no signature


def _refusal(what: object) -> ValueError:
    return ValueError(
        f"excluding={what!r}: use a collection of dates, a schedule, or a function of the local"
        " date and time"
    )


def _hash_or_type(value: object) -> int:
    """Return a value's hash; for one that has none that of its type, which equal ones share."""
    try:
        return hash(value)
    except TypeError:
        return hash(type(value))
