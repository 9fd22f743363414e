"""What every schedule can do, and what limits one: bounds and exclusions."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from .describe import describe_moment
from .exclusions import Exclusion, SlotExclusion, parse_exclusion
from .frozen import compare_attributes, seal
from .zones import EPOCH, UTC, MomentSpan, get_zone, parse_instant, to_utc

log = logging.getLogger("pyramid_cron")

_FAILURE = "schedule %r failed: its tasks have no slots as long as it does"

_MICROSECOND = timedelta(microseconds=1)
_FIRST_MOMENT = datetime.min.replace(tzinfo=timezone.utc)
_LAST_MOMENT = datetime.max.replace(tzinfo=timezone.utc)

_NONE_KEPT = timedelta(days=1)
"""So long a search that found nothing is not repeated."""

MAX_EXCLUDED_SLOTS = 550_000
"""After so many excluded slots in a row, a year of minutes, no more slot is searched for."""

MAX_EXCLUDED_TIME = timedelta(days=50 * 365.25)
"""Nor after so long a time: a slot beyond it concerns nobody."""

_LONGEST_LOOK_BACK = timedelta(days=146_097)  # 400 years, in which the calendar repeats itself

_REQUIRED_METHODS = ("following", "preceding", "describe")
# What comes of following, and has to be replaced with it.
_DERIVED_METHODS = ("matches", "between", "crontab", "match_span", "preceding", "none_is_final")


class Schedule:
    """A set of slots: the instants at which something is meant to run.

    A subclass has to say what ``following``, ``preceding`` and ``describe`` return; the rest comes
    of these. It is immutable and hashable, and answers the same question the same way always. A
    subclass of a built-in schedule may replace ``following`` alone.

    Moments given are aware, in any zone (ValueError otherwise); slots come back in UTC, in order.
    """

    __slots__ = ()

    none_is_final: ClassVar[bool] = False
    """Whether no slot after a moment means that there never will be one after a later moment."""

    def __init_subclass__(cls) -> None:
        """Have what a subclass inherits from a built-in schedule obey its own ``following``."""
        super().__init_subclass__()
        for name in _DERIVED_METHODS:
            if _rank(cls, name) > _rank(cls, "following"):
                inherits = name == "preceding" and cls.preceding is not Schedule.preceding
                method = _preceding_by_following if inherits else vars(Schedule)[name]
                setattr(cls, name, method)
        if _rank(cls, "describe") > _rank(cls, "following"):
            setattr(cls, "describe", _describe_by(cls.describe))  # noqa: B010
        compare_attributes(cls)

    @abstractmethod
    def following(self, after: datetime) -> datetime | None:
        """Return the first slot strictly after ``after``, or None."""
        raise NotImplementedError(f"{type(self).__name__} has no following()")

    @abstractmethod
    def preceding(self, before: datetime) -> datetime | None:
        """Return the last slot strictly before ``before``, or None."""
        raise NotImplementedError(f"{type(self).__name__} has no preceding()")

    @abstractmethod
    def describe(self) -> str:
        """Return in plain English when the slots are."""
        raise NotImplementedError(f"{type(self).__name__} has no describe()")

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

    def starting(self, moment: datetime | str) -> Limited:
        """Return this schedule without the slots before ``moment``.

        An aware datetime or ISO 8601 text with an offset; ValueError otherwise, or where the
        schedule ends before.
        """
        limited = _as_limited(self)
        start = parse_instant("starting", moment)
        return replace(limited, start=max(start, limited.start or start))

    def ending(self, moment: datetime | str) -> Limited:
        """Return this schedule without the slots after ``moment``.

        An aware datetime or ISO 8601 text with an offset; ValueError otherwise, or where the
        schedule starts after it.
        """
        limited = _as_limited(self)
        end = parse_instant("ending", moment)
        return replace(limited, end=min(end, limited.end or end))

    def excluding(self, what: Any) -> Limited:
        """Return this schedule without some of its slots.

        ``what`` is a collection of dates (anything that knows ``in``), another schedule, which
        leaves out what it matches, or a function that is given the local date and time (an aware
        datetime) and returns whether to leave it out. It has to answer the same always.

        Local is the zone of the schedule: its own, that of its task, or UTC. Raises ValueError for
        anything else.
        """
        limited = _as_limited(self)
        is_schedule = isinstance(what, Schedule)
        exclusion: Exclusion = SlotExclusion(what) if is_schedule else parse_exclusion(what)
        if limited.timezone is not None:
            exclusion = exclusion.with_timezone(limited.timezone)
        if exclusion in limited.exclusions:
            return limited
        return replace(limited, exclusions=(*limited.exclusions, exclusion))

    def with_timezone(self, timezone: str) -> Schedule:  # noqa: ARG002
        """Return this schedule in a zone, unless it has its own: its task's, on registration."""
        return self

    def match_span(self, moment: datetime) -> MomentSpan | None:
        """Return a span (first moment, first one after it) around ``moment`` that matches.

        None if ``moment`` does not match. A span of no length is that moment alone.
        """
        return (moment, moment) if self.matches(moment) else None

    def __str__(self) -> str:
        return self.describe()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def _describe_by(inherited: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return a method that names the class after what is only the schedule it has changed."""
    if inherited is Schedule.describe:
        return inherited

    def describe(self: Schedule) -> str:
        return f"{inherited(self)}, by {type(self).__name__}"

    return describe


def _rank(cls: type, name: str) -> int:
    """Return how far from a class, in its order of resolution, a method is defined."""
    return next(rank for rank, base in enumerate(cls.__mro__) if name in vars(base))


def check_schedule(schedule: Schedule) -> None:
    """Refuse a schedule of a class that could not be obeyed; ValueError says why."""
    cls = type(schedule)
    missing = [
        name for name in _REQUIRED_METHODS if getattr(getattr(cls, name), "__isabstractmethod__", 0)
    ]
    if missing:
        raise ValueError(
            f"{cls.__name__} has no {' and no '.join(missing)}; a schedule needs the methods"
            f" {', '.join(_REQUIRED_METHODS)}"
        )
    for name in ("matches", "between", "preceding"):
        if _rank(cls, name) < _rank(cls, "following"):
            raise ValueError(
                f"{cls.__name__} has a {name} of its own, but no following, which says when"
                " its tasks run; replace that one"
            )
    try:
        hash(schedule)
    except TypeError:
        raise ValueError(f"{cls.__name__} must be hashable") from None
    try:
        text = schedule.describe()
    except Exception as error:
        raise ValueError(f"describe() failed: {type(error).__name__}: {error}") from error
    if not isinstance(text, str):
        raise ValueError(f"describe() returned {text!r}, which is no text")


def following_slot(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first slot after an aware moment, in UTC, whatever the class of the schedule.

    Raises ValueError for a slot that is not aware, or not after the moment: it would be due always.
    """
    slot = schedule.following(after)
    if slot is None:
        return None
    if getattr(slot, "tzinfo", None) is not timezone.utc:
        slot = to_utc(slot, f"{schedule!r}: its slot")
    if slot <= after:
        raise ValueError(f"{schedule!r}: its slot {slot} does not follow {after}")
    return slot


def ask_following(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first slot after an aware moment, in UTC; for a schedule that fails None.

    One that fails is logged: a schedule of one's own must not keep other tasks from running.
    """
    try:
        return following_slot(schedule, after)
    except Exception:
        log.exception(_FAILURE, schedule)
        return None


def ask_between(schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    """Return the slots with ``start < slot <= end``; for a schedule that fails, as above, none."""
    try:
        return list(schedule.between(start, end))
    except Exception:
        log.exception(_FAILURE, schedule)
        return []


def _slots_between(schedule: Schedule, start: datetime, end: datetime) -> Iterator[datetime]:
    slot = following_slot(schedule, start)
    while slot is not None and slot <= end:
        yield slot
        slot = following_slot(schedule, slot)


def _preceding_by_following(self: Schedule, before: datetime) -> datetime | None:
    """Return the last slot strictly before ``before``, or None."""
    limit = to_utc(before, "before")
    longest = min(limit - _FIRST_MOMENT, _LONGEST_LOOK_BACK)
    slot, distance = None, timedelta(seconds=1)
    while slot is None and distance < 2 * longest:
        slot = _slot_within(self, limit - min(distance, longest), limit)
        distance *= 2
    if slot is None:
        return None
    end = limit
    while (later := _slot_within(self, slot, limit)) is not None:
        middle = later + (end - later) // 2
        slot = _slot_within(self, middle, limit)
        if slot is None:
            slot, end = later, middle
    return slot


def _slot_within(schedule: Schedule, after: datetime, before: datetime) -> datetime | None:
    slot = following_slot(schedule, after)
    return slot if slot is not None and slot < before else None


def _as_limited(schedule: Schedule) -> Limited:
    if isinstance(schedule, Limited):
        return schedule
    return Limited(schedule, timezone=getattr(schedule, "timezone", None))


@seal
@dataclass(frozen=True, slots=True, repr=False)
class Limited(Schedule):
    """The slots of a schedule within bounds, some of them excluded.

    Made by the methods ``starting``, ``ending`` and ``excluding`` of a schedule. In a zone, dates
    and local times that are excluded are those of the zone; otherwise of UTC.
    """

    #: The schedule that is limited, itself not limited.
    schedule: Schedule
    #: The first moment that may be a slot (aware, UTC); None for no such bound.
    start: datetime | None = None
    #: The last moment that may be a slot (aware, UTC); None for no such bound.
    end: datetime | None = None
    exclusions: tuple[Exclusion, ...] = ()
    #: The IANA name of the zone.
    timezone: str | None = None
    # The moment of the last question and the answer: a search may be long.
    _latest: list[tuple[datetime, datetime | None]] = field(
        default_factory=list, init=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError(
                f"ending={self.end.isoformat()!r}: is before starting={self.start.isoformat()!r}"
            )

    def following(self, after: datetime) -> datetime | None:
        """Return the first slot after ``after`` that is within the bounds and not excluded.

        None where there is none, or none after 550,000 excluded slots or 50 years of them.
        """
        after = to_utc(after, "after")
        for asked, slot in tuple(self._latest):
            if asked <= after and (after < slot if slot else after - asked < _NONE_KEPT):
                return slot
        slot = next(self.between(after, _LAST_MOMENT), None)
        self._latest[:] = [(after, slot)]
        return slot

    def preceding(self, before: datetime) -> datetime | None:
        """Return the last slot before ``before`` that is within the bounds and not excluded.

        None where there is none, or none before 550,000 excluded slots or 50 years of them.
        """
        before = to_utc(before, "before")
        if self.end is not None and before > self.end:
            before = self.end + _MICROSECOND
        search = _Search(self)
        slot = self.schedule.preceding(before)
        while slot is not None and (self.start is None or slot >= self.start):
            excluded = search.excluded_span(slot)
            if excluded is None:
                return slot
            if search.is_over:
                return None
            slot = self.schedule.preceding(min(excluded[0], slot))
        return None

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Go through the slots with ``start < slot <= end`` that are not excluded."""
        start, end = to_utc(start, "start"), to_utc(end, "end")
        if self.start is not None and start < self.start:
            start = self.start - _MICROSECOND
        return self._walk(start, end if self.end is None else min(end, self.end))

    def _walk(self, start: datetime, end: datetime) -> Iterator[datetime]:
        search = _Search(self)
        resume: datetime | None = start
        while resume is not None:
            slots, resume = self.schedule.between(resume, end), None
            for slot in slots:
                excluded = search.excluded_span(slot)
                if excluded is None:
                    yield slot
                elif search.is_over:
                    return
                elif excluded[1] > slot:
                    resume = excluded[1] - _MICROSECOND
                    break

    def matches(self, moment: datetime) -> bool:
        """Return whether ``moment`` belongs to a slot that is within the bounds, not excluded."""
        at = to_utc(moment, "moment")
        if not self.schedule.matches(at):
            return False
        slot = self.schedule.preceding(min(at, _LAST_MOMENT - _MICROSECOND) + _MICROSECOND)
        return slot is not None and self._includes(slot)

    def _includes(self, slot: datetime) -> bool:
        return (
            (self.start is None or slot >= self.start)
            and (self.end is None or slot <= self.end)
            and _Search(self).excluded_span(slot) is None
        )

    def is_empty(self, now: datetime) -> bool:
        """Tell whether no slot is found: neither after ``now`` (aware) nor since 1970."""
        return self.following(now) is None and self.following(EPOCH) is None

    def describe(self) -> str:
        """Return the schedule in plain English, with its bounds and what it leaves out."""
        parts = [self.schedule.describe()]
        if self.start is not None:
            parts.append(f"from {describe_moment(self.start)}")
        if self.end is not None:
            parts.append(f"until {describe_moment(self.end)}")
        parts += [f"except {exclusion.describe()}" for exclusion in self.exclusions]
        return ", ".join(parts)

    def with_timezone(self, timezone: str) -> Schedule:
        """Return this schedule in a zone, unless it has one."""
        if self.timezone is not None:
            return self
        return replace(
            self,
            schedule=self.schedule.with_timezone(timezone),
            exclusions=tuple(exclusion.with_timezone(timezone) for exclusion in self.exclusions),
            timezone=timezone,
        )

    def __repr__(self) -> str:
        text = repr(self.schedule)
        if self.start is not None:
            text += f".starting({self.start.isoformat()!r})"
        if self.end is not None:
            text += f".ending({self.end.isoformat()!r})"
        return text + "".join(f".excluding({exclusion!r})" for exclusion in self.exclusions)


class _Search:
    """Counts the excluded slots in a row, so that a search for others ends."""

    __slots__ = ("_count", "_exclusions", "_first", "_zone", "is_over")

    def __init__(self, limited: Limited) -> None:
        self._exclusions = limited.exclusions
        self._zone = UTC if limited.timezone is None else get_zone(limited.timezone)
        self._count = 0
        self._first: datetime | None = None
        #: Whether too many slots in a row were excluded.
        self.is_over = False

    def excluded_span(self, slot: datetime) -> MomentSpan | None:
        """Return the span around a slot that is excluded with it; None if it is not excluded."""
        for exclusion in self._exclusions:
            span = exclusion.span(slot, self._zone)
            if span is not None:
                self._count += 1
                self._first = self._first or slot
                self.is_over = (
                    self._count >= MAX_EXCLUDED_SLOTS
                    or abs(slot - self._first) >= MAX_EXCLUDED_TIME
                )
                return span
        self._count, self._first = 0, None
        return None
