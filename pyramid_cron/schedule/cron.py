"""`Cron`: slots by the fields of a crontab, in a zone, right through daylight saving."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import SupportsIndex, TypeAlias

from .base import Schedule
from .describe import cron_to_crontab, describe_cron, repr_arguments
from .frozen import copy_with, seal
from .parser import CronFields, parse_expression, parse_fields
from .search import SlotSearch, minutes_of_day
from .zones import (
    UTC,
    MomentSpan,
    ceil_second,
    date_span,
    floor_second,
    get_zone,
    second_to_utc,
    to_utc,
)

_MINUTE = timedelta(minutes=1)

FieldInput: TypeAlias = str | SupportsIndex | Iterable[SupportsIndex]


@seal
@dataclass(frozen=True, slots=True, init=False, repr=False)
class Cron(Schedule):
    """A schedule by the fields of a crontab.

    Give either a five-field ``expression`` (or ``@daily`` and its kin), read by the rules of
    Debian's crontab, or fields by keyword, which must all match. A field takes cron text, in which
    0 and 7 are Sunday, or ints, of which 0 is Monday. An omitted field finer than the finest one
    given counts as its lowest value, any other omitted one as ``*``; nothing given is every
    minute.

    ``timezone`` is an IANA name. Without it the schedule has no zone of its own: a task lends it
    one, by itself it counts as UTC.

    A schedule whose minute or hour begins with ``*`` or covers its whole range follows elapsed
    time through daylight saving. Any other has fixed times: one that is skipped runs once, at the
    first instant after the gap, one that happens twice runs at the first only.

    Raises ValueError for anything that is wrong or can never match.
    """

    none_is_final = True

    fields: CronFields
    timezone: str | None
    search: SlotSearch = field(compare=False)

    def __init__(
        self,
        expression: str | None = None,
        *,
        min: FieldInput | None = None,  # noqa: A002
        hour: FieldInput | None = None,
        day: FieldInput | None = None,
        month: FieldInput | None = None,
        dow: FieldInput | None = None,
        timezone: str | None = None,
    ) -> None:
        fields = {"min": min, "hour": hour, "day": day, "month": month, "dow": dow}
        self._init(_parse_arguments(expression, fields, None), timezone)

    @classmethod
    def for_task(
        cls,
        name: str | None,
        expression: str | None = None,
        *,
        timezone: str | None = None,
        **fields: FieldInput | None,
    ) -> Cron:
        """Make the schedule of the task called ``name``, with which ``H`` is hashed."""
        return cls._from_fields(_parse_arguments(expression, fields, name), timezone)

    @classmethod
    def _from_fields(cls, fields: CronFields, timezone: str | None) -> Cron:
        cron = cls.__new__(cls)
        cron._init(fields, timezone)
        return cron

    def _init(self, fields: CronFields, timezone: str | None) -> None:
        zone = UTC if timezone is None else get_zone(timezone)
        times = minutes_of_day(fields.minutes, fields.hours)
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "timezone", timezone)
        search = SlotSearch(times, fields.dates, fields.is_wildcard, zone)
        object.__setattr__(self, "search", search)

    def with_timezone(self, timezone: str) -> Cron:
        """Return this schedule in ``timezone``, unless it has a zone of its own."""
        if self.timezone is not None:
            return self
        if type(self) is Cron:  # no attributes of a subclass to keep
            return Cron._from_fields(self.fields, timezone)
        search = replace(self.search, zone=get_zone(timezone))
        return copy_with(self, timezone=timezone, search=search)

    def matches(self, moment: datetime) -> bool:
        """Return whether ``moment`` lies in the minute that begins with a slot."""
        at = floor_second(moment, "moment")
        slot = self.search.at_or_after(at - 59)
        return slot is not None and slot <= at

    def match_span(self, moment: datetime) -> MomentSpan | None:
        """Return a span around ``moment`` throughout which the schedule matches, None without one.

        It is the minute of the slot or, on a date without a shift of the clock, all the minutes
        that match one after the other.
        """
        if not self.matches(moment):
            return None
        at = to_utc(moment, "moment")
        if (day := date_span(at, self.search.zone)) is not None:
            first, end = self.search.matching_minutes((at - day[0]) // _MINUTE)
            if first < end:
                return day[0] + first * _MINUTE, day[0] + end * _MINUTE
        slot = second_to_utc(self.search.at_or_before(floor_second(at, "moment")))
        assert slot is not None  # it matches
        return slot, slot + _MINUTE

    def following(self, after: datetime) -> datetime | None:
        """Return the first slot after ``after``; None when none is left in the calendar."""
        return second_to_utc(self.search.at_or_after(floor_second(after, "after") + 1))

    def preceding(self, before: datetime) -> datetime | None:
        """Return the last slot before ``before``; None when there was none in the calendar."""
        return second_to_utc(self.search.at_or_before(ceil_second(before, "before") - 1))

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Go through the slots after ``start`` up to and including ``end``, in order."""
        return self.search.between(floor_second(start, "start") + 1, floor_second(end, "end"))

    def describe(self) -> str:
        """Return in plain English when the slots are, with the zone if it has its own."""
        text = self._describe_times()
        return text if self.timezone is None else f"{text} ({self.timezone})"

    def _describe_times(self) -> str:
        return describe_cron(self.fields)

    def crontab(self) -> str:
        """Return the five fields that mean the same to Debian's cron, which has its own zone.

        Raises ValueError for what it can't say: ``L``, ``5#2``, or a day and a weekday that must
        both match.
        """
        try:
            return cron_to_crontab(self.fields)
        except ValueError as error:
            raise ValueError(f"{self!r}: {error}") from None

    def __repr__(self) -> str:
        zone = "" if self.timezone is None else f", timezone={self.timezone!r}"
        return f"{type(self).__name__}({self._repr_arguments()}{zone})"

    def _repr_arguments(self) -> str:
        return repr_arguments(self.fields)


def parse_cron(text: str, *, name: str | None = None) -> Cron:
    """Read a cron expression; ``H`` in it is hashed with ``name``, the task's."""
    return Cron.for_task(name, text)


def _parse_arguments(
    expression: object, fields: Mapping[str, object], task_name: str | None
) -> CronFields:
    if expression is None:
        return parse_fields(fields, task_name)
    names = [name for name, value in fields.items() if value is not None]
    if names:
        raise ValueError(
            f"expression={expression!r} and {', '.join(names)}: give one expression or fields"
        )
    return parse_expression(expression, task_name)
